"""EDM preconditioning: a raw network F becomes a denoiser D whatever the noise level.

    D(x; σ) = c_skip(σ) x + c_out(σ) F(c_in(σ) x; c_noise(σ))          Karras et al. 2022, equation 7

with coefficients that give F unit-variance inputs and targets and let D be the identity at σ → 0 (table 1 there).
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGMA_DATA = 0.5
"""Standard deviation that EDM assumes of clean images (in windowed intensity)."""


def c_skip(sigma: Tensor) -> Tensor:
    """Return weight of the noisy image in the denoised one: σ_d² / (σ² + σ_d²)."""
    return SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)


def c_out(sigma: Tensor) -> Tensor:
    """Return the scale of the network's output: σ σ_d / √(σ² + σ_d²)."""
    return sigma * SIGMA_DATA / torch.sqrt(sigma**2 + SIGMA_DATA**2)


def c_in(sigma: Tensor) -> Tensor:
    """Return the scale of the network's input: 1 / √(σ² + σ_d²)."""
    return 1.0 / torch.sqrt(sigma**2 + SIGMA_DATA**2)


def c_noise(sigma: Tensor) -> Tensor:
    """Return the noise level as the network is told it.

    ¼ ln σ, times 250 to suit MONAI's sinusoidal time embedding.
    """
    return 250.0 * torch.log(sigma) / 4.0


def loss_weight(sigma: Tensor) -> Tensor:
    """Return λ(σ) = (σ² + σ_d²) / (σ σ_d)²: the squared error of D in units of F's (Karras et al. 2022, table 1)."""
    return (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
