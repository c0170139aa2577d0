"""Stars: artefacts no anatomy has, as in KLIP's own tests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from KLIPCore.lab.phantoms.shape import Array, Point, require
from KLIPCore.volume.grid import Grid


@dataclass(frozen=True)
class Star:
    """A star of even contrast, the same on all the slices it spans.

    An artefact no anatomy has, as in KLIP's own tests.

    Attributes
    ----------
    centre_lps_mm : its middle.
    outer_mm, inner_mm : distance of the points and of the notches from it.
    height_mm : extent along z.
    contrast_hu : added inside.
    n_points : how many points.
    turn_deg : where the first point lies, from x towards y.
    edge_mm : length over which the border fades; 0 is sharp.
    """

    centre_lps_mm: Point
    outer_mm: float
    inner_mm: float
    height_mm: float
    contrast_hu: float = 100.0
    n_points: int = 5
    turn_deg: float = -90.0
    edge_mm: float = 0.0

    def __post_init__(self) -> None:
        require(
            0 < self.inner_mm <= self.outer_mm and self.height_mm > 0,
            "A star needs 0 < inner ≤ outer and a height.",
            "Give positive lengths in mm.",
        )
        require(self.n_points >= 3, f"A star of {self.n_points} points encloses nothing.", "Give at least 3.")
        require(self.edge_mm >= 0, "An edge must not be negative.", "Give 0 or more.")

    @property
    def volume_mm3(self) -> float:
        """n R r sin(π/n) · height: 2n triangles."""
        return self.n_points * self.outer_mm * self.inner_mm * math.sin(math.pi / self.n_points) * self.height_mm

    @property
    def reach_mm(self) -> float:
        """Distance from the centre beyond which nothing changes."""
        return math.hypot(self.outer_mm + self.edge_mm, self.height_mm / 2 + self.edge_mm)

    def depth_mm(self, points: Array, rng: np.random.Generator) -> Array:
        """Return signed depth of points (..., 3) in LPS mm, from the nearest side's line.

        Exact but for the outside of a corner.
        """
        d = points - np.asarray(self.centre_lps_mm)
        sector = math.pi / self.n_points
        angle = np.arctan2(d[..., 1], d[..., 0]) - math.radians(self.turn_deg)
        folded = np.abs(
            (angle + sector) % (2 * sector) - sector
        )  # every side is the same one: from a point to the next notch
        r = np.hypot(d[..., 0], d[..., 1])
        point, notch = np.array([self.outer_mm, 0.0]), self.inner_mm * np.array([math.cos(sector), math.sin(sector)])
        side = (notch - point) / np.linalg.norm(notch - point)
        x, y = r * np.cos(folded) - point[0], r * np.sin(folded)
        within = y * side[0] - x * side[1]
        return np.minimum(within, self.height_mm / 2 - np.abs(d[..., 2]))

    def paint(self, hu: Array, weight: Array, depth: Array, grid: Grid, rng: np.random.Generator) -> Array:
        """Return hu + weight · contrast."""
        return hu + weight * self.contrast_hu

    def pushed(self, hu: Array, points: Array, grid: Grid, corner: Array) -> Array:
        """Return the values as they are: nothing is moved."""
        return hu
