"""Which part of a study: slices counted from the feet, a box in the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.volume.grid import Grid

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""LPS mm intervals ((x0, x1), (y0, y1), (z0, z1))."""


@dataclass(frozen=True)
class Part:
    """What is examined of a study; the whole of it unless told otherwise.

    Attributes
    ----------
    series : which DICOM series, where there are several.
    slices : Python-style range counted from the feet, e.g. ``"12:17"``; all when None.
    roi : LPS box in mm; only blocks centred in it are tested, only slices that meet it are sampled.
    within : segments to look within, ``FILE[:LABEL]`` or an organ's name: regions are sought there alone. It changes
        nothing of what is sampled.
    """

    series: str | None = None
    slices: str | None = None
    roi: Box | None = None
    within: str | None = None


WHOLE = Part()
"""All slices of a study's only series."""

HOW_TO_RANGE = "Write --slices 12:17 (12 to 16), counted from the feet"


def parse_slices(text: str | None, n_slices: int) -> list[int]:
    """Return slice numbers that a Python-style range means, ``"12:17"`` or ``"-5:"`` or ``"7"``; all when None.

    Raises
    ------
    ConfigError : not such a range, or one that keeps nothing.
    """
    if text is None or text.strip() == "":
        return list(range(n_slices))
    remedy = f"{HOW_TO_RANGE}; this study has slices 0 to {n_slices - 1}."
    wanted = _range(text, remedy)
    if isinstance(wanted, int):
        chosen = [wanted % n_slices] if -n_slices <= wanted < n_slices else []
    else:
        chosen = list(range(n_slices))[wanted]
    if not chosen:
        raise ConfigError(f"The range '{text}' keeps no slice.", remedy)
    return sorted(chosen)


def check_slices(text: str | None) -> None:
    """Refuse what is no range, before the study is read and its number of slices known.

    Raises
    ------
    ConfigError : it is none.
    """
    if text is not None and text.strip():
        _range(text, f"{HOW_TO_RANGE}.")


def _range(text: str, remedy: str) -> slice | int:
    """What a text means: one place, or a slice of places."""
    try:
        numbers = [int(part) if part.strip() else None for part in text.split(":")]
    except ValueError as error:
        raise ConfigError(f"'{text}' is not a range of slices.", remedy) from error
    if len(numbers) == 1 and numbers[0] is not None:
        return numbers[0]
    if len(numbers) == 2 or (len(numbers) == 3 and numbers[2] != 0):
        return slice(*numbers)
    raise ConfigError(f"'{text}' is not a range of slices.", remedy)


def parse_box(text: str | None) -> Box | None:
    """Return the box that ``"x0:x1,y0:y1,z0:z1"`` (LPS mm) means; None when no text is given.

    Raises
    ------
    ConfigError : not such a box, or an empty one.
    """
    if not text:
        return None
    try:
        intervals = [tuple(float(bound) for bound in part.split(":")) for part in text.split(",")]
        (x0, x1), (y0, y1), (z0, z1) = intervals
    except ValueError as error:
        raise ConfigError(f"'{text}' is not a box.", "Write --roi=x0:x1,y0:y1,z0:z1 in LPS millimetres.") from error
    if not (x0 < x1 and y0 < y1 and z0 < z1):
        raise ConfigError(f"The box '{text}' is empty.", "Give the smaller coordinate first in each interval.")
    return (x0, x1), (y0, y1), (z0, z1)


def box_mask(grid: Grid, box: Box) -> NDArray[np.bool_]:
    """Return the (D, H, W) bool: voxel centres inside the box.

    Raises
    ------
    ConfigError : the box contains no voxel.
    """
    mask = np.zeros(grid.shape, bool)
    rows, columns = np.meshgrid(np.arange(grid.shape[1]), np.arange(grid.shape[2]), indexing="ij")
    lo, hi = np.array(box).T
    for k in range(grid.shape[0]):
        points = grid.to_world(np.stack([np.full(rows.shape, k), rows, columns], axis=-1))
        mask[k] = ((points >= lo) & (points <= hi)).all(-1)
    if not mask.any():
        raise ConfigError(
            "The region of interest lies outside the study.",
            "Give it in LPS millimetres of this study (x to the patient's left, y to posterior).",
        )
    return mask
