"""From a prior, a geometry and an image to posterior samples and a KL map, in a few lines and right."""

from __future__ import annotations

import math

import pytest
import torch
from sampling_laws import PRIOR_STD, isotropic

from KLIPCore.errors import ConfigError
from KLIPCore.kl.estimate import estimate_kl, kl_map
from KLIPCore.kl.gaussian import GaussianKL
from KLIPCore.kl.path import path_kl
from KLIPCore.kl.quadrature import gauss_legendre_nodes
from KLIPCore.lab.benchmarks import inpainting, tomography
from KLIPCore.physics.measurement import Measurement, simulate
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.prior import denoiser
from KLIPCore.sampling.guidance import METHODS, posterior_denoiser, proximal_guidance
from KLIPCore.sampling.posterior import sample_posterior
from KLIPCore.sampling.schedule import geometric
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

LEVELS = geometric(5.0, 0.01, 200).tolist()


def test_from_a_prior_a_geometry_and_an_image_to_samples_and_a_map() -> None:
    prior, image = tomography(size=16, n_views=6).prior, torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    grid = ImageGrid2D((16, 16), 1.5)
    scan = ParallelBeam.sparse(12, grid)
    A, A_fine = Projector(scan, grid), Projector(scan, grid.refined(2))
    measurement = simulate(image, A_fine, A, GaussianNoise(0.1), torch.Generator().manual_seed(1))
    samples = sample_posterior(prior, measurement, n_samples=4)
    nats = kl_map(samples, prior, measurement)
    assert samples.shape == (4, 16, 16)
    assert nats.shape == (16, 16)
    coarse = torch.nn.functional.avg_pool2d(image[None], 2)[0]
    assert float((samples.mean(0) - coarse).norm()) < float((0.5 - coarse).norm()), "the data were used"
    assert float(nats.min()) >= 0
    assert float(nats.sum()) > 10


def test_samples_are_those_of_the_posterior() -> None:
    b = isotropic()
    samples = sample_posterior(b.prior, b.measurement, n_samples=3000, sigmas=LEVELS, prior_std=PRIOR_STD).flatten(1)
    variance = b.posterior.covariance.diagonal()
    error = (samples.mean(0) - b.posterior.mean.flatten()).abs() / (variance / 3000).sqrt()
    assert float(error.max()) < 4.5
    ratio = samples.var(0) / variance  # ancestral steps leave a few per cent of the spread out
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.06)
    assert float((ratio - 1).abs().max()) < 0.13


def test_the_seed_decides_and_transitions_are_the_chain() -> None:
    b = inpainting(size=5, unseen_rows=1)
    samples, steps = sample_posterior(b.prior, b.measurement, n_samples=3, seed=7, return_transitions=True)
    assert len(steps) == 10
    assert (steps[0].sigma_from, steps[-1].sigma_to) == pytest.approx((0.4, 0.01))
    assert torch.equal(steps[-1].denoised, samples)
    assert torch.equal(samples, sample_posterior(b.prior, b.measurement, n_samples=3, seed=7))
    assert not torch.equal(samples, sample_posterior(b.prior, b.measurement, n_samples=3, seed=8))
    assert path_kl(steps).nats > 0


@pytest.mark.parametrize("name", METHODS)
def test_any_guidance_by_name(name: str) -> None:
    b = tomography(size=8, n_views=4)
    samples = sample_posterior(
        b.prior, b.measurement, n_samples=16, guidance=name, sigmas=geometric(0.4, 0.01, 40).tolist(), prior_std=0.2
    )
    assert float((samples.mean(0) - b.posterior.mean[0]).norm()) < 0.2 * float(
        (b.prior.mean[0] - b.posterior.mean[0]).norm()
    )
    assert not samples.requires_grad


def test_a_guidance_made_already_is_used() -> None:
    b = inpainting(size=5, unseen_rows=1)
    own = proximal_guidance(denoiser(b.prior), b.measurement, 0.2, 8)
    by_name = sample_posterior(b.prior, b.measurement, n_samples=2, prior_std=0.2)
    assert torch.equal(sample_posterior(b.prior, b.measurement, n_samples=2, guidance=own), by_name)


def test_the_map_adds_up_to_the_closed_form() -> None:
    b = isotropic(size=6)
    nodes = gauss_legendre_nodes(10, 0.02, 2.0)
    samples = b.posterior.sample(200, torch.Generator().manual_seed(0))[:, 0]
    guide = proximal_guidance(denoiser(b.prior), b.measurement, PRIOR_STD, 30)
    truth = GaussianKL(b.posterior, b.prior)
    maps = {
        part: kl_map(samples, b.prior, b.measurement, nodes=nodes, part=part, guidance=guide)
        for part in ("energy", "mean", "variance")
    }  # type: ignore[arg-type]
    assert float(maps["energy"].sum()) == pytest.approx(truth.window(0.02, 2.0), rel=0.02)
    assert float(maps["mean"].sum()) == pytest.approx(truth.window(0.02, 2.0, "mean"), rel=0.05)
    torch.testing.assert_close(maps["energy"], maps["mean"] + maps["variance"])
    seen = (torch.arange(36) % 2 == 0).reshape(6, 6)
    assert float(maps["energy"][~seen].abs().max()) < 1e-12
    assert float(maps["energy"][seen].min()) > 0.5
    blocks = kl_map(samples, b.prior, b.measurement, nodes=nodes, guidance=guide, block_px=4)
    assert blocks.shape == (2, 2)
    assert float(blocks[0, 0]) == pytest.approx(float(maps["energy"][:4, :4].sum()), rel=1e-5)
    assert float(blocks.sum()) == pytest.approx(float(maps["energy"].sum()), rel=1e-5)


def test_the_map_is_the_estimators_own() -> None:
    b = tomography(size=8, n_views=4)
    samples = b.posterior.sample(4, torch.Generator().manual_seed(0))[:, 0]
    guide = proximal_guidance(denoiser(b.prior), b.measurement, 0.2, 20)
    nodes = gauss_legendre_nodes(5, 0.05, 1.0)
    made = estimate_kl(samples, denoiser(b.prior), posterior_denoiser(guide), nodes, torch.Generator().manual_seed(3))
    nats = kl_map(samples, b.prior, b.measurement, nodes=nodes, guidance=guide, seed=3)
    torch.testing.assert_close(nats, made.map, rtol=1e-10, atol=1e-12)
    assert made.n_evaluations == 4 * 2 * 5


def test_refusals() -> None:
    b = inpainting(size=5, unseen_rows=1)
    m = b.measurement
    twice = Measurement(m.y.expand(2, *m.y.shape), m.A, noise=m.noise, simulated=True)
    samples = b.posterior.sample(2, torch.Generator().manual_seed(0))[:, 0]
    for call in (
        lambda: sample_posterior(b.prior, m, n_samples=0),
        lambda: sample_posterior(b.prior, twice),
        lambda: sample_posterior(b.prior, m, sigmas=[0.1, 0.2]),
        lambda: sample_posterior(b.prior, m, guidance="magic"),
        lambda: kl_map(samples[:1], b.prior, m),
        lambda: kl_map(samples, b.prior, m, part="odd"),  # type: ignore[arg-type]
        lambda: kl_map(samples, b.prior, m, block_px=0.5),
        lambda: kl_map(samples, b.prior, m, guidance="magic"),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        assert caught.value.remedy
    assert math.isfinite(float(kl_map(samples, b.prior, m).sum()))
