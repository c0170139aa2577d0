"""Iterative solves against direct ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.physics.fourier import UndersampledFourier
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise, PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import conjugate_gradients, least_squares, proximal_step
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

IMAGE = ImageGrid2D((8, 8), 1.5)
GEOMETRY = ParallelBeam.sparse(7, IMAGE)
A = Projector(GEOMETRY, IMAGE, dtype=torch.float64)
N = 64


def dense() -> torch.Tensor:
    """A as a (n_rays, 64) matrix, column by column."""
    return A(torch.eye(N, dtype=torch.float64).reshape(N, 8, 8)).reshape(N, -1).T


@given(n=st.integers(1, 12), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_conjugate_gradients_end_in_n_iterations(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    M = root @ root.T + torch.eye(n, dtype=torch.float64)
    b = torch.randn(3, n, generator=generator, dtype=torch.float64)
    x = conjugate_gradients(lambda v: v @ M, b, 3 * n + 3)
    torch.testing.assert_close(x @ M, b, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(conjugate_gradients(lambda v: v @ M, b, 0, x0=x), x)


def test_samples_do_not_disturb_one_another() -> None:
    scale = torch.tensor([1.0, 1e3, 1e-3])[:, None] * torch.linspace(1, 5, 6)
    b = torch.randn(3, 6)
    b[1] = 0  # converged before it starts: 0/0 unless guarded
    x = conjugate_gradients(lambda v: scale * v, b, 30)
    torch.testing.assert_close(x, b / scale, rtol=1e-4, atol=1e-6)
    assert torch.isfinite(x).all()


def test_tolerance_stops_early() -> None:
    calls = []
    diagonal = torch.linspace(1, 2, 50)

    def apply(v: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return diagonal * v

    b = torch.randn(2, 50)
    x = conjugate_gradients(apply, b, 100, relative_tolerance=1e-3)
    assert len(calls) < 12
    assert float((diagonal * x - b).norm() / b.norm()) < 1e-3


@pytest.mark.parametrize("r2", [0.04, torch.tensor([0.01, 0.5], dtype=torch.float64)], ids=["one", "per sample"])
@pytest.mark.parametrize(
    "noise", [GaussianNoise(0.7), PoissonNoise(1e4, slope=0.01, baseline=1.0)], ids=["gaussian", "photons"]
)
def test_proximal_step_is_the_minimum(noise: GaussianNoise | PoissonNoise, r2: float | torch.Tensor) -> None:
    x_hat, truth = torch.rand(2, 1, 8, 8, dtype=torch.float64), torch.rand(8, 8, dtype=torch.float64)
    measurement = Measurement(noise.sample(A(truth), torch.Generator().manual_seed(3)), A, noise=noise, simulated=True)
    found = proximal_step(measurement, x_hat, r2, n_iterations=200)
    M, y = dense(), measurement.y.reshape(-1)
    W = torch.diag(measurement.weights.expand_as(measurement.y).reshape(-1))
    for i in range(2):
        variance = r2 if isinstance(r2, float) else float(r2[i])
        normal = torch.eye(N, dtype=torch.float64) / variance + M.T @ W @ M
        direct = torch.linalg.solve(normal, x_hat[i].reshape(-1) / variance + M.T @ W @ y)
        torch.testing.assert_close(found[i].reshape(-1), direct, rtol=1e-6, atol=1e-6)


def test_proximal_step_limits() -> None:
    x_hat = torch.rand(3, 8, 8, dtype=torch.float64)
    measurement = Measurement(A(torch.rand(8, 8, dtype=torch.float64)), A, noise=GaussianNoise(1.0), simulated=True)
    torch.testing.assert_close(proximal_step(measurement, x_hat, 1e-12), x_hat)  # a certain prior does not move
    pulled = proximal_step(measurement, x_hat, 1e6, 300)  # an ignorant one is overruled
    assert float(measurement.residual(pulled).norm()) < 1e-3 * float(measurement.residual(x_hat).norm())
    with pytest.raises(ConfigError):
        proximal_step(measurement, x_hat, 0.0)


def test_least_squares_is_tikhonov() -> None:
    measurement = Measurement(A(torch.rand(2, 8, 8, dtype=torch.float64)), A, noise=GaussianNoise(0.5), simulated=True)
    found = least_squares(measurement, 300, damping=2.0)
    M = dense()
    direct = torch.linalg.solve(
        4.0 * M.T @ M + 2.0 * torch.eye(N, dtype=torch.float64), 4.0 * M.T @ measurement.y.reshape(2, -1).T
    ).T
    torch.testing.assert_close(found.reshape(2, -1), direct, rtol=1e-7, atol=1e-7)
    misfit = [float(measurement.residual(least_squares(measurement, n)).norm()) for n in (0, 2, 8, 30)]
    assert misfit == sorted(misfit, reverse=True)
    with pytest.raises(ConfigError):
        least_squares(measurement, 5, damping=-1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_least_squares_stays_where_it_has_converged(dtype: torch.dtype) -> None:
    """Two singular values and a null space: solved in two steps, and twenty more must not leave it."""
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, 6:10] = True
    A = UndersampledFourier(mask)
    image = torch.rand(16, 16, generator=torch.Generator().manual_seed(0), dtype=dtype)
    measurement = Measurement(A(image), A, noise=GaussianNoise(0.02), simulated=True)
    few, many = (least_squares(measurement, n) for n in (3, 24))
    assert torch.allclose(few, many, atol=1e-5)
    assert float(many.abs().max()) < 2
