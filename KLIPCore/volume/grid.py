"""Where voxels are.

A CT volume is an array of numbers and a map from array indices to millimetres in the patient. Everything
that is later said about *where* (a flagged region's centroid, a segment in a PACS) rests on that map, so it
is kept exact: a 4×4 float64 matrix, never rebuilt from rounded header fields.

Conventions (see docs/conventions.md)
    array index   ``(k, j, i)`` = (slice, row, column), C order, shape ``(D, H, W)``
    world         LPS millimetres: x to the patient's Left, y to Posterior, z to Superior (DICOM, ITK)
    affine        ``[x, y, z, 1] = affine @ [k, j, i, 1]``; voxel centres lie at integer indices
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from KLIPCore.errors import GeometryError

Affine = NDArray[np.float64]

FARTHEST_MM = 1e7
"""Ten kilometres: no table is there, and arithmetic is still exact to a hundredth of a micrometre."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular lattice of voxels in the patient.

    Attributes
    ----------
    shape : ``(D, H, W)`` voxel counts along slice, row and column index.
    affine : (4, 4) float64, index ``(k, j, i, 1)`` → LPS mm.
    frame_uid : DICOM frame of reference UID, empty when the source has none.
    """

    shape: tuple[int, int, int]
    affine: Affine
    frame_uid: str = field(default="")

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(
                "The volume's index-to-patient matrix is not a finite 4x4 matrix.", "Export the study again."
            )
        if np.abs(affine).max() > FARTHEST_MM:
            raise GeometryError(
                "The volume's voxels lie kilometres away.", "Export the study again; places and spacings are in mm."
            )
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GeometryError(
                f"A volume needs three dimensions of at least one voxel, not {self.shape}.", "Load a 3-D CT volume."
            )
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GeometryError(
                "The volume's voxels have no extent (singular direction or zero spacing).", "Export the study again."
            )
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @classmethod
    def from_itk(
        cls,
        shape: tuple[int, int, int],
        spacing: ArrayLike,
        origin: ArrayLike,
        direction: ArrayLike,
        frame_uid: str = "",
    ) -> Grid:
        """Return the grid that ITK describes by ``spacing``, ``origin`` (mm) and ``direction`` (3×3).

        All are in (i, j, k) order.
        """
        columns = np.asarray(direction, float).reshape(3, 3) * np.asarray(spacing, float)[None, :]
        affine = np.eye(4)
        affine[:3, :3] = columns[:, ::-1]
        affine[:3, 3] = np.asarray(origin, float)
        return cls(shape, affine, frame_uid)

    @property
    def spacing(self) -> NDArray[np.float64]:
        """(3,) distance in mm between neighbouring voxel centres along k, j, i."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def directions(self) -> NDArray[np.float64]:
        """(3, 3) unit column vectors of the k, j and i axes in LPS."""
        return self.affine[:3, :3] / self.spacing

    @property
    def origin(self) -> NDArray[np.float64]:
        """(3,) LPS mm of the centre of voxel (0, 0, 0)."""
        return self.affine[:3, 3].copy()

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """Return LPS mm of array indices ``(..., 3)`` in (k, j, i) order; fractions are allowed."""
        return np.asarray(index, float) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, point_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Return fractional array index ``(..., 3)`` in (k, j, i) order of LPS points in mm."""
        offset = np.asarray(point_lps_mm, float) - self.affine[:3, 3]
        return np.asarray(np.linalg.solve(self.affine[:3, :3], offset[..., None])[..., 0], np.float64)

    def cropped(self, box: tuple[slice, slice, slice]) -> Grid:
        """Return the grid of ``array[box]``; slices must have step 1 (or None) and resolve inside the shape."""
        starts, shape = [], []
        for part, n in zip(box, self.shape, strict=True):
            start, stop, step = part.indices(n)
            if step != 1 or stop <= start:
                raise GeometryError(
                    f"The range {part} keeps no voxels of an axis of {n}.", "Choose a range inside the volume."
                )
            starts.append(start)
            shape.append(stop - start)
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(starts)
        return Grid((shape[0], shape[1], shape[2]), affine, self.frame_uid)

    def lps_axes(self) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
        """Return how to turn the array so that k runs to Superior, j to Posterior and i to Left.

        Axes are followed as nearly as they allow.

        Returns
        -------
        order : source axis of the new (k, j, i) axes, for ``array.transpose(order)``.
        flips : whether each new axis must then be reversed.
        """
        world_of_new_axis = (2, 1, 0)  # k → z (Superior), j → y (Posterior), i → x (Left)
        directions = self.directions
        best = max(
            permutations(range(3)),
            key=lambda order: sum(abs(directions[w, a]) for w, a in zip(world_of_new_axis, order, strict=True)),
        )
        flips = tuple(bool(directions[w, a] < 0) for w, a in zip(world_of_new_axis, best, strict=True))
        return (best[0], best[1], best[2]), (flips[0], flips[1], flips[2])

    def oriented(self, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Grid:
        """Return the grid of ``array.transpose(order)`` with the axes in ``flips`` reversed."""
        affine = np.eye(4)
        affine[:3, :3] = self.affine[:3, :3][:, list(order)]
        shape = tuple(self.shape[a] for a in order)
        corner = np.zeros(3)
        for axis, (flip, a) in enumerate(zip(flips, order, strict=True)):
            if flip:
                affine[:3, axis] *= -1
                corner[a] = self.shape[a] - 1
        affine[:3, 3] = self.to_world(corner)
        return Grid((shape[0], shape[1], shape[2]), affine, self.frame_uid)

    def same_as(self, other: Grid, atol_mm: float = 1e-4) -> bool:
        """Return whether every voxel centre of both grids coincides within ``atol_mm``."""
        if self.shape != other.shape:
            return False
        corners = np.array(
            [[k, j, i] for k in (0, self.shape[0] - 1) for j in (0, self.shape[1] - 1) for i in (0, self.shape[2] - 1)]
        )
        return bool(np.abs(self.to_world(corners) - other.to_world(corners)).max() <= atol_mm)
