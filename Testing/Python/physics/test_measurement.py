"""Noise against its own statistics, doses against attenuation, and measurements against misuse."""

from __future__ import annotations

import math

import pytest
import torch

from KLIPCore.errors import ConfigError
from KLIPCore.physics.dose import WindowedCT
from KLIPCore.physics.measurement import Measurement, simulate
from KLIPCore.physics.noise import GaussianNoise, PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam
from KLIPCore.volume.units import MU_WATER_PER_MM, Window, hu_to_mu

IMAGE = ImageGrid2D((16, 16), 2.0)
GEOMETRY = ParallelBeam.sparse(6, IMAGE)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "noise",
    [
        GaussianNoise(0.3),
        PoissonNoise(1e4),
        PoissonNoise(2e4, slope=0.0077, baseline=2.5),
        PoissonNoise(3e3, electronic_std=20.0),
    ],
)
@pytest.mark.parametrize("level", [0.0, 1.5])
def test_weights_are_the_inverse_of_the_variance_drawn(noise: GaussianNoise | PoissonNoise, level: float) -> None:
    clean = torch.full((40_000,), level, dtype=torch.float64)
    y = noise.sample(clean, generator())
    predicted = 1.0 / noise.inverse_variance(clean).expand_as(clean)[0]
    assert float(y.var()) == pytest.approx(float(predicted), rel=0.05)
    assert abs(float(y.mean()) - level) < 5 * math.sqrt(float(predicted) / len(clean)) + float(predicted)


def test_seeds_decide_the_noise() -> None:
    clean = torch.ones(50)
    for noise in (GaussianNoise(0.1), PoissonNoise(1e3, electronic_std=3.0)):
        assert torch.equal(noise.sample(clean, generator(1)), noise.sample(clean, generator(1)))
        assert not torch.equal(noise.sample(clean, generator(1)), noise.sample(clean, generator(2)))


def test_starved_rays_stay_finite_and_count_little() -> None:
    noise = PoissonNoise(1e3)
    y = noise.sample(torch.full((200,), 30.0), generator())
    assert torch.isfinite(y).all()
    assert float(y.max()) == pytest.approx(math.log(1e3), rel=1e-5)
    assert float(noise.inverse_variance(y).max()) < 1e-2 * float(noise.inverse_variance(torch.zeros(1)))


def test_windowed_intensity_is_attenuation() -> None:
    window = Window(-150.0, 250.0)
    hu = 100 * torch.rand(16, 16, dtype=torch.float64) - 50
    body = torch.zeros(16, 16, dtype=torch.bool)
    body[3:13, 2:14] = True
    A = Projector(GEOMETRY, IMAGE, dtype=torch.float64)
    x = torch.where(body, (hu - window.lo_hu) / window.width_hu, 0.0)
    mu = torch.where(body, torch.from_numpy(hu_to_mu(hu.numpy()).astype(float)), 0.0)
    ct = WindowedCT.of_body(window, A, body.double())
    torch.testing.assert_close(ct.line_integrals(A(x)), A(mu), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(ct.from_line_integrals(A(mu)), A(x), rtol=1e-6, atol=1e-5)
    assert ct.slope == pytest.approx(MU_WATER_PER_MM * 0.4)
    y = ct.noise(1e7).sample(A(x), generator())
    assert float((y - A(x)).abs().max()) < 1.0
    assert float((y - A(x)).abs().max()) > 0.0
    assert torch.equal(
        WindowedCT.of_body(window, Projector(GEOMETRY, IMAGE), body).baseline, ct.baseline.float()
    ) or torch.allclose(
        WindowedCT.of_body(window, Projector(GEOMETRY, IMAGE), body).baseline, ct.baseline.float(), rtol=1e-5
    )


def test_window_below_vacuum_has_no_baseline() -> None:
    ct = WindowedCT.of_body(Window(-1100.0, 100.0), Projector(GEOMETRY, IMAGE), torch.ones(16, 16))
    assert torch.count_nonzero(ct.baseline) == 0


def test_simulation_is_never_an_inverse_crime() -> None:
    fine = IMAGE.refined(2)
    A, A_fine = Projector(GEOMETRY, IMAGE), Projector(GEOMETRY, fine)
    truth = torch.rand(3, 32, 32)
    made = simulate(truth, A_fine, A, GaussianNoise(0.05), generator(), "test")
    assert made.simulated
    assert made.A is A
    assert made.y.shape == (3, *GEOMETRY.shape)
    assert float((made.y - A_fine(truth)).std()) == pytest.approx(0.05, rel=0.1)
    with pytest.raises(ConfigError, match="inverse crime"):
        simulate(torch.rand(16, 16), A, A, GaussianNoise(0.1), generator())
    with pytest.raises(ConfigError, match="other rays"):
        simulate(truth, Projector(GEOMETRY.views(slice(0, 3)), fine), A, GaussianNoise(0.1), generator())
    turned = ParallelBeam.sparse(6, IMAGE, start_deg=5)  # same number of views, other rays
    with pytest.raises(ConfigError, match="other rays"):
        simulate(truth, Projector(turned, fine), A, GaussianNoise(0.1), generator())


def test_log_likelihood_is_the_gaussian_density() -> None:
    A = Projector(GEOMETRY, IMAGE, dtype=torch.float64)
    x = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    y = A(x[0, 0]) + 0.2 * torch.randn(GEOMETRY.shape, dtype=torch.float64)
    measurement = Measurement(y, A, noise=GaussianNoise(0.2), simulated=True)
    expected = torch.distributions.Normal(A(x), 0.2).log_prob(y).sum((-1, -2))
    torch.testing.assert_close(measurement.log_likelihood(x), expected)
    assert measurement.log_likelihood(x).shape == (2, 1)
    torch.testing.assert_close(measurement.residual(x), y - A(x))
    assert measurement.to("cpu").weights == measurement.weights


def test_mismatched_batches_are_refused_not_broadcast() -> None:
    A = Projector(GEOMETRY, IMAGE)
    measurement = Measurement(torch.zeros(2, *GEOMETRY.shape), A, noise=GaussianNoise(1.0), simulated=True)
    assert measurement.residual(torch.zeros(2, 16, 16)).shape == (2, *GEOMETRY.shape)
    for shape in ((2, 1, 16, 16), (3, 16, 16), (16, 16)):
        with pytest.raises(ConfigError, match="leading shape"):
            measurement.residual(torch.zeros(shape))
    with pytest.raises(ConfigError, match="do not come from"):
        Measurement(torch.zeros(5, 5), A, noise=GaussianNoise(1.0), simulated=True)
    with pytest.raises(ConfigError, match="not finite"):
        Measurement(torch.full(GEOMETRY.shape, math.nan), A, noise=GaussianNoise(1.0), simulated=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianNoise(0.0),
        lambda: PoissonNoise(-1.0),
        lambda: PoissonNoise(1e4, slope=0.0),
        lambda: PoissonNoise(1e4, electronic_std=-1.0),
    ],
)
def test_impossible_noise_is_refused(make: object) -> None:
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]
