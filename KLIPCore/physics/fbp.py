"""Filtered back-projection: the closed-form inverse of a full scan.

Every view is multiplied by |frequency| (the ramp filter undoes the blur of back-projecting) and smeared back along its
rays. The formulas are those of Kak & Slaney, *Principles of Computerized Tomographic Imaging* (1988), chapter 3:

    parallel        f(x, y) = Σ_θ Δθ  (p ∗ h)(x cos θ + y sin θ)                          views over half a turn
    fan, flat       f(x, y) = Σ_θ Δθ  U⁻² (w p cos γ ∗ h)(u')      U = depth / R           u' = u R / D
    fan, arc        f(x, y) = Σ_θ Δθ  L⁻² (w p R cos γ ∗ h (γ/sin γ)²)(γ)                  L = distance to the source

with h the band-limited ramp, sampled in space so that its mean is right (eq. 61). In a fan scan most lines are
measured twice, from either end; w shares one unit between the two: ½ each over a full circle, Parker's smooth
weights (Med. Phys. 9, 254, 1982) over half a turn plus the fan, and ½ or 1 by counting where even less was
measured. With few views or a limited arc the sum is a poor integral, and the picture shows it; that is the
data's fault and the reason for priors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.volume.geometry import Array, FanBeam, Geometry, ImageGrid2D, ParallelBeam

FILTERS = ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")
MISSING_ARC_RAD = math.radians(10.0)
"""A gap between views this wide, and thrice the usual one, is a missing arc."""


def fbp(y: Tensor, geometry: Geometry, image: ImageGrid2D, filter: str = "ram-lak") -> Tensor:
    """Reconstruct sinograms by filtered back-projection.

    Parameters
    ----------
    y : (..., n_views, n_detectors) line integrals, in image unit · mm.
    geometry : the scan; any view angles, evenly spread or not.
    image : the pixels to reconstruct.
    filter : "ram-lak" (sharp), "shepp-logan", "cosine", "hamming" or "hann" (smooth).

    Returns
    -------
    (..., H, W) in image unit, of y's type. Pixels that a view does not see get nothing from it.

    Raises
    ------
    ConfigError : the sinogram is not of this geometry, or filter or geometry are of an unknown kind.
    """
    if tuple(y.shape[-2:]) != geometry.shape:
        raise ConfigError(
            f"A sinogram of shape {tuple(y.shape[-2:])} is not of a scan of {geometry.shape}.",
            "Rows are views, columns are detector bins.",
        )
    if filter not in FILTERS:
        raise ConfigError(f"There is no filter {filter!r}.", f"Choose one of: {', '.join(FILTERS)}.")
    if not isinstance(geometry, ParallelBeam | FanBeam):
        raise ConfigError(
            f"Filtered back-projection is not defined here for {type(geometry).__name__}.", "Use an iterative method."
        )
    period = 2 * math.pi if isinstance(geometry, FanBeam) else math.pi
    weights = view_weights(np.asarray(geometry.angles_rad), period)
    if isinstance(geometry, FanBeam):
        ray = np.cos(geometry.fan_angles())[None, :] * redundancy_weights(geometry)
        if geometry.equiangular:
            ray = ray * geometry.source_origin_mm
            step = geometry.pitch_mm / geometry.source_detector_mm
        else:
            step = geometry.pitch_at_isocentre_mm
        kernel = _ramp(geometry.n_detectors, step, curved=geometry.equiangular)
    else:
        ray = np.ones((1, geometry.n_detectors))
        kernel = _ramp(geometry.n_detectors, geometry.pitch_mm)
        step = geometry.pitch_mm
    data = y.detach() * torch.from_numpy(ray * weights[:, None] * step).to(y)
    return _back_project(_filtered(data, kernel, filter), geometry, image)


def view_weights(angles_rad: Array, period: float) -> Array:
    """Return the (n_views,) Δθ of each view: half the gaps to its neighbours on a circle of ``period``.

    A wide gap (:func:`_is_missing`) is a part of the circle that was not measured, and counts as a usual one.
    """
    wrapped = np.mod(angles_rad, period)
    order = np.argsort(wrapped, kind="stable")
    gaps = np.diff(np.append(wrapped[order], wrapped[order[0]] + period))  # gap after each view
    real = gaps[gaps > 1e-9 * period]
    usual = float(np.median(real)) if len(real) else period
    gaps = np.where(_is_missing(gaps, usual), usual, gaps)
    weights = np.empty_like(gaps)
    weights[order] = 0.5 * (gaps + np.roll(gaps, 1))
    return weights


def _is_missing(gap_rad: Any, usual_rad: float) -> Any:
    """Whether a gap between views is a missing arc, not an unevenness of the spread."""
    return gap_rad > max(3 * usual_rad, MISSING_ARC_RAD)


def redundancy_weights(geometry: FanBeam) -> Array:
    """Return the (n_views, n_detectors) share of each ray in its line.

    A line may be measured again from the opposite side.
    """
    angles, gamma = np.asarray(geometry.angles_rad), geometry.fan_angles()
    wrapped = np.sort(np.mod(angles, 2 * math.pi))
    gaps = np.diff(np.append(wrapped, wrapped[0] + 2 * math.pi))
    usual = float(np.median(gaps[gaps > 1e-9])) if (gaps > 1e-9).any() else 2 * math.pi
    widest = int(np.argmax(gaps))
    if not _is_missing(gaps[widest], usual):  # a full circle: every line twice
        return np.full(geometry.shape, 0.5)
    first = wrapped[(widest + 1) % len(wrapped)]
    arc = 2 * math.pi - gaps[widest] + usual  # each view stands for its surroundings
    beta = np.mod(angles - first + 1e-12, 2 * math.pi)[:, None] + 0.5 * usual
    fan = float(np.abs(gamma).max())
    g = -gamma[None, :]  # Parker counts fan angles the other way
    half_excess = 0.5 * (arc - math.pi)
    if half_excess >= fan:  # at least a short scan (beyond the shortest, the ramps just get longer)
        rising = np.sin(0.25 * math.pi * beta / np.maximum(half_excess - g, 1e-9)) ** 2
        falling = np.sin(0.25 * math.pi * (math.pi + 2 * half_excess - beta) / np.maximum(half_excess + g, 1e-9)) ** 2
        parker = np.where(beta < 2 * (half_excess - g), rising, np.where(beta > math.pi - 2 * g, falling, 1.0))
        return np.asarray(parker)
    opposite = np.mod(beta + math.pi + 2 * g, 2 * math.pi)  # the view from which the same line is seen again
    return np.where(opposite <= arc, 0.5, 1.0)


def _ramp(n: int, step: float, curved: bool = False) -> Array:
    """Band-limited ramp in space at lags −n..n (Kak & Slaney eq. 61; eq. 98 for equal angles), wrapped for an FFT."""
    length = 2 ** math.ceil(math.log2(max(2 * n, 16)))
    lag = np.fft.fftfreq(length, 1 / length)
    kernel = np.zeros(length)
    odd = np.abs(lag) % 2 == 1
    distance = np.sin(lag * step) if curved else lag * step
    kernel[odd] = -1.0 / (math.pi * distance[odd]) ** 2
    kernel[0] = 0.25 / step**2
    return kernel


def _filtered(data: Tensor, kernel: Array, name: str) -> Tensor:
    """Views convolved with the ramp, apodised by the named window, (..., n_views, n_detectors)."""
    response = np.fft.rfft(kernel).real
    frequency = np.linspace(0, 1, len(response))  # in units of the Nyquist frequency
    window = {
        "ram-lak": np.ones_like(frequency),
        "shepp-logan": np.sinc(frequency / 2),
        "cosine": np.cos(math.pi * frequency / 2),
        "hamming": 0.54 + 0.46 * np.cos(math.pi * frequency),
        "hann": 0.5 + 0.5 * np.cos(math.pi * frequency),
    }[name]
    spectrum = torch.fft.rfft(data, n=len(kernel), dim=-1)
    return torch.fft.irfft(spectrum * torch.from_numpy(response * window).to(data), n=len(kernel), dim=-1)[
        ..., : data.shape[-1]
    ]


def _back_project(views: Tensor, geometry: ParallelBeam | FanBeam, image: ImageGrid2D) -> Tensor:
    """Σ over views, each read off by linear interpolation where a pixel's ray meets the detector."""
    lead, (n_views, n_bins) = views.shape[:-2], geometry.shape
    flat = torch.nn.functional.pad(views.reshape(-1, n_views, n_bins), (1, 1))  # nothing is seen beyond the detector
    x = torch.from_numpy(image.x_mm).to(views)[None, :]
    y = torch.from_numpy(image.y_mm).to(views)[:, None]
    out = views.new_zeros(len(flat), image.shape[0] * image.shape[1])
    first = float(geometry.detector_mm()[0])
    for v, theta in enumerate(geometry.angles_rad):
        cos, sin = math.cos(theta), math.sin(theta)
        across = x * cos + y * sin
        scale: Tensor | None = None
        if isinstance(geometry, FanBeam):
            depth = geometry.source_origin_mm + (y * cos - x * sin)  # from the source, along the central ray
            if geometry.equiangular:
                u = torch.atan2(across, depth) * geometry.source_detector_mm
                scale = 1.0 / (across.square() + depth.square())
            else:
                u = across / depth * geometry.source_detector_mm
                scale = (geometry.source_origin_mm / depth).square()
        else:
            u = across
        position = ((u - first) / geometry.pitch_mm + 1.0).clamp_(0.0, n_bins + 1.0).flatten()
        lower = position.to(torch.int64).clamp_(max=n_bins)
        fraction = position - lower
        view = flat[:, v]
        value = torch.lerp(view[:, lower], view[:, lower + 1], fraction)
        out += value if scale is None else value * scale.flatten()
    return out.reshape(*lead, *image.shape)
