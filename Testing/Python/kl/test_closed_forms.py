"""The ground truth itself: closed forms of KL against definitions, integrals and each other."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.kl.bands import split_bands
from KLIPCore.kl.gaussian import GaussianKL, Part
from KLIPCore.kl.mixture import MixtureKL
from KLIPCore.kl.quadrature import gauss_legendre_nodes
from KLIPCore.lab.benchmarks import exponential_covariance, inpainting, lesion_or_not, measured, tomography
from KLIPCore.physics.mask import Identity
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.mixture import GaussianMixturePrior

PARTS: tuple[Part, ...] = ("energy", "mean", "variance")


@pytest.fixture(scope="module")
def problem() -> GaussianKL:
    b = inpainting(size=12, unseen_rows=3)
    return GaussianKL(b.posterior, b.prior)


def test_against_torch(problem: GaussianKL) -> None:
    """The textbook formula, by another implementation, with and without noise."""
    for sigma in (0.0, 0.1, 3.0):
        noise = sigma**2 * torch.eye(144, dtype=torch.float64)
        q, p = (
            torch.distributions.MultivariateNormal(g.mean.flatten(), covariance_matrix=g.covariance + noise)
            for g in (problem.posterior, problem.prior)
        )
        assert problem.nats(sigma) == pytest.approx(float(torch.distributions.kl_divergence(q, p)), rel=1e-9)
    assert problem.nats(math.inf) == 0.0
    assert problem.nats(1e4) < 1e-6


@pytest.mark.parametrize("part", PARTS)
def test_matrix_is_the_integral_of_outer_products(problem: GaussianKL, part: Part) -> None:
    """½ ∫ E[s_l s_lᵀ] dσ² by 60 Gauss–Legendre nodes on the integrand written out with inverses: 1e-11 of a nat."""
    lo, hi = 0.003, 2.0
    nodes = gauss_legendre_nodes(60, lo, hi)
    b = (problem.posterior.mean - problem.prior.mean).flatten()
    eye = torch.eye(144, dtype=torch.float64)
    total = torch.zeros_like(eye)
    for sigma, weight in zip(nodes.sigma, nodes.weight, strict=True):
        s = float(sigma) ** 2
        F, G = (
            torch.linalg.inv(problem.prior.covariance + s * eye),
            torch.linalg.inv(problem.posterior.covariance + s * eye),
        )
        mean = torch.outer(F @ b, F @ b)
        variance = (F - G) @ (problem.posterior.covariance + s * eye) @ (F - G)
        total += float(weight) * s * (mean * (part != "variance") + variance * (part != "mean"))
    assert float((total - problem.matrix(lo, hi, part)).abs().max()) < 1e-11


def test_restrictions_add_up(problem: GaussianKL) -> None:
    """Windows, pixels and parts: each a partition of the same nats."""
    whole = problem.nats()
    edges = [0.0, 0.02, 0.1, 0.7, math.inf]
    windows = [problem.window(lo, hi) for lo, hi in pairwise(edges)]
    assert sum(windows) == pytest.approx(whole, rel=1e-12)
    assert min(windows) > 0
    maps = [problem.pixels(lo, hi) for lo, hi in pairwise(edges)]
    for window, pixels in zip(windows, maps, strict=True):
        assert float(pixels.sum()) == pytest.approx(window, rel=1e-10)
        assert float(pixels.min()) > -1e-12
    torch.testing.assert_close(sum(maps, torch.zeros(1)), problem.pixels(), rtol=0, atol=1e-11)
    torch.testing.assert_close(
        problem.pixels(part="mean") + problem.pixels(part="variance"), problem.pixels(), rtol=0, atol=1e-12
    )


def test_an_unseen_uncoupled_block_holds_no_nats(problem: GaussianKL) -> None:
    for part in PARTS:
        pixels = problem.pixels(0.01, 1.0, part)[0]
        assert float(pixels[9:].abs().max()) < 1e-13
        assert float(pixels[:9].sum()) > 1.0


def test_nats_add_up_over_bands(problem: GaussianKL) -> None:
    """Σ_b tr(H_b K H_bᵀ) = tr K for the Parseval frame of kl/bands.py (whose masks are float32)."""
    K = problem.matrix(0.01, 1.0)
    values, vectors = torch.linalg.eigh(K)
    bands = split_bands(vectors.T.reshape(-1, 12, 12)).square().sum((-2, -1))
    assert float((values[:, None] * bands).sum()) == pytest.approx(float(values.sum()), rel=1e-6)


@given(seed=st.integers(0, 1000), scale=st.floats(0.0, 100.0))
@settings(max_examples=15, deadline=None)
def test_the_variance_part_does_not_know_the_data(seed: int, scale: float) -> None:
    """Other data, however surprising: the same variance part; the mean part grows with the square of the surprise."""
    b = tomography(size=6, n_views=3)
    prediction = b.measurement.A(b.prior.mean[0])
    generator = torch.Generator().manual_seed(seed)
    surprise = torch.randn(prediction.shape, generator=generator, dtype=torch.float64)

    def measured_with(factor: float) -> GaussianKL:
        return GaussianKL(
            b.prior.posterior(
                Measurement(prediction + factor * surprise, b.measurement.A, noise=b.measurement.noise, simulated=True)
            ),
            b.prior,
        )

    reference, other = measured_with(1.0), measured_with(scale)
    assert other.window(0.05, 1.0, "variance") == pytest.approx(reference.window(0.05, 1.0, "variance"), rel=1e-9)
    assert other.window(0.05, 1.0, "mean") == pytest.approx(
        scale**2 * reference.window(0.05, 1.0, "mean"), rel=1e-9, abs=1e-12
    )


def test_a_prior_diverges_from_itself_by_nothing() -> None:
    prior = inpainting(size=6, unseen_rows=2).prior
    same = GaussianKL(prior, prior)
    assert abs(same.nats()) < 1e-12
    assert float(same.pixels().abs().max()) < 1e-12


def test_mixture_in_one_dimension_is_its_definition() -> None:
    """∫ q ln(q/p) on a dense grid (the trapezoid rule converges spectrally here), at several σ."""
    prior = GaussianMixturePrior(
        torch.tensor([0.3, 0.7]), torch.tensor([-0.5, 0.4]).reshape(2, 1, 1, 1), torch.tensor([[0.04]])
    )
    A = Identity((1, 1))
    posterior = prior.posterior(
        measured(torch.tensor([[-0.1]], dtype=torch.float64), A, 0.5, torch.Generator().manual_seed(1))
    )
    assert 0.05 < float(posterior.weights[0]) < 0.95
    truth = MixtureKL(posterior, prior)
    for sigma in (0.0, 0.1, 1.0):
        x = torch.linspace(-12, 12, 40001, dtype=torch.float64).reshape(-1, 1, 1, 1)
        log_q, log_p = posterior.log_density(x, sigma), prior.log_density(x, sigma)
        definition = float((log_q.exp() * (log_q - log_p)).sum() * 24 / 40000)
        assert truth.nats(sigma) == pytest.approx(definition, rel=1e-9, abs=1e-12)
    assert truth.window(0.1, math.inf) == truth.nats(0.1)


def test_mixture_window_is_its_integrand_in_two_dimensions() -> None:
    """½ ∫ E‖D_post − D‖² dγ with the expectation on a grid of x and 40 nodes in σ: the identity the
    estimator rests on.
    """
    means = torch.tensor([[0.0, 0.0], [0.6, -0.3]], dtype=torch.float64).reshape(2, 1, 1, 2)
    prior = GaussianMixturePrior(torch.tensor([0.5, 0.5]), means, exponential_covariance(1, 2, 0.2, 2.0))
    posterior = prior.posterior(
        measured(
            torch.tensor([[0.3, 0.0]], dtype=torch.float64), Identity((1, 2)), 0.5, torch.Generator().manual_seed(3)
        )
    )
    lo, hi = 0.1, 0.8
    nodes = gauss_legendre_nodes(24, lo, hi)
    total = 0.0
    for sigma, weight in zip(nodes.sigma, nodes.weight, strict=True):
        half = 1.0 + 7 * float(sigma)
        axis = torch.linspace(-half, half, 241, dtype=torch.float64)
        x = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 1, 1, 2)
        density = posterior.log_density(x, float(sigma)).exp() * float(axis[1] - axis[0]) ** 2
        push = (posterior.denoise(x, float(sigma)) - prior.denoise(x, float(sigma))).flatten(1).square().sum(1)
        total += float(weight) * float((density * push).sum()) / float(sigma) ** 2
    assert total == pytest.approx(MixtureKL(posterior, prior).window(lo, hi), rel=1e-8)


def test_equal_means_make_a_mixture_gaussian() -> None:
    b = tomography(size=6, n_views=3)
    mixture = GaussianMixturePrior(torch.tensor([0.2, 0.8]), b.prior.mean.expand(2, -1, -1, -1), b.prior.covariance)
    both = MixtureKL(mixture.posterior(b.measurement), mixture)
    exact = GaussianKL(b.posterior, b.prior)
    for sigma in (0.0, 0.1):
        assert both.nats(sigma) == pytest.approx(exact.nats(sigma), rel=1e-9)


def test_refusals() -> None:
    gaussian, mixture = inpainting(6, 2), lesion_or_not(6)
    with pytest.raises(ConfigError, match="different shapes"):
        GaussianKL(gaussian.posterior, inpainting(8, 2).prior)
    three = GaussianMixturePrior(torch.ones(3), torch.zeros(3, 1, 6, 6), mixture.prior.covariance)
    with pytest.raises(ConfigError, match="two components"):
        MixtureKL(mixture.posterior, three)


def test_spectral_convergence_of_the_quadrature() -> None:
    """The integrand is analytic in ln σ, so the error of Gauss–Legendre falls geometrically: over a decade
    for every five nodes.
    """
    b = inpainting(size=8, unseen_rows=2)
    truth = GaussianKL(b.posterior, b.prior)
    lo, hi = 0.002, 10.0

    def density(sigma: float) -> float:
        """Nats per unit of ln σ: −dKL/d ln σ = σ² E‖s_l‖², written out."""
        p, q, s = b.prior, b.posterior, sigma**2
        shift = (q.mean - p.mean).flatten() @ p.basis
        variances = ((q.covariance @ p.basis) * p.basis).sum(0) + s
        F = 1 / (p.variances + s)
        return s * float(
            (shift.square() * F**2).sum() + (F**2 * variances - 2 * F).sum() + (1 / (q.variances + s)).sum()
        )

    errors = []
    for n in (5, 10, 15, 20, 25):
        nodes = gauss_legendre_nodes(n, lo, hi)
        errors.append(
            abs(
                sum(w * density(float(s)) for s, w in zip(nodes.sigma, nodes.weight, strict=True))
                / truth.window(lo, hi)
                - 1
            )
        )
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    assert errors[1] < 0.02
    assert errors[3] < 1e-4
    assert float(np.exp(np.log(ratios).mean())) > 10
