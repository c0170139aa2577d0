"""Denoising score matching, and the figures by which a prior is judged."""

from __future__ import annotations

import torch
from torch import Tensor

from KLIPCore.priors.precond import loss_weight
from KLIPCore.priors.unet import EDMUNet

VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Noise levels at which the validation error is reported (intensity units)."""


def draw_sigma(n: int, log_mean: float, log_std: float, lo: float, hi: float, generator: torch.Generator) -> Tensor:
    """(n,) noise levels: log-normal (Karras et al. 2022, table 1), clipped to [lo, hi]."""
    return (torch.randn(n, generator=generator) * log_std + log_mean).exp().clamp(lo, hi)


def denoising_loss(network: EDMUNet, clean: Tensor, position: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Mean of λ(σ) (D(x₀ + σ z, σ) − x₀)² over a batch (B, 1, H, W): Karras et al. 2022, equation 2 with their λ."""
    s = sigma.view(-1, 1, 1, 1)
    noisy = clean + s * torch.randn(clean.shape, generator=generator)
    with torch.autocast(clean.device.type, torch.bfloat16):
        denoised = network(noisy.contiguous(memory_format=torch.channels_last), sigma, position)
    return (loss_weight(s) * (denoised.float() - clean) ** 2).mean()


@torch.inference_mode()
def validation_rmse(network: EDMUNet, clean: Tensor, position: Tensor, seed: int = 0) -> dict[float, float]:
    """Root-mean-square denoising error per noise level, same noise at every call.

    Parameters
    ----------
    network : the denoiser.
    clean : (B, 1, H, W) held-out slices.
    position : (1, 2, H, W) position channels.
    """
    out = {}
    for sigma in VALIDATION_SIGMAS:
        generator = torch.Generator().manual_seed(seed)
        error = 0.0
        for image in clean.split(4):
            noisy = image + sigma * torch.randn(image.shape, generator=generator)
            with torch.autocast(clean.device.type, torch.bfloat16):
                denoised = network(
                    noisy.contiguous(memory_format=torch.channels_last), torch.full((len(image),), sigma), position.expand(len(image), -1, -1, -1)
                )
            error += float(((denoised.float() - image) ** 2).sum())
        out[sigma] = (error / clean.numel()) ** 0.5
    return out
