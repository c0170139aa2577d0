"""Shifts: nothing is added, but the intensities or the anatomy are not the usual ones.

A detector should say that such a scan is unusual as a whole (intensities), or where an organ has another size
or lies on the other side (anatomy): the opposite of a small lesion, and what domain shift looks like from inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.lab.phantoms.shape import Array, Point, require
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


@dataclass(frozen=True)
class IntensityShift:
    """All tissue brighter or darker, or of more or less contrast: a scanner out of calibration, another
    contrast phase.

    Attributes
    ----------
    shift_hu : added to every voxel of tissue.
    gain : what differences from ``pivot_hu`` are multiplied by.
    pivot_hu : the HU that a gain leaves as it is; 50 is unenhanced soft tissue.
    edge_mm : of no meaning: it is everywhere.
    """

    shift_hu: float
    gain: float = 1.0
    pivot_hu: float = 50.0
    edge_mm: float = 0.0

    @property
    def reach_mm(self) -> float:
        """It is everywhere."""
        return math.inf

    @property
    def centre_lps_mm(self) -> Point:
        """Of no meaning: it is everywhere."""
        return 0.0, 0.0, 0.0

    def depth_mm(self, points: Array, rng: np.random.Generator) -> Array:
        """Infinitely deep everywhere."""
        return np.full(points.shape[:-1], np.inf)

    def paint(self, hu: Array, weight: Array, depth: Array, grid: Grid, rng: np.random.Generator) -> Array:
        """hu + (gain − 1) (hu − pivot) + shift."""
        return hu + weight * (self.shift_hu + (self.gain - 1.0) * (hu - self.pivot_hu))

    def pushed(self, hu: Array, points: Array, grid: Grid, corner: Array) -> Array:
        """Nothing is moved."""
        return hu


@dataclass(frozen=True)
class Swelling:
    """An organ, or a part of one, that is larger or smaller than usual: a smooth magnification around a centre.

    What is seen at distance q·R was at q·R·s(q), s rising from 1/magnification in the middle to 1 at the rim
    R. No HU are invented.

    Attributes
    ----------
    centre_lps_mm : the point that stays where it is.
    radius_mm : R; nothing changes beyond it.
    magnification : linear, in the middle; above 1 swells, below 1 shrinks. 0.6 to 1.9 keep the map invertible.
    """

    centre_lps_mm: Point
    radius_mm: float
    magnification: float
    edge_mm: float = 0.0

    def __post_init__(self) -> None:
        require(self.radius_mm > 0, "A swelling needs a radius.", "Give it in mm above 0.")
        require(
            0.6 <= self.magnification <= 1.9,
            f"A magnification of {self.magnification} folds the anatomy.",
            "Choose 0.6 to 1.9.",
        )

    @property
    def reach_mm(self) -> float:
        """Distance from the centre beyond which nothing changes."""
        return self.radius_mm

    def source(self, q: Array) -> Array:
        """Where what is seen at the relative distance q came from; rises from 0 to 1, the identity beyond 1."""
        inner = 1.0 / self.magnification
        fade = np.clip(q, 0, 1) ** 2
        smooth = fade * (2 - fade)  # 0 in the middle, 1 at the rim, both with slope 0
        return q * (inner + (1 - inner) * smooth)

    def depth_mm(self, points: Array, rng: np.random.Generator) -> Array:
        """Distance to the rim: all that may have moved is inside."""
        return self.radius_mm - np.linalg.norm(points - np.asarray(self.centre_lps_mm), axis=-1)

    def pushed(self, hu: Array, points: Array, grid: Grid, corner: Array) -> Array:
        """HU (box) after the magnification, linearly interpolated."""
        offset = points - np.asarray(self.centre_lps_mm)
        q = np.linalg.norm(offset, axis=-1) / self.radius_mm
        moved = (q > 1e-9) & (q < 1)
        ratio = np.where(moved, self.source(q) / np.maximum(q, 1e-9), 1.0)
        index = np.moveaxis(grid.to_index(np.asarray(self.centre_lps_mm) + offset * ratio[..., None]) - corner, -1, 0)
        return np.where(moved, ndi.map_coordinates(hu, index, order=1, mode="nearest"), hu)

    def paint(self, hu: Array, weight: Array, depth: Array, grid: Grid, rng: np.random.Generator) -> Array:
        """Nothing is added."""
        return hu


def mirrored(volume: Volume) -> tuple[Volume, NDArray[np.bool_]]:
    """The patient's left where the right was (situs inversus), on the same grid.

    Returns
    -------
    mirrored : the array reversed along the axis that runs closest to the patient's left; HU are exact.
    changed : bool of the volume's shape, voxels whose HU differ: everything that is not symmetric.
    """
    left = np.abs(volume.grid.directions[:, 0])  # share of each array axis along x
    flipped = np.flip(volume.array, int(np.argmax(left)))
    return volume.with_array(flipped.copy()), np.asarray(flipped != volume.array, bool)
