"""A CT volume: Hounsfield units on a grid, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError, IntensityError
from KLIPCore.volume.grid import Grid


@dataclass(frozen=True, eq=False)
class Source:
    """Identifiers that tie a result to the images it came from; never names or dates of a patient.

    Attributes
    ----------
    path : folder or file that was read.
    study_uid, series_uid : DICOM UIDs, empty for other formats.
    sop_uids : (D,) SOP instance UIDs in array order, empty for other formats.
    files : (D,) the files those instances were read from, in array order.
    modality : DICOM modality, "CT" for formats that do not say.
    description : the series description or the file's name.
    notes : what the reader had to assume, repair or leave out: one sentence each.
    choice : what picks this series (or acquisition) again among several at ``path``; empty where there is no choice.
    """

    path: str = ""
    study_uid: str = ""
    series_uid: str = ""
    sop_uids: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    modality: str = "CT"
    description: str = ""
    notes: tuple[str, ...] = ()
    choice: str = ""

    @property
    def is_dicom(self) -> bool:
        """Whether every slice is a DICOM instance that a DICOM SEG may refer to."""
        return bool(self.sop_uids)


@dataclass(frozen=True)
class Orientation:
    """How an array was turned to LPS order, and the way back. Exact: voxels move, none is interpolated.

    Attributes
    ----------
    order : source axis of each turned axis.
    flips : whether each turned axis is reversed after that.
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: NDArray) -> NDArray:
        """Return source array (D, H, W) of any type → turned array, contiguous."""
        return np.ascontiguousarray(np.flip(array.transpose(self.order), self._reversed_axes))

    def restore(self, array: NDArray) -> NDArray:
        """Return a turned array of any type in the source's order, contiguous."""
        return np.ascontiguousarray(np.flip(array, self._reversed_axes).transpose(np.argsort(self.order)))

    def view(self, array: NDArray) -> NDArray:
        """Return source array → the same memory seen in turned order.

        What is written there lands in the source's order.
        """
        return np.flip(array.transpose(self.order), self._reversed_axes)

    def restore_box(self, box: tuple[slice, slice, slice], shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
        """Return a box in a turned array of ``shape`` → the same box in the source's order."""
        out = [slice(0)] * 3
        for axis, (part, n) in enumerate(zip(box, shape, strict=True)):
            out[self.order[axis]] = slice(n - part.stop, n - part.start) if self.flips[axis] else part
        return out[0], out[1], out[2]

    @property
    def _reversed_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, flip in enumerate(self.flips) if flip)


def all_finite(array: NDArray[np.floating]) -> bool:
    """Return whether there is neither NaN nor an infinity among numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        # a sum with NaN or infinities is none: a fifth of the time of looking at each; it may also overflow
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


@dataclass(frozen=True, eq=False)
class Volume:
    """Numbers on a grid: HU for a CT, nats for a KL map.

    Attributes
    ----------
    array : (D, H, W) float32, in HU unless ``unit`` says otherwise.
    grid : where the voxels are.
    source : what the volume was read from.
    unit : "HU", "nats" or another unit's name.
    """

    array: NDArray[np.float32]
    grid: Grid
    source: Source = Source()
    unit: str = "HU"

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.array, dtype=np.float32)
        if array.shape != self.grid.shape:
            raise GeometryError(
                f"Array of shape {array.shape} on a grid of shape {self.grid.shape}.",
                "Pass the grid of this very array.",
            )
        if not all_finite(array):
            raise IntensityError(
                f"{int((~np.isfinite(array)).sum())} voxels are NaN or infinite.",
                "Export the study again, or replace those voxels by air (-1000 HU).",
            )
        object.__setattr__(self, "array", array)

    @classmethod
    def known_finite(cls, array: NDArray[np.float32], grid: Grid, unit: str) -> Volume:
        """Return a volume without looking at every voxel again.

        It is for float32 numbers of the grid's shape that were computed from finite ones.
        """
        made = object.__new__(cls)
        for name, value in (("array", array), ("grid", grid), ("source", Source()), ("unit", unit)):
            object.__setattr__(made, name, value)
        return made

    def with_array(self, array: NDArray[np.floating], unit: str | None = None) -> Volume:
        """Return the same places and source with other numbers of shape (D, H, W)."""
        return replace(self, array=np.asarray(array, np.float32), unit=self.unit if unit is None else unit)

    def cropped(self, box: tuple[slice, slice, slice]) -> Volume:
        """Return the voxels of ``array[box]`` with their own grid and instances."""
        grid = self.grid.cropped(box)
        keep = box[0]
        source = replace(self.source, sop_uids=self.source.sop_uids[keep], files=self.source.files[keep])
        return Volume(self.array[box].copy(), grid, source, self.unit)

    def oriented_lps(self) -> tuple[Volume, Orientation]:
        """Return the volume with k running to Superior, j to Posterior and i to Left, as near as its axes allow.

        Slices of the result are counted from the feet. Every voxel keeps its place in the patient.

        Returns
        -------
        volume : turned; its source names instances slice by slice only while slices are still what the scanner's were.
        orientation : takes arrays on the turned grid back to this volume's order.
        """
        orientation = Orientation(*self.grid.lps_axes())
        sop_uids, files = self.source.sop_uids, self.source.files
        if orientation.order[0] != 0:
            sop_uids, files = (), ()
        elif orientation.flips[0]:
            sop_uids, files = sop_uids[::-1], files[::-1]
        grid = self.grid.oriented(orientation.order, orientation.flips)
        return Volume(
            orientation.apply(self.array), grid, replace(self.source, sop_uids=sop_uids, files=files), self.unit
        ), orientation
