"""What a prior is to the rest of the library: a denoiser that knows what it was trained for.

By Tweedie's formula the score of the noised prior is (D(x, σ) − x) / σ², so a minimum-mean-square-error denoiser
*is* a diffusion prior. Samplers and the KL estimator ask for nothing else.

There are two views of it. A :class:`Prior` is what is stored and loaded: a model card, and ``denoise`` on
channels and one noise level per image. A :class:`Denoiser` is what the mathematics is written with: D(x, σ) on
any number of single-channel images at one noise level. :func:`denoiser` turns the first into the second, and
nothing else does.
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
        """Return E[x₀ | x₀ + σ z = x].

        Parameters
        ----------
        x : (B, C, H, W) noisy images in windowed intensity, float32.
        sigma : (B,) noise standard deviations in the same unit.

        Returns
        -------
        (B, C, H, W) float32 denoised images.
        """
        ...


class Denoiser(Protocol):
    """D(x, σ) = E[x₀ | x₀ + σ z = x], of a prior or of a posterior."""

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        """Return the denoised images.

        Parameters
        ----------
        x : (..., H, W) noisy images, intensity units.
        sigma : noise standard deviation of all of them, in the same unit.

        Returns
        -------
        (..., H, W) denoised images.
        """
        ...


def as_images(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Return what a single-channel prior is asked: images (B, 1, H, W) and their noise levels (B,).

    Parameters
    ----------
    x : (..., H, W), any number of leading dimensions.
    sigma : noise level of all of them, intensity units.
    """
    images = x.reshape(-1, 1, *x.shape[-2:])
    return images, x.new_full((len(images),), float(sigma))


def denoiser(prior: Prior) -> Denoiser:
    """Return a single-channel prior as samplers and the KL estimator call it.

    Parameters
    ----------
    prior : its ``denoise`` takes (B, 1, H, W) images and (B,) noise levels.

    Returns
    -------
    D(x, σ) for x (..., H, W) with any number of leading dimensions and one noise level; gradients flow through
    it as through the prior.
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return prior.denoise(*as_images(x, sigma)).reshape(x.shape)

    return denoise
