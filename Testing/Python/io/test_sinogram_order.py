"""Rows that are not in the order of their angles, fans that went round the other way, and values scaled to 0…1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from KLIPCore.errors import GeometryError, IntensityError
from KLIPCore.io.line_integrals import check_unit
from KLIPCore.io.opposite_rays import check_opposite
from KLIPCore.io.sinogram import read_htc2022, read_sinogram, write_sinogram
from KLIPCore.io.sinogram_doubts import check_filled, doubts
from KLIPCore.io.sinogram_order import check_order
from KLIPCore.io.sinogram_scale import ParallelViews, check_scale
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam

WATER = 0.0193
SIDE = 96


def arc(n: int, degrees: float) -> tuple[float, ...]:
    return tuple(0.3 + np.arange(n) * math.radians(degrees) / n)


def fan(n: int, degrees: float, bins: int = 200) -> FanBeam:
    return FanBeam(arc(n, degrees), bins, pitch_mm=4.5, source_origin_mm=550.0, source_detector_mm=1000.0)


SCANS: dict[str, Geometry] = {
    "parallel, 24 views": ParallelBeam(arc(24, 180), 160, pitch_mm=3.0),
    "parallel, truncated": ParallelBeam(arc(60, 180), 60, pitch_mm=3.0),
    "a quarter": ParallelBeam(arc(30, 90), 160, pitch_mm=3.0),
    "fan": fan(90, 360),
    "short fan": fan(90, 240),
    "short fan, 24 views": fan(24, 240),
    "fan, truncated": fan(90, 360, 80),
    "short fan, truncated": fan(60, 240, 80),
    "curved fan": replace(fan(90, 360), equiangular=True),
    "half a detector": replace(fan(90, 360, 110), offset_mm=200.0),
}


def within(row: float, column: float, height: float, width: float) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.hypot((y - row) / height, (x - column) / width) < 1


def trunk() -> np.ndarray:
    mu = 1.01 * WATER * (within(52, 46, 26, 34) | within(56, 7, 6, 6) | within(56, 85, 6, 6))
    mu[within(50, 32, 15, 11) | within(50, 60, 15, 11)] = 0.2 * WATER
    mu[within(68, 46, 5, 5)] = 1.5 * WATER
    return mu


def gear() -> np.ndarray:
    """Looks alike from twelve sides."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return WATER * (np.hypot(y, x) < 32 + 4 * np.sign(np.cos(12 * np.arctan2(y, x))))


def metal() -> np.ndarray:
    mu = trunk()
    mu[within(60, 38, 2, 2) | within(45, 56, 1.5, 3)] = 12 * WATER
    return mu


def speck() -> np.ndarray:
    return 5 * WATER * within(30, 68, 2, 2)


def wheel() -> np.ndarray:
    mu = WATER * within(47.5, 47.5, 34, 34)
    for k in range(8):
        mu[within(47.5 + 22 * math.sin(k * math.pi / 4), 47.5 + 22 * math.cos(k * math.pi / 4), 3, 3)] = 0
    return mu


OBJECTS: dict[str, Callable[[], np.ndarray]] = {
    "trunk": trunk,
    "metal": metal,
    "gear": gear,
    "speck": speck,
    "wheel": wheel,
    "disc": lambda: WATER * within(47.5, 47.5, 34, 34),
    "ellipse": lambda: WATER * within(47.5, 47.5, 22, 34),
}


@cache
def measured(scan: str) -> dict[str, np.ndarray]:
    images = torch.from_numpy(np.stack([make() for make in OBJECTS.values()]).astype(np.float32))
    found = Projector(SCANS[scan], ImageGrid2D((SIDE, SIDE), 4.4))(images).numpy()
    return dict(zip(OBJECTS, found, strict=True))


def noisy(p: np.ndarray, photons: float | None) -> np.ndarray:
    if photons is None:
        return p
    counts = np.random.default_rng(0).poisson(photons * np.exp(-p))
    return (-np.log(np.maximum(counts, 0.5) / photons)).astype(np.float32)


def check(p: np.ndarray, geometry: Geometry) -> None:
    check_order(p, geometry)
    check_opposite(p, geometry)
    check_scale(p, geometry)
    check_filled(p, geometry)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("photons", [None, 3e3])
