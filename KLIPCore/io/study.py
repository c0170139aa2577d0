"""One door for every study: a DICOM folder, one slice of it, or a volume file.

Also the question that no header answers: are these numbers Hounsfield units at all? An 8-bit picture of
a CT has perfect geometry and would run through everything that follows, to a map that means nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from KLIPCore.errors import EmptyInputError, IntensityError, NotCTError, UnreadableFileError
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.images import FORMATS, image_format, read_image
from KLIPCore.io.listing import CT_CLASSES, read_header, text
from KLIPCore.volume.volume import Volume

AIR_BELOW_HU = -700.0
"""Voxels below this are air, outside or in the lung."""
LEAST_AIR = 0.001
"""A volume with a smaller fraction of air was masked or cropped to an organ."""
LEAST_RANGE_HU = 100.0
"""Fat to muscle is about 150 HU; a volume that spans less was normalised."""
HIGHEST_HU = 70000.0
"""Above any metal on an extended 16-bit scale."""
CLIPPED_FRACTION = 0.002
"""A bound that this part of all voxels shares exactly is the edge of a window, not chance."""

HIGHEST_WINDOW_HU = 600.0
"""Abdominal and mediastinal windows end below this; real bone does not."""


@np.errstate(over="ignore", invalid="ignore")  # headers with 1e308 in them: what comes of it is refused as not finite
def read_study(path: Path, series: str | None = None) -> Volume:
    """The CT volume that a path means.

    Parameters
    ----------
    path : a folder of DICOM files; one DICOM file, which stands for its whole series in that folder; or a volume file.
    series : which DICOM series, where there are several; see :func:`KLIPCore.io.listing.choose_series`.

    Raises
    ------
    EmptyInputError : nothing there.
    UnreadableFileError : a file of no accepted format; other errors as in ``read_dicom`` and ``read_image``.
    """
    path = Path(path)
    if path.is_dir():
        return read_dicom(path, series)
    if not path.exists():
        raise EmptyInputError(f"There is nothing at {path}.", "Check the path.")
    if image_format(path):
        return read_image(path)
    if path.stat().st_size == 0:
        raise EmptyInputError(f"{path.name} is empty.", "Copy or export that file again.")
    header = read_header(path, ("SOPClassUID", "Modality", "SeriesInstanceUID"))
    if header is None or not text(header, "SOPClassUID"):
        raise UnreadableFileError(
            f"{path.name} is no DICOM file and no volume file.",
            f"Give a DICOM folder, one DICOM slice, or a file ending in {', '.join(FORMATS)}.",
        )
    if text(header, "SOPClassUID") not in CT_CLASSES and series is None:
        raise NotCTError(
            f"{path.name} is no CT image ({text(header, 'Modality') or 'unknown modality'}).",
            "Give a CT slice or the folder that holds them.",
        )
    return read_dicom(path.parent, series if series is not None else text(header, "SeriesInstanceUID"))


def check_ct(volume: Volume) -> list[str]:
    """Whether the numbers can be Hounsfield units of a body.

    Parameters
    ----------
    volume : what was read.

    Returns
    -------
    Warnings, each one sentence: "Values are clipped to -160..240 HU.", "There is no air …".

    Raises
    ------
    NotCTError : another modality or unit.
    IntensityError : constant, normalised, 8-bit or otherwise impossible values.
    """
    if volume.source.modality != "CT" or volume.unit != "HU":
        raise NotCTError(
            f"The volume holds {volume.source.modality} values in {volume.unit}, not CT in HU.",
            "Give a CT volume in Hounsfield units.",
        )
    array = volume.array
    lo, hi = float(array.min()), float(array.max())
    span = f"The values run from {lo:g} to {hi:g}"
    remedy = (
        "Export the CT in Hounsfield units (air near -1000, water 0), without normalisation or windowing to grey "
        "values."
    )
    if lo == hi:
        raise IntensityError(f"All voxels have the value {lo:g}.", remedy)
    if hi - lo < LEAST_RANGE_HU:
        raise IntensityError(f"{span}: they were normalised and are not Hounsfield units.", remedy)
    if lo >= 0:
        kind = "8-bit grey values" if hi <= 255 else "stored values without the rescale to HU, or another modality"
        raise IntensityError(f"{span}, none below 0: these look like {kind}, not Hounsfield units.", remedy)
    if hi > HIGHEST_HU or hi < 0 or lo < -HIGHEST_HU:
        raise IntensityError(f"{span}: no CT of a body has such values.", remedy)
    synthetic = (
        ["The study calls itself synthetic: it shows no patient."]
        if "synthetic" in volume.source.description.lower()
        else []
    )
    return [*synthetic, *_warnings(array, lo, hi)]


def _warnings(array: np.ndarray, lo: float, hi: float) -> list[str]:
    warnings = []
    low_edge = lo > -900 and np.mean(array == lo) > CLIPPED_FRACTION
    high_edge = hi < HIGHEST_WINDOW_HU and np.mean(array == hi) > CLIPPED_FRACTION / 10  # bone is rarer than air
    if low_edge or high_edge:
        warnings.append(f"Values are clipped to {lo:g}..{hi:g} HU.")
    elif np.mean(array < AIR_BELOW_HU) < LEAST_AIR:
        warnings.append("There is no air in the volume: the body's outline may not be found.")
    if lo < -1100:
        warnings.append(f"Values down to {lo:g} HU are padding, not tissue; they count as air.")
    return warnings
