"""Where chains start: a quick reconstruction, from the scan's closed form where it has one."""

from __future__ import annotations

import torch

from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise, PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import least_squares
from KLIPCore.sampling.dds import warm_start
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

IMAGE = ImageGrid2D((48, 48), 1.5)
PLAIN = Projector(ParallelBeam.sparse(30, IMAGE), IMAGE)
CLOSED = PLAIN.preconditioned()
AXIS = torch.linspace(-1, 1, 48)
TRUTH = torch.stack([torch.exp(-((AXIS[:, None] - shift) ** 2 + AXIS**2) / 0.1) for shift in (0.0, 0.3)])


def measured(A: Projector, noise: GaussianNoise | PoissonNoise) -> Measurement:
    return Measurement(noise.sample(A(TRUTH), torch.Generator().manual_seed(0)), A, noise=noise, simulated=True)


def test_states_lie_around_the_reconstruction() -> None:
    noise = torch.randn(3, 2, 48, 48)
    for A in (PLAIN, CLOSED):
        quick, states = warm_start(measured(A, GaussianNoise(0.05)), 0.4, 12, noise)
        assert quick.shape == (2, 48, 48)
        torch.testing.assert_close(states, quick + 0.4 * noise)


def test_the_closed_form_is_at_least_as_near_the_truth() -> None:
    errors = [
        float((warm_start(measured(A, GaussianNoise(0.2)), 0.4, n, torch.zeros(1, 2, 48, 48))[0] - TRUTH).norm())
        for A, n in ((PLAIN, 12), (CLOSED, 3))
    ]
    assert errors[1] < errors[0] < 0.2 * float(TRUTH.norm())


def test_weights_of_their_own_mean_least_squares() -> None:
    measurement = measured(CLOSED, PoissonNoise(1e4, slope=0.05, baseline=0.5))
    quick, _ = warm_start(measurement, 0.4, 12, torch.zeros(1, 2, 48, 48))
    torch.testing.assert_close(quick, least_squares(measurement, 12), rtol=0, atol=0)