def test_no_true_scan_is_refused(scan: str, photons: float | None) -> None:
    """Whatever is seen: noise, metal, what looks alike from all sides, and in whatever order views are kept."""
    order = np.random.default_rng(1).permutation(SCANS[scan].n_views)
    for name, p in measured(scan).items():
        data = noisy(p, photons)
        check(data, SCANS[scan])
        check(data[order], SCANS[scan].views(order))
        if name in ("trunk", "metal"):
            assert not doubts(data, SCANS[scan])


@pytest.mark.parametrize("scan", [name for name in SCANS if name not in ("short fan, 24 views",)])
@pytest.mark.parametrize("photons", [None, 1e5])
def test_shuffled_rows_are_refused(scan: str, photons: float | None) -> None:
    geometry = SCANS[scan]
    data = noisy(measured(scan)["trunk"], photons)
    order = np.random.default_rng(3).permutation(geometry.n_views)
    with pytest.raises(GeometryError, match=r"order of their angles|at other angles") as caught:
        check(data[order], geometry)
    assert "in the order of the rows" in caught.value.remedy


@pytest.mark.parametrize("scan", ["fan", "short fan", "fan, truncated", "short fan, truncated", "curved fan"])
def test_a_fan_that_turned_the_other_way_is_refused(scan: str) -> None:
    geometry = SCANS[scan]
    assert isinstance(geometry, FanBeam)
    p = noisy(measured(scan)["trunk"], 1e5)
    other = replace(geometry, angles_rad=tuple(-np.asarray(geometry.angles_rad)))
    for data, given in ((p, other), (p[:, ::-1], geometry), (p[::-1], geometry)):
        with pytest.raises(GeometryError, match="turned the other way"):
            check_opposite(data, given)
    check_opposite(p[:, ::-1], other)  # seen from behind: another picture, but one of a fan


def test_two_interleaved_halves_of_a_fan_are_refused(tmp_path: Path) -> None:
    p = measured("fan")["trunk"]
    with pytest.raises(GeometryError, match="do not agree"):
        write_sinogram(tmp_path / "scan", np.concatenate([p[::2], p[1::2]]), SCANS["fan"])


@pytest.mark.parametrize("scan", ["short fan", "short fan, 24 views"])
@pytest.mark.parametrize(
    ("change", "remedy"),
    [(lambda p: p / math.log(10), "2.3026"), (lambda p: 1 - np.exp(-p), "-log(1 - value)")],
    ids=["base 10", "absorbed"],
)
def test_other_readings_of_a_short_scan_are_refused(scan: str, change: Callable, remedy: str) -> None:
    """Each line is seen once, from one end or the other."""
    p = noisy(measured(scan)["trunk"], 1e5)
    views = ParallelViews.of(p, SCANS[scan])
    assert views is not None
    assert views.all_around
    assert views.attenuation() == pytest.approx(1.01 * WATER, rel=0.1)
    with pytest.raises(IntensityError) as caught:
        check_scale(change(p), SCANS[scan])
    assert remedy in caught.value.remedy


def test_the_part_absorbed_in_a_fan_of_a_quarter_turn_is_told_by_its_mass() -> None:
    geometry = SCANS["fan"].views(slice(0, 30))
    p = measured("fan")["trunk"][:30]
    views = ParallelViews.of(p, geometry)
    assert views is not None
    assert not views.all_around
    check_scale(p, geometry)
    with pytest.raises(IntensityError, match="one mass in all views"):
        check_scale(1 - np.exp(-p), geometry)


@pytest.mark.parametrize("scan", ["parallel, truncated", "fan, truncated", "short fan, truncated"])
@pytest.mark.parametrize(
    "change",
    [
        lambda p: 1 - np.exp(-p),
        lambda p: np.exp(-p) / np.exp(-p).max(),
        lambda p: (np.exp(-p) - np.exp(-p).min()) / np.ptp(np.exp(-p)),
        lambda p: (p - p.min()) / np.ptp(p),
    ],
    ids=["absorbed", "transmission by its largest", "transmission from 0 to 1", "line integrals from 0 to 1"],
)
def test_values_scaled_to_1_without_air_are_refused(scan: str, change: Callable, tmp_path: Path) -> None:
    p = noisy(measured(scan)["trunk"], 1e5)
    write_sinogram(tmp_path / "scan", p, SCANS[scan])
    with pytest.raises(IntensityError) as caught:
        write_sinogram(tmp_path / "other", change(p), SCANS[scan])
    assert "-log(" in caught.value.remedy


