"""The closed form of A D Aᵀ: exact where a turn carries the pixels onto themselves, near elsewhere, and
never the last word of a proximal step.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise, PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.rotation import RotationAverage
from KLIPCore.physics.solve import preconditioned_iterations, proximal_step
from KLIPCore.volume.geometry import FanBeam, ImageGrid2D, ParallelBeam


def scan(n_views: int, size: int, start_deg: float = 0.0) -> Projector:
    image = ImageGrid2D((size, size), 1.5)
    return Projector(
        ParallelBeam.sparse(n_views, image, start_deg=start_deg), image, dtype=torch.float64
    ).preconditioned()


def average(A: Projector) -> RotationAverage:
    assert isinstance(A.closed_form, RotationAverage)
    return A.closed_form


def in_disc(A: Projector, y: torch.Tensor) -> torch.Tensor:
    """A D Aᵀ y by the operators themselves."""
    return A(average(A).support * A.T(y))


def data(A: Projector, *lead: int) -> torch.Tensor:
    return torch.randn(*lead, *A.range_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("size", [15, 16], ids=["odd detector", "even detector"])
def test_exact_where_a_turn_is_exact(size: int) -> None:
    A = scan(2, size)  # two views at a right angle: the pixels turn onto themselves
    y = data(A, 3)
    torch.testing.assert_close(average(A)(y), in_disc(A, y), rtol=1e-10, atol=1e-8)


@given(n_views=st.integers(2, 13), size=st.integers(7, 18), c=st.floats(1e-3, 1e2), start=st.sampled_from([0.0, 7.0]))
@settings(max_examples=25, deadline=None)
def test_the_inverse_is_one(n_views: int, size: int, c: float, start: float) -> None:
    A = scan(n_views, size, start)
    y = data(A, 2)
    found = average(A).solve(y, c)
    torch.testing.assert_close(found + c * average(A)(found), y, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close((average(A)(y[0]) * y[1]).sum(), (average(A)(y[1]) * y[0]).sum(), rtol=1e-8, atol=1e-6)
    assert float((average(A)(y[0]) * y[0]).sum()) >= 0


def test_it_turns_with_the_scan() -> None:
    A = scan(9, 16)
    y = data(A)
    turned = torch.cat([y[-1:].flip(1), y[:-1]])  # by one view; half a turn on, the detector runs backwards
    of_turned = average(A)(turned)
    expected = average(A)(y)
    torch.testing.assert_close(of_turned, torch.cat([expected[-1:].flip(1), expected[:-1]]), rtol=1e-9, atol=1e-8)


def test_near_what_the_scan_does_to_what_a_scan_can_see() -> None:
    A = scan(60, 64)
    axis = torch.linspace(-1, 1, 64, dtype=torch.float64)
    blob = torch.exp(-((axis[:, None] - 0.2) ** 2 + (axis + 0.1) ** 2) / 0.02)
    y = A(blob)
    assert float((average(A)(y) - in_disc(A, y)).norm() / in_disc(A, y).norm()) < 0.02


def test_each_sample_has_its_own_weight() -> None:
    A = scan(5, 12)
    y, c = data(A, 2, 3), torch.tensor([0.3, 4.0], dtype=torch.float64)
    together = average(A).solve(y, c[:, None, None, None])
    for i in range(2):
        torch.testing.assert_close(together[i], average(A).solve(y[i], float(c[i])))


def test_scans_without_such_a_form() -> None:
    square, oblong = ImageGrid2D((16, 16), 1.5), ImageGrid2D((12, 16), 1.5)
    geometry = ParallelBeam.sparse(10, square)
    for other in (
        ParallelBeam.sparse(10, square, arc_deg=120),
        replace(geometry, offset_mm=0.4),
        FanBeam.sparse(10, square),
        geometry.views([0, 1, 3, 7]),
    ):
        assert Projector(other, square).preconditioned().closed_form is None
    assert Projector(ParallelBeam.sparse(10, oblong), oblong).preconditioned().closed_form is None
    assert Projector(geometry, square, memory_limit_bytes=0).preconditioned().closed_form is None
    assert Projector(geometry, square).closed_form is None  # unless asked for


def test_it_moves_with_the_projector() -> None:
    A = scan(6, 12).to("meta")
    assert average(A).eigenvectors.device.type == "meta"


@pytest.mark.parametrize("r2", [0.04, torch.tensor([0.01, 0.5], dtype=torch.float64)], ids=["one", "per sample"])
@pytest.mark.parametrize("n_views", [6, 7])
def test_a_proximal_step_is_the_minimum_in_the_disc(n_views: int, r2: float | torch.Tensor) -> None:
    A = scan(n_views, 8)
    x_hat, truth = torch.rand(2, 3, 8, 8, dtype=torch.float64), torch.rand(3, 8, 8, dtype=torch.float64)
    noise = GaussianNoise(0.7)
    measurement = Measurement(noise.sample(A(truth), torch.Generator().manual_seed(3)), A, noise=noise, simulated=True)
    found = proximal_step(measurement, x_hat, r2, n_iterations=100)
    M = A(torch.eye(64, dtype=torch.float64).reshape(64, 8, 8)).reshape(64, -1).T
    d = average(A).support.flatten()
    for i in range(2):
        variance = (r2 if isinstance(r2, float) else float(r2[i])) * d
        for s in range(3):
            gram = noise.sigma**2 * torch.eye(len(M), dtype=torch.float64) + (M * variance) @ M.T
            direct = x_hat[i, s].flatten() + variance * (
                M.T @ torch.linalg.solve(gram, measurement.y[s].flatten() - M @ x_hat[i, s].flatten())
            )
            torch.testing.assert_close(found[i, s].flatten(), direct, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("n_views", "r"), [(60, 0.03), (60, 0.11), (24, 0.11)])
def test_nearer_the_minimum_in_a_quarter_of_the_iterations(n_views: int, r: float) -> None:
    A = scan(n_views, 64)
    generator = torch.Generator().manual_seed(1)
    noise = GaussianNoise(0.002 * 0.5 * 0.875 * 64 * 1.5)
    truth = average(A).support * torch.nn.functional.avg_pool2d(
        torch.randn(1, 64, 64, generator=generator, dtype=torch.float64), 5, 1, 2
    )
    measurement = Measurement(noise.sample(A(truth), generator), A, noise=noise, simulated=True)
    x_hat = truth + 0.05 * average(A).support * torch.randn(1, 64, 64, generator=generator, dtype=torch.float64)
    exact = proximal_step(measurement, x_hat, r**2, 100)
    plain = replace(measurement, A=Projector(A.geometry, A.image, dtype=torch.float64))
    whole = proximal_step(plain, x_hat, r**2, 500)

    def error(x: torch.Tensor, minimum: torch.Tensor) -> float:
        return float((average(A).support * (x - minimum)).norm() / (minimum - x_hat).norm())

    assert preconditioned_iterations(measurement, 8) == 2
    assert preconditioned_iterations(plain, 8) == 8
    assert error(proximal_step(measurement, x_hat, r**2, 2), exact) < error(
        proximal_step(plain, x_hat, r**2, 8), whole
    )


class Counting:
    """A closed form that counts how often it is solved with: once an iteration."""

    def __init__(self, inner: RotationAverage) -> None:
        self.inner, self.support, self.solved = inner, inner.support, 0

    def solve(self, y: torch.Tensor, c: torch.Tensor | float) -> torch.Tensor:
        self.solved += 1
        return self.inner.solve(y, c)


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_as_many_iterations_as_asked_for(n: int) -> None:
    A = scan(12, 16)
    A.closed_form = counted = Counting(average(A))
    y = A(torch.rand(16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    proximal_step(
        Measurement(y, A, noise=GaussianNoise(1.0), simulated=True),
        torch.zeros(2, 16, 16, dtype=torch.float64),
        0.05,
        n,
    )
    assert counted.solved == n


def test_no_iteration_changes_nothing_and_fewer_are_refused() -> None:
    x = torch.rand(2, 16, 16, dtype=torch.float64)
    for A in (scan(12, 16), Projector(scan(12, 16).geometry, scan(12, 16).image, dtype=torch.float64)):
        measurement = Measurement(
            A(torch.ones(16, 16, dtype=torch.float64)), A, noise=GaussianNoise(1.0), simulated=True
        )
        assert torch.equal(proximal_step(measurement, x, 0.05, 0), x)
        with pytest.raises(ConfigError, match="cannot be done"):
            proximal_step(measurement, x, 0.05, -1)


def test_data_that_agree_need_no_correction() -> None:
    A = scan(12, 16)
    x = torch.rand(2, 16, 16, dtype=torch.float64)
    measurement = Measurement(A(x), A, noise=GaussianNoise(1.0), simulated=True)
    torch.testing.assert_close(proximal_step(measurement, x, 0.1), x)
    assert torch.equal(proximal_step(measurement, x, 1e-12), x)


def test_weights_of_their_own_are_solved_without_it() -> None:
    A = scan(12, 16)
    plain = Projector(A.geometry, A.image, dtype=torch.float64)
    noise = PoissonNoise(1e4, slope=0.01, baseline=1.0)
    x = torch.rand(2, 16, 16, dtype=torch.float64)
    y = noise.sample(A(x[0]), torch.Generator().manual_seed(0))
    with_it, without = (
        proximal_step(Measurement(y, operator, noise=noise, simulated=True), x, 0.05) for operator in (A, plain)
    )
    assert torch.equal(with_it, without)
