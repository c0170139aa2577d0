"""Beam hardening of one material: why a solid disc looks like a cup, and how to undo it.

A tube's spectrum loses its soft part on the way, so the measured line integral p grows ever more slowly with
the length L of material on the ray. For one material (and little scatter) p is a function of L alone, here a cubic

    p(L) = offset + a L + b L² + c L³ ,    b < 0 .

Reconstructed as if it were linear, a solid disc comes out dark in the middle. Because b and c act on a disc's chord
L = 2 √(R² − t²), Abel's inversion gives that *cupping* in closed form, r ≤ R from the centre:

    μ(r) = a + (8/π) b √(R² − r²) + 6 c (R² − r²)

(L² → (8/π)√(R²−r²) and L³ → 6 (R²−r²); see :func:`Hardening.density`). Undoing it (Herman, Phys. Med. Biol.
24, 81, 1979) needs only the inverse function: :meth:`Hardening.linearised` turns p into μ₀ L, whatever the
shape that the rays pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from KLIPCore.errors import ConfigError

Array = NDArray[np.float64]

TABLE_POINTS = 4096
"""Points of the table by which the cubic is inverted: errors below 1e-6 of the range."""


@dataclass(frozen=True)
class Hardening:
    """p(L) = offset + a L + b L² + c L³.

    Attributes
    ----------
    a : attenuation of the first millimetre, 1/mm.
    b, c : curvature, 1/mm² and 1/mm³; 0 for a monochromatic beam.
    offset : line integral of a ray through air next to the object (scatter, veiling glare).
    length_mm : longest path the cubic was made for; it must rise that far.
    """

    a: float
    b: float = 0.0
    c: float = 0.0
    offset: float = 0.0
    length_mm: float = 70.0

    def __post_init__(self) -> None:
        if not self.length_mm > 0 or not bool(
            (np.diff(self.attenuation(np.linspace(0, self.length_mm, 65))) > 0).all()
        ):
            raise ConfigError(
                f"The hardening curve does not rise up to {self.length_mm} mm.",
                "Fit it to longer paths, or shorten length_mm.",
            )

    def attenuation(self, length_mm: ArrayLike) -> Array:
        """Return p of paths through the material in mm."""
        path = np.asarray(length_mm, np.float64)
        return np.asarray(self.offset + path * (self.a + path * (self.b + path * self.c)))

    def path_mm(self, p: ArrayLike) -> Array:
        """Return L of measured line integrals.

        The inverse of :meth:`attenuation`, continued as a straight line on both sides.

        Nothing is clipped: noise in air must stay noise around 0, or air would look like material.
        """
        values = np.asarray(p, np.float64)
        table = np.linspace(0.0, self.length_mm, TABLE_POINTS)
        at = self.attenuation(table)
        inside = np.interp(values, at, table)
        last = (table[-1] - table[-2]) / (at[-1] - at[-2])
        return np.asarray(inside + np.minimum(values - at[0], 0.0) / self.a + np.maximum(values - at[-1], 0.0) * last)

    def slope(self, p: ArrayLike) -> Array:
        """Return dL/dp at measured line integrals, mm: what noise in p becomes in the path."""
        path = np.clip(self.path_mm(p), 0.0, self.length_mm)
        return np.asarray(1.0 / (self.a + path * (2 * self.b + 3 * self.c * path)))

    @property
    def mu0(self) -> float:
        """The attenuation in 1/mm that a monochromatic beam would need to agree on the longest path."""
        return float(self.attenuation(self.length_mm) - self.offset) / self.length_mm

    def linearised(self, p: ArrayLike) -> Array:
        """Return μ₀ L of measured line integrals.

        What a monochromatic beam would have measured, without the offset.
        """
        return self.mu0 * self.path_mm(p)

    def weakened(self, strength: float) -> Hardening:
        """Return the same material with ``strength`` times the curvature; the longest path keeps its attenuation."""
        lost = (1 - strength) * self.length_mm * (self.b + self.c * self.length_mm)
        return Hardening(self.a + lost, strength * self.b, strength * self.c, self.offset, self.length_mm)

    def density(self, r_mm: ArrayLike, radius_mm: float) -> Array:
        """Return μ(r) in 1/mm that an exact reconstruction of a solid disc shows, 0 outside it."""
        depth2 = radius_mm**2 - np.square(np.asarray(r_mm, np.float64))
        inside = np.maximum(depth2, 0.0)
        return np.where(depth2 >= 0, self.a + (8 / math.pi) * self.b * np.sqrt(inside) + 6 * self.c * inside, 0.0)

    @classmethod
    def fit(cls, p: ArrayLike, path_mm: ArrayLike, length_mm: float | None = None) -> Hardening:
        """Return the cubic closest to measured pairs (any shape, same sizes).

        Raises
        ------
        ConfigError : fewer than eight pairs, or a curve that does not rise.
        """
        values, path = np.asarray(p, np.float64).ravel(), np.asarray(path_mm, np.float64).ravel()
        if values.size < 8 or values.size != path.size:
            raise ConfigError(
                "A hardening curve needs as many paths as line integrals, eight at least.",
                "Give the rays of a scan of a known shape.",
            )
        reach = float(path.max()) if length_mm is None else length_mm
        if not reach > 0:
            raise ConfigError("No ray passes the material.", "Give the rays of a scan of a known shape.")
        t = path / reach
        offset, a, b, c = np.linalg.lstsq(np.stack([np.ones_like(t), t, t**2, t**3], 1), values, rcond=None)[0]
        return cls(float(a / reach), float(b / reach**2), float(c / reach**3), float(offset), reach)
