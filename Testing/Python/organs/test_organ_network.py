"""The network that names organs: its weights, its input, what is tidied, and real patients where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage as ndi
import torch
import yaml
from small_study import small_study

from KLIPCore.errors import PriorError
from KLIPCore.lab.organs.augment import draw_batch
from KLIPCore.lab.organs.data import LabelledStudy
from KLIPCore.lab.organs.dice import dice
from KLIPCore.lab.organs.train import Trainer
from KLIPCore.maps.organ_rates import ORGAN_RATES, rate_within
from KLIPCore.organs.find import WEIGHTS, find_organs, label_slices, organ_network, suits, tidy
from KLIPCore.organs.network import OFFSETS_MM, ORGANS, stack_of
from KLIPCore.priors.checkpoint import DEFAULT_PRIOR, load_prior
from KLIPCore.volume.framed_study import frame_study

RNG = np.random.default_rng


def blob(shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float) -> np.ndarray:
    """A ball of voxels."""
    index = np.indices(shape)
    return sum((axis - at) ** 2 for axis, at in zip(index, centre, strict=True)) <= radius**2


def test_the_shipped_weights_are_small_and_of_the_abdomen() -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000
    assert organ_network().features == (32, 48, 64, 96, 128)
    card = load_prior(DEFAULT_PRIOR).card
    assert suits(card)
    assert not suits(replace(card, anatomy="adult chest"))
    assert not suits(replace(card, size=128))


def test_damaged_weights_are_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(WEIGHTS.read_bytes()[:1000])
    with pytest.raises(PriorError, match=r"broken\.safetensors is missing or damaged"):
        organ_network(broken)
    with pytest.raises(PriorError, match="missing or damaged"):
        organ_network(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(("step", "wanted"), [(5.0, [3, 4, 5, 6, 7]), (2.5, [1, 3, 5, 7, 9]), (10.0, [4, 5, 5, 5, 6])])
def test_neighbours_lie_at_the_same_distance_in_mm_whatever_the_spacing(step: float, wanted: list[int]) -> None:
    slices = torch.arange(12.0).view(12, 1, 1).expand(12, 4, 4)
    found = stack_of(slices, 5, step)[:, 0, 0].tolist()
    assert len(found) == len(OFFSETS_MM)
    assert found == [float(k) for k in wanted]
    assert stack_of(slices, 0, step)[0, 0, 0] == 0.0


def test_a_lesion_inside_an_organ_belongs_to_it_and_crumbs_do_not() -> None:
    shape = (9, 64, 64)
    labels = np.where(blob(shape, (4, 30, 30), 16), 5, 0).astype(np.uint8)
    lesion, crumb = blob(shape, (4, 30, 28), 4), blob(shape, (4, 60, 60), 2)
    labels[lesion] = 0
    labels[crumb] = 5
    made = tidy(labels, 0.01)
    assert (made[lesion] == 5).all()
    assert (made[crumb] == 0).all()


def test_a_hole_that_is_another_organ_stays() -> None:
    shape = (9, 64, 64)
    labels = np.where(blob(shape, (4, 30, 30), 16), 5, 0).astype(np.uint8)
    gallbladder = blob(shape, (4, 30, 28), 5)
    labels[gallbladder] = 2
    assert (tidy(labels, 0.01)[gallbladder] == 2).all()


def test_holes_are_filled_as_on_whole_planes() -> None:
    centres = [(4, 30, 30), (4, 1, 60), (4, 63, 5), (3, 33, 62)]  # inside, and at every edge
    holes = [(4, 30, 22), (4, 3, 55), (4, 60, 8), (3, 33, 60)]
    for centre, hole in zip(centres, holes, strict=True):
        liver = blob((9, 64, 64), centre, 14) & ~blob((9, 64, 64), hole, 3)
        disc = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2.3
        whole = [ndi.binary_fill_holes(ndi.binary_closing(plane, disc)) for plane in liver]
        assert np.array_equal(tidy(np.where(liver, 5, 0).astype(np.uint8), 0.1) == 5, liver | np.stack(whole))


def test_dice_is_twice_the_overlap_over_the_sum() -> None:
    found, truth = np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8), np.uint8)
    found[:, :, :4], truth[:, :, 2:6] = 5, 5
    figures = dice(found, truth)
    assert figures[5] == pytest.approx(0.5)
    assert np.isnan(figures[1])


def test_close_slices_take_the_labels_of_their_neighbour() -> None:
    """A study of 2-mm slices is labelled every 4 mm, on its own grid and within its body."""
    card = load_prior(DEFAULT_PRIOR).card
    study = small_study(6)
    affine = study.grid.affine.copy()
    affine[:3, 0] *= 2.0 / 5.0
    study = replace(study, grid=replace(study.grid, affine=affine))
    framed = frame_study(study, card)
    organs = find_organs(framed, card)
    assert organs.labels.shape == study.grid.shape
    assert set(organs.present) <= set(ORGANS)
    lps = framed.orientation.apply(organs.labels)
    assert (lps[0] != lps[1]).mean() < 0.01  # but for the rounding of each slice's own place in the frame
    assert not (lps[~framed.body]).any()


def made_study() -> LabelledStudy:
    """Eight slices with a bright disc that is labelled liver."""
    labels = np.where(blob((8, 256, 256), (4, 120, 100), 50), 5, 0).astype(np.uint8)
    slices = np.clip(90 + 60 * (labels > 0) + RNG(0).normal(0, 4, labels.shape), 0, 255).astype(np.uint8)
    return LabelledStudy("made", torch.from_numpy(slices), torch.from_numpy(labels), 5.0)


def test_images_and_labels_are_moved_together() -> None:
    images, labels = draw_batch([made_study()], 12, torch.Generator().manual_seed(1))
    assert images.shape == (12, len(OFFSETS_MM), 256, 256)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    contrasts = [
        float(image[2][label == 5].mean() - image[2][(label == 0) & (image[2] > 0.2)].mean())
        for image, label in zip(images, labels, strict=True)
        if (label == 5).sum() > 500
    ]
    assert len(contrasts) >= 6
    assert np.median(contrasts) > 0.1


def test_training_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    config = {
        "name": "tiny", "features": [8, 8, 16, 16, 16], "batch": 2, "steps": 30, "rate": 0.01, "bfloat16": False,
        "seed": 0, "save_every": 6, "warm_up": 1,
    }  # fmt: skip
    study = [made_study()]
    once = Trainer(config, tmp_path / "once")
    (tmp_path / "once").mkdir()
    losses = [once.train_step(study) for _ in range(12)]
    assert np.mean(losses[-3:]) < 0.9 * losses[0]
    (tmp_path / "twice").mkdir()
    first = Trainer(config, tmp_path / "twice")
    again = [first.train_step(study) for _ in range(6)]
    first.save()
    second = Trainer(config, tmp_path / "twice")
    again += [second.train_step(study) for _ in range(6)]
    np.testing.assert_allclose(again, losses, rtol=1e-4)
    second.save()
    assert organ_network(tmp_path / "twice" / "tiny.safetensors").features == (8, 8, 16, 16, 16)


@pytest.mark.shared_data
def test_a_patient_outside_training_is_labelled(shared_data: Path) -> None:
    """BTCV 0039, eight slices of its abdomen: the liver as the docs' table has it, about."""
    from KLIPCore.lab.organs.train import read_sources

    root = Path(__file__).parents[3]
    config = yaml.safe_load((root / "configs" / "organs_abdomen.yaml").read_text(encoding="utf-8"))
    config["test"] = {"0039": config["test"]["0039"]}
    study = read_sources(config, shared_data, "test")[0]
    chosen = list(range(54, 86, 4))
    found = label_slices(study.slices.float() / 255, chosen, study.slice_mm)
    figures = dice(found, study.labels.numpy()[chosen])
    assert figures[5] > 0.88
    assert figures[7] > 0.8


def test_the_rate_of_several_organs_is_that_of_their_volume() -> None:
    assert rate_within({"Liver": 100}) == pytest.approx(ORGAN_RATES["liver"])
    both = rate_within({"liver": 300, "spleen": 100})
    assert both == pytest.approx((3 * ORGAN_RATES["liver"] + ORGAN_RATES["spleen"]) / 4)
    assert rate_within({"liver": 300, "label 7": 1}) is None
    assert rate_within({}) is None
    assert set(ORGAN_RATES) == set(ORGANS.values())
