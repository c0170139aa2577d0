"""Noise whose standard deviation is known ray by ray, because it was measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError


@dataclass(frozen=True, eq=False)
class KnownNoise:
    """y = A x + std · z, a standard deviation for each ray.

    Attributes
    ----------
    std : (n_views, n_detectors) standard deviations > 0, in y's unit.
    """

    std: Tensor

    def __post_init__(self) -> None:
        if not bool(((self.std > 0) & torch.isfinite(self.std)).all()):
            raise ConfigError(
                "A ray's noise must be a positive number.", "Give every ray a small positive standard deviation."
            )

    def sample(self, y_clean: Tensor, generator: torch.Generator) -> Tensor:
        """Return y_clean + std · z, z drawn on the CPU."""
        return y_clean + self.std * torch.randn(y_clean.shape, generator=generator, dtype=y_clean.dtype).to(
            y_clean.device
        )

    def inverse_variance(self, y: Tensor) -> Tensor:
        """Return 1/std², (n_views, n_detectors)."""
        return self.std.square().reciprocal().to(y)

    def to(self, device: torch.device | str) -> KnownNoise:
        """Return the same model on another device."""
        return KnownNoise(self.std.to(device))
