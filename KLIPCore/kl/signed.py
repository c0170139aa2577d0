"""One-sided surprise: where a scan is *darker* (or brighter) than the prior expected.

A push u has a sign, and squaring throws it away. In a contrast-enhanced liver the two signs are different
things: vessels are brighter than a smooth expectation in every healthy scan, metastases are mostly darker.
With G_s a Gaussian of s pixels, ū the mean push and w a weight of the place,

    darker(s)   = w · min(G_s ū, 0)²    brighter(s) = w · max(G_s ū, 0)²    darker + brighter = w · (G_s ū)² .

G_s is symmetric with a spectrum between 0 and 1, so ‖G_s u‖² ≤ ‖u‖²: before the weight it is a restriction of
the same KL to long wavelengths, and each sign is a share of it. A Gaussian's kernel is positive, so the sign
means what it says (darker on average around here); the sharper :mod:`KLIPCore.kl.bands` ring, and a bright
vessel is dark beside itself there.

**Per information.** KLIP's own nats, the energy of the guided chain, measure how much the scan *informs*:
edges, bowel and bone inform in every healthy patient. That makes them a poor score and a good yardstick. w is
the slice's mean over the place's own information in the finest bands: nats as they would be at a place of
average information. The ``path`` layer keeps what w was made of.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.kl.bands import cell_sums
from KLIPCore.maps.trace import Layer

SCALES_PX = (2.5, 5.0, 10.0, 20.0)
"""Standard deviations of the Gaussians in frame pixels; the smallest suits lesions of about 10 mm."""

PIXELS = (0.0,)
"""No Gaussian at all: sharp things, a rod of 4 mm or the points of a star, are found pixel by pixel
(docs/results_slices.md).
"""


def gaussian_blur(u: Tensor, scale: float) -> Tensor:
    """Return G_s u of (..., H, W), s = ``scale`` in pixels, periodic: amplitude exp(−2π²s²f²) in the half spectrum.

    U itself where s is 0.
    """
    if scale == 0:
        return u
    height, width = u.shape[-2:]
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(width, dtype=torch.float64)[None, :]
    amplitude = torch.exp(-2 * torch.pi**2 * scale**2 * (fy**2 + fx**2)).float().to(u.device)
    return torch.fft.irfft2(torch.fft.rfft2(u) * amplitude, s=(height, width))


class SignedSum:
    """Adds up one sign of whitened pushes into a :class:`Layer`.

    Its bands are Gaussian scales (nested, so they do not add up).

    Parameters
    ----------
    name : the layer's name.
    sign : −1 keeps what is darker than expected, +1 what is brighter.
    edges : (K + 1,) σ bin edges, rising.
    size : image side in pixels.
    cell : side of the base cells in pixels.
    scales : standard deviations of the Gaussians in pixels.
    share : (size, size) factor between 0 and 1 of each pixel's push, such as
        :func:`KLIPCore.kl.soft.soft_share`; 1 when None.

    Raises
    ------
    ConfigError : the sign is neither.
    """

    def __init__(
        self,
        name: str,
        sign: int,
        edges: NDArray[np.float64],
        size: int,
        cell: int,
        scales: tuple[float, ...] = SCALES_PX,
        share: Tensor | None = None,
    ) -> None:
        if sign not in (-1, 1):
            raise ConfigError(f"A push has no sign {sign}.", "Use -1 for darker, +1 for brighter.")
        self.name, self.sign, self.edges, self.cell, self.scales, self.share = (
            name,
            sign,
            np.asarray(edges, float),
            cell,
            scales,
            share,
        )
        shape = (len(edges) - 1, len(scales), size // cell, size // cell)
        self.energy = torch.zeros(shape)
        self.mean = torch.zeros(shape)

    def add(self, sigma: float, push: Tensor) -> None:
        """Add the pushes (n, H, W) of one node at noise level ``sigma``.

        Outside the edges they count in the nearest bin.

        ``mean`` takes the sign of the mean push (all n are draws of one thing, antithetic or not), ``energy``
        that of each draw. It is not de-biased: there is no unbiased estimate of a one-sided square.
        """
        k = int(np.clip(np.searchsorted(self.edges, sigma) - 1, 0, len(self.energy) - 1))
        own = push if self.share is None else push * self.share
        for j, scale in enumerate(self.scales):
            blurred = self.sign * gaussian_blur(own, scale)
            if self.share is not None:  # the Gaussian has carried some of it outside
                blurred = blurred * self.share.sqrt()
            self.energy[k, j] += cell_sums(blurred.clamp_min(0).square().mean(0), self.cell).cpu()
            self.mean[k, j] += cell_sums(blurred.mean(0).clamp_min(0).square(), self.cell).cpu()

    def layer(self, weight: NDArray[np.float32] | None = None) -> Layer:
        """Return what was added so far, times the weight (h, w) of each place."""
        factor = 1.0 if weight is None else weight
        return Layer(
            self.name,
            self.edges,
            (self.energy.numpy() * factor).astype(np.float32),
            (self.mean.numpy() * factor).astype(np.float32),
            1,
        )
