"""Reverse diffusion in one step size family: from noise level σ down to σ₊.

Given x_σ = x, what was x at the lower level? For every prior its mean is known exactly from the denoiser,

    E[x_{σ₊} | x] = x + (σ² − σ₊²)/σ² · (D(x, σ) − x) = x + Δ s(x, σ) ,      Δ = σ² − σ₊² ,

s being the score. Its covariance is v_0 I + (Δ/σ²)² Cov(x₀ | x_σ): the part v_0 = σ₊² Δ/σ² that even a known
x₀ leaves, and what is left unknown of x₀. Samplers in use differ only in what they put for the second; if
pixels of clean images spread by σ_d,

    v = Δ (σ₊² + σ_d²) / (σ² + σ_d²)                     (exact for N(μ, σ_d² I))

with σ_d = 0 the ancestral step (DDPM's smaller variance), σ_d = ∞ reverse diffusion v = Δ (Song et al. 2021), and
σ_d = 1 DDPM's larger variance (:mod:`KLIPCore.sampling.ddpm`). Guidance adds Δ s_l to the mean and leaves v, hence

    δ = Δ s_l ,      nats of the step = ‖δ‖² / 2v = ½ Δ ‖s_l‖² · Δ/v ,

where Δ/v → 1 as steps shrink: every member's path KL converges to ½ ∫ E‖s_l‖² dσ² = KL, to first order in the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.sampling.guidance import Guidance, Guided
from KLIPCore.sampling.transition import Transition

NoiseSource = Callable[[], Tensor]
"""Draws (B, H, W) standard normal noise, fresh at every call."""


def seeded_noise(
    shape: tuple[int, ...],
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> NoiseSource:
    """Return white noise drawn on the CPU, so that a seed gives the same sample on every device."""

    def noise() -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype).to(device)

    return noise


def falling(sigmas: Sequence[float]) -> list[float]:
    """Return the noise levels as a list.

    Raises
    ------
    ConfigError : fewer than two, not falling, or not above 0.
    """
    levels = [float(s) for s in sigmas]
    if len(levels) < 2 or any(not low > 0 or not high > low for high, low in pairwise(levels)):
        raise ConfigError(
            "A sampler needs at least two noise levels that fall and stay above 0.",
            "Use a schedule of KLIPCore.sampling.schedule.",
        )
    return levels


def step_variance(sigma: float, sigma_next: float, data_std: float) -> float:
    """Return v = Δ (σ₊² + σ_d²)/(σ² + σ_d²), Δ = σ² − σ₊²; σ_d may be 0 or infinite."""
    delta = sigma**2 - sigma_next**2
    if math.isinf(data_std):
        return delta
    return (sigma_next**2 + data_std**2) * (delta / (sigma**2 + data_std**2))


def reverse_step(
    guided: Guided,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    noise: NoiseSource,
    data_std: float,
    weight: float = 1.0,
) -> Transition:
    """Return one guided step from σ to σ₊, beside the one the prior alone would have made.

    Parameters
    ----------
    guided : what guidance made of the states.
    x : (B, H, W) states at σ.
    sigma, sigma_next : noise levels before and after the step, intensity units.
    noise : draws (B, H, W) standard normal noise.
    data_std : σ_d of the step's variance; infinite for reverse diffusion, 0 for ancestral sampling.
    weight : part of the step's nats that counts.
    """
    posterior_mean = guided.posterior_mean(sigma)
    share = (sigma**2 - sigma_next**2) / sigma**2
    prior_mean = x + share * (guided.denoised - x)
    guided_mean = x + share * (posterior_mean - x)
    variance = step_variance(sigma, sigma_next, data_std)
    x_next = guided_mean + math.sqrt(variance) * noise()
    return Transition(sigma, sigma_next, prior_mean, guided_mean, variance, x_next, posterior_mean, weight)


def reverse_transitions(
    guidance: Guidance, sigmas: Sequence[float], x_start: Tensor, noise: NoiseSource, data_std: float = math.inf
) -> Iterator[Transition]:
    """Yield guided steps from ``sigmas[0]`` down to ``sigmas[-1]``.

    Parameters
    ----------
    guidance : the prior's estimate and the likelihood score of a batch of states.
    sigmas : falling noise levels, all above 0.
    x_start : (B, H, W) states at ``sigmas[0]``.
    noise : draws (B, H, W) standard normal noise.
    data_std : σ_d of the step's variance; infinite for reverse diffusion, 0 for ancestral sampling.

    Yields
    ------
    one :class:`Transition` a step.
    """
    x = x_start
    for sigma, sigma_next in pairwise(falling(sigmas)):
        step = reverse_step(guidance(x, sigma), x, sigma, sigma_next, noise, data_std)
        x = step.x_next
        yield step
