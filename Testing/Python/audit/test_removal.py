"""Nats of a removal against closed forms that are written out."""

from __future__ import annotations

import pytest
import torch

from KLIPCore.audit.removal import flatten, foretell, removal, removals
from KLIPCore.errors import ConfigError
from KLIPCore.lab.benchmarks import tomography
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.gaussian import dense_likelihood
from KLIPCore.priors.stationary import StationaryGaussianPrior
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

MEAN = torch.full((16, 16), 0.5, dtype=torch.float64)
PRIOR = StationaryGaussianPrior.matern(MEAN, 0.2, 2.0)


def region() -> torch.Tensor:
    """4 × 4 pixels of 16 × 16."""
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[5:9, 6:10] = True
    return mask


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_within_two_per_cent_of_the_closed_form(seed: int) -> None:
    truth = tomography(16, 9, 0.05, seed)
    A, y, w = dense_likelihood(truth.measurement, 256)
    C, mask = truth.prior.covariance, region()
    inside = mask.flatten()
    image = truth.posterior.mean[0]
    e = (image - 0.5).flatten()
    # what is foretold, and the covariance without the region's freedom, by conditioning on the other pixels
    gain = C[inside][:, ~inside] @ torch.linalg.inv(C[~inside][:, ~inside])
    lift = torch.zeros(256, int((~inside).sum()), dtype=torch.float64)
    lift[~inside] = torch.eye(lift.shape[1], dtype=torch.float64)
    lift[inside] = gain
    held = lift @ C[~inside][:, ~inside] @ lift.T
    V, d = torch.diag(1 / w), y - A @ MEAN.flatten()
    K, K0 = A @ C @ A.T + V, A @ held @ A.T + V
    nats = 0.5 * (d @ torch.linalg.solve(K0, d) - d @ torch.linalg.solve(K, d))
    s = torch.zeros(256, dtype=torch.float64)
    s[inside] = e[inside] - gain @ e[~inside]
    seen, beside = A @ s, y - A @ (image.flatten() - s)
    information = seen @ torch.linalg.solve(K, seen)
    amplitude = seen @ torch.linalg.solve(K, beside) / information
    found = removal(truth.measurement, image, mask, PRIOR, mean=MEAN)
    assert float(nats) > 0.5
    assert found.nats == pytest.approx(float(nats), rel=0.02)
    assert found.information == pytest.approx(0.5 * float(information), rel=0.02)
    assert found.amplitude == pytest.approx(float(amplitude), rel=0.02)
    assert found.support == pytest.approx(float(information * (amplitude - 0.5)), rel=0.02)
    assert torch.allclose(found.without.flatten()[inside], 0.5 + gain @ e[~inside], atol=1e-6)


def test_nats_are_those_of_two_minima() -> None:
    """The two quadratic forms are the minima of data and prior energy, found here by least squares."""
    truth = tomography(12, 5, 0.05, 4)
    A, y, w = dense_likelihood(truth.measurement, 144)
    prior = StationaryGaussianPrior.matern(torch.full((12, 12), 0.5), 0.2, 2.0)
    C = prior.dense().covariance
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[4:7, 4:7] = True
    inside = mask.flatten()
    Q = torch.linalg.inv(C)

    def least(free: torch.Tensor) -> float:
        """Smallest energy over x = 0.5 + L u, where u are the free numbers."""
        H = free.T @ (A.T @ (w[:, None] * A) + Q) @ free
        b = free.T @ (A.T @ (w * (y - A @ torch.full((144,), 0.5, dtype=torch.float64))))
        u = torch.linalg.solve(H, b)
        x = free @ u
        r = y - A @ (x + 0.5)
        return float((w * r * r).sum() + x @ Q @ x)

    without = torch.eye(144, dtype=torch.float64)[:, ~inside]
    without[inside] = -torch.linalg.solve(Q[inside][:, inside], Q[inside][:, ~inside])
    expected = 0.5 * (least(without) - least(torch.eye(144, dtype=torch.float64)))
    mean = torch.full((12, 12), 0.5, dtype=torch.float64)
    found = removal(truth.measurement, truth.posterior.mean[0], mask, prior, mean=mean, tolerance=1e-6)
    assert found.nats == pytest.approx(expected, rel=0.02)


