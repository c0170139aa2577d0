"""The published score-model recipe: VE predictor–corrector, noisy data replaced in the noisy state (Song et al. 2022).

From σ_max down to σ_min in N steps, geometric. At each level the state is *projected*, Langevin-corrected,
projected again, and taken one reverse-diffusion step down. A projection noises the data to the state's level
and moves the measured part of the state there:

    ŷ = y + σ A ζ,     x ← x + λ A⁺ (ŷ − A x),     ζ fresh standard normal noise, A⁺ the least-norm inverse, 0 < λ ≤ 1

    corrector   x ← x + ε s + √(2ε) z,        ε = 2 (r ‖z‖ / ‖s‖)²      (norms averaged over the batch)
    predictor   x ← x + Δ s + √Δ z,           Δ = σ_i² − σ_{i+1}²,  to 0 at the end

    recorded    (x_projected − x)/g,          g = σ √(2 ln(σ_max/σ_min)),
                (the corrector's projections alone, every tenth step)

What is recorded holds ζ and the noise in x: far from where the data decide, it is their difference, and says
nothing about the image. There is no prior's and no guided mean, so no transition and no KL;
:mod:`KLIPCore.sampling.ve_projection` is the same idea with both. Our A is a projector in space, for which A⁺
is some conjugate gradients; the reference replaces radial lines of the Fourier plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.lab.published.chain import Chain
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.solve import least_squares
from KLIPCore.priors.prior import Denoiser


def diffusion_coefficient(sigma: float, sigma_max: float, sigma_min: float) -> float:
    """Return g(t) = σ √(2 ln(σ_max/σ_min)) of the SDE dx = g dw whose σ is geometric in t ∈ [0, 1]."""
    return sigma * math.sqrt(2 * math.log(sigma_max / sigma_min))


def projected(measurement: Measurement, x: Tensor, target: Tensor, share: float, cg_iterations: int) -> Tensor:
    """Return x + λ A⁺ (target − A x) for states x (B, H, W) and data ``target`` (B, *range_shape)."""
    step = Measurement(
        target - measurement.A(x), measurement.A, noise=GaussianNoise(1.0), simulated=measurement.simulated
    )
    return x + share * least_squares(step, cg_iterations)


@dataclass(frozen=True)
class VEProjectionSettings:
    """The recipe's numbers; the defaults are the published ones.

    Attributes
    ----------
    n_samples : B; samples share the corrector's step size.
    n_steps : N levels.
    sigma_max, sigma_min : first and last level.
    corrector_snr : r.
    share : λ.
    record_every : every so many steps are recorded: T = ⌈N / record_every⌉.
    cg_iterations : of A⁺; many amplify the data's noise (of 2, 5, 10 and 20 the example's image comes out best
        with 2 and 5).

    Raises
    ------
    ConfigError : an impossible schedule or number.
    """

    n_samples: int = 8
    n_steps: int = 1000
    sigma_max: float = 128.0
    sigma_min: float = 0.01
    corrector_snr: float = 0.246
    share: float = 0.841
    record_every: int = 10
    cg_iterations: int = 5

    def __post_init__(self) -> None:
        if (
            self.n_steps < 2
            or self.n_samples < 1
            or not 0 < self.sigma_min < self.sigma_max
            or not 0 < self.share <= 1
            or self.record_every < 1
            or not self.corrector_snr > 0
        ):
            raise ConfigError(
                "This schedule of the score-model recipe is impossible.",
                "Use at least two steps, falling σ, and a share in (0, 1].",
            )

    @property
    def levels(self) -> list[float]:
        """Return the N falling noise levels, geometric, intensity units."""
        return [float(s) for s in np.geomspace(self.sigma_max, self.sigma_min, self.n_steps)]


PUBLISHED = VEProjectionSettings()
"""The recipe as it was published."""


def sample_ve_projection(
    denoise: Denoiser,
    measurement: Measurement,
    generator: torch.Generator,
    settings: VEProjectionSettings = PUBLISHED,
) -> Artifact:
    """Return the reference's samples and record of one image.

    Parameters
    ----------
    denoise : the prior, images in 0..1.
    measurement : data without batch dimension.
    generator : CPU random generator.
    settings : the recipe's numbers.

    Returns
    -------
    updates (T, B, 1, H, W); the reconstruction is the mean of the last denoised and once more projected (λ =
    1) samples, in 0..1.
    """
    chain = Chain(measurement, settings.n_samples)
    data = chain.measurement.y

    def noise() -> Tensor:
        return chain.noise(generator)

    def score(x: Tensor, sigma: float) -> Tensor:
        return (denoise(x, sigma) - x) / sigma**2

    def noised_data(x: Tensor, sigma: float) -> Tensor:
        return projected(measurement, x, data + sigma * measurement.A(noise()), settings.share, settings.cg_iterations)

    levels = settings.levels
    x = settings.sigma_max * noise()
    with torch.no_grad():
        for i, (sigma, sigma_next) in enumerate(zip(levels, [*levels[1:], 0.0], strict=True)):
            moved = noised_data(x, sigma)
            if i % settings.record_every == 0:
                chain.record(moved - x, diffusion_coefficient(sigma, settings.sigma_max, settings.sigma_min))
            z, s = noise(), score(moved, sigma)
            step = 2 * float(settings.corrector_snr * _mean_norm(z) / _mean_norm(s)) ** 2
            x = noised_data(moved + step * s + math.sqrt(2 * step) * z, sigma)
            delta = sigma**2 - sigma_next**2
            x = x + delta * score(x, sigma) + math.sqrt(delta) * noise()
        clean = projected(measurement, denoise(x, settings.sigma_min), data, 1.0, settings.cg_iterations)
    return chain.artifact(clean)


def _mean_norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1).mean()
