"""Images that are no plain slices, by what they call themselves.

Projections through a slab, images of one material, or differences of scans have the class of CT images and values that
look like HU. Only their image type tells.

References
----------
DICOM PS3.3, C.8.2.1.1.1 and C.8.16.1 (image types of single-frame and Enhanced CT); manufacturers add words of their
own to the standard's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydicom.dataset import Dataset

from KLIPCore.io.fields import DAMAGE

KINDS = {
    "maximum intensity projections": {"MIP", "MAXIMUM", "MAXIP", "MAX_IP"},
    "minimum intensity projections": {"MINIP", "MINIMUM", "MIN_IP"},
    "averages of several images": {"AVERAGE", "MEAN", "AIP", "AVG_IP"},
    "differences of scans": {"SUB", "SUBTRACTION"},
    "virtual monoenergetic images": {"VMI", "MONO", "MONOENERGETIC", "MONO_ENERGETIC"},
    "images with a material taken out": {"VNC", "VUE", "MAT_REMOVED", "MAT_MODIFIED"},
    "images of one material": {"IODINE", "MAT_SPECIFIC", "MAT_FRACTIONAL", "MAT_VALUE_BASED"},
    "maps of atomic number or electron density": {"EFF_ATOMIC_NUM", "ELECTRON_DENSITY", "ZEFF"},
}
"""What a reader is told, and the words in an image type that mean it."""


def derived_notes(headers: Iterable[Dataset]) -> list[str]:
    """Return a sentence for each kind of derived images that headers name; empty for plain slices.

    Parameters
    ----------
    headers : of the slices, with ImageType.
    """
    words: set[str] = set()
    for header in headers:
        for value in _image_type(header)[2:]:
            words |= {value, *re.split(r"[^A-Z0-9]+", value)}
    return [
        f"By their image type these are {kind}, not the plain slices of a scan: the prior has not learned from such."
        for kind, names in KINDS.items()
        if words & names
    ]


def _image_type(header: Dataset) -> list[str]:
    """Values of the image type, in capitals; the first two say whether pixels and image are original."""
    try:
        values = header.get("ImageType") or ()
    except (*DAMAGE, TypeError):
        return []
    return [str(value).strip().upper() for value in ((values,) if isinstance(values, str) else values)]