GRID = ImageGrid2D((24, 24), 1.0)
SCAN = Projector(ParallelBeam.sparse(16, GRID), GRID, dtype=torch.float64)
ROOM = StationaryGaussianPrior.matern(torch.zeros(24, 24), 0.02, 1.5)


def blob() -> torch.Tensor:
    """A disc of radius 3 pixels beside the middle."""
    axis = torch.arange(24).double()
    return torch.sigmoid(3 * (3.0 - ((axis[:, None] - 10) ** 2 + (axis[None] - 13) ** 2).sqrt()))


@pytest.mark.parametrize(("present", "verdict"), [(True, "measured"), (False, "contradicted")])
def test_a_lesion_is_measured_and_an_added_one_contradicted(present: bool, verdict: str) -> None:
    generator = torch.Generator().manual_seed(0)
    plain = torch.full((24, 24), 0.5, dtype=torch.float64)
    shown = plain + 0.2 * blob()
    noise = GaussianNoise(0.3)
    m = Measurement(noise.sample(SCAN(shown if present else plain), generator), SCAN, noise=noise, simulated=True)
    found = removal(m, shown, blob() > 0.5, ROOM, without=flatten(shown, blob() > 0.5))
    assert found.verdict == verdict
    assert found.amplitude == pytest.approx(1.0 if present else 0.0, abs=4 * found.amplitude_error)
    assert ("probably invented" in found.sentence()) is not present


def test_what_the_scan_cannot_see_is_unprovable() -> None:
    """Noise that drowns everything: whatever is shown, neither side can be proved."""
    shown = 0.5 + 0.2 * blob()
    noise = GaussianNoise(50.0)
    m = Measurement(noise.sample(SCAN(shown), torch.Generator().manual_seed(0)), SCAN, noise=noise, simulated=True)
    found = removal(m, shown, blob() > 0.5, ROOM)
    assert found.verdict == "unprovable"
    assert found.information < 1
    assert "cannot prove" in found.sentence()


def test_several_regions_are_those_one_by_one() -> None:
    truth = tomography(16, 9, 0.05, 1)
    other = region().roll(5, 1)
    both = removals(truth.measurement, truth.posterior.mean[0], [region(), other], PRIOR, tolerance=1e-6)
    alone = removal(truth.measurement, truth.posterior.mean[0], other, PRIOR, tolerance=1e-6)
    assert both[1].nats == pytest.approx(alone.nats, rel=1e-3)
    assert both[1].support == pytest.approx(alone.support, rel=1e-3)


def test_surroundings_foretell_a_smooth_image_and_no_blob() -> None:
    smooth = torch.linspace(0, 1, 24, dtype=torch.float64)[None].expand(24, 24).clone()
    prior = StationaryGaussianPrior.matern(torch.zeros(24, 24), 0.3, 4.0)
    mask = blob() > 0.01  # with its soft rim: half of it would foretell the other
    without = foretell(prior, smooth + 0.4 * blob(), mask)
    assert float((without - smooth)[mask].abs().mean()) < 0.1
    assert torch.equal(without[~mask], (smooth + 0.4 * blob())[~mask])


@pytest.mark.parametrize("mask", [torch.zeros(16, 16, dtype=torch.bool), torch.ones(8, 8, dtype=torch.bool)])
def test_regions_that_are_none_are_refused(mask: torch.Tensor) -> None:
    truth = tomography(16, 4, 0.1, 0)
    with pytest.raises(ConfigError):
        removal(truth.measurement, torch.zeros(16, 16, dtype=torch.float64), mask, PRIOR)
