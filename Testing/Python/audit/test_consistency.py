"""P-values that are uniform where the image is the truth, and small where it is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from KLIPCore.audit.calibration import SCANS, p_values
from KLIPCore.audit.consistency import consistency, geometry_chi_square
from KLIPCore.audit.whitened import Whitened, whitened_residual
from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise, Noise, PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

GRID = ImageGrid2D((12, 12), 1.0)
A = Projector(ParallelBeam.sparse(20, GRID), GRID, dtype=torch.float64)
X = 0.02 * torch.rand(12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("law", SCANS)
def test_uniform_on_truth(law: str) -> None:
    found = p_values(law, 200, seed=3)
    for name, values in found.items():
        assert stats.kstest(values, "uniform").pvalue > 0.05 / len(found), name  # 5 % for all of them together


def test_a_least_squares_fit_leaves_only_what_no_image_explains() -> None:
    """Its residual, fitted to the data, is χ² with M − rank degrees of freedom: the test that the image itself
    would pass too easily.
    """
    generator = torch.Generator().manual_seed(5)
    noise, p = GaussianNoise(0.05), []
    columns = A(torch.eye(144, dtype=torch.float64).reshape(-1, 12, 12)).reshape(144, -1).T
    solve = torch.linalg.pinv(columns)
    for _ in range(60):
        m = Measurement(noise.sample(A(X), generator), A, noise=noise, simulated=True)
        fitted = (solve @ m.y.flatten()).reshape(12, 12)
        found = consistency(m, fitted, block=6, generator=generator)
        assert found.geometry is not None
        assert found.geometry.statistic == pytest.approx(found.image.statistic, rel=1e-6)
        assert found.image.p > 0.99  # 144 of 360 degrees of freedom are taken: never accused
        p.append(found.geometry.p)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_probes_agree_with_the_exact_degrees_of_freedom(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = GaussianNoise(0.05)
    m = Measurement(noise.sample(A(X), torch.Generator().manual_seed(0)), A, noise=noise, simulated=True)
    B, z = Whitened(A, m.weights.sqrt()), whitened_residual(m, X)
    exact = geometry_chi_square(B, z, torch.Generator().manual_seed(0))
    monkeypatch.setattr("KLIPCore.audit.consistency.EXACT_ENTRIES", 0)
    found = geometry_chi_square(B, z, torch.Generator().manual_seed(0), n_probes=32)
    assert exact.dof == 360 - 144
    assert found.dof == pytest.approx(exact.dof, rel=0.1)  # damped: what is hardly seen is not counted as seen
    assert found.p == pytest.approx(exact.p, abs=0.2)


def test_an_added_blob_is_found_where_it_lies() -> None:
    noise = GaussianNoise(0.05)
    m = Measurement(noise.sample(A(X), torch.Generator().manual_seed(0)), A, noise=noise, simulated=True)
    wrong = X.clone()
    wrong[4:8, 8:12] += 0.05
    found = consistency(m, wrong, block=4)
    assert found.image.p < 1e-4
    worst = int(np.nanargmin(found.block_p))
    assert found.labels[5, 9] == worst + 1
    assert found.t[worst] < -5  # the image holds more than the data


@pytest.mark.parametrize("noise", [GaussianNoise(0.05), PoissonNoise(2000.0)], ids=["Gaussian", "photons"])
@pytest.mark.parametrize(("view", "detector"), [(slice(6, 7), slice(None)), (slice(None), slice(9, 10))])
def test_faulty_rays_are_found_where_they_lie(noise: Noise, view: slice, detector: slice) -> None:
    """A view whose tube flickered, and a bin that drifts, under either law of the noise: no other line is accused."""
    clean = A(X)
    wrong = clean.clone()
    wrong[view, detector] += 0.15
    y = noise.sample(wrong, torch.Generator().manual_seed(4))
    found = consistency(Measurement(y, A, noise=noise, simulated=True), X, block=4, geometry_test=False)
    for p, where in ((found.view_p, view), (found.bin_p, detector)):
        if where != slice(None):
            assert np.flatnonzero(p < 1e-3).tolist() == [where.start]
    said = "view 6" if detector == slice(None) else "detector bin 9"
    assert f"disagree in {said} (counted" in found.faulty_rays()
    sound = noise.sample(clean, torch.Generator().manual_seed(4))
    assert consistency(Measurement(sound, A, noise=noise, simulated=True), X, geometry_test=False).faulty_rays() == ""


def test_another_geometry_is_explained_by_no_image() -> None:
    noise = GaussianNoise(0.01)
    m = Measurement(noise.sample(A(X), torch.Generator().manual_seed(0)), A, noise=noise, simulated=True)
    turned = Measurement(m.y.roll(7, 0), A, noise=noise, simulated=True)
    found = consistency(turned, X, block=4)
    assert found.geometry is not None
    assert found.geometry.p < 1e-6


def test_starved_rays_keep_their_law() -> None:
    """Readings that were raised to one count are censored, not misread."""
    noise = PoissonNoise(3.0)
    generator = torch.Generator().manual_seed(2)
    clean = A(X)
    z = torch.stack(
        [
            whitened_residual(
                Measurement(noise.sample(clean, generator), A, noise=noise, simulated=True), X, generator
            )
            for _ in range(40)
        ]
    )
    assert stats.kstest(z.numpy().ravel(), "norm").pvalue > 0.01
    noisy = PoissonNoise(3.0, electronic_std=1.0)
    with pytest.raises(ConfigError, match="no exact law"):
        whitened_residual(Measurement(clean, A, noise=noisy, simulated=True), X)


def test_a_calibrated_test_is_never_sharper() -> None:
    noise = GaussianNoise(0.01)
    m = Measurement(noise.sample(A(X), torch.Generator().manual_seed(0)), A, noise=noise, simulated=True)
    told = Measurement(m.y, A, noise=GaussianNoise(0.002), simulated=True)  # the noise was underestimated fivefold
    plain, fair = (consistency(told, X, block=3, geometry_test=False, calibrated=c) for c in (False, True))
    assert fair.spread > 2
    assert plain.block_q.min() < 0.05 < fair.block_q.min()
