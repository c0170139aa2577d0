"""What a prior is to the rest of the house: a denoiser that knows what it was trained for.

By Tweedie's formula the score of the noised prior is (D(x, σ) − x) / σ², so a minimum-mean-square-error denoiser
*is* a diffusion prior. Samplers and the KL estimator ask for nothing else.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from KLIPCore.volume.model_card import ModelCard


@runtime_checkable
class Prior(Protocol):
    """A minimum-mean-square-error denoiser of images in windowed intensity."""

    @property
    def card(self) -> ModelCard:
        """What the prior was trained for."""
        ...

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x₀ | x₀ + σ z = x].

        Parameters
        ----------
        x : (B, C, H, W) noisy images in windowed intensity, float32.
        sigma : (B,) noise standard deviations in the same unit.

        Returns
        -------
        (B, C, H, W) float32 denoised images.
        """
        ...
