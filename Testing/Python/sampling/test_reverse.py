"""One sampler at a time: what each one claims beyond the common laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sampling_laws import SAMPLERS, Sampler, exact_run, isotropic, levels, path_truth
from torch import Tensor

from KLIPCore.errors import ConfigError, DeterministicStepError, TraceError
from KLIPCore.kl.path import path_kl, richardson
from KLIPCore.lab.benchmarks import inpainting, tomography
from KLIPCore.priors.gaussian import GaussianPrior, likelihood_score
from KLIPCore.priors.prior import denoiser
from KLIPCore.sampling.ddpm import ddpm_sigmas, ddpm_transitions, denoiser_from_epsilon, linear_alpha_bar, sigma_of
from KLIPCore.sampling.dps_langevin import dps_langevin_transitions
from KLIPCore.sampling.edm_stochastic import Churn, edm_stochastic_transitions
from KLIPCore.sampling.guidance import (
    dps_guidance,
    exact_guidance,
    pigdm_guidance,
    posterior_denoiser,
    projection_guidance,
    proximal_guidance,
    reconstruction_denoiser,
)
from KLIPCore.sampling.reverse import reverse_transitions, seeded_noise, step_variance
from KLIPCore.sampling.ve_projection import ve_projection_transitions


def white(b: object, n: int = 3, seed: int = 0) -> tuple[Tensor, object]:
    shape = (n, *b.prior.shape[1:])  # type: ignore[attr-defined]
    noise = seeded_noise(shape, torch.Generator().manual_seed(seed), torch.float64)
    return 2 * noise(), noise


def test_step_variance_is_exact_for_a_gaussian() -> None:
    """v against the conditional covariance of (x_{σ₊}, x_σ), for pixels of spread σ_d, and its two limits."""
    for sigma, sigma_next, std in ((1.0, 0.7, 0.2), (0.05, 0.03, 0.2), (3.0, 0.5, 1.0)):
        c = std**2
        joint = np.array(
            [[c + sigma_next**2, c + sigma_next**2], [c + sigma_next**2, c + sigma**2]]
        )  # x_σ = x_{σ₊} + independent noise
        conditional = joint[0, 0] - joint[0, 1] ** 2 / joint[1, 1]
        assert step_variance(sigma, sigma_next, std) == pytest.approx(conditional, rel=1e-12)
        assert step_variance(sigma, sigma_next, math.inf) == sigma**2 - sigma_next**2
        assert step_variance(sigma, sigma_next, 0.0) == pytest.approx(
            sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2
        )


def test_matched_variance_makes_the_unguided_chain_exact() -> None:
    """Without data, from the noised prior N(μ, σ_d² + σ²), even three steps give the noised prior again."""
    b = isotropic(size=3)
    run = Sampler(
        lambda d, m, s, x, z, g: reverse_transitions(
            exact_guidance(d, lambda x, sigma: torch.zeros_like(x)), s, x, z, data_std=0.2
        )
    )
    prior_only = type(b)(b.prior, b.measurement, b.prior)
    steps = exact_run(prior_only, run, [2.0, 0.5, 0.1, 0.02])
    states = steps[-1].x_next.flatten(1)
    torch.testing.assert_close(
        torch.cov(states.T, correction=0), (0.04 + 0.0004) * torch.eye(9, dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert path_kl(steps).nats == 0


def test_richardson_removes_the_first_order() -> None:
    """20 and 40 steps together are truer than 160 alone, and the remainder falls at second order."""
    b, sampler = inpainting(size=5, unseen_rows=1), SAMPLERS["ancestral"]
    paths = {n: path_kl(exact_run(b, sampler, levels(n))) for n in (10, 20, 40, 160)}
    truth = path_truth(b, exact_run(b, sampler, levels(2)))
    together, finer = richardson(paths[20], paths[40])[0] / truth - 1, paths[160].nats / truth - 1
    coarse = richardson(paths[10], paths[20])[0] / truth - 1
    assert abs(together) < abs(finer)
    assert math.log2(coarse / together) == pytest.approx(2.0, abs=0.6)


def vp_chain(
    prior: GaussianPrior,
    score: object,
    times: list[int],
    alpha_bar: np.ndarray,
    start: Tensor,
    z: list[Tensor],
    large: bool,
) -> tuple[Tensor, float]:
    """DDPM exactly as in Ho et al. 2020 (equations 6, 7, 11) in variance-preserving coordinates, guidance as
    ε ← ε − √(1−ᾱ) ∇log p(y|x).
    """
    x, nats = start * math.sqrt(alpha_bar[times[0]]), 0.0
    for t, t_next, noise in zip(times[:-1], times[1:], z, strict=True):
        a, a_next = alpha_bar[t], alpha_bar[t_next]
        alpha = a / a_next
        beta = 1 - alpha
        sigma = math.sqrt((1 - a) / a)
        clean = denoiser(prior)(x / math.sqrt(a), sigma)
        epsilon = (x - math.sqrt(a) * clean) / math.sqrt(1 - a)
        guidance = score(x / math.sqrt(a), sigma) / math.sqrt(a)  # type: ignore[operator]
        mean = (x - beta / math.sqrt(1 - a) * epsilon) / math.sqrt(alpha)
        guided = (x - beta / math.sqrt(1 - a) * (epsilon - math.sqrt(1 - a) * guidance)) / math.sqrt(alpha)
        variance = beta if large else beta * (1 - a_next) / (1 - a)
        nats += float((guided - mean).square().flatten(1).sum(1).mean()) / (2 * variance)
        x = guided + math.sqrt(variance) * noise
    return x / math.sqrt(alpha_bar[times[-1]]), nats


@pytest.mark.parametrize("large", [False, True])
def test_ddpm_is_the_variance_preserving_chain(large: bool) -> None:
    """State by state and nat by nat against DDPM in its own coordinates and with its own equations."""
    b = tomography(size=6, n_views=3)
    alpha_bar = linear_alpha_bar()
    sigmas = ddpm_sigmas(25)
    times = [int(np.abs(sigma_of(alpha_bar) - s).argmin()) for s in sigmas]
    assert times[0] == 999
    assert times[-1] == 0
    start, _ = white(b)
    z = [torch.randn(start.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(25)]
    score = likelihood_score(b.prior, b.posterior)
    expected, nats = vp_chain(b.prior, score, times, alpha_bar, start, z, large)
    draws = iter(z)
    steps = ddpm_transitions(
        denoiser(b.prior),
        b.measurement,
        list(sigmas),
        start,
        lambda: next(draws),
        variance="large" if large else "small",
        guidance=exact_guidance(denoiser(b.prior), score),
    )
    path = path_kl(steps)
    torch.testing.assert_close(path.final, expected, rtol=1e-9, atol=1e-10)
    assert path.nats == pytest.approx(nats, rel=1e-9)


def test_a_noise_predicting_network_is_a_denoiser() -> None:
    prior, alpha_bar = tomography(size=6, n_views=3).prior, linear_alpha_bar()

    def predict(x: Tensor, t: int) -> Tensor:
        a = alpha_bar[t]
        clean = denoiser(prior)(x / math.sqrt(a), math.sqrt((1 - a) / a))
        return (x - math.sqrt(a) * clean) / math.sqrt(1 - a)

    x, _ = white(tomography(size=6, n_views=3))
    for t in (0, 300, 999):
        sigma = float(sigma_of(alpha_bar)[t])
        torch.testing.assert_close(
            denoiser_from_epsilon(predict, alpha_bar)(x, sigma), denoiser(prior)(x, sigma), rtol=1e-9, atol=1e-9
        )


def test_proximal_and_pigdm_guidance_are_exact_on_independent_pixels() -> None:
    b = isotropic(size=6)
    x, _ = white(b)
    for sigma in (0.05, 0.3, 2.0):
        exact = likelihood_score(b.prior, b.posterior)(x, sigma)
        for method in (proximal_guidance, pigdm_guidance):
            guided = method(denoiser(b.prior), b.measurement, 0.2, 40)(x, sigma)
            torch.testing.assert_close(guided.score, exact, rtol=1e-9, atol=1e-9)
        after = posterior_denoiser(proximal_guidance(denoiser(b.prior), b.measurement, 0.2, 40))(x, sigma)
        torch.testing.assert_close(after, denoiser(b.posterior)(x, sigma), rtol=1e-9, atol=1e-9)


def test_projection_is_exact_for_a_flat_prior() -> None:
    """With a prior far wider than the noise the state alone decides, and nothing is gained by denoising it."""
    b = tomography(size=6, n_views=3)
    flat = GaussianPrior(torch.full((1, 6, 6), 0.5), 1e8 * torch.eye(36, dtype=torch.float64))
    x, _ = white(b)
    exact = likelihood_score(flat, flat.posterior(b.measurement))(x, 0.3)
    score = projection_guidance(denoiser(flat), b.measurement, 60)(x, 0.3).score
    assert float((score - exact).norm() / exact.norm()) < 1e-5


def test_where_pigdm_helps_and_where_it_overshoots() -> None:
    """On a correlated prior the Jacobian halves the score's error at low σ; far above σ_d it is worse than
    no guidance at all.
    """
    b = tomography(size=8, n_views=4)

    def error(method: object, sigma: float) -> float:
        generator = torch.Generator().manual_seed(0)
        x = (
            b.posterior.sample(20, generator)
            + sigma * torch.randn(20, 1, 8, 8, generator=generator, dtype=torch.float64)
        )[:, 0]
        exact = likelihood_score(b.prior, b.posterior)(x, sigma)
        return float((method(denoiser(b.prior), b.measurement, 0.2, 60)(x, sigma).score - exact).norm() / exact.norm())  # type: ignore[operator]

    for sigma in (0.03, 0.1):
        assert error(pigdm_guidance, sigma) < 0.6 * error(proximal_guidance, sigma)
    assert error(pigdm_guidance, 1.0) > 1 > error(proximal_guidance, 1.0)


def test_edm_stochastic_samples_at_second_order() -> None:
    """With Heun's correction the law's covariance errs by step², where the other samplers' errs by step."""
    b, sampler = inpainting(size=5, unseen_rows=1), SAMPLERS["edm stochastic"]
    errors = []
    for n_steps in (20, 40):
        steps = exact_run(b, sampler, levels(n_steps))
        expected = b.posterior.covariance.diagonal() + steps[-1].sigma_to ** 2
        errors.append(float((steps[-1].x_next.flatten(1).var(0, correction=0) / expected - 1).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("churn", [2.0, 4.6, 12.0])
def test_edm_weights_undo_the_churn(churn: float) -> None:
    """Raw path nats grow with a churn that is too small or large; weighted ones converge to the KL for any."""
    b = isotropic(size=4)
    sampler = Sampler(
        lambda d, m, s, x, z, g: edm_stochastic_transitions(d, m, s, x, z, churn=Churn(churn), guidance=g)
    )
    steps = exact_run(b, sampler, levels(160))
    path, truth = path_kl(steps), path_truth(b, steps)
    assert path.nats == pytest.approx(truth, rel=0.04)
    raised, fall = (
        (1 + churn / 160) ** 2,
        100 ** (2 / 160),
    )  # σ̂²/σ² and σ_i²/σ_{i+1}²: v ∝ raised − 1, Δ ∝ raised (fall − 1)
    ratio = (raised - 1) / (raised * (fall - 1))
    assert path.raw_nats / path.nats == pytest.approx((1 + ratio) ** 2 / (4 * ratio), rel=1e-9)


@pytest.mark.parametrize(("n_corrector", "snr"), [(0, 0.16), (1, 0.16), (3, 0.16), (2, 0.3)])
def test_revisited_levels_are_not_counted_twice(n_corrector: int, snr: float) -> None:
    b = inpainting(size=4, unseen_rows=1)
    sampler = Sampler(
        lambda d, m, s, x, z, g: ve_projection_transitions(
            d, m, s, x, z, n_corrector=n_corrector, corrector_snr=snr, guidance=g
        )
    )
    steps = exact_run(b, sampler, levels(60))
    path = path_kl(steps)
    assert len(steps) == 60 + 59 * n_corrector
    assert path.nats == pytest.approx(path_truth(b, steps), rel=0.05)
    if n_corrector:
        assert path.raw_nats > 1.1 * path.nats


def test_langevin_nats_do_not_depend_on_the_inner_steps() -> None:
    b = inpainting(size=4, unseen_rows=1)
    nats, raw = [], []
    for n_inner in (8, 16):
        sampler = Sampler(
            lambda d, m, s, x, z, g, n=n_inner: dps_langevin_transitions(
                d, m, s, x, z, n_inner=n, step=0.2, guidance=g
            )
        )
        path = path_kl(exact_run(b, sampler, levels(60)))
        nats.append(path.nats)
        raw.append(path.raw_nats)
    assert nats[1] == pytest.approx(nats[0], rel=0.05)
    assert raw[1] > 1.7 * raw[0]


def test_dps_is_the_gradient_of_the_profiled_likelihood() -> None:
    """s_l = −(M/2) ∇ log R by autograd through denoiser and operator, where φ < 1."""
    b = tomography(size=6, n_views=3)
    x, _ = white(b)
    leaf = x.clone().requires_grad_(True)
    residual = b.measurement.residual(denoiser(b.prior)(leaf, 0.5))
    misfit = (b.measurement.weights * residual.square()).flatten(1).sum(1)
    n_data = residual[0].numel()
    assert float(misfit.detach().min()) > n_data
    (expected,) = torch.autograd.grad(-0.5 * n_data * misfit.log().sum(), leaf)
    torch.testing.assert_close(dps_guidance(denoiser(b.prior), b.measurement)(x, 0.5).score, expected)
    near = b.posterior.mean + 0 * x  # where the data are fitted better than their noise, the noise sets the scale
    residual = b.measurement.residual(denoiser(b.prior)(near, 1e-6))
    assert float((b.measurement.weights * residual.square()).flatten(1).sum(1).max()) < n_data
    literal = b.measurement.A.T(b.measurement.weights * residual)
    torch.testing.assert_close(
        dps_guidance(denoiser(b.prior), b.measurement)(near, 1e-6).score, literal, rtol=1e-4, atol=1e-6
    )


def test_steps_without_noise_are_refused() -> None:
    b = inpainting(size=4, unseen_rows=1)
    start, noise = white(b)
    with pytest.raises(DeterministicStepError, match="adds no noise"):
        list(edm_stochastic_transitions(denoiser(b.prior), b.measurement, levels(5), start, noise, churn=Churn(0.0)))
    steps = edm_stochastic_transitions(
        denoiser(b.prior), b.measurement, levels(5), start, noise, churn=Churn(lowest=0.1, highest=1.0)
    )
    with pytest.raises(DeterministicStepError):
        list(steps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda *a: list(reverse_transitions(lambda x, s: None, [0.1, 0.2], a[2], a[3])), "levels that fall"),
        (lambda *a: list(reverse_transitions(lambda x, s: None, [0.2, 0.0], a[2], a[3])), "stay above 0"),
        (
            lambda *a: list(
                edm_stochastic_transitions(a[0], a[1], levels(100), a[2], a[3], churn=Churn(15.0, highest=0.1))
            ),
            "more noise than",
        ),
        (lambda *a: list(dps_langevin_transitions(a[0], a[1], levels(3), a[2], a[3], step=3.0)), "Langevin steps"),
        (lambda *a: list(ve_projection_transitions(a[0], a[1], levels(3), a[2], a[3], n_corrector=-1)), "corrector"),
        (lambda *a: ddpm_sigmas(1000), "has no 1000 steps"),
    ],
)
def test_refusals(call: object, message: str) -> None:
    b = inpainting(size=4, unseen_rows=1)
    start, noise = white(b)
    with pytest.raises(ConfigError, match=message):
        call(denoiser(b.prior), b.measurement, start, noise)  # type: ignore[operator]


def test_path_windows_and_an_empty_path() -> None:
    b = inpainting(size=4, unseen_rows=1)
    path = path_kl(exact_run(b, SAMPLERS["ve projection"], levels(30)))
    parts = [path.window(lo, hi) for lo, hi in ((0.01, 0.1), (0.1, 0.7), (0.7, 3.0))]
    assert sum(parts) == pytest.approx(path.nats, rel=1e-12)
    assert float(path.map.sum()) == pytest.approx(path.nats, rel=1e-12)
    with pytest.raises(TraceError, match="no step"):
        path_kl(iter(()))


def test_a_reconstruction_as_posterior_denoiser() -> None:
    x = torch.zeros(3, 2, 2)
    assert torch.equal(reconstruction_denoiser(torch.ones(2, 2))(x, 0.3), torch.ones(3, 2, 2))
