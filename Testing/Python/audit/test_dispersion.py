"""Samples under a prior that fits and under one that does not, against closed forms and held-out views."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from KLIPCore.audit.dispersion import (
    gaussian_bands,
    held_out_bands,
    image_band,
    measured_wavelength_mm,
    split_views,
)
from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.stationary import StationaryGaussianPrior
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

SIZE = 24
GRID = ImageGrid2D((SIZE, SIZE), 1.0)
MEAN = torch.full((SIZE, SIZE), 0.5, dtype=torch.float64)
TRUE = StationaryGaussianPrior.matern(MEAN, 0.2, 1.0, 0.5)
NOISE = GaussianNoise(0.02)


def smooth() -> StationaryGaussianPrior:
    """The same prior with a twentieth of the power in what is finer than six pixels: too smooth an anatomy."""
    fine = image_band((SIZE, SIZE), 6.0, 1.0)
    return StationaryGaussianPrior(MEAN, TRUE.spectrum * (1 - 0.95 * fine))


def scan(n_views: int, seed: int = 0) -> Measurement:
    """A noisy scan of an image of the true prior."""
    generator = torch.Generator().manual_seed(seed)
    A = Projector(ParallelBeam.sparse(n_views, GRID), GRID, dtype=torch.float64)
    clean = A(TRUE.sample(1, generator)[0, 0])
    return Measurement(NOISE.sample(clean, generator), A, noise=NOISE, simulated=True)


def test_a_prior_that_fits_is_as_wrong_as_its_samples_differ() -> None:
    found = gaussian_bands(TRUE.dense(), TRUE.dense(), scan(8))
    assert np.allclose(found.ratio[1:], 1.0, rtol=1e-6)
    assert found.warning() == ""


def test_without_the_right_prior_samples_agree_with_each_other_only_and_only_above_the_measured_band() -> None:
    """Twelve views of 24 pixels measure down to a wavelength of 6."""
    truth = TRUE.dense()
    found = gaussian_bands(smooth().dense(), truth, scan(12))
    units = torch.eye(SIZE**2, dtype=torch.float64).reshape(-1, SIZE, SIZE)
    power = np.array(
        [
            float((torch.fft.ifft2(image_band((SIZE, SIZE), *band) * torch.fft.fft2(units)).real.reshape(SIZE**2, -1)
                   * truth.covariance).sum())
            for band in found.wavelength_mm
        ]
    )  # fmt: skip
    excess = (found.error - found.spread) / power  # what the samples do not own up to, as a part of the truth's power
    assert np.all(excess[:3] < 1e-3)  # wavelengths of 8 pixels and more: measured
    assert excess[-1] > 0.3
    assert found.ratio[-1] > 10
    assert found.too_sure()[-1]


def test_closed_form_is_what_samples_show() -> None:
    """Error and spread of one band from many images, their scans and exact posterior samples."""
    m, model = scan(12), smooth()
    found = gaussian_bands(model.dense(), TRUE.dense(), m)
    generator = torch.Generator().manual_seed(1)
    band = image_band((SIZE, SIZE), 4.0, 2.0)
    errors = []
    for _ in range(16):
        x = TRUE.sample(1, generator)[0, 0]
        own = Measurement(NOISE.sample(m.A(x), generator), m.A, noise=NOISE, simulated=True)
        mean = StationaryGaussianPrior.posterior(model, own, 200, 1e-8).mean
        errors.append(float(torch.fft.ifft2(band * torch.fft.fft2(x - mean)).real.square().sum()))
    assert np.mean(errors) == pytest.approx(found.error[-1], rel=0.12)


@pytest.mark.parametrize("fits", [True, False])
def test_held_out_views_tell_without_the_truth(fits: bool) -> None:
    kept, held = split_views(scan(24))
    model = TRUE if fits else smooth()
    samples = model.posterior(kept, 200, 1e-8).sample(24, torch.Generator().manual_seed(3))[:, 0]
    found = held_out_bands(samples, held, measured_wavelength_mm(12, SIZE))
    assert not found.too_sure()[:2].any()
    if fits:
        assert found.warning() == ""
        assert found.ratio[-1] == pytest.approx(1.0, abs=4 * found.ratio_error[-1] + 0.1)
    else:
        assert found.too_sure()[-1]
        assert found.ratio[-1] > 2
        assert "Do not take their agreement for certainty" in found.warning()


def test_views_are_split_without_overlap_and_keep_their_noise() -> None:
    m = scan(9)
    kept, held = split_views(m)
    assert (len(kept.y), len(held.y)) == (5, 4)
    assert torch.equal(kept.y, m.y[::2])
    assert torch.equal(held.y, m.y[1::2])
    assert torch.allclose(kept.A(MEAN), m.A(MEAN)[::2])
    assert measured_wavelength_mm(100, 100.0) == pytest.approx(math.pi)
    with pytest.raises(ConfigError, match="four views"):
        split_views(scan(3))
    with pytest.raises(ConfigError, match="four samples"):
        held_out_bands(MEAN[None].expand(2, -1, -1), held)
