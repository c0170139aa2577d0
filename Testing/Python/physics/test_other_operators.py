"""What each of the smaller operators is, against the definition (the laws are in test_operators.py)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage as ndi
import scipy.signal
import torch

from KLIPCore.errors import ConfigError
from KLIPCore.physics.blur import Blur, GaussianBlur
from KLIPCore.physics.cone import ConeBeam, ConeProjector
from KLIPCore.physics.downsample import Downsample
from KLIPCore.physics.fourier import UndersampledFourier, cartesian_mask
from KLIPCore.physics.mask import Identity, Mask
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.missing import interior, on_shorter_detector, outside_metal, within_arc, without_rays
from KLIPCore.physics.noise import GaussianNoise, PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import least_squares
from KLIPCore.volume.geometry import FanBeam, ImageGrid2D, ParallelBeam


def test_blur_is_scipys_convolution() -> None:
    x, kernel = torch.rand(14, 11, dtype=torch.float64), torch.rand(3, 5, dtype=torch.float64)
    expected = scipy.signal.convolve2d(x.numpy(), kernel.numpy(), mode="same")
    np.testing.assert_allclose(Blur((14, 11), kernel)(x).numpy(), expected, rtol=1e-12)


def test_gaussian_blur_is_scipys() -> None:
    x = torch.rand(20, 17, dtype=torch.float64)
    expected = ndi.gaussian_filter(x.numpy(), 1.5, mode="constant", truncate=4.0)
    np.testing.assert_allclose(GaussianBlur((20, 17), 1.5)(x).numpy(), expected, rtol=1e-10)


def test_coarse_pixels_are_means() -> None:
    x = torch.arange(24.0).reshape(4, 6)
    assert Downsample((4, 6), 2)(x).tolist() == [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]


def test_mask_keeps_what_is_seen_in_order() -> None:
    mask = torch.tensor([[True, False], [False, True]])
    A = Mask(mask)
    assert A(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist() == [1.0, 4.0]
    assert A.T(torch.tensor([5.0, 6.0])).tolist() == [[5.0, 0.0], [0.0, 6.0]]
    x = torch.rand(3)
    assert torch.equal(Identity((3,))(x), x)


def test_fourier_coefficients_are_numpys() -> None:
    x = torch.rand(6, 8, dtype=torch.float64)
    everything = torch.ones(6, 8, dtype=torch.bool)
    k = UndersampledFourier(everything)(x)
    expected = np.fft.fftshift(np.fft.fft2(x.numpy(), norm="ortho"))
    np.testing.assert_allclose(k[0].numpy() + 1j * k[1].numpy(), expected, atol=1e-12)
    assert float(k[0, 3, 4]) == pytest.approx(float(x.sum()) / math.sqrt(48))  # frequency zero in the middle
    torch.testing.assert_close(UndersampledFourier(everything).T(k), x)  # unitary


@pytest.mark.parametrize("acceleration", [1.0, 2.0, 4.0])
def test_cartesian_masks_measure_the_share_asked_for(acceleration: float) -> None:
    mask = cartesian_mask((10, 64), acceleration, torch.Generator().manual_seed(0))
    assert int(mask[0].sum()) == round(64 / acceleration)
    assert bool((mask == mask[0]).all())
    assert bool(mask[0, 30:34].all())


IMAGE = ImageGrid2D((24, 24), 2.0)
GEOMETRY = ParallelBeam.sparse(20, IMAGE)


def test_missing_rays_neither_speak_nor_weigh() -> None:
    A = Projector(GEOMETRY, IMAGE, dtype=torch.float64)
    truth = torch.zeros(24, 24, dtype=torch.float64)
    truth[6:18, 8:17] = 1.0
    metal = torch.zeros(24, 24)
    metal[11:13, 11:13] = 1.0
    keep = outside_metal(A, metal)
    y = GaussianNoise(0.01).sample(A(truth), torch.Generator().manual_seed(0))
    y[~keep] = 1e3  # what a detector says behind metal
    fewer = without_rays(Measurement(y, A, noise=GaussianNoise(0.01), simulated=True), keep)
    assert 0 < int((~keep).sum()) < keep.numel() // 2
    assert torch.count_nonzero(fewer.weights * ~keep) == 0
    found = least_squares(fewer, 60)
    assert float((found - truth).abs().mean()) < 0.1
    other = without_rays(Measurement(torch.where(keep, y, -7.0), A, noise=GaussianNoise(0.01), simulated=True), keep)
    assert torch.equal(least_squares(other, 60), found)  # whatever metal made the detector say
    assert math.isfinite(float(fewer.log_likelihood(truth)))
    n = int(keep.sum())  # the likelihood counts the rays that are left, and only those
    expected = -0.5 * n * math.log(2 * math.pi * 1e-4) - 0.5 * float(((y - A(truth)) * keep).square().sum()) / 1e-4
    assert float(fewer.log_likelihood(truth)) == pytest.approx(expected)


def test_photon_noise_goes_with_missing_rays() -> None:
    A = Projector(GEOMETRY, IMAGE)
    keep = interior(GEOMETRY, 12.0)
    fewer = without_rays(Measurement(torch.zeros(GEOMETRY.shape), A, noise=PoissonNoise(1e4), simulated=True), keep)
    sample = fewer.noise.sample(torch.ones(GEOMETRY.shape), torch.Generator().manual_seed(0))
    assert torch.equal(sample != 0, keep)
    assert torch.equal(fewer.weights > 0, keep)


def test_masks_of_rays() -> None:
    assert bool((interior(GEOMETRY, 10.0).sum(1) == 11).all())  # bins at −10, −8, … 10 mm
    shorter = on_shorter_detector(GEOMETRY, 3, 7)
    assert shorter.sum(1).tolist() == [5] * 20
    assert bool(shorter[:, 3:8].all())
    arc = within_arc(GEOMETRY, 45.0, start_deg=90.0)
    assert arc.any(1).nonzero().flatten().tolist() == [10, 11, 12, 13, 14, 15]  # 90° to 135° in steps of 9°
    with pytest.raises(ConfigError):
        on_shorter_detector(GEOMETRY, 5, 400)


FAN = FanBeam(
    tuple(np.deg2rad([0, 40, 90, 200])),
    41,
    pitch_mm=2.0,
    offset_mm=0.6,
    source_origin_mm=100.0,
    source_detector_mm=160.0,
)


def test_the_orbits_plane_is_a_fan_beam() -> None:
    x = torch.rand(24, 24, dtype=torch.float64)
    volume = torch.zeros(5, 24, 24, dtype=torch.float64)
    volume[2] = x
    cone = ConeProjector(ConeBeam(FAN, 7, row_pitch_mm=3.0), IMAGE, n_slices=5, slice_mm=3.0, dtype=torch.float64)(
        volume
    )
    torch.testing.assert_close(cone[:, 3], Projector(FAN, IMAGE, rays_per_bin=1, dtype=torch.float64)(x))


def test_shadow_of_a_point_in_a_cone() -> None:
    """A voxel 6 mm above the orbit's plane, 8.5 mm to the left, 21.5 mm in front of the isocentre."""
    image = ImageGrid2D((64, 64), 1.0)
    volume = torch.zeros(9, 64, 64, dtype=torch.float64)
    volume[7, 10, 40] = 1.0  # z = (7 − 4)·2 mm
    geometry = ConeBeam(
        FanBeam(
            tuple(np.deg2rad([0, 90])),
            301,
            pitch_mm=0.5,
            offset_mm=0.0,
            source_origin_mm=100.0,
            source_detector_mm=200.0,
        ),
        161,
        row_pitch_mm=0.5,
    )
    y = ConeProjector(geometry, image, n_slices=9, slice_mm=2.0, dtype=torch.float64, memory_limit_bytes=0)(
        volume
    ).numpy()
    rows = (np.arange(161) - 80) * 0.5
    columns = geometry.fan.detector_mm()
    for view, depth, across in ((0, 100 - 21.5, 8.5), (1, 100 - 8.5, -21.5)):
        mass = y[view].sum()
        assert (y[view] * columns[None, :]).sum() / mass == pytest.approx(200 * across / depth, abs=0.1)
        assert (y[view] * rows[:, None]).sum() / mass == pytest.approx(200 * 6.0 / depth, abs=0.1)


def test_oblique_rays_are_longer() -> None:
    """Through the middle of a tall uniform block the path grows with the ray's tilt."""
    geometry = ConeBeam(
        FanBeam((0.0,), 1, pitch_mm=1.0, offset_mm=0.0, source_origin_mm=100.0, source_detector_mm=150.0),
        3,
        row_pitch_mm=30.0,
    )
    y = ConeProjector(geometry, ImageGrid2D((10, 10), 2.0), n_slices=40, slice_mm=2.0, dtype=torch.float64)(
        torch.ones(40, 10, 10, dtype=torch.float64)
    )
    expected = 20.0 * math.hypot(1.0, 30.0 / 150.0)
    np.testing.assert_allclose(y[0, :, 0].numpy(), [expected, 20.0, expected], rtol=1e-9)
