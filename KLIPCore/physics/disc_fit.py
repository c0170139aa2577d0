"""What a measured scan of a disc says about itself: outline, hardening, counts.

Three measurements, none of which needs a reconstruction:

outline
    the shadow of a disc begins and ends where rays touch it: |s − c·(cos φ, sin φ)| = R. One linear
    least-squares problem in (R, x, y); holes do not reach it, so it serves a disc with holes as well as a
    solid one, on any arc.
hardening
    of a solid disc every ray's path is then known, and a cubic joins paths and line integrals
    (:class:`KLIPCore.physics.hardening.Hardening`).
counts
    the logarithm of N photons has variance 1/N, and N = I₀ e^{−p}. Second differences along the detector see
    hardly anything of the object; scaled by e^{−p/2} they are white with variance 6/I₀, whatever the object.
    Their median is not moved by edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from KLIPCore.errors import IntensityError
from KLIPCore.physics.disc import Disc
from KLIPCore.physics.hardening import Hardening
from KLIPCore.volume.geometry import Array, Geometry

OUTLINE_LEVEL = 0.12
"""Line integral at which the shadow begins: what a ray that just touches the real disc has (a blurred edge)."""

MAD_TO_STD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

LAG_BINS = 3
"""Second differences are taken over this many bins: neighbours share a fifth of their noise (the detector's
own blur).
"""


@dataclass(frozen=True)
class Outline:
    """Where a disc lies.

    Attributes
    ----------
    radius_mm, x_mm, y_mm : size and centre.
    residual_mm : root-mean-square distance of the touching rays from that circle.
    """

    radius_mm: float
    x_mm: float
    y_mm: float
    residual_mm: float

    def path_mm(self, geometry: Geometry) -> Array:
        """Return the (n_views, n_detectors) path through a solid disc there."""
        return Disc(self.radius_mm, self.x_mm, self.y_mm).path_mm(geometry)


def fit_outline(sinogram: ArrayLike, geometry: Geometry, level: float = OUTLINE_LEVEL) -> Outline:
    """Return the circle that a scan's shadow belongs to.

    Parameters
    ----------
    sinogram : (n_views, n_detectors) line integrals.
    geometry : the scan.
    level : line integral of a ray that just touches the disc.

    Raises
    ------
    IntensityError : fewer than two views show both edges of a shadow.
    """
    p = np.asarray(sinogram, np.float64)
    phi, s = geometry.lines()
    rows, values = [], []
    for view in range(len(p)):
        inside = np.flatnonzero(p[view] > level)
        if len(inside) < 2 or inside[0] == 0 or inside[-1] == p.shape[1] - 1:
            continue  # no shadow, or one that the detector cuts
        for sign, last, step in ((1.0, inside[-1], 1), (-1.0, inside[0], -1)):
            t = (p[view, last] - level) / max(p[view, last] - p[view, last + step], 1e-12)
            edge, normal = (a[view, last] + t * (a[view, last + step] - a[view, last]) for a in (s, phi))
            side = np.sign(s[view, last + step] - s[view, last]) * sign
            rows.append((sign * side, np.cos(normal), np.sin(normal)))
            values.append(edge)
    if len(rows) < 4:
        raise IntensityError(
            "The scan shows no whole shadow of a disc.",
            "Check that the data are line integrals, with air on both sides.",
        )
    matrix, edges = np.array(rows), np.array(values)
    (radius, x, y), *_ = np.linalg.lstsq(matrix, edges, rcond=None)
    residual = edges - matrix @ (radius, x, y)
    return Outline(float(radius), float(x), float(y), float(np.sqrt(np.mean(residual**2))))


def fit_disc(sinogram: ArrayLike, geometry: Geometry) -> tuple[Outline, Hardening, Array]:
    """Fit outline and hardening of a scan of a solid disc, and return them with what they leave.

    Returns
    -------
    outline, hardening, and (n_views, n_detectors) residual p − p(L).
    """
    p = np.asarray(sinogram, np.float64)
    outline = fit_outline(p, geometry)
    path = outline.path_mm(geometry)
    hardening = Hardening.fit(p, path, 2 * outline.radius_mm)
    return outline, hardening, p - hardening.attenuation(path)


def photons_per_ray(sinogram: ArrayLike, lag: int = LAG_BINS) -> float:
    """Return I₀: counts of a ray through air that would explain the scan's white noise.

    Parameters
    ----------
    sinogram : (n_views, n_detectors) line integrals.
    lag : bins between the three readings of a second difference; 1 where noise of neighbours is independent.

    Raises
    ------
    IntensityError : no noise at all, or a detector of fewer than 2·lag + 1 bins.
    """
    p: NDArray[np.float64] = np.asarray(sinogram, np.float64)
    if p.shape[-1] < 2 * lag + 1:
        raise IntensityError(
            f"A detector of {p.shape[-1]} bins is too small to tell noise from object.", "Give the noise instead."
        )
    second = p[..., : -2 * lag] - 2 * p[..., lag:-lag] + p[..., 2 * lag :]
    scaled = second * np.exp(-0.5 * p[..., lag:-lag]) / np.sqrt(6.0)
    sigma = MAD_TO_STD * float(np.median(np.abs(scaled)))
    if not sigma > 0:
        raise IntensityError(
            "The scan holds no noise: its level cannot be measured.", "Use data as they were measured."
        )
    return 1.0 / sigma**2
