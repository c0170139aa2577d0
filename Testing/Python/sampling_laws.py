"""The laws every posterior sampler must satisfy, written once, and a way to check them without sampling error.

On a Gaussian benchmark with the exact likelihood score every sampler here is affine: its states are a linear
function of its start and its noise. The expectation of anything quadratic (nats!) is then decided by means and
covariances alone, and a batch whose *empirical* moments are exact gives exact expectations.
:class:`MatchedNoise` draws such batches: standard normal numbers, corrected to have mean 0, covariance 1 and
no correlation with the states they are added to. What is left between a chain's nats and the closed form is
the chain's own discretisation error, to ten digits.

A new sampler is tested by adding an entry to :data:`SAMPLERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from KLIPCore.kl.gaussian import GaussianKL
from KLIPCore.lab.benchmarks import GaussianBenchmark, measured
from KLIPCore.physics.mask import Mask
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.gaussian import GaussianPrior, likelihood_score
from KLIPCore.priors.prior import Denoiser, denoiser
from KLIPCore.sampling.ddpm import ddpm_transitions
from KLIPCore.sampling.dds import dds_transitions
from KLIPCore.sampling.dps_langevin import dps_langevin_transitions
from KLIPCore.sampling.edm_stochastic import Churn, edm_stochastic_transitions
from KLIPCore.sampling.guidance import (
    Guidance,
    exact_guidance,
    pigdm_guidance,
    projection_guidance,
    proximal_guidance,
)
from KLIPCore.sampling.pigdm import pigdm_transitions
from KLIPCore.sampling.reverse import NoiseSource, reverse_transitions, seeded_noise
from KLIPCore.sampling.schedule import geometric
from KLIPCore.sampling.transition import Transition
from KLIPCore.sampling.ve_projection import ve_projection_transitions

Run = Callable[[Denoiser, Measurement, Sequence[float], Tensor, NoiseSource, Guidance | None], Iterator[Transition]]
"""(prior, data, levels, start, noise, guidance or None for the sampler's own) → its transitions."""

PRIOR_STD = 0.2
"""σ_d given to guidance: the pixel standard deviation of the benchmarks."""

CG = 30
"""Conjugate-gradient iterations: as good as exact on a few dozen pixels."""


@dataclass(frozen=True)
class Sampler:
    """A sampler and what may be asked of it.

    Attributes
    ----------
    run : starts it.
    order : its path KL's error falls as steps^−order; None where other errors (an inner chain's) interfere.
    path_error, covariance_error : allowed at 80 steps with the exact score, relative to the closed form.
    mean_error : allowed error of the posterior mean by its own guidance, relative to the prior mean's error.
    exact_on_isotropic : whether its own guidance is exact for the prior N(μ, σ_d² I).
    """

    run: Run
    order: float | None = 1.0
    path_error: float = 0.045
    covariance_error: float = 0.12
    mean_error: float = 0.2
    exact_on_isotropic: bool = True


def _proximal(denoise: Denoiser, measurement: Measurement) -> Guidance:
    return proximal_guidance(denoise, measurement, PRIOR_STD, CG)


def _reverse(data_std: float) -> Run:
    return lambda d, m, s, x, z, g: reverse_transitions(g or _proximal(d, m), s, x, z, data_std)


SAMPLERS: dict[str, Sampler] = {
    "dds": Sampler(
        lambda d, m, s, x, z, g: dds_transitions(d, m, s, x, z, prior_std=PRIOR_STD, cg_iterations=CG, guidance=g)
    ),
    "reverse diffusion": Sampler(_reverse(math.inf)),
    "ancestral": Sampler(_reverse(0.0)),
    "matched variance": Sampler(_reverse(PRIOR_STD)),
    "ve projection": Sampler(
        lambda d, m, s, x, z, g: ve_projection_transitions(d, m, s, x, z, guidance=g or projection_guidance(d, m, CG)),
        order=None,
        exact_on_isotropic=False,
    ),
    "dps langevin": Sampler(
        lambda d, m, s, x, z, g: dps_langevin_transitions(d, m, s, x, z, n_inner=10, step=0.2, guidance=g),
        order=None,
        exact_on_isotropic=False,
    ),
    "ddpm, small variance": Sampler(
        lambda d, m, s, x, z, g: ddpm_transitions(d, m, s, x, z, guidance=g or _proximal(d, m))
    ),
    "ddpm, large variance": Sampler(
        lambda d, m, s, x, z, g: ddpm_transitions(d, m, s, x, z, variance="large", guidance=g or _proximal(d, m))
    ),
    "pigdm": Sampler(
        lambda d, m, s, x, z, g: pigdm_transitions(d, m, s, x, z, guidance=g or pigdm_guidance(d, m, PRIOR_STD, CG)),
        mean_error=0.1,
    ),
    "edm stochastic": Sampler(
        lambda d, m, s, x, z, g: edm_stochastic_transitions(d, m, s, x, z, guidance=g or _proximal(d, m)),
        covariance_error=0.005,
    ),
    "edm stochastic, euler": Sampler(
        lambda d, m, s, x, z, g: edm_stochastic_transitions(
            d, m, s, x, z, churn=Churn(8.0), second_order=False, guidance=g or _proximal(d, m)
        ),
        path_error=0.08,
    ),
}


@dataclass
class MatchedNoise:
    """Noise with exact moments over the batch, uncorrelated with the states it is added to.

    Attributes
    ----------
    shape : (B, H, W) with B > 2 H W + 1.
    generator : CPU random generator.
    states : what the noise must be uncorrelated with; :meth:`watching` keeps it up to date.
    """

    shape: tuple[int, int, int]
    generator: torch.Generator
    states: Tensor | None = field(default=None)

    def __call__(self) -> Tensor:
        """(B, H, W) float64 noise."""
        n = self.shape[0]
        z = torch.randn(n, self.shape[1] * self.shape[2], generator=self.generator, dtype=torch.float64)
        known = (
            torch.ones(n, 1, dtype=torch.float64)
            if self.states is None
            else torch.cat([torch.ones(n, 1, dtype=torch.float64), self.states.flatten(1)], 1)
        )
        basis, values, _ = torch.linalg.svd(known, full_matrices=False)
        basis = basis[:, values > 1e-10 * values[0]]
        for _ in range(2):  # once more against rounding
            z = z - basis @ (basis.T @ z)
        root = torch.linalg.cholesky(z.T @ z / n)
        return torch.linalg.solve_triangular(root, z.T, upper=False).T.reshape(self.shape)

    def watching(self, denoise: Denoiser) -> Denoiser:
        """The same denoiser; the states it is asked about are remembered (an invertible affine image of a
        state serves as well).
        """

        def watched(x: Tensor, sigma: float) -> Tensor:
            self.states = x.detach()
            return denoise(x, sigma)

        return watched


def matched_start(b: GaussianBenchmark, sigma: float, noise: MatchedNoise) -> Tensor:
    """(B, H, W) states with exactly the moments of the posterior blurred by σ."""
    noise.states = None
    root = b.posterior.basis * (b.posterior.variances + sigma**2).sqrt()
    return b.posterior.mean[0] + (noise().flatten(1) @ root.T).reshape(noise.shape)


def exact_run(
    b: GaussianBenchmark, sampler: Sampler, sigmas: Sequence[float], seed: int = 0, own_guidance: bool = False
) -> list[Transition]:
    """The sampler's steps with the exact likelihood score, started in equilibrium, with moment-matched noise."""
    height, width = b.prior.shape[1:]
    noise = MatchedNoise((2 * height * width + 16, height, width), torch.Generator().manual_seed(seed))
    x_start = matched_start(b, sigmas[0], noise)
    noise.states = x_start
    denoise = noise.watching(denoiser(b.prior))
    guidance = None if own_guidance else exact_guidance(denoise, likelihood_score(b.prior, b.posterior))
    return list(sampler.run(denoise, b.measurement, sigmas, x_start, noise, guidance))


def path_truth(b: GaussianBenchmark, steps: Sequence[Transition]) -> float:
    """Closed-form nats of the σ interval the steps cover."""
    return GaussianKL(b.posterior, b.prior).window(steps[-1].sigma_to, steps[0].sigma_from)


def isotropic(size: int = 5, seed: int = 0) -> GaussianBenchmark:
    """Independent pixels, every other one measured: where the proximal step is the exact answer."""
    prior = GaussianPrior(torch.full((1, size, size), 0.5), PRIOR_STD**2 * torch.eye(size * size, dtype=torch.float64))
    seen = (torch.arange(size * size) % 2 == 0).reshape(size, size)
    generator = torch.Generator().manual_seed(seed)
    measurement = measured(prior.sample(1, generator)[0, 0], Mask(seen), 0.05, generator)
    return GaussianBenchmark(prior, measurement, prior.posterior(measurement))


def levels(n_steps: int) -> list[float]:
    """The laws' schedule: falling evenly in ln σ from 2 to 0.02."""
    return [float(s) for s in geometric(2.0, 0.02, n_steps)]


def own_run(b: GaussianBenchmark, sampler: Sampler, n_steps: int, n_samples: int, seed: int) -> list[Transition]:
    """The sampler as it comes: its own guidance, a cold start, ordinary seeded noise."""
    noise = seeded_noise((n_samples, *b.prior.shape[1:]), torch.Generator().manual_seed(seed), torch.float64)
    sigmas = levels(n_steps)
    return list(
        sampler.run(denoiser(b.prior), b.measurement, sigmas, b.prior.mean[0] + sigmas[0] * noise(), noise, None)
    )
