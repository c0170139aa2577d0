"""Whether the rows of a sinogram are in the order of their angles: neighbouring views show nearly the same.

What lies ρ from the isocentre moves along the detector by at most ρ Δθ from one view to the next (more, by less than
half, in a fan, where it may come near to the source). Of anything wider than a few such steps neighbouring views must
therefore show nearly the same, whatever the object is and whether it was seen whole: the sinogram's spectrum is a
bow tie. Rows in an order that is not that of the angles are no more alike than any two.

An object that looks alike from everywhere tells nothing, and neither do views that are too few for their steps.

References
----------
P. A. Rattey and A. G. Lindgren, "Sampling the 2-D Radon transform", IEEE Trans. Acoust. Speech Signal Process. 29, 994
(1981).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError
from KLIPCore.volume.geometry import FanBeam, Geometry

LEAST_VIEWS, LEAST_BINS = 16, 32
MOST_VIEWS = 720
"""Views that are compared with each other: of more, every second or third."""
EVEN = 1.5
"""Neighbours are farther apart than the usual step by at most this factor."""
SEEN_WHOLE = 0.03
"""Rays at the detector's ends as part of the largest: less, and nothing lies outside of what is seen."""
SHADOW = 0.1
IN_A_FAN, BEYOND = 1.5, 2.0
"""How much faster what is seen may move in a fan, and how much farther out than the detector's ends it may lie."""
STEPS, WIDEST = 2.5, 1 / 3.5
"""Width over which bins are averaged, in steps of the fastest, and as part of what is seen at most."""
NO_MORE_ALIKE = 0.8
"""Mean square difference of neighbours, as part of that of any two: line integrals of 14 objects stay below 0.55."""
LEAST_VARIATION, LEAST_INSIDE, ABOVE_NOISE = 1e-3, 1e-4, 10.0
"""Variation over views as part of the square of what is averaged: of an object seen whole, which a gear with as many
teeth as there are views comes near to, and of others; and as a multiple of its noise.
"""
FOUND_ELSEWHERE = 0.45
"""Most views have another, somewhere, that differs from them by less than this part of the mean square difference."""


def check_order(sinogram: NDArray[np.float32], geometry: Geometry) -> None:
    """Refuse views that are in another order than their angles.

    Parameters
    ----------
    sinogram : (n_views, n_detectors) line integrals, or whatever is smooth along the detector.
    geometry : its scan.

    Raises
    ------
    GeometryError : views at neighbouring angles are no more alike than any two, although others are.
    """
    angles = np.asarray(geometry.angles_rad, np.float64)
    order = np.argsort(angles, kind="stable")[:: -(-len(angles) // MOST_VIEWS)]
    if len(order) < LEAST_VIEWS or sinogram.shape[1] < LEAST_BINS:
        return
    gaps = np.diff(angles[order])
    step = float(np.quantile(gaps, 0.75))
    near = gaps <= EVEN * step
    p = sinogram[order].astype(np.float64)
    if step <= 0 or near.sum() < LEAST_VIEWS // 2 or not np.ptp(p) > 0:
        return
    with np.errstate(all="ignore"):
        n_bins, least = p.shape[1], LEAST_VARIATION
        speed = 0.5 * step * (IN_A_FAN if isinstance(geometry, FanBeam) else 1.0)
        if seen_whole(p):
            first, last = _shadow(p)
            p = p[:, max(first - 2, 0) : last + 3]
            speed *= last - first + 1
        else:
            least = LEAST_INSIDE
            speed *= n_bins * BEYOND
        width = max(round(STEPS * speed), 1)
        if width > WIDEST * p.shape[1]:
            return  # too few views
        sums = np.cumsum(np.pad(p, ((0, 0), (1, 0))), axis=1)
        broad = ((sums[:, width:] - sums[:, :-width]) / width)[:, :: max(width // 3, 1)]
        if not _tells(p, broad, width, least):
            return
        pairs = _differences(_own(broad))
        neighbours = np.diagonal(pairs, 1)[near].mean()
        if not neighbours > NO_MORE_ALIKE * _mean(pairs):
            return
        pairs = _differences(_own(p))
        mean = _mean(pairs)
        np.fill_diagonal(pairs, np.inf)
        elsewhere = np.median(pairs.min(1)) < FOUND_ELSEWHERE * mean
    if elsewhere:
        raise GeometryError(
            "Views at neighbouring angles are no more alike than any two, although each is like some other: the rows "
            "are not in the order of their angles.",
            "Give every view the angle it was taken at, in the order of the rows.",
        )


def seen_whole(p: NDArray[np.floating]) -> bool:
    """Return whether the detector's ends are in air."""
    ends = np.abs(np.concatenate([p[:, :2], p[:, -2:]], axis=1))
    return float(ends.mean()) <= SEEN_WHOLE * float(p.max())


def _shadow(p: NDArray[np.float64]) -> tuple[int, int]:
    """First and last bin that see anything."""
    seen = np.flatnonzero((p > SHADOW * p.max()).any(0))
    return int(seen[0]), int(seen[-1])


def _tells(p: NDArray[np.float64], broad: NDArray[np.float64], width: int, least: float) -> bool:
    """Whether the averaged views vary, and by more than noise makes them."""
    own = _own(broad)
    variation = float((own**2).mean())
    return variation > max(least * float((broad**2).mean()), ABOVE_NOISE * noise_variance(p) / width)


def noise_variance(p: NDArray[np.floating]) -> float:
    """Return the variance of white noise, or what edges make look like it, from second differences along rows."""
    curvature = np.diff(p, 2, axis=1)
    noise = np.median(np.abs(curvature - np.median(curvature, axis=1, keepdims=True))) / 0.6745
    return float(noise**2) / 6


def _own(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows without what is common to all, and without what a tube's output or a focus that trembles make of it."""
    mean = rows.mean(0)
    slope = np.gradient(mean)
    common = np.stack([np.ones_like(mean), mean, slope, np.arange(len(mean)) * slope], axis=1)
    basis, _ = np.linalg.qr(common)
    own: NDArray[np.float64] = rows - (rows @ basis) @ basis.T
    return own


def _differences(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, n) sums of squared differences."""
    products = rows @ rows.T
    squares = np.diagonal(products)
    found: NDArray[np.float64] = np.maximum(squares[:, None] + squares - 2 * products, 0)
    return found


def _mean(pairs: NDArray[np.float64]) -> float:
    n = len(pairs)
    return float(pairs.sum()) / (n * (n - 1))
