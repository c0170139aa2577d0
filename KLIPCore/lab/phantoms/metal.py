"""Metal: needles, screws, stents. It *replaces* the HU that are there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from KLIPCore.lab.phantoms.shape import Array, Point, require
from KLIPCore.volume.grid import Grid


@dataclass(frozen=True)
class MetalRod:
    """A straight cylinder of one HU: a needle, a screw, a stent's wire.

    Attributes
    ----------
    start_lps_mm, end_lps_mm : centres of its flat ends.
    radius_mm : its radius.
    hu : what it shows, whatever was there; 3000 is where 12-bit scanners end.
    edge_mm : length over which the border fades; 0 is sharp.
    """

    start_lps_mm: Point
    end_lps_mm: Point
    radius_mm: float
    hu: float = 3000.0
    edge_mm: float = 0.0

    def __post_init__(self) -> None:
        require(
            self.radius_mm > 0 and self.length_mm > 0,
            "A rod needs a radius and two different ends.",
            "Give lengths in mm above 0.",
        )
        require(self.edge_mm >= 0, "An edge must not be negative.", "Give 0 or more.")

    @property
    def length_mm(self) -> float:
        """Distance between the ends."""
        return math.dist(self.start_lps_mm, self.end_lps_mm)

    @property
    def centre_lps_mm(self) -> Point:
        """Its middle."""
        x, y, z = (np.asarray(self.start_lps_mm) + np.asarray(self.end_lps_mm)) / 2
        return float(x), float(y), float(z)

    @property
    def volume_mm3(self) -> float:
        """π r² · length."""
        return math.pi * self.radius_mm**2 * self.length_mm

    @property
    def reach_mm(self) -> float:
        """Distance from the centre beyond which nothing changes."""
        return math.hypot(self.length_mm / 2 + self.edge_mm, self.radius_mm + self.edge_mm)

    def depth_mm(self, points: Array, rng: np.random.Generator) -> Array:
        """Return signed depth of points (..., 3) in LPS mm; exact but for the outside of the ends' rims."""
        axis = (np.asarray(self.end_lps_mm) - np.asarray(self.start_lps_mm)) / self.length_mm
        d = points - np.asarray(self.centre_lps_mm)
        along = d @ axis
        across = np.linalg.norm(d - along[..., None] * axis, axis=-1)
        return np.minimum(self.radius_mm - across, self.length_mm / 2 - np.abs(along))

    def paint(self, hu: Array, weight: Array, depth: Array, grid: Grid, rng: np.random.Generator) -> Array:
        """Return a mixture of what was there and the metal, by weight."""
        return (1 - weight) * hu + weight * self.hu

    def pushed(self, hu: Array, points: Array, grid: Grid, corner: Array) -> Array:
        """Return the values as they are: nothing is moved."""
        return hu
