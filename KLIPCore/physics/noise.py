"""Noise models: how a clean measurement becomes a real one, and how much each of its numbers is to be trusted.

Two things are asked of a noise model. ``sample`` draws a noisy measurement. ``inverse_variance`` gives the
weights w of the data term ½ Σ w (y − A x)², which is the negative log-likelihood of a Gaussian, and a
second-order approximation to that of photon counts (Sauer & Bouman, IEEE Trans. Signal Process. 41, 534,
1993): the logarithm of N counts has variance 1/N.

Randomness comes from a CPU ``torch.Generator`` alone and is moved to the data's device afterwards, so that a
seed gives the same noise on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError


class Noise(Protocol):
    """What a measurement's noise must answer."""

    def sample(self, y_clean: Tensor, generator: torch.Generator) -> Tensor:
        """Return a noisy measurement of y_clean's shape."""
        ...

    def inverse_variance(self, y: Tensor) -> Tensor:
        """Return weights w = 1/variance, of y's shape or a scalar, given the measurement y as it was recorded."""
        ...

    def to(self, device: torch.device | str) -> Noise:
        """Return the same model with its tensors on another device."""
        ...


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of ``like``'s shape, type and device, drawn on the CPU."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)


@dataclass(frozen=True)
class GaussianNoise:
    """y = A x + σ_y z.

    Attributes
    ----------
    sigma : standard deviation σ_y > 0, in y's unit.
    """

    sigma: float

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise ConfigError(
                f"A measurement noise of σ = {self.sigma} is not a positive number.",
                "Give a small positive σ for nearly clean data.",
            )

    def sample(self, y_clean: Tensor, generator: torch.Generator) -> Tensor:
        """Return y_clean + σ_y z."""
        return y_clean + self.sigma * _normal(y_clean, generator)

    def inverse_variance(self, y: Tensor) -> Tensor:
        """Return 1/σ_y², a scalar."""
        return y.new_tensor(1.0 / self.sigma**2)

    def to(self, device: torch.device | str) -> GaussianNoise:
        """Return the noise itself: it holds no tensors."""
        return self


@dataclass(frozen=True, eq=False)
class PoissonNoise:
    """Photon counts behind line integrals: N ~ Poisson(I₀ e^{−p}) + electronics, p̂ = −log(N / I₀).

    The measurement may be kept in another unit than the line integral p, related by ``p = slope·y + baseline``
    (:mod:`KLIPCore.physics.dose`); noise acts on counts and is carried back.

    Attributes
    ----------
    photons_per_ray : I₀, mean counts of a ray through air.
    slope : line integral per unit of y.
    baseline : line integral at y = 0, broadcastable to y; a number or a tensor.
    electronic_std : standard deviation of the electronics' Gaussian noise, in counts.
    min_count : readings below this many counts are raised to it: a starved ray has no logarithm.
    """

    photons_per_ray: float
    slope: float = 1.0
    baseline: Tensor | float = 0.0
    electronic_std: float = 0.0
    min_count: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.photons_per_ray < float("inf"):
            raise ConfigError(
                f"A dose of {self.photons_per_ray} photons per ray is not a positive number.",
                "Typical values are 1e4 to 1e6.",
            )
        if not self.slope > 0 or self.electronic_std < 0 or not self.min_count > 0:
            raise ConfigError(
                "Slope and smallest count must be positive, electronic noise not negative.", "Use the defaults."
            )

    def sample(self, y_clean: Tensor, generator: torch.Generator) -> Tensor:
        """Return counts drawn, read out and turned back into y's unit."""
        p = (self.slope * y_clean + self.baseline).double()
        expected = self.photons_per_ray * torch.exp(-p)
        counts = torch.poisson(expected.cpu(), generator=generator).to(expected.device)
        if self.electronic_std > 0:
            counts = counts + self.electronic_std * _normal(counts, generator)
        read = -torch.log(counts.clamp_min(self.min_count) / self.photons_per_ray)
        return ((read - self.baseline) / self.slope).to(y_clean.dtype)

    def inverse_variance(self, y: Tensor) -> Tensor:
        """Return slope² N² / (N + σ_e²) with N = I₀ e^{−p(y)} the counts that were read, of y's shape."""
        counts = self.photons_per_ray * torch.exp(-(self.slope * y + self.baseline).double())
        return (self.slope**2 * counts.square() / (counts + self.electronic_std**2)).to(y.dtype)

    def to(self, device: torch.device | str) -> PoissonNoise:
        """Return the same model with its baseline on another device."""
        baseline = self.baseline.to(device) if isinstance(self.baseline, Tensor) else self.baseline
        return PoissonNoise(self.photons_per_ray, self.slope, baseline, self.electronic_std, self.min_count)
