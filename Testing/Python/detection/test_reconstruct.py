"""Reconstruction of phantoms, and of real measurements whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from KLIPCore.detection.reconstruct import METHODS, dice, htc_scores, noise_level, otsu_threshold, reconstruct
from KLIPCore.errors import ConfigError, EmptyInputError
from KLIPCore.io.sinogram import HTC2022_IMAGE, read_htc2022
from KLIPCore.physics.ellipses import EllipsePhantom
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, ImageGrid2D, ParallelBeam

IMAGE = ImageGrid2D((64, 64), 3.0)
PHANTOM = EllipsePhantom.shepp_logan(96.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "geometry", [ParallelBeam.sparse(90, IMAGE), FanBeam.sparse(120, IMAGE)], ids=["parallel", "fan"]
)
def test_phantoms_come_back(method: str, geometry: ParallelBeam | FanBeam) -> None:
    clean = PHANTOM.sinogram(geometry, rays_per_bin=4)
    noisy = clean + np.random.default_rng(0).normal(0, 0.2, clean.shape)
    found = reconstruct(np.stack([clean, noisy]), geometry, IMAGE, method)
    truth = PHANTOM.image(IMAGE, 8)
    assert found.shape == (2, 64, 64)
    assert found.dtype == np.float32
    for image in found:
        assert np.sqrt(np.mean((image - truth) ** 2)) < (
            0.13 if method == "fbp" else 0.1
        )  # the Hann window softens the skull
    assert found[0][30:34, 24:40].mean() == pytest.approx(truth[30:34, 24:40].mean(), abs=0.03)


def test_tv_beats_cg_where_views_are_few() -> None:
    geometry = ParallelBeam.sparse(16, IMAGE)
    y = PHANTOM.sinogram(geometry, 4) + np.random.default_rng(0).normal(0, 0.1, geometry.shape)
    truth = PHANTOM.image(IMAGE, 8)
    cg, tv = (np.linalg.norm(reconstruct(y, geometry, IMAGE, method) - truth) for method in ("cg", "tv"))
    assert tv < 0.8 * cg


def test_noise_is_estimated_from_the_data() -> None:
    clean = PHANTOM.sinogram(ParallelBeam.sparse(60, IMAGE, pitch_mm=1.0))
    noisy = clean + np.random.default_rng(0).normal(0, 0.7, clean.shape)
    assert noise_level(noisy) == pytest.approx(0.7, rel=0.1)
    assert noise_level(np.zeros((3, 9))) > 0
    assert noise_level(np.zeros((3, 2))) > 0


def test_otsu_splits_two_heaps_between_them() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 0.1, 3000), rng.normal(2, 0.1, 1000)])
    assert 0.5 < otsu_threshold(values) < 1.7
    with pytest.raises(ConfigError):
        otsu_threshold(np.ones(5))


def test_dice() -> None:
    a, b = np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0])
    assert dice(a, b) == 0.5
    assert dice(a, a) == 1.0
    assert dice(a * 0, a * 0) == 1.0
    with pytest.raises(ConfigError):
        dice(a, a[:2])


def test_misuse_is_refused(tmp_path: Path) -> None:
    geometry = ParallelBeam.sparse(4, IMAGE)
    for call in (
        lambda: reconstruct(np.zeros(geometry.shape), geometry, IMAGE, "art"),
        lambda: reconstruct(np.zeros((3, 3)), geometry, IMAGE),
        lambda: reconstruct(np.full(geometry.shape, np.nan), geometry, IMAGE),
        lambda: reconstruct(
            np.zeros(geometry.shape), geometry, IMAGE, "cg", projector=Projector(geometry, IMAGE.refined(2))
        ),
    ):
        with pytest.raises(ConfigError):
            call()
    with pytest.raises(EmptyInputError):
        htc_scores(tmp_path)


@pytest.mark.shared_data
def test_real_measurements_show_the_truth(shared_data: Path) -> None:
    """The geometry, on data that nobody here simulated: holes of measured discs lie where the truth masks say."""
    rows = htc_scores(shared_data / "htc2022", views=(360, 60), discs=("tb", "03c"), methods=("fbp",))
    rows += htc_scores(shared_data / "htc2022", views=(60,), discs=("tb", "03c"), methods=("cg",))
    assert len(rows) == 6
    for row in rows:
        assert row.dice > (0.998 if row.n_views == 360 else 0.99)
    with pytest.raises(ConfigError):
        htc_scores(shared_data / "htc2022", views=(7,))


@pytest.mark.shared_data
def test_any_other_orientation_is_worse(shared_data: Path) -> None:
    sinogram, geometry, truth = read_htc2022(shared_data / "htc2022" / "htc2022_tb.npz")
    assert truth is not None
    coarse = ImageGrid2D((256, 256), 2 * HTC2022_IMAGE.pixel_mm)
    sinogram, geometry = sinogram[:720:6], geometry.views(slice(0, 720, 6))
    found = reconstruct(sinogram, geometry, coarse)
    mask, truth = found > otsu_threshold(found), truth[::2, ::2]
    right = dice(mask, truth)
    turned = [dice(f(np.rot90(mask, k)), truth) for k in range(4) for f in (np.asarray, np.fliplr)]
    assert right == max(turned) > 0.98
    assert sorted(turned)[-2] < 0.95
    backwards = FanBeam(
        tuple(-a for a in geometry.angles_rad),
        560,
        pitch_mm=geometry.pitch_mm,
        offset_mm=0.0,
        source_origin_mm=geometry.source_origin_mm,
        source_detector_mm=geometry.source_detector_mm,
    )
    wrong = reconstruct(sinogram, backwards, coarse)
    wrong_mask = wrong > otsu_threshold(wrong)
    assert (
        max(dice(f(np.rot90(wrong_mask, k)), truth) for k in range(4) for f in (np.asarray, np.fliplr)) < right - 0.005
    )
