"""Do posterior samples differ as much as they are wrong? Spread against error by frequency band, without the truth.

Samples of p(x | y) should scatter about their mean x̄ as the truth does. Under a prior that does not fit they need
not: where the scan has measured, data hold them to the truth, and spread and error agree; above that band the prior
alone decides, and samples agree with each other more than with the truth. For Gaussians this is a closed form
(:func:`gaussian_bands`). With the model's posterior N(m, P), m = μ + G (y − A μ), and a truth from N(μ, C_true),

    spread_b = tr H_b P H_bᵀ ,     error_b = tr H_b [ (1 − G A) C_true (1 − G A)ᵀ + G V Gᵀ ] H_bᵀ ,

H_b being a band of radial frequency. The two are equal in every band where C_true is the model's own C.

In use there is no truth, but there are data. Half of the views make the samples, the other half judge them
(:func:`held_out_bands`). By the Fourier slice theorem a parallel view's frequencies are the image's along one
radius, so the held-out residual, band by band along the detector, is the error of the samples' mean as those views
see it. For samples that tell the truth

    E |F_b (y₂ − A₂ x̄)|²  =  (1 + 1/n) · spread of F_b A₂ x + noise .

A ratio above 1 says that the samples are too sure of themselves, and in which band. N views over half a turn measure
an object of diameter D down to a wavelength of π D / N (:func:`measured_wavelength_mm`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.known_noise import KnownNoise
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.gaussian import GaussianPrior, dense_likelihood

EDGES_PIXELS = (math.inf, 32.0, 16.0, 8.0, 4.0, 2.0)
"""Wavelengths in pixels between which bands lie, coarse first; what is finer is no image."""

TOO_SURE = 1.5
"""Ratios of error to spread that a warning begins with."""


@dataclass(frozen=True, eq=False)
class BandDispersion:
    """Spread and error of samples by band, coarse bands first.

    Attributes
    ----------
    wavelength_mm : (bands, 2) longest and shortest wavelength of each.
    spread : what the samples themselves predict for the error (with noise, where data judge).
    error : what it is.
    ratio_error : standard error of ``error / spread``; 0 in closed forms.
    measured_mm : wavelength down to which the views that made the samples measure; NaN where unknown.
    """

    wavelength_mm: NDArray[np.float64]
    spread: NDArray[np.float64]
    error: NDArray[np.float64]
    ratio_error: NDArray[np.float64]
    measured_mm: float = math.nan

    @property
    def ratio(self) -> NDArray[np.float64]:
        """Error over spread: 1 for samples that tell the truth."""
        return self.error / self.spread

    def too_sure(self) -> NDArray[np.bool_]:
        """Bands where error exceeds spread by half at least, and by three standard errors."""
        return (self.ratio > TOO_SURE) & (self.ratio - 3 * self.ratio_error > 1)

    def warning(self) -> str:
        """Return a sentence, empty where the samples differ as much as they are wrong."""
        bad = np.flatnonzero(self.too_sure())
        if not len(bad):
            return ""
        longest = self.wavelength_mm[bad[0], 0]
        size = "at all sizes" if math.isinf(longest) else f"of structures smaller than {longest / 2:.2g} mm"
        known = (
            f" The views measure down to {self.measured_mm / 2:.2g} mm; what is finer is the prior's."
            if math.isfinite(self.measured_mm)
            else ""
        )
        times = math.sqrt(self.ratio[bad].max())
        return (
            f"The samples are too sure {size}: they agree with each other {times:.1f} times "
            f"better than with what was measured.{known} Do not take their agreement for certainty."
        )


def image_band(shape: tuple[int, int], longest: float, shortest: float) -> Tensor:
    """Return (H, W) 0 or 1: radial frequencies between two wavelengths in pixels, ordered like ``torch.fft.fft2``."""
    fy = torch.fft.fftfreq(shape[0], dtype=torch.float64)[:, None]
    fx = torch.fft.fftfreq(shape[1], dtype=torch.float64)[None]
    f = (fy.square() + fx.square()).sqrt()
    return ((f >= 1 / longest) & (f < 1 / shortest)).double()


def gaussian_bands(
    model: GaussianPrior, truth: GaussianPrior, measurement: Measurement, pixel_mm: float = 1.0
) -> BandDispersion:
    """Spread and expected error of a Gaussian model's posterior where another Gaussian made the truth.

    Parameters
    ----------
    model : the prior that samples come from.
    truth : of the same mean; what images really are.
    measurement : its operator and noise are read; its data do not matter.
    pixel_mm : edge of a pixel.
    """
    A, _, w = dense_likelihood(measurement, model.n_pixels)
    V = torch.diag(1 / w)
    C = model.covariance
    G = C @ A.T @ torch.linalg.inv(A @ C @ A.T + V)
    left = torch.eye(len(C), dtype=torch.float64) - G @ A
    spread, error = left @ C, left @ truth.covariance @ left.T + G @ V @ G.T
    height, width = model.shape[-2:]
    units = torch.eye(len(C), dtype=torch.float64).reshape(-1, height, width)
    traces = []
    for longest, shortest in _bands():
        band = image_band((height, width), longest, shortest)
        H = torch.fft.ifft2(band * torch.fft.fft2(units)).real.reshape(len(C), -1)  # a projection
        traces.append((float((H * spread).sum()), float((H * error).sum())))
    return _made(traces, np.zeros(len(traces)), pixel_mm)


def split_views(measurement: Measurement) -> tuple[Measurement, Measurement]:
    """Return every second view to make samples from, and the others to judge them by.

    Raises
    ------
    ConfigError : not a projector's sinogram, or fewer than four views.
    """
    A = measurement.A
    if not isinstance(A, Projector) or A.geometry.n_views < 4:
        raise ConfigError("Only a sinogram of four views or more can be split.", "Give a scan with more views.")
    w = measurement.weights.expand_as(measurement.y)
    parts = []
    for start in (0, 1):
        chosen = np.arange(start, A.geometry.n_views, 2)
        own = Projector(A.geometry.views(chosen), A.image, dtype=A.dtype)
        noise = measurement.noise if measurement.weights.numel() == 1 else KnownNoise(w[chosen].rsqrt())
        parts.append(replace(measurement, y=measurement.y[chosen], A=own, noise=noise))
    return parts[0], parts[1]


def held_out_bands(samples: Tensor, held: Measurement, measured_mm: float = math.nan) -> BandDispersion:
    """Spread against error of samples, judged by views that had no part in them.

    Parameters
    ----------
    samples : (n, H, W) posterior samples made from other views, n at least 4.
    held : the views that were kept back (:func:`split_views`).
    measured_mm : for the warning: down to which wavelength the samples' own views measure.

    Raises
    ------
    ConfigError : fewer than four samples, or not a projector's sinogram.
    """
    A = held.A
    if len(samples) < 4 or not isinstance(A, Projector):
        raise ConfigError("A spread needs at least four samples and a sinogram.", "Draw more samples.")
    n = len(samples)
    with torch.no_grad():
        seen = A(samples).double()
    mean = seen.mean(0)
    power = _power(held.y.double() - mean)
    scatter = _power(seen - mean).sum(0) / (n - 1) * (1 + 1 / n)
    variance = (1.0 / held.weights.double()).expand_as(held.y).mean(-1, keepdim=True) * held.y.shape[-1]
    frequency = torch.fft.rfftfreq(held.y.shape[-1], dtype=torch.float64) / A.geometry.pitch_at_isocentre_mm
    pixel = A.image.pixel_mm
    traces, errors = [], []
    for longest, shortest in _bands():
        inside = (frequency >= 1 / (longest * pixel)) & (frequency < 1 / (shortest * pixel))
        expected = (scatter[:, inside] + variance).sum(1)
        observed = power[:, inside].sum(1)
        traces.append((float(expected.sum()), float(observed.sum())))
        each = (observed - observed.sum() / expected.sum() * expected) / expected.mean()
        errors.append(float(each.std()) / math.sqrt(len(each)))
    return _made(traces, np.array(errors), pixel, measured_mm)


def measured_wavelength_mm(n_views: int, diameter_mm: float) -> float:
    """Return π D / N: the shortest wavelength that N views over half a turn determine (Bracewell 1967)."""
    return math.pi * diameter_mm / n_views


def _power(rows: Tensor) -> Tensor:
    return torch.fft.rfft(rows, dim=-1).abs().square()


def _bands() -> list[tuple[float, float]]:
    return list(pairwise(EDGES_PIXELS))


def _made(
    traces: list[tuple[float, float]], errors: NDArray[np.float64], pixel_mm: float, measured_mm: float = math.nan
) -> BandDispersion:
    spread, error = np.array(traces).T
    return BandDispersion(pixel_mm * np.array(_bands()), spread, error, errors, measured_mm)
