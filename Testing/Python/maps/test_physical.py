"""Physical quantities of a study against what was put into it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_study import small_study

import KLIPCore
from KLIPCore.maps.half_size import halved
from KLIPCore.maps.physical import Physical, measure
from KLIPCore.volume.framed_study import frame_study
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.volume import Volume

CARD = ModelCard.from_dict(
    json.loads((Path(KLIPCore.__file__).parent / "priors/zoo/abdomen-ct-256.json").read_text(encoding="utf-8"))
)


def physical(volume: Volume) -> Physical:
    framed = frame_study(volume, CARD)
    each = range(len(framed.body))
    images = np.stack([halved(framed.intensity(k, CARD)) for k in each])
    inside = np.stack([halved(framed.mask(k)) >= 0.5 for k in each])
    return measure(framed.lps.array, framed.lps.grid, framed.body, images, inside)


def with_array(array: NDArray[np.floating]) -> Volume:
    return small_study(20).with_array(array)


STUDY = small_study(20)
HU = STUDY.array


def about(volume: Volume) -> set[str]:
    return {remark.about for remark in physical(volume).remarks()}


def test_a_plain_study_has_its_own_numbers_and_no_remarks() -> None:
    found = physical(STUDY)
    assert 8 < found.noise_hu < 12  # it was made with 8, and has edges
    assert found.fat_hu == pytest.approx(-95, abs=6)
    assert found.air_hu == pytest.approx(-1000, abs=6)
    assert found.metal_ml == 0
    assert found.repeated == 0
    assert found.remarks() == []


@pytest.mark.parametrize("hu", [30.0, 90.0])
def test_noise_is_measured(hu: float) -> None:
    noise = np.random.default_rng(1).normal(0, hu, HU.shape)
    assert physical(with_array(HU + noise * (HU > -900))).noise_hu == pytest.approx(np.hypot(hu, 10), rel=0.2)


@pytest.mark.parametrize(("shift", "serious"), [(45.0, False), (-45.0, False), (90.0, True)])
def test_shifted_values_are_found_at_fat_and_air(shift: float, serious: bool) -> None:
    remarks = physical(with_array(HU + shift)).remarks()
    assert {remark.about for remark in remarks} == {"HU scale"}
    assert any(remark.serious for remark in remarks) == serious


def test_metal_is_counted_in_millilitres() -> None:
    array = HU.copy()
    array[5:9, 70:74, 80:84] = 3000  # 4 × 4 × 4 voxels of 31.25 mm³
    found = physical(with_array(array))
    assert found.metal_ml == pytest.approx(64 * 31.25 / 1000)
    assert {remark.about for remark in found.remarks()} == {"metal"}


def test_a_cut_body_is_noticed() -> None:
    whole = slice(0, 20)
    assert "cropped" in about(STUDY.cropped((whole, slice(40, 104), slice(40, 120))))


def test_a_slice_that_does_not_follow_and_a_repeated_one() -> None:
    moved = HU.copy()
    moved[10:] = moved[10:, :, ::-1]
    assert "missing slices or motion" in about(with_array(moved))
    twice = HU.copy()
    twice[10] = twice[9]
    assert about(with_array(twice)) == {"repeated slices"}


def test_a_body_that_moves_between_slices() -> None:
    steps = np.random.default_rng(0).integers(-4, 5, len(HU))
    moved = np.stack([np.roll(plane, step, axis=1) for plane, step in zip(HU, steps, strict=True)])
    assert physical(STUDY).jitter_mm < 1
    assert "motion" in about(with_array(moved))


def test_lungs_at_the_lower_end() -> None:
    y, x = np.mgrid[: HU.shape[1], : HU.shape[2]]
    lung = (np.abs(x - 80) > 8) & (np.abs(x - 80) < 45) & (np.abs(y - 72) < 30)
    upright, reversed_order = HU.copy(), HU.copy()
    upright[-5:, lung] = reversed_order[:5, lung] = -800
    assert "upside down" not in about(with_array(upright))
    assert "upside down" in about(with_array(reversed_order))
