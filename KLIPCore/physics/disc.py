"""Simulated acrylic discs, solid or with holes: what a prior of solid discs learns from, and what tests it.

A disc of one material has everything in closed form: the path through it (an ellipse's chord, less the
holes'), the line integral behind a real tube (:class:`KLIPCore.physics.hardening.Hardening`), and, for a solid
disc, the cup that an exact reconstruction shows. Nothing here is a measurement; cards and tables that use
these discs say *simulated*.

The ranges are those of ONE real solid disc, ``htc2022_solid_disc.npz`` (Helsinki Tomography Challenge 2022,
Zenodo 6984868, CC BY 4.0), measured with :func:`KLIPCore.physics.disc_fit.fit_disc` and
:func:`KLIPCore.physics.disc_fit.photons_per_ray`:

    radius       34.84 mm from the outline of its shadow (the 13 discs with holes: 34.85 to 34.88);
                 centres up to 1.5 mm from the isocentre
    hardening    p(L) = 0.0157 + 0.0436 L − 1.93e-4 L² + 2.0e-7 L³: the reconstruction falls
                 from 0.040 at the rim to 0.028 /mm in the middle
    noise        variance e^p / 59 000 a ray (differences of views): σ = 0.004 in air, 0.012 behind 70 mm;
                 neighbours share a fifth
    drift        what cubic and noise leave: 0.8 % of p, slowly varying over views (tube output)
    edge         the outline in the sinogram is blurred by about 0.1 mm; at 0.6 mm pixels the pixel decides

A training image has no streaks: those come from few views, and the measurement operator knows about them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.physics.ellipses import Ellipse, EllipsePhantom
from KLIPCore.physics.hardening import Hardening
from KLIPCore.volume.geometry import Array, Geometry, ImageGrid2D
from KLIPCore.volume.units import Window, mu_to_hu

ACRYLIC = Hardening(a=0.04361, b=-1.934e-4, c=2.02e-7, offset=0.0157, length_mm=69.69)
"""The challenge's acrylic at 45 kV, fitted to the one solid disc (residual 1 % of p)."""

RADIUS_MM = 34.84
"""Radius of the challenge's discs."""

SUPERSAMPLING = 3
"""Points along a pixel's edge."""


@dataclass(frozen=True)
class Disc:
    """A disc of one material, with or without holes.

    Attributes
    ----------
    radius_mm, x_mm, y_mm : size and centre.
    material : line integral behind a path through it.
    blur_mm : standard deviation of the image's Gaussian edge blur.
    holes : ellipses of air; they lie inside and do not touch one another.
    """

    radius_mm: float = RADIUS_MM
    x_mm: float = 0.0
    y_mm: float = 0.0
    material: Hardening = ACRYLIC
    blur_mm: float = 0.0
    holes: tuple[Ellipse, ...] = ()

    def __post_init__(self) -> None:
        if not self.radius_mm > 0 or self.blur_mm < 0:
            raise ConfigError(
                f"A disc of radius {self.radius_mm} mm and blur {self.blur_mm} mm is impossible.",
                "Give a positive radius and no negative blur.",
            )
        for hole in self.holes:
            if np.hypot(hole.x_mm - self.x_mm, hole.y_mm - self.y_mm) + max(hole.a_mm, hole.b_mm) > self.radius_mm:
                raise ConfigError("A hole reaches beyond the disc.", "Move it inwards or make it smaller.")

    @property
    def _shape(self) -> EllipsePhantom:
        """The material's indicator: 1 in it, 0 elsewhere."""
        holes = [Ellipse(-1.0, h.x_mm, h.y_mm, h.a_mm, h.b_mm, h.turn_deg) for h in self.holes]
        return EllipsePhantom([Ellipse(1.0, self.x_mm, self.y_mm, self.radius_mm, self.radius_mm), *holes])

    def path_mm(self, geometry: Geometry, rays_per_bin: int = 1) -> Array:
        """Return the (n_views, n_detectors) length of material on every ray, exact."""
        return self._shape.sinogram(geometry, rays_per_bin)

    def sinogram(self, geometry: Geometry, rays_per_bin: int = 1) -> Array:
        """Return the (n_views, n_detectors) line integrals behind the tube's spectrum, without noise."""
        return self.material.attenuation(self.path_mm(geometry, rays_per_bin))

    def mask(self, grid: ImageGrid2D) -> NDArray[np.bool_]:
        """Return the (H, W) where more than half of a pixel is material."""
        return np.asarray(self._shape.image(grid, SUPERSAMPLING) > 0.5)

    def image(self, grid: ImageGrid2D) -> Array:
        """Return the (H, W) attenuation in 1/mm as an exact reconstruction shows it, pixel means after the blur.

        In a disc with holes the rest keeps the solid disc's cup: an approximation (less material hardens
        less), exact where b = c = 0.
        """
        fine = grid.refined(SUPERSAMPLING)
        x, y = fine.x_mm[None, :], fine.y_mm[:, None]
        picture = self.material.density(np.hypot(x - self.x_mm, y - self.y_mm), self.radius_mm)
        for hole in self.holes:
            picture[hole.contains(x, y)] = 0.0
        if self.blur_mm > 0:
            picture = ndi.gaussian_filter(picture, self.blur_mm / fine.pixel_mm)
        h, w = grid.shape
        mean: Array = picture.reshape(h, SUPERSAMPLING, w, SUPERSAMPLING).mean(axis=(1, 3))
        return mean


