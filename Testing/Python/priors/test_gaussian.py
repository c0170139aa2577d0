"""Exact priors are exact: against autograd, dense algebra, and Bayes' rule."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.lab.benchmarks import exponential_covariance, inpainting, lesion_or_not, measured, tomography
from KLIPCore.physics.mask import Identity
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise, PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.gaussian import GaussianPrior, likelihood_score
from KLIPCore.priors.mixture import GaussianMixturePrior
from KLIPCore.priors.prior import Prior, denoiser
from KLIPCore.priors.stationary import StationaryGaussianPrior
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam
from KLIPCore.volume.model_card import ModelCard

EXACT_PRIORS = {
    "gaussian": lambda: inpainting(size=8, unseen_rows=2),
    "tomography": lambda: tomography(size=8),
    "mixture": lambda: lesion_or_not(size=8),
}


def states(prior: GaussianPrior | GaussianMixturePrior, sigma: float, n: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x0 = prior.sample(n, generator)
    return x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=x0.dtype)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 5.0])
@pytest.mark.parametrize("name", EXACT_PRIORS)
def test_denoiser_is_tweedies(name: str, sigma: float) -> None:
    """D(x, σ) = x + σ² ∇ log p_σ(x), the gradient taken by autograd of the density written independently."""
    prior = EXACT_PRIORS[name]().prior
    x = states(prior, sigma).requires_grad_(True)
    (score,) = torch.autograd.grad(prior.log_density(x, sigma).sum(), x)
    torch.testing.assert_close(
        prior.denoise(x, torch.full((len(x),), sigma)).detach(), x.detach() + sigma**2 * score, rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("name", EXACT_PRIORS)
def test_posterior_is_bayes(name: str) -> None:
    """log p(x|y) − log p(x) − log p(y|x) = −log p(y) is the same number whatever the image x."""
    problem = EXACT_PRIORS[name]()
    x = states(problem.prior, 0.0, 6)
    log_evidence = (
        problem.prior.log_density(x) + problem.measurement.log_likelihood(x)[:, 0] - problem.posterior.log_density(x)
    )
    assert float(log_evidence.std()) < 1e-7 * float(problem.measurement.log_likelihood(x).std())


@pytest.mark.parametrize("sigma", [0.02, 0.5])
def test_likelihood_score_is_the_gradient_of_the_likelihood(sigma: float) -> None:
    """∇ log p(y | x_σ) with y | x_σ ~ N(A D(x), A C_σ Aᵀ + W⁻¹), by autograd."""
    problem = tomography(size=8)
    prior, measurement = problem.prior, problem.measurement
    A = measurement.A(torch.eye(prior.n_pixels, dtype=torch.float64).reshape(-1, 8, 8)).flatten(1).T
    left = (
        prior.covariance
        @ torch.linalg.inv(prior.covariance + sigma**2 * torch.eye(prior.n_pixels, dtype=torch.float64))
        * sigma**2
    )
    law = torch.distributions.MultivariateNormal(
        measurement.y.flatten(), A @ left @ A.T + torch.eye(len(A), dtype=torch.float64) * measurement.noise.sigma**2
    )
    x = states(prior, sigma)[:, 0].requires_grad_(True)
    (expected,) = torch.autograd.grad(law.log_prob(measurement.A(denoiser(prior)(x, sigma)).flatten(1)).sum(), x)
    torch.testing.assert_close(
        likelihood_score(prior, problem.posterior)(x.detach(), sigma),
        expected,
        rtol=1e-7,
        atol=1e-7 * float(expected.abs().max()),
    )


def test_denoiser_is_the_dense_wiener_filter() -> None:
    prior = inpainting(size=6, unseen_rows=0).prior
    x = states(prior, 0.2)
    sigma = torch.tensor([0.01, 0.1, 0.2, 1.0, 10.0], dtype=torch.float64)
    for i, s in enumerate(sigma):
        gain = prior.covariance @ torch.linalg.inv(prior.covariance + s**2 * torch.eye(36, dtype=torch.float64))
        expected = prior.mean + (gain @ (x[i] - prior.mean).flatten()).reshape(1, 6, 6)
        torch.testing.assert_close(prior.denoise(x, sigma)[i], expected, rtol=1e-10, atol=1e-12)


def test_samples_have_the_moments() -> None:
    prior = lesion_or_not(size=6).posterior
    x = prior.sample(60000, torch.Generator().manual_seed(0))[:, 0].flatten(1)
    between = (prior.means.flatten(1) - prior.mean.flatten()) * prior.weights.sqrt()[:, None]
    covariance = prior.covariance + between.T @ between
    standard_error = torch.outer(covariance.diagonal(), covariance.diagonal()).add(
        covariance.square()
    ).sqrt() / math.sqrt(len(x))
    assert float(((x.mean(0) - prior.mean.flatten()) / covariance.diagonal().div(len(x)).sqrt()).abs().max()) < 4.5
    assert float(((torch.cov(x.T) - covariance) / standard_error).abs().max()) < 5.5


def test_one_component_is_a_gaussian() -> None:
    problem = tomography(size=6, n_views=3)
    mixture = GaussianMixturePrior(torch.tensor([3.0]), problem.prior.mean[None], problem.prior.covariance)
    posterior = mixture.posterior(problem.measurement)
    x = states(problem.prior, 0.1)
    torch.testing.assert_close(posterior.denoise(x, 0.1), problem.posterior.denoise(x, 0.1), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(mixture.log_density(x, 0.1), problem.prior.log_density(x, 0.1))


def test_stationary_prior_is_its_dense_self() -> None:
    prior = StationaryGaussianPrior.matern(torch.linspace(0, 1, 35).reshape(5, 7), 0.3, 1.5)
    dense = prior.dense()
    assert float(dense.covariance.diagonal().max()) == pytest.approx(0.09, rel=1e-9)
    x = states(dense, 0.3)
    sigma = torch.tensor([0.01, 0.1, 0.3, 1.0, 4.0])
    torch.testing.assert_close(prior.denoise(x, sigma), dense.denoise(x, sigma), rtol=1e-9, atol=1e-10)
    draws = prior.sample(40000, torch.Generator().manual_seed(0))[:, 0].flatten(1)
    assert float((torch.cov(draws.T) - dense.covariance).abs().max()) < 5.5 * 0.09 * math.sqrt(2 / 40000)


def test_stationary_posterior_is_the_dense_one() -> None:
    """Mean, denoiser and samples by conjugate gradients through a projector, against the closed form."""
    prior = StationaryGaussianPrior.matern(torch.full((10, 10), 0.5), 0.2, 2.0)
    grid = ImageGrid2D((10, 10), 1.0)
    generator = torch.Generator().manual_seed(0)
    A = Projector(ParallelBeam.sparse(5, grid), grid, dtype=torch.float64)
    measurement = measured(prior.sample(1, generator)[0, 0], A, 0.1, generator)
    exact, free = prior.dense().posterior(measurement), prior.posterior(measurement)
    torch.testing.assert_close(free.mean, exact.mean[0], rtol=1e-8, atol=1e-9)
    x = states(prior.dense(), 0.2)
    torch.testing.assert_close(free.denoise(x, 0.2), exact.denoise(x, 0.2), rtol=1e-8, atol=1e-9)
    draws = free.sample(1500, generator)[:, 0].flatten(1)
    assert (
        float(((draws.mean(0) - exact.mean.flatten()) / exact.covariance.diagonal().div(1500).sqrt()).abs().max())
        < 4.5
    )
    assert float((draws.var(0) / exact.covariance.diagonal() - 1).abs().max()) < 5 * math.sqrt(2 / 1500)


@given(seed=st.integers(0, 10_000), n_data=st.integers(1, 6), sigma=st.floats(1e-3, 10.0))
@settings(max_examples=25, deadline=None)
def test_a_measurement_never_adds_uncertainty(seed: int, n_data: int, sigma: float) -> None:
    """C − P is positive semi-definite, and no data (weight → 0) leave the prior as it was."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(9, 9, generator=generator, dtype=torch.float64)
    prior = GaussianPrior(
        torch.randn(1, 3, 3, generator=generator), root @ root.T + 0.01 * torch.eye(9, dtype=torch.float64)
    )
    A = Identity((3, 3))
    image = prior.sample(1, generator)[0, 0]
    posterior = prior.posterior(measured(image, A, sigma, generator))
    assert float(torch.linalg.eigvalsh(prior.covariance - posterior.covariance)[0]) > -1e-9 * float(
        prior.variances[-1]
    )
    nothing = prior.posterior(measured(image, A, 1e9, generator))
    torch.testing.assert_close(nothing.covariance, prior.covariance, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_protocol_type_and_card(dtype: torch.dtype) -> None:
    for prior in (
        inpainting(6, 2).prior,
        lesion_or_not(6).prior,
        StationaryGaussianPrior.matern(torch.zeros(6, 6), 1.0, 1.0),
    ):
        assert isinstance(prior, Prior)
        x = torch.randn(2, 1, 6, 6, dtype=dtype)
        assert prior.denoise(x, torch.tensor([0.1, 2.0])).dtype == dtype
        assert ModelCard.from_dict(prior.card.to_dict()) == prior.card


def test_denoisers_are_differentiable() -> None:
    """The Jacobian of a Wiener denoiser is its gain, which ΠGDM and DPS need through autograd."""
    prior = inpainting(size=4, unseen_rows=0).prior
    jacobian = torch.autograd.functional.jacobian(
        lambda x: prior.denoise(x, 0.3), prior.sample(1, torch.Generator().manual_seed(0))
    ).reshape(16, 16)
    torch.testing.assert_close(
        jacobian,
        prior.covariance @ torch.linalg.inv(prior.covariance + 0.09 * torch.eye(16, dtype=torch.float64)),
        rtol=1e-9,
        atol=1e-12,
    )


def test_refusals() -> None:
    covariance = exponential_covariance(3, 3, 1.0, 1.0)
    with pytest.raises(ConfigError, match="does not fit"):
        GaussianPrior(torch.zeros(1, 3, 4), covariance)
    with pytest.raises(ConfigError, match="not positive definite"):
        GaussianPrior(torch.zeros(1, 3, 3), torch.ones(9, 9))
    with pytest.raises(ConfigError, match="positive weight"):
        GaussianMixturePrior(torch.tensor([1.0, 0.0]), torch.zeros(2, 1, 3, 3), covariance)
    with pytest.raises(ConfigError, match="differs at f"):
        StationaryGaussianPrior(torch.zeros(4, 4), torch.arange(16.0).reshape(4, 4) + 1)
    prior = GaussianPrior(torch.zeros(1, 3, 3), covariance)
    with pytest.raises(ConfigError, match="acts on"):
        prior.posterior(Measurement(torch.zeros(4, 4), Identity((4, 4)), noise=GaussianNoise(0.1), simulated=True))
    with pytest.raises(ConfigError, match="Gaussian noise"):
        prior.posterior(Measurement(torch.zeros(3, 3), Identity((3, 3)), noise=PoissonNoise(1e4), simulated=True))
    with pytest.raises(ConfigError, match="Gaussian"):
        StationaryGaussianPrior.matern(torch.zeros(3, 3), 1.0, 1.0).posterior(
            Measurement(torch.zeros(3, 3), Identity((3, 3)), noise=PoissonNoise(1e4), simulated=True)
        )
