"""The published patch-prior recipe: DPS on annealed Langevin dynamics (PaDIS; Hu et al. 2024, Chung et al. 2023).

Levels as in EDM, σ_i^(1/ρ) falling evenly; at each of them n Langevin steps with α = c σ², each after a step
down the gradient of the data's misfit, its norm *not* squared, through the denoiser:

    u_j = −ζ ∇_x ‖y − A D(x, σ)‖,      x ← x + u_j + (α/2) s + √α z          (no noise at the last level)

    recorded    mean over runs of Σ_j u_j,  divided by σ^p,  p = ½

Two averages come before the square: inner steps add coherently and runs are averaged, so the score holds the
mean push and little of its fluctuation, near the *mean part* of docs/method.md; and σ^½ for σ weighs the low
levels less than the KL does. ζ has the unit of an intensity over a datum: the reference's images are 40 length
units wide, and ``unit`` converts (40 over the width in mm).

PaDIS' denoiser works patch by patch on a padded image (:class:`KLIPCore.priors.patch.PatchDenoiser`); ``pad``
says by how much. Any other denoiser runs with pad 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.lab.published.chain import Chain
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.guidance import pulled_back
from KLIPCore.sampling.schedule import karras


def norm_gradient(
    denoise: Denoiser, measurement: Measurement, x: Tensor, sigma: float, pad: int = 0, unit: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return D(x, σ) and ∇_x ‖unit · (y − A D)‖ of states (B, H + 2 pad, W + 2 pad), the image inside the padding."""
    estimate, leaf = pulled_back(denoise, x, sigma)
    with torch.enable_grad():
        inside = estimate[..., pad : x.shape[-2] - pad, pad : x.shape[-1] - pad]
        misfit = (unit * measurement.residual(inside)).flatten(1).norm(dim=1).sum()
        (gradient,) = torch.autograd.grad(misfit, leaf)
    return estimate.detach(), gradient


@dataclass(frozen=True)
class PadisSettings:
    """The recipe's numbers; the defaults are the published ones.

    Attributes
    ----------
    n_runs : samples, averaged before they are recorded.
    n_levels, sigma_max, sigma_min, rho : the levels.
    n_inner : n Langevin steps a level.
    step : c of α = c σ².
    zeta : ζ.
    unit : data are multiplied by this before their norm is taken.
    power : p of g = σ^p.
    pad : padding of the states; the noise starts inside it.
    first_seed : run b starts from the noise of seed ``first_seed`` + b.

    Raises
    ------
    ConfigError : an impossible schedule or number.
    """

    n_runs: int = 5
    n_levels: int = 100
    sigma_max: float = 10.0
    sigma_min: float = 0.003
    rho: float = 7.0
    n_inner: int = 10
    step: float = 0.5
    zeta: float = 0.3
    unit: float = 1.0
    power: float = 0.5
    pad: int = 0
    first_seed: int = 0

    def __post_init__(self) -> None:
        if (
            self.n_runs < 1
            or self.n_levels < 2
            or self.n_inner < 1
            or not 0 < self.step < 2
            or self.zeta < 0
            or self.pad < 0
        ):
            raise ConfigError(
                "This schedule of the patch-prior recipe is impossible.",
                "Use at least two levels, one run and one step, and 0 < step < 2.",
            )

    @property
    def levels(self) -> list[float]:
        """Return the falling noise levels, intensity units."""
        return [float(s) for s in karras(self.sigma_max, self.sigma_min, self.n_levels - 1, self.rho)]


PUBLISHED = PadisSettings()
"""The recipe as it was published."""


def sample_padis(
    denoise: Denoiser,
    measurement: Measurement,
    generator: torch.Generator,
    settings: PadisSettings = PUBLISHED,
) -> Artifact:
    """Return the reference's samples and record of one image.

    Parameters
    ----------
    denoise : the prior on (B, H + 2 pad, W + 2 pad) states, images in 0..1; gradients must flow through it.
    measurement : data without batch dimension.
    generator : CPU random generator of the Langevin noise.
    settings : the recipe's numbers.

    Returns
    -------
    updates (n_levels, 1, 1, H, W); the reconstruction is the mean of the last states, clipped to 0..1.
    """
    levels, pad = settings.levels, settings.pad
    chain = Chain(measurement, settings.n_runs)
    x = torch.nn.functional.pad(settings.sigma_max * chain.seeded_noise(settings.first_seed), (pad, pad, pad, pad))
    inside = (slice(None), *(slice(pad, pad + n) for n in chain.image_shape))
    for i, sigma in enumerate(levels):
        alpha, pushed = settings.step * sigma**2, torch.zeros_like(x[inside])
        for _ in range(settings.n_inner):
            estimate, gradient = norm_gradient(denoise, chain.measurement, x, sigma, pad, settings.unit)
            push = -settings.zeta * gradient
            pushed += push[inside]
            x = x + push + alpha / 2 * (estimate - x) / sigma**2
            if i < settings.n_levels - 1:
                x = x + math.sqrt(alpha) * chain.noise(generator, tuple(x.shape))
        chain.record(pushed.mean(0, keepdim=True), sigma**settings.power)
    return chain.artifact(x[inside].clamp(0, 1))