@pytest.mark.parametrize("scan", ["parallel, truncated", "fan, truncated"])
def test_base_10_and_light_things_that_fill_the_detector_are_doubted(scan: str) -> None:
    """No law tells them apart: a foam is a true scan, so both are read, and the report says what is odd."""
    for factor in (math.log(10), 5.0):
        data = measured(scan)["trunk"] / factor
        check(data, SCANS[scan])
        (said,) = doubts(data, SCANS[scan])
        assert "fills the detector's field" in said
        assert "natural logarithm" in said


def test_a_factor_on_a_patient_is_doubted(tmp_path: Path) -> None:
    data = measured("fan")["trunk"]
    for factor in (0.2, 5.0):
        write_sinogram(tmp_path / "scan", factor * data, SCANS["fan"])
        (said,) = doubts(*read_sinogram(tmp_path / "scan.npz"))
        assert "soft tissue has 0.019" in said


@pytest.mark.parametrize(("factor", "unit"), [(10.0, "cm"), (25.4, "inches")])
def test_lengths_in_another_unit_are_doubted(factor: float, unit: str) -> None:
    geometry = SCANS["fan"]
    assert isinstance(geometry, FanBeam)
    other = replace(
        geometry,
        pitch_mm=geometry.pitch_mm / factor,
        source_origin_mm=geometry.source_origin_mm / factor,
        source_detector_mm=geometry.source_detector_mm / factor,
    )
    (said,) = doubts(measured("fan")["trunk"], other)
    assert f"lengths are in {unit}" in said


def test_a_fan_of_another_shape_is_doubted_or_refused() -> None:
    """Angles halved, a distance to the isocentre for one to the detector, an offset, and a fan called parallel."""
    geometry, p = SCANS["fan"], measured("fan")["trunk"]
    assert isinstance(geometry, FanBeam)
    halved = replace(geometry, angles_rad=tuple(np.asarray(geometry.angles_rad) / 2))
    for other in (halved, replace(geometry, source_detector_mm=550.0), replace(geometry, offset_mm=36.0)):
        assert "agree badly" in doubts(p, other)[0]
    parallel = ParallelBeam(geometry.angles_rad, 200, pitch_mm=4.5 * 0.55)
    with pytest.raises(GeometryError, match="do not agree"):
        check_opposite(p, parallel)


@pytest.mark.parametrize("scan", ["fan", "short fan", "fan, truncated", "short fan, truncated", "curved fan"])
@pytest.mark.parametrize("part", [0.8, 0.9, 1.1, 1.2])
def test_a_detector_at_another_distance_is_doubted(scan: str, part: float) -> None:
    """Its distance to the source, with the isocentre's or alone, changes the fan's angles."""
    geometry = SCANS[scan]
    assert isinstance(geometry, FanBeam)
    wrong = replace(geometry, source_detector_mm=part * geometry.source_detector_mm)
    for name in ("trunk", "metal"):
        (said,) = doubts(noisy(measured(scan)[name], 1e5), wrong)
        assert "times better at" in said
        assert "check the detector's shape" in said


@pytest.mark.parametrize("scan", ["fan", "short fan", "curved fan"])
def test_a_detector_of_another_shape_is_doubted(scan: str) -> None:
    geometry = SCANS[scan]
    assert isinstance(geometry, FanBeam)
    p = measured(scan)["trunk"]
    (said,) = doubts(p, replace(geometry, equiangular=not geometry.equiangular))
    assert f"if the detector is {'an arc' if geometry.equiangular else 'flat'}" in said


def test_counts_in_air_over_counts_are_refused() -> None:
    p = noisy(measured("fan")["trunk"], 1e5)
    with pytest.raises(IntensityError, match="I0 / I") as caught:
        check_unit(np.exp(np.maximum(p, 0)))
    assert "-log(I / I0)" in caught.value.remedy


def test_measured_discs_pass_in_any_selection_and_not_in_another_order(shared_data: Path) -> None:
    files = sorted((shared_data / "htc2022").glob("htc2022_*.npz"))
    for path in files[::6]:
        data, geometry, _ = read_htc2022(path)
        for views in (slice(0, 720, 12), slice(0, 181, 2), slice(100, 340, 10)):
            for bins in (slice(None), slice(100, 460)):
                p, g = data[views][:, bins], geometry.views(views)
                g = replace(g, n_detectors=p.shape[1])
                check(p, g)
                assert not doubts(p, g)
    data, geometry, _ = read_htc2022(shared_data / "htc2022" / "htc2022_ta.npz")
    order = np.random.default_rng(0).permutation(720)
    with pytest.raises(GeometryError, match=r"order of their angles|at other angles"):
        check(data[order], geometry.views(slice(0, 720)))