@dataclass(frozen=True)
class DiscRanges:
    """From which discs are drawn; every interval is (smallest, largest), uniform.

    Attributes
    ----------
    radius_mm, shift_mm : radius, and each coordinate of the centre.
    strength : hardening relative to the real disc's: 0 is a linearised scan, 1 one as measured.
    linear_share : part of the discs whose strength is 0.
    gain : attenuation relative to the real disc's.
    blur_mm : edge blur.
    noise : standard deviation of white noise, windowed intensity.
    """

    radius_mm: tuple[float, float] = (34.3, 35.4)
    shift_mm: tuple[float, float] = (-2.0, 2.0)
    strength: tuple[float, float] = (0.0, 1.1)
    linear_share: float = 0.5
    gain: tuple[float, float] = (0.95, 1.05)
    blur_mm: tuple[float, float] = (0.1, 0.5)
    noise: tuple[float, float] = (0.0, 0.008)

    def draw(self, rng: np.random.Generator) -> Disc:
        """Return one solid disc."""
        strength = 0.0 if rng.random() < self.linear_share else rng.uniform(*self.strength)
        weak, gain = ACRYLIC.weakened(strength), rng.uniform(*self.gain)
        material = Hardening(gain * weak.a, gain * weak.b, gain * weak.c, weak.offset, weak.length_mm)
        x, y = rng.uniform(*self.shift_mm, size=2)
        return Disc(rng.uniform(*self.radius_mm), float(x), float(y), material, rng.uniform(*self.blur_mm))


@dataclass(frozen=True)
class SimulatedDiscs:
    """A seeded set of simulated solid discs.

    Attributes
    ----------
    n : how many.
    seed : of everything random; disc k depends on (seed, k) alone.
    ranges : from which they are drawn.
    """

    n: int
    seed: int = 0
    ranges: DiscRanges = field(default_factory=DiscRanges)

    def slices(self, grid: ImageGrid2D, window: Window) -> NDArray[np.float32]:
        """Return the (n, H, W) windowed intensities, as a prior sees them."""
        out = np.empty((self.n, *grid.shape), np.float32)
        for k in range(self.n):
            rng = np.random.default_rng([self.seed, k])
            clean = window.apply(mu_to_hu(self.ranges.draw(rng).image(grid)))
            out[k] = clean + rng.uniform(*self.ranges.noise) * rng.standard_normal(grid.shape)
        return out
