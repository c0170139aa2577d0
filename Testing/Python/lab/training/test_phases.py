"""Contrast phases that labelled organs are given in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from KLIPCore.errors import ConfigError, EmptyInputError
from KLIPCore.lab.training.augment import Augmentation, sample_patches
from KLIPCore.lab.training.data import DataSource, load_training_set
from KLIPCore.lab.training.phases import LIVER, PHASES_HU, LabelledOrgans, organ_means, other_phase
from KLIPCore.volume.units import Window

WINDOW = Window(-125.0, 275.0)
AORTA, KIDNEYS, SPLEEN = 1, (3, 4), 7


def hu(intensity: torch.Tensor | float) -> float:
    return float(intensity) * 400.0 - 125.0


def patient() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A slice with four organs of 100 HU in fat of -100 HU, a vessel of 150 HU in the liver; its labels and means."""
    image, labels = torch.full((64, 64), 25 / 400), torch.zeros(64, 64, dtype=torch.uint8)
    for label, (r, c) in {LIVER: (4, 4), SPLEEN: (4, 36), 3: (36, 4), 4: (36, 36)}.items():
        labels[r : r + 24, c : c + 24] = label
    image[labels > 0] = 225 / 400
    image[12:18, 12:18] = 275 / 400
    means = organ_means((image * 255).round().byte().numpy()[None], labels.numpy()[None])
    return image, labels, torch.from_numpy(means[0])


def middle(image: torch.Tensor, labels: torch.Tensor, label: int) -> float:
    """Median of an organ without its rim."""
    inside = -torch.nn.functional.max_pool2d(-(labels == label).float()[None], 5, stride=1, padding=2)[0] > 0
    return hu(image[inside].median())


def test_organs_get_the_hu_of_one_phase_and_the_rest_stays() -> None:
    image, labels, means = patient()
    generator = torch.Generator().manual_seed(1)
    seen = set()
    for _ in range(40):
        changed = other_phase(image, labels, means, WINDOW, generator)
        assert torch.equal(changed[:2], image[:2])  # fat, away from every organ
        assert middle(changed, labels, 3) == pytest.approx(middle(changed, labels, 4), abs=2.0)
        fits = [
            name
            for name, ranges in PHASES_HU.items()
            if all(ranges[k][0] - 3 <= middle(changed, labels, k) <= ranges[k][1] + 3 for k in (LIVER, SPLEEN, 3))
        ]
        assert fits
        seen |= set(fits) if len(fits) == 1 else set()
    assert seen == set(PHASES_HU)


def test_vessels_of_the_liver_gain_or_lose_contrast() -> None:
    image, labels, means = patient()
    generator = torch.Generator().manual_seed(2)
    contrast = []
    for _ in range(30):
        changed = other_phase(image, labels, means, WINDOW, generator)
        contrast.append(hu(changed[14:16, 14:16].mean()) - middle(changed, labels, LIVER))
    assert min(contrast) < 40  # 50 HU before
    assert max(contrast) > 60
    assert all(c > 10 for c in contrast)


def test_an_organ_that_the_patient_does_not_show_changes_nothing() -> None:
    image, labels, means = patient()
    assert torch.isnan(means[AORTA])
    changed = other_phase(image, torch.zeros_like(labels), means, WINDOW, torch.Generator().manual_seed(3))
    assert torch.equal(changed, image)


def test_patches_change_phase_as_often_as_asked() -> None:
    image, labels, means = patient()
    slices = (image * 255).round().byte()[None]
    organs = LabelledOrgans(labels[None], means[None], WINDOW)
    still = {"warp_probability": 0.0, "gain": 0.0, "clip_probability": 0.0}
    position = torch.zeros(1, 2, 64, 64)

    def changed(probability: float) -> float:
        rule = Augmentation(**still, phase_probability=probability)
        made, _ = sample_patches(slices, position, 200, 64, rule, torch.Generator().manual_seed(4), organs)
        return float((made[:, 0] - slices[0].float() / 255).abs().amax((1, 2)).gt(1e-6).float().mean())

    assert changed(0.0) == 0.0
    assert changed(0.3) == pytest.approx(0.3, abs=0.1)


def written(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def test_labels_are_read_framed_with_their_volume(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :64] - 31.5
    body = np.hypot(rows / 24, columns / 28) < 1
    organ = np.hypot(rows, (columns + 8) / 1.2) < 8
    volume = np.where(organ, 110.0, np.where(body, 0.0, -1000.0)).astype(np.float32)
    written(tmp_path / "ct" / "7.nii.gz", np.stack([volume] * 5))
    written(tmp_path / "seg" / "7.nii.gz", np.stack([organ * np.uint8(LIVER)] * 5))
    source = DataSource("s", "ct/{case}.nii.gz", ("7",), labels="seg/{case}.nii.gz")
    slices, entries, organs = load_training_set(tmp_path, [source], WINDOW, 64)
    assert organs is not None
    assert organs.labels.shape == slices.shape
    assert len(entries) == 1
    assert hu(organs.means[0, LIVER]) == pytest.approx(110.0, abs=12.0)  # its rim is blurred
    bright = torch.from_numpy(slices) > 0.5 * 255
    overlap = 2 * (bright & (organs.labels == LIVER)).sum() / (bright.sum() + (organs.labels == LIVER).sum())
    assert overlap > 0.93

    written(tmp_path / "seg" / "7.nii.gz", np.stack([organ * np.uint8(LIVER)] * 4))
    with pytest.raises(ConfigError, match=r"7\.nii\.gz is no set of organ labels"):
        load_training_set(tmp_path, [source], WINDOW, 64)
    (tmp_path / "seg" / "7.nii.gz").unlink()
    with pytest.raises(EmptyInputError, match="seg/7"):
        load_training_set(tmp_path, [source], WINDOW, 64)


def test_labels_need_named_cases() -> None:
    with pytest.raises(ConfigError, match="names no cases"):
        DataSource("s", "ct/{case}.nii.gz", labels="seg/{case}.nii.gz")
