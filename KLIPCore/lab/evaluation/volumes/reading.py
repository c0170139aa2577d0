"""Scans and masks as they are to be examined: in HU, on one grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import EmptyInputError, GeometryError, InputError
from KLIPCore.io.images import read_image
from KLIPCore.io.study import read_study
from KLIPCore.lab.evaluation.volumes.config import Scan
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

SAME_VOXEL = 0.5
"""Grids whose corners agree within this part of a voxel's smallest edge are one."""

LEAST_INSIDE = 0.9
"""Part of a mask's box that must lie in the scan's, if it is to be of the same body."""

ALL_INSIDE = 0.98
"""The same both ways for a mask of as many voxels as the scan: turned axes leave the box where it is, a lost header
does not.
"""


def read_scan(scan: Scan) -> Volume:
    """Return the image of a scan, changed as the scan says.

    Raises
    ------
    EmptyInputError : it is missing.
    GeometryError : it has no such slices.
    InputError : it cannot be read, see :func:`KLIPCore.io.study.read_study`.
    """
    assert scan.image is not None
    _present(scan, scan.image)
    stored = read_study(scan.image, scan.series)
    if not scan.changed:
        return stored
    array = _cut(scan, stored.array) * np.float32(scan.slope) + np.float32(scan.intercept)
    return Volume(array, changed_grid(scan, stored.grid), replace(stored.source, sop_uids=(), files=()), stored.unit)


def changed_grid(scan: Scan, stored: Grid) -> Grid:
    """Return where the voxels that a scan keeps lie.

    Raises
    ------
    GeometryError : the scan has no such slices.
    """
    affine = stored.affine.copy()
    if scan.spacing_mm is not None:
        affine[:3, :3] = stored.directions * np.asarray(scan.spacing_mm)
    first, last = scan.slices or (0, stored.shape[0])
    if not 0 <= first < last <= stored.shape[0]:
        raise GeometryError(f"{scan.name}: there are no slices {first} to {last}.", f"It has {stored.shape[0]}.")
    affine[:3, 3] += affine[:3, 0] * first
    affine[:3, 0] *= scan.every
    return Grid((len(range(first, last, scan.every)), *stored.shape[1:]), affine, stored.frame_uid)


def read_mask(scan: Scan, grid: Grid, values: tuple[int, ...]) -> tuple[NDArray[np.bool_], list[str]]:
    """Return the lesions of a scan on the grid that was examined.

    Parameters
    ----------
    scan : whose mask it is.
    grid : of the examined study.
    values : labels that are lesion; every label above 0 when empty.

    Returns
    -------
    mask : (D, H, W) bool; all False for a healthy study.
    notes : sentences about what was done to it.

    Raises
    ------
    EmptyInputError : missing, or without a lesion in a study that is not said to be healthy.
    InputError : a lesion in a study that is said to be healthy; unreadable.
    GeometryError : it lies elsewhere than the scan.
    """
    if scan.mask is None:
        if not scan.healthy:
            raise EmptyInputError(
                f"{scan.name} has no mask and is not said to be healthy.",
                "Give its mask, or say that it is healthy (healthy: true, or --healthy for a folder).",
            )
        return np.zeros(grid.shape, bool), []
    _present(scan, scan.mask)
    stored = read_image(scan.mask)
    labels = np.round(stored.array)
    lesion = np.isin(labels, values) if values else labels > 0
    if scan.healthy and lesion.any():
        raise InputError(
            f"{scan.name} is said to be healthy, and its mask {scan.mask.name} holds lesions.",
            "Leave one of them out, or name the lesions' labels (lesion_values).",
        )
    if not scan.healthy and not lesion.any():
        raise EmptyInputError(
            f"{scan.name}: no voxel of {scan.mask.name} is lesion.",
            "Check the labels that count (lesion_values, --lesion), or say that the study is healthy.",
        )
    return _on_grid(scan, lesion, stored.grid, grid)


def _present(scan: Scan, path: Path) -> None:
    if not path.exists():
        raise EmptyInputError(f"{scan.name}: {path.name} is missing.", "Check --data and the configuration's paths.")


def _cut(scan: Scan, array: NDArray) -> NDArray:
    """The slices that a scan keeps."""
    first, last = scan.slices or (0, len(array))
    return array[first : last : scan.every]


def _on_grid(scan: Scan, lesion: NDArray[np.bool_], own: Grid, grid: Grid) -> tuple[NDArray[np.bool_], list[str]]:
    """A mask brought to the examined grid: voxel by voxel where it lies there, by its nearest voxels where it is
    another grid in the same place.

    Raises
    ------
    GeometryError : it lies elsewhere.
    """
    holds_slices = own.shape[0] >= (scan.slices or (0, 1))[1]
    if scan.changed and holds_slices and _same(changed_grid(scan, own), grid):
        return np.ascontiguousarray(_cut(scan, lesion)), []  # a mask of the stored image is changed as the image was
    if _same(own, grid):
        return lesion, []
    of_mask, of_scan = _shared(own, grid)
    remedy = "Save the mask with the geometry of its scan (same origin, spacing and directions)."
    if sorted(own.shape) == sorted(grid.shape) and min(of_mask, of_scan) < ALL_INSIDE:
        raise GeometryError(f"{scan.name}: the mask has as many voxels as the scan and lies elsewhere.", remedy)
    if of_mask < LEAST_INSIDE:
        raise GeometryError(f"{scan.name}: only {100 * of_mask:.0f} % of the mask's box lies in the scan.", remedy)
    across = np.linalg.solve(own.affine, grid.affine)  # from indices of the scan to indices of the mask
    made = _nearest(lesion, np.asarray(across, np.float64), grid.shape)
    if lesion.any() and not made.any():
        raise GeometryError(f"{scan.name}: no lesion of the mask meets a voxel of the scan.", remedy)
    turned = np.allclose(across[:3, :3], np.round(across[:3, :3]), atol=1e-3) and own.shape == grid.shape
    return made, [] if turned else ["The mask is on another grid than the scan: its nearest voxels were taken."]


def _same(one: Grid, other: Grid) -> bool:
    return one.same_as(other, SAME_VOXEL * float(min(other.spacing)))


def _shared(own: Grid, grid: Grid) -> tuple[float, float]:
    """The parts of a mask's box and of the scan's that both share, along the scan's axes."""
    corners = np.stack(np.meshgrid(*([-0.5, n - 0.5] for n in own.shape), indexing="ij"), -1).reshape(-1, 3)
    at = grid.to_index(own.to_world(corners))
    lo, hi, shape = at.min(0), at.max(0), np.array(grid.shape)
    shared = np.clip(np.minimum(hi, shape - 0.5) - np.maximum(lo, -0.5), 0, None)
    return float((shared / (hi - lo)).prod()), float((shared / shape).prod())


def _nearest(mask: NDArray[np.bool_], across: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """(D, H, W) a mask at the nearest of its voxels to each of a grid's; False outside. Slice by slice, for memory.

    Parameters
    ----------
    mask : on its own grid.
    across : (4, 4) from indices of the grid to indices of the mask.
    shape : of the grid.
    """
    out = np.zeros(shape, bool)
    rows, columns = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    for k in range(shape[0]):
        index = np.stack([np.full(rows.shape, k), rows, columns], -1)
        at = np.floor(index @ across[:3, :3].T + across[:3, 3] + 0.5).astype(np.intp)
        inside = ((at >= 0) & (at < mask.shape)).all(-1)
        out[k][inside] = mask[tuple(at[inside].T)]
    return out
