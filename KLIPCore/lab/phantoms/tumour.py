"""Soft-tissue lesions: ellipsoids or lumpy bodies with contrast, texture, rim, soft edge and mass effect.

A tumour *adds* to the HU that are there, so the scanner's own noise stays. Nothing changes where its weight is
0, except around a tumour with a mass effect, which pushes its surroundings aside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage as ndi

from KLIPCore.lab.phantoms.shape import Array, Point, require
from KLIPCore.volume.grid import Grid

PUSH_REACH = 3.0
"""A mass effect fades to nothing at this many radii."""


@dataclass(frozen=True)
class Outline:
    """A lumpy sphere: radius 1 + a·h(u) in the direction u, scaled to keep a sphere's volume.

    Attributes
    ----------
    waves : (n, 3) wave vectors of h.
    phases : (n,) their phases.
    mean, gain : h = gain · (Σ cos(k·u + φ) − mean) has mean 0 and mean square a² over all directions.
    scale : what restores the volume.
    """

    waves: Array
    phases: Array
    mean: float
    gain: float
    scale: float

    @classmethod
    def random(cls, irregularity: float, rng: np.random.Generator) -> Outline:
        """Return an outline whose radius varies by ``irregularity`` (root mean square, relative)."""
        waves = rng.standard_normal((8, 3))
        waves *= rng.uniform(2.0, 5.0, (8, 1)) / np.linalg.norm(waves, axis=1, keepdims=True)
        raw = cls(waves, rng.uniform(0, 2 * math.pi, 8), 0.0, 1.0, 1.0)
        values = raw._sum(_directions(4000))
        gain = irregularity / float(values.std())
        shape = replace(raw, mean=float(values.mean()), gain=gain)
        return replace(shape, scale=float((shape.radius(_directions(4000)) ** 3).mean() ** (-1 / 3)))

    def _sum(self, u: Array) -> Array:
        total: Array = np.cos(u @ self.waves.T + self.phases).sum(-1)
        return total

    def radius(self, u: Array) -> Array:
        """Return the relative radius in the directions u (..., 3); at least a third of the mean."""
        return self.scale * np.maximum(1 + self.gain * (self._sum(u) - self.mean), 1 / 3)


def _directions(n: int) -> Array:
    """(n, 3) unit vectors spread evenly over the sphere (a Fibonacci spiral)."""
    k = np.arange(n) + 0.5
    z, angle = 1 - 2 * k / n, math.pi * (1 + math.sqrt(5)) * k
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=-1)


@dataclass(frozen=True)
class Tumour:
    """A soft-tissue lesion: an ellipsoid, or an irregular body of the same volume.

    Attributes
    ----------
    centre_lps_mm : where its middle lies.
    radii_mm : semi-axes along x, y, z before turning.
    contrast_hu : added inside; liver metastases lie 30 to 70 HU below a portal-venous liver.
    turn_deg : rotation about z, from x towards y.
    edge_mm : length over which the border fades; 0 is sharp.
    texture_hu, texture_mm : standard deviation and length of a random unevenness inside.
    irregularity : relative root mean square deviation of the radius, 0 (ellipsoid) to 0.3.
    rim_hu, rim_mm : added in a shell of that thickness just inside the outline (rim enhancement).
    mass_effect : part of its volume by which the surroundings are pushed outward, 0 (it only replaces) to 1.
    """

    centre_lps_mm: Point
    radii_mm: Point
    contrast_hu: float = -50.0
    turn_deg: float = 0.0
    edge_mm: float = 2.0
    texture_hu: float = 0.0
    texture_mm: float = 4.0
    irregularity: float = 0.0
    rim_hu: float = 0.0
    rim_mm: float = 3.0
    mass_effect: float = 0.0

    def __post_init__(self) -> None:
        require(
            min(self.radii_mm) > 0, f"A tumour with radii of {self.radii_mm} mm has no volume.", "Give positive radii."
        )
        require(
            self.edge_mm >= 0 and self.texture_hu >= 0 and self.rim_mm >= 0,
            "A tumour's edge, texture and rim must not be negative.",
            "Give 0 or more.",
        )
        require(self.texture_mm > 0, "A texture needs a length.", "Give texture_mm above 0.")
        require(
            0 <= self.irregularity <= 0.3,
            f"An irregularity of {self.irregularity} is out of range.",
            "Choose 0 to 0.3.",
        )
        require(0 <= self.mass_effect <= 1, f"A mass effect of {self.mass_effect} is out of range.", "Choose 0 to 1.")

    @property
    def volume_mm3(self) -> float:
        """4/3 π abc, whatever the irregularity."""
        return 4 / 3 * math.pi * math.prod(self.radii_mm)

    @property
    def reach_mm(self) -> float:
        """Distance from the centre beyond which nothing changes."""
        return max(self.radii_mm) * (PUSH_REACH if self.mass_effect > 0 else 1 + 4 * self.irregularity) + self.edge_mm

    def _unit(self, points: Array) -> Array:
        """Points (..., 3) in LPS mm → coordinates in which the ellipsoid is the unit sphere."""
        c, s = math.cos(math.radians(self.turn_deg)), math.sin(math.radians(self.turn_deg))
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        unit: Array = (points - np.asarray(self.centre_lps_mm)) @ turn.T / np.asarray(self.radii_mm)
        return unit

    def depth_mm(self, points: Array, rng: np.random.Generator) -> Array:
        """Return signed depth of points (..., 3) in LPS mm.

        Exact for spheres, to first order in the distance otherwise.
        """
        unit = self._unit(points)
        q = np.linalg.norm(unit, axis=-1)
        slope = np.linalg.norm(unit / np.asarray(self.radii_mm), axis=-1) / np.maximum(q, 1e-12)
        outline = 1.0
        if self.irregularity > 0:
            outline = Outline.random(self.irregularity, rng).radius(unit / np.maximum(q, 1e-12)[..., None])  # type: ignore[assignment]
        return (outline - q) / np.maximum(slope, 1 / max(self.radii_mm))

    def paint(self, hu: Array, weight: Array, depth: Array, grid: Grid, rng: np.random.Generator) -> Array:
        """Return HU with the tumour in it: hu + weight · (contrast + texture + rim)."""
        change = np.full(hu.shape, float(self.contrast_hu))
        if self.texture_hu > 0:
            field = ndi.gaussian_filter(rng.standard_normal(hu.shape), self.texture_mm / grid.spacing, mode="wrap")
            change += self.texture_hu * field / max(float(field.std()), 1e-12)
        if self.rim_hu:
            change += self.rim_hu * ((depth >= 0) & (depth < self.rim_mm))
        return hu + weight * change

    def pushed(self, hu: Array, points: Array, grid: Grid, corner: Array) -> Array:
        """Return HU (box) after the mass effect: tissue of the inner sphere is spread over the shell around it.

        Nothing moves without a mass effect. In units of the radius, what is seen at q was at s with s³ = q³ −
        m·f(q), f falling from 1 at the surface to 0 at :data:`PUSH_REACH`: near the tumour volume is kept,
        further away tissue gives way.
        """
        if self.mass_effect == 0:
            return hu
        unit = self._unit(points)
        q = np.linalg.norm(unit, axis=-1)
        fade = np.clip((PUSH_REACH - q) / (PUSH_REACH - 1), 0, 1)
        source = np.cbrt(np.maximum(q**3 - self.mass_effect * fade**2, 0.0)) / np.maximum(q, 1e-12)
        moved = (q > 1e-6) & (q < PUSH_REACH)
        places = (
            np.asarray(self.centre_lps_mm)
            + (points - np.asarray(self.centre_lps_mm)) * np.where(moved, source, 1.0)[..., None]
        )
        index = np.moveaxis(grid.to_index(places) - corner, -1, 0)
        shifted: Array = np.where(moved, ndi.map_coordinates(hu, index, order=1, mode="nearest"), hu)
        return shifted
