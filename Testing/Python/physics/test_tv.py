"""Total variation against solutions known on paper, and against least squares where it should win."""

from __future__ import annotations

import pytest
import torch

from KLIPCore.errors import ConfigError
from KLIPCore.physics.mask import Identity
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import least_squares
from KLIPCore.physics.tv import gradient, gradient_transpose, total_variation, tv_reconstruction
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam


def test_gradient_and_its_transpose_are_partners() -> None:
    x, g = torch.randn(3, 7, 5, dtype=torch.float64), torch.randn(2, 3, 7, 5, dtype=torch.float64)
    torch.testing.assert_close((gradient(x) * g).sum(), (x * gradient_transpose(g)).sum())


def test_total_variation_of_a_step_is_its_length_times_its_height() -> None:
    x = torch.zeros(2, 10, 8)
    x[0, :, 3:] = 2.5
    torch.testing.assert_close(total_variation(x), torch.tensor([25.0, 0.0]))


@pytest.mark.parametrize("sigma", [1.0, 0.1])
def test_denoising_a_step_is_known_on_paper(sigma: float) -> None:
    """Two halves, 4 columns each, at 1 and 3: each moves towards the other by σ² λ / 4."""
    y = torch.full((2, 6, 8), 1.0, dtype=torch.float64)
    y[..., 4:] = 3.0
    y[1] += 1.0
    measurement = Measurement(y, Identity((6, 8)), noise=GaussianNoise(sigma), simulated=True)
    x = tv_reconstruction(measurement, weight=2.0 / sigma**2, n_iterations=3000)
    expected = y.clone()
    expected[..., :4] += 0.5
    expected[..., 4:] -= 0.5
    torch.testing.assert_close(x, expected, rtol=0, atol=2e-3)


def test_without_variation_it_is_non_negative_least_squares() -> None:
    y = torch.tensor([[-1.0, 2.0], [0.5, -3.0]], dtype=torch.float64)
    measurement = Measurement(y, Identity((2, 2)), noise=GaussianNoise(1.0), simulated=True)
    torch.testing.assert_close(tv_reconstruction(measurement, 0.0, 500), y.clamp_min(0.0), rtol=0, atol=1e-6)
    torch.testing.assert_close(tv_reconstruction(measurement, 0.0, 500, nonnegative=False), y, rtol=0, atol=1e-6)


def test_few_views_of_flat_pieces() -> None:
    image = ImageGrid2D((48, 48), 1.5)
    truth = torch.zeros(48, 48)
    truth[8:40, 10:38], truth[20:30, 14:22] = 1.0, 0.4
    A = Projector(ParallelBeam.sparse(12, image), image)
    noise = GaussianNoise(0.5)
    measurement = Measurement(noise.sample(A(truth), torch.Generator().manual_seed(0)), A, noise=noise, simulated=True)
    plain, flat = least_squares(measurement, 15), tv_reconstruction(measurement, 3.0, 200)
    assert float((flat - truth).norm()) < 0.4 * float((plain - truth).norm())
    objective = [
        float(-measurement.log_likelihood(x) + 3.0 * total_variation(x)) for x in (flat, truth, plain.clamp_min(0))
    ]
    assert objective[0] == min(objective)


def test_misuse_is_refused() -> None:
    with pytest.raises(ConfigError):
        tv_reconstruction(
            Measurement(torch.zeros(4, 4), Identity((4, 4)), noise=GaussianNoise(1.0), simulated=True), -1.0
        )
    with pytest.raises(ConfigError):
        tv_reconstruction(Measurement(torch.zeros(4), Identity((4,)), noise=GaussianNoise(1.0), simulated=True), 1.0)
