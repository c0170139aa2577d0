"""What lies outside the scanner's field of view, and is not a number or not air.

Resampling and research pipelines leave NaN, or a constant such as 0, where nothing was measured. As Hounsfield units,
0 is water: the patient would grow into the corners of the picture. Both are recognised by where they lie (connected to
the edge of a slice) and become air; a gap inside the patient is no such thing and is refused.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import IntensityError
from KLIPCore.volume.volume import all_finite

AIR_HU = -1024.0
"""Lowest HU kept: 12-bit scanners store -1024..3071. What lies outside the field of view becomes this value."""
WINDOW_HU = -900.0
"""A volume whose lowest value lies above this was clipped to a window: its lowest value then stands for air."""
NOT_AIR_HU = -700.0
"""A constant above this outside the field of view is not air."""
LEAST_STEP_HU = 100.0
"""It is filling, and not the lower edge of a window, when other voxels are darker by this much."""
MOSTLY = 0.5
"""Part of a line of voxels that is measured in the middle of a field of view."""
BRIGHT_HU, LEAST_AIR_BESIDE = 100.0, 0.3
"""A constant above the former is filling only where air lies beside it, in the latter part of its rim at least: what
is around a patient whose numbers have their sign turned is bright and lies beside skin."""
LEAST_SHARE = 0.005
"""Part of all voxels that a constant must fill to count as filling."""


def air_outside(array: NDArray[np.floating], whole_numbers: bool = False) -> tuple[NDArray[np.floating], list[str]]:
    """Set what was not measured to air.

    Parameters
    ----------
    array : (D, H, W) HU, possibly with NaN or infinite voxels.
    whole_numbers : they were stored as integers, so that none is NaN: not looked for.

    Returns
    -------
    array : the same array, or a copy in which everything outside the field of view is air.
    notes : what was changed, one sentence each.

    Raises
    ------
    IntensityError : voxels that are no numbers inside a slice, or hardly anything else.
    """
    array, notes = (array, []) if whole_numbers else _numbers(array)
    value = _constant(array)
    if value is not None:
        outside = _touching_the_edge(array == value)
        air = _air(array)
        if outside.mean() >= LEAST_SHARE and (value <= BRIGHT_HU or _beside_air(array, outside, air)):
            array = np.where(outside, np.float32(air), array)
            notes.append(
                f"{_share(outside)} of the voxels, outside the field of view, were filled with {value:g} HU;"
                f" they are taken for air ({air:g} HU)."
            )
    return array, notes


def _numbers(array: NDArray[np.floating]) -> tuple[NDArray[np.floating], list[str]]:
    if all_finite(array):
        return array, []
    missing = ~np.isfinite(array)
    remedy = "Export the study again, or replace those voxels by air (-1000 HU)."
    inside = int(missing.sum()) - int(_touching_the_edge(missing).sum())
    if inside or missing.mean() > 0.9:
        where = f", {inside} of them inside the slices and not outside the field of view" if inside else ""
        raise IntensityError(f"{int(missing.sum())} voxels are NaN or infinite{where}.", remedy)
    lost = _lost_lines(~missing)
    if lost:
        raise IntensityError(f"All voxels of {lost} are NaN or infinite, between others that are not.", remedy)
    air = _air(array[~missing])
    note = f"{_share(missing)} of the voxels, outside the field of view, are NaN; they are taken for air ({air:g} HU)."
    return np.where(missing, np.float32(air), array), [note]


def _lost_lines(measured: NDArray[np.bool_]) -> str:
    """Say which slices, or rows or columns of a slice, were lost between others; "" where none were.

    Only lines between two that are mostly measured count: a mask of two legs has empty columns between them, too.
    """
    slices = np.flatnonzero(measured.any((1, 2)))
    gap = np.setdiff1d(np.arange(slices[0], slices[-1]), slices)
    if len(gap):
        return f"slice {gap[0]} in the file's order" if len(gap) == 1 else f"{len(gap)} slices, first {gap[0]},"
    for k in slices:
        for axis, name in ((1, "rows"), (0, "columns")):
            share = measured[k].mean(axis)
            lines = np.flatnonzero(share > 0)
            for before, after in pairwise(lines):
                if after - before > 1 and min(share[before], share[after]) > MOSTLY:
                    return f"{after - before - 1} {name} of slice {k} in the file's order"
    return ""


def _constant(array: NDArray[np.floating]) -> float | None:
    """The value in all four corners of most slices, where it is neither air nor the lower edge of a window."""
    corners = array[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    alike = corners[(corners == corners[:, :1]).all(1), 0]
    if not len(alike):
        return None
    values, counts = np.unique(alike, return_counts=True)
    value = float(values[np.argmax(counts)])
    if 2 * counts.max() < len(array) or value <= NOT_AIR_HU:
        return None
    darker = float(array[:, ::4, ::4].min())  # enough to tell a field of view; noise is darker in more than one place
    return value if value > darker + LEAST_STEP_HU else None


def _touching_the_edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected parts of each slice's mask that reach the edge of the slice."""
    out = np.zeros_like(mask)
    for k, image in enumerate(mask):
        if image.any():
            labels, _ = ndi.label(image)
            rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
            out[k] = np.isin(labels, rim[rim > 0])
    return out


def _beside_air(array: NDArray[np.floating], outside: NDArray[np.bool_], air: float) -> bool:
    """Whether air lies beside what is outside, as in a field of view that is wider than the patient."""
    rim = ndi.binary_dilation(outside, np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]])) & ~outside
    return bool(rim.any()) and float(np.mean(array[rim] <= max(air + LEAST_STEP_HU, NOT_AIR_HU))) >= LEAST_AIR_BESIDE


def _air(numbers: NDArray[np.floating]) -> float:
    lowest = float(numbers.min())
    return lowest if lowest > WINDOW_HU else AIR_HU


def _share(mask: NDArray[np.bool_]) -> str:
    return f"{100 * mask.mean():.2g} %"
