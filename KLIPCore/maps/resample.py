"""From the frame's base cells back to the study's voxels, prepared once.

A map is arithmetic on some thousand cells a slice; the study has a quarter of a million voxels a slice. What
takes time is to carry one to the other, and where each voxel looks does not depend on what the cells hold. A
:class:`Landing` therefore keeps, for every sampled slice, the thin interpolation weights over the rows and
columns that the body covers, and writes through a view in LPS order straight into arrays of the study's own
order: no voxel is moved twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from KLIPCore.volume.frame import interpolation_weights
from KLIPCore.volume.framed_study import Framing

MIN_BODY = 0.5
"""A cell is inside the body when at least this part of it is."""


@dataclass(frozen=True, eq=False)
class LandingSlice:
    """One slice's way from cells to the voxels of its body's box.

    Attributes
    ----------
    n : its place among the sampled slices.
    n_cells : base cells along each side of the frame.
    place : (slice, rows, columns) of the box in an LPS-ordered array.
    body : bool of the box's shape.
    rows, columns : positions of the box's rows and columns among the cells, NaN outside the frame.
    """

    n: int
    n_cells: int
    place: tuple[int, slice, slice]
    body: NDArray[np.bool_]
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]

    def smooth(self, cells: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the (h, w) cells → the box, linearly interpolated; 0 outside the frame."""
        rows, columns = self._weights
        wide = np.ascontiguousarray(
            (columns @ np.asarray(cells, np.float32).T).T
        )  # transposed memory would make the next product five times slower
        return np.asarray(rows @ wide, np.float32)

    def nearest(self, cells: NDArray) -> NDArray:
        """Return the (h, w) cells of any type → the box, each voxel its own cell's value; 0 outside the frame."""
        rimmed = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), cells.dtype)
        rimmed[:-1, :-1] = cells  # index -1, outside, finds the rim's zero
        rows, columns = self._nearest
        return rimmed[rows][:, columns]

    def part(self, cells: NDArray[np.bool_]) -> LandingSlice | None:
        """Return the smallest part of the box that holds every voxel of the marked (h, w) cells.

        None when there is none.
        """
        spans = []
        for at, marked in ((self.rows, cells.any(1)), (self.columns, cells.any(0))):
            own = np.flatnonzero(marked)
            inside = np.flatnonzero((at >= own[0] - 0.5) & (at <= own[-1] + 0.5)) if len(own) else own
            if not len(inside):
                return None
            spans.append(slice(int(inside[0]), int(inside[-1]) + 1))
        k, rows, columns = self.place
        r, c = spans
        place = (
            k,
            slice(rows.start + r.start, rows.start + r.stop),
            slice(columns.start + c.start, columns.start + c.stop),
        )
        made = LandingSlice(self.n, self.n_cells, place, self.body[r, c], self.rows[r], self.columns[c])
        (near_rows, near_columns), (of_rows, of_columns) = self._nearest, self._weights  # which need not be made again
        made.__dict__["_nearest"] = near_rows[r], near_columns[c]
        made.__dict__["_weights"] = _some_rows(of_rows, r), _some_rows(of_columns, c)
        return made

    @cached_property
    def _nearest(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Each row's and each column's own cell; -1 outside the frame."""
        rows, columns = (
            np.where(np.isnan(at), -1, np.floor(np.nan_to_num(at) + 0.5)).astype(np.intp)
            for at in (self.rows, self.columns)
        )
        return rows, columns

    @cached_property
    def _weights(self) -> tuple[sp.csr_array, sp.csr_array]:
        return interpolation_weights(self.rows, self.n_cells, 1), interpolation_weights(self.columns, self.n_cells, 1)


def _some_rows(weights: sp.csr_array, rows: slice) -> sp.csr_array:
    """``weights[rows]``, some times faster."""
    ends = weights.indptr[rows.start : rows.stop + 1]
    data, columns = weights.data[ends[0] : ends[-1]], weights.indices[ends[0] : ends[-1]]
    return sp.csr_array((data, columns, ends - ends[0]), shape=(len(ends) - 1, weights.shape[1]))


class Landing:
    """Where the base cells of some slices lie on their study.

    Parameters
    ----------
    framing : the study.
    indices : sampled slices, counted from the feet.
    n_cells : base cells along each side of the frame.
    """

    def __init__(self, framing: Framing, indices: tuple[int, ...], n_cells: int) -> None:
        self.framing = framing
        self.indices = indices
        self.n_cells = n_cells
        self.slices = list(self._prepared())

    @property
    def cell_mm(self) -> float:
        """Edge of a base cell in mm."""
        return self.framing.frame.pixel_mm * self.framing.frame.size / self.n_cells

    def _prepared(self) -> Iterator[LandingSlice]:
        for n, k in enumerate(self.indices):
            body = self.framing.body[k]
            rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
            if len(rows):
                box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
                r, c = self.framing.frame_of(k).cell_positions(self.n_cells, body.shape)
                yield LandingSlice(n, self.n_cells, (k, *box), np.ascontiguousarray(body[box]), r[box[0]], c[box[1]])

    def tested(self, roi: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Return the (n, h, w) cells of the body.

        Where a region of interest is given ((D, H, W) bool on the LPS grid), they lie in it.
        """
        size, n = self.framing.frame.size, self.n_cells
        out = np.empty((len(self.indices), n, n), bool)
        for place, k in enumerate(self.indices):
            inside = self.framing.mask(k)
            if roi is not None:
                inside = inside * self.framing.frame_of(k).pull(roi[k : k + 1].astype(np.float32), order=0)[0]
            out[place] = inside.reshape(n, size // n, n, size // n).mean((1, 3)) >= MIN_BODY
        return out

    def around(self, cells: NDArray[np.bool_]) -> tuple[LandingSlice, ...]:
        """Return the parts of the slices' boxes that hold every voxel of the marked (n, h, w) cells."""
        some = np.flatnonzero(cells.any((1, 2))).tolist()
        parts = (part.part(cells[part.n]) for part in self.slices if part.n in some)
        return tuple(part for part in parts if part is not None)

    def blank(self, dtype: type) -> tuple[NDArray, NDArray]:
        """Return zeros of ``dtype`` in the study's own order, and a view of the same memory in LPS order."""
        array: NDArray = np.zeros(self.framing.grid.shape, dtype)
        return array, self.framing.orientation.view(array)
