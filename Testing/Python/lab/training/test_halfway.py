"""Anatomies between patients, and other scanners: what may change in a slice, and what may not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import made_patients, tiny_config

from KLIPCore.errors import ConfigError
from KLIPCore.lab.training.augment import Augmentation, sample_patches
from KLIPCore.lab.training.data import load_training_set
from KLIPCore.lab.training.halfway import CACHE, GRID, PARTNERS, draw_way, field_to, halfway_fields, warped
from KLIPCore.lab.training.loop import train
from KLIPCore.lab.training.phases import LabelledOrgans
from KLIPCore.lab.training.scanner import NOISE, narrow_field, other_scanner

SIDE = 128


def ball(radius: float, side: int = SIDE, inside: float = 0.6) -> np.ndarray:
    """A body with a ball of so many pixels of 128 in it."""
    rows, columns = (np.mgrid[:side, :side] - (side - 1) / 2) * SIDE / side
    body = np.where(np.hypot(rows / 0.8, columns) < 58, 0.4, 0.0)
    return np.where(np.hypot(rows, columns) < radius, inside, body)


def radius_of(image: torch.Tensor, above: float = 0.5) -> float:
    return float(((image > above).sum() / torch.pi).sqrt()) * SIDE / image.shape[-1]


def test_a_ball_on_its_way_to_another_has_a_radius_between_and_the_same_hu() -> None:
    small, large = ball(18), ball(30)
    for start, end in ((small, large), (large, small)):
        field = torch.from_numpy(field_to(ball_small(start), ball_small(end)))
        image = torch.from_numpy(start).float()
        found = [radius_of(warped(image, field, way)) for way in (0.0, 0.25, 0.5, 0.75, 1.0)]
        assert found[0] == pytest.approx(radius_of(image), abs=0.2)
        rising = np.sign(found[-1] - found[0]) * np.diff(found)
        assert (rising > 0).all(), found
        assert min(found[0], found[-1]) < found[2] < max(found[0], found[-1])
        assert 20 < found[2] < 28, found
        half = warped(image, field, 0.5)
        assert float(image.min()) <= float(half.min()) <= float(half.max()) <= float(image.max()) + 1e-6
        labels = warped((image > 0.5).byte() * 5, field, 0.5, "nearest")
        assert set(labels.unique().tolist()) == {0, 5}
        assert radius_of(labels, 2) == pytest.approx(found[2], abs=1.0)


def ball_small(image: np.ndarray) -> np.ndarray:
    """At the side of the registration."""
    step = SIDE // GRID
    return image.reshape(GRID, step, GRID, step).mean((1, 3))


def test_a_brighter_partner_changes_shapes_and_not_brightness() -> None:
    start, end = ball(18), ball(30, inside=0.9)
    half = warped(torch.from_numpy(start).float(), torch.from_numpy(field_to(ball_small(start), ball_small(end))), 0.5)
    assert float(half.max()) <= 0.6 + 1e-6
    assert 19 < radius_of(half) < 29


def test_a_slice_is_itself_on_its_way_to_itself() -> None:
    field = field_to(ball_small(ball(20)), ball_small(ball(20)))
    assert np.abs(field).max() < 1e-3


def test_fields_are_found_once_and_kept_for_these_slices_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from KLIPCore.lab.training import halfway

    stacks = np.stack([ball(r, 64) for r in (16, 20, 24)])
    slices = np.round(stacks * 255).astype(np.uint8)
    calls: list[int] = []
    find = halfway.field_to

    def counted(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        calls.append(1)
        return find(a, b)

    monkeypatch.setattr(halfway, "field_to", counted)
    fields = halfway_fields(slices, [1, 1, 1], tmp_path)
    assert fields.shape == (3, PARTNERS, 2, GRID, GRID)
    assert len(calls) == 3 * PARTNERS
    assert not torch.equal(fields[0, 0], fields[0, 1])  # two partners, two shapes
    assert torch.equal(halfway_fields(slices, [1, 1, 1], tmp_path), fields)
    assert len(calls) == 3 * PARTNERS
    for damaged in (b"", b"PK\x03\x04", (tmp_path / CACHE).read_bytes()[:200]):
        (tmp_path / CACHE).write_bytes(damaged)
        assert torch.equal(halfway_fields(slices, [1, 1, 1], tmp_path), fields)
    calls.clear()
    halfway_fields(slices[::-1].copy(), [1, 1, 1], tmp_path)
    assert calls
    with pytest.raises(ConfigError, match="two at least") as told:
        halfway_fields(slices, [3])
    assert "halfway_probability" in told.value.remedy


def test_patches_are_deformed_as_often_as_asked_and_labels_with_them() -> None:
    slices = torch.from_numpy(np.round(np.stack([ball(18), ball(30)]) * 255).astype(np.uint8))
    fields = halfway_fields(slices.numpy(), [1, 1])
    marked = (slices > 128).byte() * 5
    organs = LabelledOrgans(marked, torch.full((2, 9), float("nan")), tiny_config().window)
    still = {"warp_probability": 0.0, "gain": 0.0, "clip_probability": 0.0}

    def radii(probability: float) -> list[float]:
        rule = Augmentation(**still, halfway_probability=probability)
        generator = torch.Generator().manual_seed(0)
        made, _ = sample_patches(slices, torch.zeros(1, 2, SIDE, SIDE), 40, SIDE, rule, generator, organs, fields)
        assert 0.0 <= float(made.min()) <= float(made.max()) <= 0.6 + 1e-2
        return [radius_of(image[0]) for image in made]

    untouched = {round(radius_of(own.float() / 255), 3) for own in slices}
    assert {round(r, 3) for r in radii(0.0)} == untouched
    between = [18.5 < r < 29.5 for r in radii(1.0)]
    assert np.mean(between) > 0.9
    assert 0.2 < np.mean([18.5 < r < 29.5 for r in radii(0.5)]) < 0.8


def test_another_kernel_and_dose_change_texture_and_neither_air_nor_brightness() -> None:
    image = torch.from_numpy(ball(20)).float()
    generator = torch.Generator().manual_seed(1)
    body, spreads = image == 0.4, []
    inner = -torch.nn.functional.max_pool2d(-body.float()[None], 9, stride=1, padding=4)[0] > 0
    for _ in range(20):
        made = other_scanner(image, generator)
        assert torch.equal(made[image == 0], image[image == 0])
        assert float(made[inner].mean()) == pytest.approx(0.4, abs=0.01)
        spreads.append(float(made[inner].std()))
    assert max(spreads) < 1.5 * NOISE
    assert max(spreads) > 3 * min(spreads)


def test_a_narrow_field_cuts_the_rim_and_keeps_the_middle() -> None:
    image = torch.from_numpy(np.where(ball(20) > 0, ball(20), 0.0)).float()
    generator = torch.Generator().manual_seed(2)
    for _ in range(10):
        made = narrow_field(image, generator)
        assert torch.equal(made[32:96, 32:96], image[32:96, 32:96])
        assert float(made[:, :4].sum() + made[:, -4:].sum()) == 0.0
    cut = [float((narrow_field(image, generator) != image).float().mean()) for _ in range(20)]
    assert max(cut) > 0.02


def test_ways_and_partners_are_drawn_from_all_there_are() -> None:
    generator = torch.Generator().manual_seed(3)
    drawn = [draw_way(generator) for _ in range(60)]
    assert {partner for partner, _ in drawn} == set(range(PARTNERS))
    assert all(0.25 <= way <= 0.75 for _, way in drawn)


def test_a_training_with_all_of_it_is_off_by_default_and_continues(tmp_path: Path) -> None:
    patients = made_patients(tmp_path / "patients")
    assert Augmentation().halfway_probability == Augmentation().scanner_probability == 0.0
    rule = Augmentation(halfway_probability=0.5, scanner_probability=0.5, field_probability=0.5)
    config = tiny_config(augmentation=rule, steps=4, save_every=2)
    weights = train(config, patients, tmp_path / "out")
    assert weights.is_file()
    assert (tmp_path / "out" / CACHE).is_file()
    slices = load_training_set(patients, config.sources, config.window, config.size).slices
    fields = halfway_fields(slices, [5, 5], tmp_path / "out")
    assert fields.shape[0] == len(slices)
