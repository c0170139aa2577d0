"""An image that is wrong as a whole: the size of its error against its law, and what becomes of lesions in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from KLIPCore.audit.bias import ImageError, image_error
from KLIPCore.audit.removal import flatten, removal
from KLIPCore.lab.benchmarks import tomography
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.gaussian import dense_likelihood
from KLIPCore.priors.stationary import StationaryGaussianPrior
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

N = 32
GRID = ImageGrid2D((N, N), 1.0)
SCAN = Projector(ParallelBeam.sparse(16, GRID), GRID, dtype=torch.float64)
NOISE = GaussianNoise(0.05)
FINE = StationaryGaussianPrior.matern(torch.zeros(N, N), 0.02, 1.0)
LENGTH = 8.0
COARSE = StationaryGaussianPrior.matern(torch.zeros(N, N), 1.0, LENGTH, 2.5)


def disc(row: float, column: float, radius: float) -> torch.Tensor:
    """(N, N) a soft disc."""
    axis = torch.arange(N).double()
    return torch.sigmoid(4 * (radius - ((axis[:, None] - row) ** 2 + (axis[None] - column) ** 2).sqrt()))


BODY = disc(15.5, 15.5, 13.0)
INSIDE = (BODY > 0.5).numpy()
LESION = disc(11, 19, 2.5)


def scanned(truth: torch.Tensor, seed: int) -> Measurement:
    """A scan with noise."""
    generator = torch.Generator().manual_seed(seed)
    return Measurement(NOISE.sample(SCAN(truth), generator), SCAN, noise=NOISE, simulated=True)


def test_removal_with_a_bias_is_within_two_per_cent_of_the_closed_form() -> None:
    truth = tomography(16, 9, 0.05, 1)
    A, y, w = dense_likelihood(truth.measurement, 256)
    fine = StationaryGaussianPrior.matern(torch.full((16, 16), 0.5, dtype=torch.float64), 0.2, 2.0)
    coarse = StationaryGaussianPrior.matern(torch.zeros(16, 16), 1.0, 5.0, 2.5)
    body = torch.zeros(16, 16, dtype=torch.float64)
    body[2:14, 3:15] = 1
    error = ImageError(fine, coarse, body, 0.3)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[5:9, 6:10] = True
    inside, C = mask.flatten(), fine.dense().covariance
    D = torch.diag(body.flatten())
    bias = 0.3**2 * D @ coarse.dense().covariance @ D
    Q = torch.linalg.inv(C)
    E = torch.eye(256, dtype=torch.float64)[:, inside]
    held = C - E @ torch.linalg.inv(Q[inside][:, inside]) @ E.T
    V = torch.diag(1 / w)
    K, K0 = A @ (C + bias) @ A.T + V, A @ (held + bias) @ A.T + V
    image = truth.posterior.mean[0]
    without = flatten(image, mask)
    s, d = A @ (image - without).flatten(), y - A @ without.flatten()
    information = s @ torch.linalg.solve(K, s)
    amplitude = s @ torch.linalg.solve(K, d) / information
    found = removal(truth.measurement, image, mask, error, without=without)
    nats = 0.5 * (d @ torch.linalg.solve(K0, d) - d @ torch.linalg.solve(K, d))
    assert found.nats == pytest.approx(float(nats), rel=0.02)
    assert found.information == pytest.approx(0.5 * float(information), rel=0.02)
    assert found.amplitude == pytest.approx(float(amplitude), rel=0.02)


def test_nothing_changes_where_there_is_no_bias() -> None:
    """Images that are wrong by the fine error alone: the covariance stays what it was, and so every number."""
    same = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(100 + seed)
        u = FINE.sample(1, generator)[0, 0]
        found = image_error(scanned(0.5 * BODY, seed), 0.5 * BODY + u, FINE, INSIDE, LENGTH)
        same += found.coarse is None and torch.equal(found.fine.spectrum, FINE.spectrum)
    assert same >= 18


@pytest.mark.parametrize(("tau", "phi"), [(0.2, 1.0), (0.0, 3.0), (0.2, 3.0)])
def test_both_sizes_are_right_on_average(tau: float, phi: float) -> None:
    coarse, fine = [], []
    for seed in range(40):
        generator = torch.Generator().manual_seed(200 + seed)
        wrong = (
            phi * FINE.sample(1, generator)[0, 0] + tau * torch.from_numpy(INSIDE) * COARSE.sample(1, generator)[0, 0]
        )
        found = image_error(scanned(0.5 * BODY, seed), 0.5 * BODY + wrong, FINE, INSIDE, LENGTH)
        coarse.append(found.std**2)
        fine.append((found.fine_std / 0.02) ** 2)
    assert np.mean(coarse) == pytest.approx(tau**2, abs=max(3.5 * np.std(coarse) / math.sqrt(40), 0.02**2))
    assert np.mean(fine) == pytest.approx(phi**2, rel=0.15)  # a little of it is taken for a bias


def biased(kind: str, image: torch.Tensor) -> torch.Tensor:
    """The image a fifth of its contrast too low: everywhere, in the middle, or on one side."""
    axis = torch.arange(N).double() - 15.5
    square = (axis[:, None] ** 2 + axis[None] ** 2) / 13.0**2
    shape = {
        "level": torch.ones(N, N),
        "cupping": (1 - square).clamp_min(0),
        "tilt": 0.5 + axis[None] / 26 + 0 * square,
    }
    return image - 0.1 * BODY * shape[kind]


@pytest.mark.parametrize("kind", ["level", "cupping", "tilt"])
def test_a_lesion_in_a_biased_image_is_judged_as_in_one_without(kind: str) -> None:
    mask = disc(11, 19, 3.0) > 0.5
    plain, shown = 0.5 * BODY, 0.5 * BODY - 0.1 * LESION
    image = biased(kind, shown)
    without = flatten(image, mask)
    for present in (True, False):
        m = scanned(shown if present else plain, 7)
        error = image_error(m, image, FINE, INSIDE, LENGTH, structures=[image - without])
        assert error.std > 0.03
        judged = removal(m, image, mask, error, without=without)
        misled = removal(m, image, mask, FINE, without=without)
        unbiased = removal(m, shown, mask, FINE, without=flatten(shown, mask))
        assert judged.verdict == unbiased.verdict == ("measured" if present else "contradicted")
        assert abs(judged.amplitude - unbiased.amplitude) < 0.5 * abs(misled.amplitude - unbiased.amplitude)


def test_what_is_asked_about_is_no_error_of_the_rest() -> None:
    """An invented structure stands out of the residual, and does not widen the error that it is judged by."""
    image = 0.5 * BODY + 0.3 * LESION
    m = scanned(0.5 * BODY, 3)
    mask = disc(11, 19, 3.0) > 0.5
    structure = image - flatten(image, mask)
    alone = image_error(m, image, FINE, INSIDE, LENGTH)
    asked = image_error(m, image, FINE, INSIDE, LENGTH, structures=[structure])
    assert alone.fine_std > 1.5 * asked.fine_std
    assert asked.fine_std < 1.2 * 0.02
