"""Which Slicer this module needs, asked before anything else is imported that an older one may not have."""

from __future__ import annotations

from slicer.i18n import tr as _

OLDEST = (5, 12)
"""Slicer 5.10 and older bring pydicom 2 and scipy 1.13; KLIPCore needs pydicom 3 and scipy 1.15."""


KLIPCORE = "0.1.0"
"""The oldest KLIPCore that this module works with: the one that came with it."""


def reasonAgainstSlicer(major: int, minor: int) -> str:
    """Why the module cannot work in this Slicer, in a sentence; empty when it can."""
    if (major, minor) >= OLDEST:
        return ""
    here, oldest = (".".join(map(str, version)) for version in ((major, minor), OLDEST))
    return _(
        "KLIP needs 3D Slicer {oldest} or newer, and this is {here}. "
        "Download the newer one; both can be installed side by side."
    ).format(oldest=oldest, here=here)
