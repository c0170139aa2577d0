"""The published DDPM recipe: a noise-predicting network, guided by the data's gradient without back-propagation.

States are variance-preserving images in −1..1. At times t = 990, 980, …, 0 of the 1000-step linear schedule
the reference first moves the state along the misfit's gradient and then makes the scheduler's ancestral step
from the moved state with the *old* prediction:

    x̂₀ = (x − √(1−ᾱ) ε)/√ᾱ,    r = y − A x̂₀,    u = ζ/‖r‖ · Aᵀ r / (σ_y² √ᾱ),    x ← x + u   (‖r‖: batch mean)
    x ← mean of q(x_{t−10} | x, x̂₀) + √β̃ z,    x̂₀ predicted anew from the moved x and clipped to −1..1

    recorded    u / √β_t

Two slips are kept, because the recipe is what was published: z is drawn from a generator that is seeded *the
same at every step*, so one noise image is added a hundred times; and β_t is that of the thousand-step
schedule, about a tenth of what a stride of ten adds. :mod:`KLIPCore.sampling.ddpm` has neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.lab.published.chain import Chain
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.ddpm import linear_alpha_bar

NOISE_SEED_OFFSET = 99991
"""The noise of every step comes from this above the base seed."""

PredictNoise = Callable[[Tensor, int], Tensor]
"""ε(x_t, t) of variance-preserving states (B, H, W) in −1..1 and an integer time."""


def epsilon_from_denoiser(denoise: Denoiser, alpha_bar: NDArray[np.float64]) -> PredictNoise:
    """Return ε(x_t, t) from a denoiser of images in 0..1.

    x_t/√ᾱ = (2 x₀ − 1) + σ z is the image at noise σ/2, stretched.
    """

    def predict(x: Tensor, t: int) -> Tensor:
        sigma = math.sqrt((1 - alpha_bar[t]) / alpha_bar[t])
        stretched = x / math.sqrt(alpha_bar[t])
        return (stretched - (2 * denoise((stretched + 1) / 2, sigma / 2) - 1)) / sigma

    return predict


@dataclass(frozen=True)
class DDPMSettings:
    """The recipe's numbers; the defaults are the published ones.

    Attributes
    ----------
    n_samples : B; sample b starts from the noise of seed ``base_seed`` + b.
    n_steps : times, evenly strided from the schedule.
    base_seed : decides the samples' starts and the noise of their steps.
    zeta, data_std : ζ and σ_y.
    unit : data are multiplied by this; 1 over the operator's norm makes it a blur's equal.
    """

    n_samples: int = 8
    n_steps: int = 100
    base_seed: int = 44
    zeta: float = 0.3
    data_std: float = 1.0
    unit: float = 1.0


PUBLISHED = DDPMSettings()
"""The recipe as it was published."""


def sample_ddpm(
    predict: PredictNoise,
    measurement: Measurement,
    settings: DDPMSettings = PUBLISHED,
    alpha_bar: NDArray[np.float64] | None = None,
) -> Artifact:
    """Return the reference's samples and record of one image.

    Parameters
    ----------
    predict : the network; :func:`epsilon_from_denoiser` makes one of a denoiser.
    measurement : data of an image in 0..1, without batch dimension.
    settings : the recipe's numbers.
    alpha_bar : (T,) the network's schedule; the linear one of 1000 steps when None.

    Returns
    -------
    updates (n_steps, B, 1, H, W) in the units of the −1..1 images; the reconstruction is the samples' mean in 0..1.

    Raises
    ------
    ConfigError : more steps than the schedule has, or an impossible number.
    """
    known = linear_alpha_bar() if alpha_bar is None else alpha_bar
    n_steps, n_samples, unit = settings.n_steps, settings.n_samples, settings.unit
    if not 1 <= n_steps <= len(known) or n_samples < 1 or settings.zeta < 0 or not settings.data_std > 0:
        raise ConfigError(
            f"{n_steps} steps of {n_samples} samples cannot be made from a schedule of {len(known)}.",
            "Use fewer steps and positive numbers.",
        )
    stride = len(known) // n_steps
    chain = Chain(measurement, n_samples)
    x = chain.seeded_noise(settings.base_seed)
    with torch.no_grad():
        for t in range((n_steps - 1) * stride, -1, -stride):
            a, a_next = float(known[t]), float(known[t - stride]) if t >= stride else 1.0
            epsilon = predict(x, t)
            estimate = (x - math.sqrt(1 - a) * epsilon) / math.sqrt(a)
            residual = 2 * unit * chain.measurement.residual((estimate + 1) / 2)  # of the data of images in −1..1
            size = float(residual.flatten(1).norm(dim=1).mean())
            gradient = unit * measurement.A.T(residual) / ((settings.data_std**2 + 1e-12) * math.sqrt(a))
            push = settings.zeta / (size + 1e-12) * gradient
            g = math.sqrt(1 - a / (float(known[t - 1]) if t else 1.0))
            chain.record(push, g)
            same = torch.Generator().manual_seed(settings.base_seed + NOISE_SEED_OFFSET)
            x = _ancestral(x + push, epsilon, a, a_next, chain.noise(same) if t else None)
    return chain.artifact((x + 1) / 2)


def _ancestral(x: Tensor, epsilon: Tensor, a: float, a_next: float, z: Tensor | None) -> Tensor:
    """DDPM's step with the smaller variance and x̂₀ clipped to −1..1 (Ho et al. 2020, equations 6 and 7)."""
    clean = ((x - math.sqrt(1 - a) * epsilon) / math.sqrt(a)).clamp(-1, 1)
    alpha = a / a_next
    beta = 1 - alpha
    mean = math.sqrt(a_next) * beta / (1 - a) * clean + math.sqrt(alpha) * (1 - a_next) / (1 - a) * x
    return mean if z is None else mean + math.sqrt(beta * (1 - a_next) / (1 - a)) * z
