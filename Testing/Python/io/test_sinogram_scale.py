"""Sinograms whose values went through something else than the natural logarithm of I / I₀."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from KLIPCore.errors import IntensityError
from KLIPCore.io.line_integrals import check_unit
from KLIPCore.io.sinogram import read_htc2022, write_sinogram
from KLIPCore.io.sinogram_scale import ParallelViews, check_scale
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam

WATER = 0.0193
SCANS: dict[str, Geometry] = {
    "half a turn": ParallelBeam(tuple(np.arange(60) * math.pi / 60), 160, pitch_mm=3.0),
    "a turn, detector moved": ParallelBeam(tuple(-np.arange(90) * math.pi / 45), 160, pitch_mm=3.0, offset_mm=7.0),
    "fan": FanBeam(
        tuple(1 + np.arange(120) * math.pi / 60), 200, pitch_mm=4.5, source_origin_mm=550.0, source_detector_mm=1000.0
    ),
    "curved fan": FanBeam(
        tuple(np.arange(120) * math.pi / 60),
        200,
        pitch_mm=4.5,
        source_origin_mm=550.0,
        source_detector_mm=1000.0,
        equiangular=True,
    ),
}


@cache
def patient(scan: str) -> np.ndarray:
    """Line integrals of a trunk with lungs and a spine, arms beside it, off the centre; noisy."""
    y, x = np.mgrid[:96, :96]

    def within(row: float, column: float, height: float, width: float) -> np.ndarray:
        return np.hypot((y - row) / height, (x - column) / width) < 1

    mu = 1.01 * WATER * (within(52, 46, 26, 34) | within(56, 7, 6, 6) | within(56, 85, 6, 6))
    mu[within(50, 32, 15, 11) | within(50, 60, 15, 11)] = 0.2 * WATER
    mu[within(68, 46, 5, 5)] = 1.5 * WATER
    image = torch.from_numpy(mu.astype(np.float32))
    p = Projector(SCANS[scan], ImageGrid2D((96, 96), 4.0))(image).numpy()
    counts = np.random.default_rng(0).poisson(1e6 * np.exp(-p))
    return (-np.log(np.maximum(counts, 0.5) / 1e6)).astype(np.float32)


@pytest.mark.parametrize("scan", SCANS)
def test_line_integrals_of_a_patient_pass(scan: str, tmp_path: Path) -> None:
    p = patient(scan)
    write_sinogram(tmp_path / "scan", p, SCANS[scan])
    views = ParallelViews.of(p, SCANS[scan])
    assert views is not None
    assert views.attenuation() == pytest.approx(1.01 * WATER, rel=0.03)
    assert views.unevenness(views.values) < 0.005


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda p: p / math.log(10), "2.3026"),
        (lambda p: 1 - np.exp(-p), "-log(1 - value)"),
        (lambda p: np.exp(-p), "-log(I / I0)"),
    ],
    ids=["base 10", "absorbed", "transmitted"],
)
def test_other_readings_are_refused_with_the_remedy(scan: str, change: object, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(IntensityError) as caught:
        write_sinogram(tmp_path / "scan", change(patient(scan)), SCANS[scan])  # type: ignore[operator]
    assert remedy in caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_the_part_absorbed_by_a_small_object_is_told_by_its_mass() -> None:
    """No size tells: 38 mm wide; but the mass of 1 − I/I₀ changes from view to view."""
    narrow = ParallelBeam(SCANS["half a turn"].angles_rad, 160, pitch_mm=0.3)
    p = patient("half a turn")
    check_scale(p, narrow)
    with pytest.raises(IntensityError, match="one mass in all views"):
        check_scale(1 - np.exp(-p), narrow)


def test_a_light_object_that_is_no_patient_passes() -> None:
    """Logarithms to base 10 of a small object, and an object of foam, cannot be told from line integrals."""
    p = patient("half a turn")
    check_scale(p / math.log(10), ParallelBeam(SCANS["half a turn"].angles_rad, 160, pitch_mm=0.3))
    check_scale(p / 20, SCANS["half a turn"])


@pytest.mark.parametrize("shift", [-60, -30, 0, 30, 60])
@pytest.mark.parametrize("counts", [1.0, 4e4])
def test_transmission_of_a_small_object_anywhere(shift: int, counts: float) -> None:
    """Most rays pass through air wherever the object lies, and its shadow is a dip."""
    s = np.arange(160) - 79.5 - shift
    p = np.tile(3 * np.sqrt(np.maximum(1 - (s / 12) ** 2, 0)), (40, 1)).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.01, p.shape).astype(np.float32)
    check_unit(p + noise)
    for data in (counts * (np.exp(-p) + noise), -p + noise):
        with pytest.raises(IntensityError) as caught:
            check_unit(data.astype(np.float32))
        assert "-log(I / I0)" in caught.value.remedy


def test_measured_discs_to_base_10_are_refused(shared_data: Path, tmp_path: Path) -> None:
    with np.load(shared_data / "htc2022" / "htc2022_ta.npz") as stored:
        arrays = dict(stored)
    for change in (lambda p: p / math.log(10), lambda p: 1 - np.exp(-p)):
        np.savez(tmp_path / "htc2022_ta.npz", **{**arrays, "sinogram": change(arrays["sinogram"])})
        with pytest.raises(IntensityError, match="acrylic"):
            read_htc2022(tmp_path / "htc2022_ta.npz")


@pytest.mark.parametrize("views", [slice(0, 60, 8), slice(0, 30)])
def test_the_part_absorbed_in_a_few_views_or_a_limited_arc(views: slice) -> None:
    """Parallel views have one mass each, however few they are."""
    geometry = SCANS["half a turn"].views(np.arange(60)[views])
    p = patient("half a turn")[views]
    check_scale(p, geometry)
    with pytest.raises(IntensityError, match="absorbed"):
        check_scale(1 - np.exp(-p), geometry)


@pytest.mark.parametrize("change", [lambda p: -p, lambda p: p - 11.5], ids=["sign", "counts"])
def test_negative_values_of_a_detector_that_sees_no_air(change: object) -> None:
    middle = patient("half a turn")[:, 62:98]
    check_unit(middle)
    with pytest.raises(IntensityError, match="negative"):
        check_unit(change(middle))  # type: ignore[operator]
