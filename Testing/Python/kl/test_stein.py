"""The control variates: of mean zero, and worth their price."""

from __future__ import annotations

import math

import pytest
import torch

from KLIPCore.kl.stein import SteinControl, lattices, posterior_mean
from KLIPCore.lab.benchmarks import GaussianBenchmark, MixtureBenchmark, lesion_or_not, tomography
from KLIPCore.priors.prior import denoiser

SMALL = {"gaussian": lambda: tomography(size=8, n_views=4), "mixture": lambda: lesion_or_not(size=8)}


def control(b: GaussianBenchmark | MixtureBenchmark, sigma: float) -> SteinControl:
    return SteinControl(denoiser(b.prior), denoiser(b.posterior), b.posterior.mean[0], sigma)


@pytest.mark.parametrize(("height", "width", "spacing"), [(8, 8, 1), (8, 6, 2), (7, 9, 3), (2, 5, 4)])
def test_lattices_tile_the_image(height: int, width: int, spacing: int) -> None:
    masks = lattices(height, width, spacing)
    assert len(masks) == min(spacing, height) * min(spacing, width)
    assert bool((torch.stack(masks).sum(0) == 1).all())
    for mask in masks:
        rows, columns = mask.nonzero().T
        assert bool(((rows - rows[0]) % spacing == 0).all())
        assert bool(((columns - columns[0]) % spacing == 0).all())


@pytest.mark.parametrize("name", SMALL)
def test_the_posterior_denoiser_knows_the_mean(name: str) -> None:
    b = SMALL[name]()
    samples = b.posterior.sample(3, torch.Generator().manual_seed(0))[:, 0]
    torch.testing.assert_close(
        posterior_mean(denoiser(b.posterior), samples, 10.0), b.posterior.mean[0], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("sigma", [0.02, 0.2, 1.5])
@pytest.mark.parametrize("name", SMALL)
def test_the_mean_is_zero(name: str, sigma: float) -> None:
    """Over 2000 states of the noised posterior, in total and on half the image, to its own standard error."""
    b, n = SMALL[name](), 2000
    generator = torch.Generator().manual_seed(1)
    samples = b.posterior.sample(n, generator)[:, 0]
    x = samples + sigma * torch.randn(samples.shape, generator=generator, dtype=torch.float64)
    c = control(b, sigma)
    zero = c.zero(x, denoiser(b.prior)(x, sigma), denoiser(b.posterior)(x, sigma), generator, 1, 2)
    for values in (zero, c.linear(samples)):
        for part in (values, values[:, :4]):
            totals = part.flatten(1).sum(1)
            assert abs(float(totals.mean())) < 4 * float(totals.std()) / math.sqrt(n)
            assert float(totals.std()) > 0


def test_where_the_data_decide_the_nats_no_longer_fluctuate() -> None:
    """At ten times the posterior's spread the field is the ideal one: less than a hundredth of the variance
    is left.
    """
    b = tomography(size=8, n_views=8, noise=0.02)
    sigma = 10 * float(b.posterior.covariance.diagonal().mean().sqrt())
    generator = torch.Generator().manual_seed(0)
    samples = b.posterior.sample(200, generator)[:, 0]
    x = samples + sigma * torch.randn(samples.shape, generator=generator, dtype=torch.float64)
    before, after = denoiser(b.prior)(x, sigma), denoiser(b.posterior)(x, sigma)
    energy = ((after - before) / sigma).square()
    zero = control(b, sigma).zero(x, before, after, generator, 1, 8)  # 64 lattices of one pixel: the exact divergence
    assert float((energy - zero).flatten(1).sum(1).var()) < 0.01 * float(energy.flatten(1).sum(1).var())


def test_probes_on_lattices_beat_as_many_everywhere() -> None:
    b, sigma = tomography(size=12, n_views=6), 0.1
    samples = b.posterior.sample(1, torch.Generator().manual_seed(0))[:, 0].expand(60, -1, -1)
    before, after = denoiser(b.prior)(samples, sigma), denoiser(b.posterior)(samples, sigma)

    def spread(n_probes: int, spacing: int) -> float:
        made = control(b, sigma).zero(samples, before, after, torch.Generator().manual_seed(2), n_probes, spacing)
        return float(made.flatten(1).sum(1).std())

    assert spread(1, 3) < 0.6 * spread(9, 1)
