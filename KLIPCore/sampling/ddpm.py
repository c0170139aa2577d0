"""DDPM ancestral sampling: the variance-preserving chain, told in the variance-exploding coordinates of this house.

DDPM (Ho, Jain & Abbeel 2020) keeps the state's variance near 1: x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) z. Divided by √ᾱ_t this is
x₀ + σ_t z with

    σ_t² = (1 − ᾱ_t) / ᾱ_t ,

and the whole chain carries over, step by step. DDPM's reverse mean becomes x + Δ s, and its two variances β̃_t
and β_t become (after division by ᾱ of the level that is reached) v of
:func:`KLIPCore.sampling.reverse.step_variance` with

    "small", β̃_t = β_t (1 − ᾱ_{t−1})/(1 − ᾱ_t):   σ_d = 0,          "large", β_t:   σ_d = 1

(DDPM scales images to unit variance; σ_d = 1 is that). The push δ = Δ s_l and its nats ‖δ‖²/2v are the same in both
coordinates, since shift and noise are divided by the same number. With strides (fewer steps than the network
was trained with), β_t belongs to the *stride*, 1 − ᾱ_t/ᾱ_next, which these formulas do by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.guidance import Guidance, proximal_guidance
from KLIPCore.sampling.reverse import NoiseSource, reverse_transitions
from KLIPCore.sampling.transition import Transition


def linear_alpha_bar(n_steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02) -> NDArray[np.float64]:
    """Return the (n_steps,) ᾱ_t = Π (1 − β) of DDPM's linear schedule, falling from almost 1."""
    return np.asarray(np.cumprod(1.0 - np.linspace(beta_first, beta_last, n_steps)))


def sigma_of(alpha_bar: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return σ_t = √((1 − ᾱ_t)/ᾱ_t): the noise level in the coordinates of clean images."""
    return np.sqrt((1.0 - alpha_bar) / alpha_bar)


def ddpm_sigmas(n_steps: int, alpha_bar: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return (n_steps + 1,) falling noise levels at evenly strided times of a DDPM schedule.

    It is the linear one when None.

    Raises
    ------
    ConfigError : more steps than the schedule has.
    """
    known = sigma_of(linear_alpha_bar() if alpha_bar is None else alpha_bar)
    if not 1 <= n_steps < len(known):
        raise ConfigError(
            f"A schedule of {len(known)} times has no {n_steps} steps.", f"Choose 1 to {len(known) - 1}."
        )
    times = np.round(np.linspace(len(known) - 1, 0, n_steps + 1)).astype(int)
    return np.asarray(known[times])


def denoiser_from_epsilon(predict: Callable[[Tensor, int], Tensor], alpha_bar: NDArray[np.float64]) -> Denoiser:
    """Return the denoiser of a network that predicts DDPM's noise.

    D(x, σ) = x − σ ε(√ᾱ_t x, t), t the time whose σ_t is nearest in ln σ.

    Parameters
    ----------
    predict : ε(x_t, t) for variance-preserving states (B, H, W) and an integer time.
    alpha_bar : (T,) the schedule it was trained with.
    """
    log_sigma = np.log(sigma_of(alpha_bar))

    def denoise(x: Tensor, sigma: float) -> Tensor:
        t = int(np.abs(log_sigma - math.log(sigma)).argmin())
        return x - sigma * predict(x / math.sqrt(1.0 + sigma**2), t)  # √ᾱ = 1/√(1 + σ²)

    return denoise


def ddpm_transitions(
    denoise: Denoiser,
    measurement: Measurement,
    sigmas: Sequence[float],
    x_start: Tensor,
    noise: NoiseSource,
    *,
    variance: Literal["small", "large"] = "small",
    guidance: Guidance | None = None,
) -> Iterator[Transition]:
    """Yield guided DDPM steps from ``sigmas[0]`` down to ``sigmas[-1]``, states in the coordinates of clean images.

    Parameters
    ----------
    denoise : the prior.
    measurement : data whose leading dimensions broadcast to the batch.
    sigmas : falling noise levels, e.g. :func:`ddpm_sigmas`.
    x_start : (B, H, W) states x₀ + σ z at ``sigmas[0]`` (a variance-preserving state divided by √ᾱ).
    noise : draws (B, H, W) standard normal noise.
    variance : DDPM's smaller (β̃) or larger (β) choice.
    guidance : a method of :mod:`KLIPCore.sampling.guidance`; its proximal step when None.

    Yields
    ------
    one :class:`Transition` a step.
    """
    guide = guidance or proximal_guidance(denoise, measurement)
    return reverse_transitions(guide, sigmas, x_start, noise, data_std=0.0 if variance == "small" else 1.0)
