"""Phantoms made of ellipses: the image and its sinogram, both in closed form.

An ellipse is the one shape whose projection along any line is known exactly. A sum of them is therefore the ground
truth for every projector and every reconstruction: with semi-axes a, b, turned by ψ, centred at c, and a line
with normal angle φ at signed distance s (:mod:`KLIPCore.volume.geometry`),

    line integral = 2 ρ a b √(q² − t²) / q² ,    q² = a² cos²(φ − ψ) + b² sin²(φ − ψ) ,    t = s − c·(cos φ, sin φ)

for |t| < q, else 0 (Kak & Slaney, *Principles of Computerized Tomographic Imaging*, 1988, eq. 3.5-3.10).
Nothing in it asks whether the line belongs to a parallel or a fan beam.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.volume.geometry import Array, Geometry, ImageGrid2D


@dataclass(frozen=True)
class Ellipse:
    """A filled ellipse; where several overlap their values add.

    Attributes
    ----------
    value : density added inside.
    x_mm, y_mm : centre (x to the patient's left, y to posterior).
    a_mm, b_mm : semi-axes.
    turn_deg : angle of the a-axis from x towards y.
    """

    value: float
    x_mm: float
    y_mm: float
    a_mm: float
    b_mm: float
    turn_deg: float = 0.0

    def __post_init__(self) -> None:
        if not (self.a_mm > 0 and self.b_mm > 0):
            raise ConfigError(
                f"An ellipse with semi-axes {self.a_mm} and {self.b_mm} mm has no area.", "Give positive semi-axes."
            )

    def contains(self, x_mm: Array, y_mm: Array) -> NDArray[np.bool_]:
        """Return whether points lie inside."""
        c, s = math.cos(math.radians(self.turn_deg)), math.sin(math.radians(self.turn_deg))
        dx, dy = x_mm - self.x_mm, y_mm - self.y_mm
        inside: NDArray[np.bool_] = ((c * dx + s * dy) / self.a_mm) ** 2 + ((c * dy - s * dx) / self.b_mm) ** 2 <= 1
        return inside

    def line_integral(self, phi: Array, s_mm: Array) -> Array:
        """Return the integral (value·mm) along lines with normal angle φ (rad) at signed distance s (mm)."""
        turned = phi - math.radians(self.turn_deg)
        q2 = (self.a_mm * np.cos(turned)) ** 2 + (self.b_mm * np.sin(turned)) ** 2
        t = s_mm - (self.x_mm * np.cos(phi) + self.y_mm * np.sin(phi))
        chord: Array = 2 * self.a_mm * self.b_mm * np.sqrt(np.maximum(q2 - t * t, 0.0)) / q2
        return self.value * chord


@dataclass(frozen=True)
class EllipsePhantom:
    """A sum of ellipses.

    Attributes
    ----------
    ellipses : the parts.
    """

    ellipses: tuple[Ellipse, ...]

    def __init__(self, ellipses: Sequence[Ellipse]) -> None:
        object.__setattr__(self, "ellipses", tuple(ellipses))

    def image(self, grid: ImageGrid2D, supersampling: int = 4) -> Array:
        """Return the (H, W) mean density of each pixel, from a square of ``supersampling`` points a side in it."""
        if supersampling < 1:
            raise ConfigError("A pixel needs at least one sample.", "Give a supersampling of at least 1.")
        fine = grid.refined(supersampling)
        x, y = fine.x_mm[None, :], fine.y_mm[:, None]
        total = np.zeros(fine.shape)
        for ellipse in self.ellipses:
            total[ellipse.contains(x, y)] += ellipse.value
        h, w = grid.shape
        mean: Array = total.reshape(h, supersampling, w, supersampling).mean(axis=(1, 3))
        return mean

    def sinogram(self, geometry: Geometry, rays_per_bin: int = 1) -> Array:
        """Return the (n_views, n_detectors) exact line integrals.

        They are averaged over ``rays_per_bin`` rays evenly spread over each bin.
        """
        total = np.zeros(geometry.shape)
        for j in range(rays_per_bin):
            phi, s = geometry.lines((j + 0.5) / rays_per_bin - 0.5)
            for ellipse in self.ellipses:
                total += ellipse.line_integral(phi, s)
        return total / rays_per_bin

    def scaled(self, factor: float) -> EllipsePhantom:
        """Return the same picture with all lengths multiplied."""
        return EllipsePhantom(
            [
                Ellipse(e.value, e.x_mm * factor, e.y_mm * factor, e.a_mm * factor, e.b_mm * factor, e.turn_deg)
                for e in self.ellipses
            ]
        )

    @classmethod
    def disc(cls, radius_mm: float, value: float = 1.0, x_mm: float = 0.0, y_mm: float = 0.0) -> EllipsePhantom:
        """Return one uniform disc."""
        return cls([Ellipse(value, x_mm, y_mm, radius_mm, radius_mm)])

    @classmethod
    def shepp_logan(cls, half_width_mm: float, modified: bool = True) -> EllipsePhantom:
        """Return the head phantom of Shepp & Logan (IEEE Trans. Nucl. Sci. 21, 21, 1974), nose up.

        Parameters
        ----------
        half_width_mm : half the side of the square the picture fills.
        modified : True: Toft's contrasts (skull 1, brain 0.2), visible to the eye. False: the original, in
            water units.
        """
        values = (
            [1.0, -0.8, -0.2, -0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
            if modified
            else [2.0, -0.98, -0.02, -0.02, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]
        )
        return cls([Ellipse(v, *shape) for v, shape in zip(values, _SHEPP_LOGAN, strict=True)]).scaled(half_width_mm)


# x, y (downwards), a, b in half-widths, turn in degrees from x towards y (downwards)
_SHEPP_LOGAN = (
    (0.0, 0.0, 0.69, 0.92, 0.0),
    (0.0, 0.0184, 0.6624, 0.874, 0.0),
    (0.22, 0.0, 0.11, 0.31, 18.0),
    (-0.22, 0.0, 0.16, 0.41, -18.0),
    (0.0, -0.35, 0.21, 0.25, 0.0),
    (0.0, -0.1, 0.046, 0.046, 0.0),
    (0.0, 0.1, 0.046, 0.046, 0.0),
    (-0.08, 0.605, 0.046, 0.023, 0.0),
    (0.0, 0.605, 0.023, 0.023, 0.0),
    (0.06, 0.605, 0.023, 0.046, 0.0),
)
