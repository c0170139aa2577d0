"""What training minimises, and the figures by which a prior is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from KLIPCore.priors.ddpm import DDPMUNet
from KLIPCore.priors.precond import loss_weight
from KLIPCore.priors.unet import usual_precision

VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Noise levels at which the validation error is reported (intensity units)."""


def training_layout(device: torch.device) -> torch.memory_format:
    """Return how images and weights lie in memory where they are learned fastest on a device.

    The channels of a pixel beside each other for bfloat16, apart for float32.
    """
    return torch.channels_last if usual_precision(device) == "bfloat16" else torch.contiguous_format


def answers(ask: Callable[..., Tensor], noisy: Tensor, level: Tensor, position: Tensor) -> Tensor:
    """Return a network's answers (B, 1, H, W) in float32, computed in bfloat16 where the device knows it.

    A processor without them takes several times as long in bfloat16 as in float32.

    Parameters
    ----------
    ask : the network, or a method of it.
    noisy, level, position : (B, 1, H, W), (B,) and (B, 2, H, W), what it is asked.
    """
    device = noisy.device
    with torch.autocast(device.type, torch.bfloat16, enabled=usual_precision(device) == "bfloat16"):
        return ask(noisy.contiguous(memory_format=training_layout(device)), level, position).float()


def draw_sigma(n: int, log_mean: float, log_std: float, lo: float, hi: float, generator: torch.Generator) -> Tensor:
    """Return the (n,) noise levels: log-normal (Karras et al. 2022, table 1), clipped to [lo, hi]."""
    return (torch.randn(n, generator=generator) * log_std + log_mean).exp().clamp(lo, hi)


def draw_noise(shape: Sequence[int], probability: float, temperature: float, generator: torch.Generator) -> Tensor:
    """Return noise (B, 1, H, W) of unit variance, or of variance ``temperature`` in images chosen with a probability.

    Told σ and shown √temperature · σ, a network learns not to take off noise that is not there.
    """
    noise = torch.randn(*shape, generator=generator)
    if probability > 0:  # nothing more is drawn where it never is
        cold = torch.rand(shape[0], generator=generator) < probability
        noise[cold] *= temperature**0.5
    return noise


class Objective(nn.Module):
    """The loss as a module: (clean, position, level, noise) → scalar.

    What is called in training, so that what wraps it sees every weight's use.

    Parameters
    ----------
    network : an EDM denoiser or a :class:`KLIPCore.priors.ddpm.DDPMUNet`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def draw(
        self, n: int, log_mean: float, log_std: float, lo: float, hi: float, generator: torch.Generator
    ) -> Tensor:
        """Return the (n,) levels to train at: σ for EDM, step numbers for a DDPM."""
        if isinstance(self.network, DDPMUNet):
            return torch.randint(self.network.config.n_steps, (n,), generator=generator)
        return draw_sigma(n, log_mean, log_std, lo, hi, generator)

    def forward(
        self, clean: Tensor, position: Tensor, level: Tensor, noise: Tensor, target: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss of a batch (B, 1, H, W).

        Positions are (B, 2, H, W), levels (B,), and noise is like ``clean``; ``target`` is learned in place of
        ``clean`` where it is given, which a DDPM does not know.
        """
        if isinstance(self.network, DDPMUNet):
            return step_loss(self.network, clean, position, level, noise)
        return denoising_loss(self.network, clean, position, level, noise, target)


def denoising_loss(
    network: nn.Module,
    clean: Tensor,
    position: Tensor,
    sigma: Tensor,
    noise: Tensor,
    target: Tensor | None = None,
) -> Tensor:
    """Return the mean of λ(σ) (D(x₀ + σ z, σ) − x₀)² over a batch (B, 1, H, W).

    Karras et al. 2022, equation 2 with their λ. A ``target`` stands for the x₀ that is subtracted.
    """
    s = sigma.view(-1, 1, 1, 1)
    noisy = clean + s * noise
    denoised = answers(network, noisy, sigma, position)
    return (loss_weight(s) * (denoised - (clean if target is None else target)) ** 2).mean()


def step_loss(network: DDPMUNet, clean: Tensor, position: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
    """Return the mean squared error of ε or v at numbered steps (B,), over a batch (B, 1, H, W).

    Ho et al. 2020, equation 14.
    """
    scheduler, config = network.scheduler, network.config
    u = config.scale * clean + config.shift
    noised = scheduler.add_noise(u, noise, steps)
    wanted = noise if config.prediction == "epsilon" else scheduler.get_velocity(u, noise, steps)
    guess = answers(network.predict, noised, steps.float(), position)
    return ((guess - wanted) ** 2).mean()


@torch.inference_mode()
def validation_rmse(network: nn.Module, clean: Tensor, position: Tensor, seed: int = 0) -> dict[float, float]:
    """Return the root-mean-square denoising error per noise level, same noise at every call.

    Parameters
    ----------
    network : the denoiser, called as (x, sigma, position).
    clean : (B, 1, H, W) held-out slices.
    position : (1, 2, H, W) position channels.
    seed : of the noise.
    """
    out = {}
    for sigma in VALIDATION_SIGMAS:
        generator = torch.Generator().manual_seed(seed)
        error = 0.0
        for image in clean.split(4):
            noisy = image + sigma * torch.randn(image.shape, generator=generator).to(image.device)
            levels = torch.full((len(image),), sigma, device=image.device)
            denoised = answers(network, noisy, levels, position.expand(len(image), -1, -1, -1))
            error += float(((denoised - image) ** 2).sum())
        out[sigma] = (error / clean.numel()) ** 0.5
    return out
