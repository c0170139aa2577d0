"""What a prior makes of healthy livers and lesions: on a prior whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor

from KLIPCore.errors import EmptyInputError
from KLIPCore.lab.training.health import BTCV, Slices, asked, ranks, read, sides
from KLIPCore.maps.unexpected import NODES, mean_pushes
from KLIPCore.priors.unet import UNetPrior
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window

SIZE, LIVER = 256, 0.55
CARD = ModelCard("flat", "a flat liver", Window(-125.0, 275.0), size=SIZE)


class Flat:
    """A denoiser that expects a liver of one intensity wherever there is a body, whatever the noise."""

    card = CARD

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        del sigma
        return torch.where(torch.from_numpy(body())[None, None], LIVER, 0.0).expand(len(x), 1, -1, -1)


def body() -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    return np.hypot(rows, columns) < 100


def patient(offset: float, lesion: float = 0.0) -> Slices:
    """Two slices that are brighter by ``offset``, with a ball that is brighter by ``lesion``."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    ball = np.hypot(rows - 100, columns - 140) < 10
    image = np.where(body(), LIVER + offset + lesion * ball, 0.0).astype(np.float32)
    return Slices("p", np.stack([image] * 2), np.stack([body()] * 2), np.stack([ball] * 2))


def evidence(slices: Slices) -> object:
    prior: UNetPrior = Flat()  # type: ignore[assignment]
    return asked(prior, slices, seed=0)


def test_pushes_are_the_difference_from_what_is_expected_less_that_of_training() -> None:
    trained = mean_pushes([evidence(patient(0.02))], least=1.0)  # type: ignore[list-item]
    other = patient(0.05)
    found = sides(evidence(other), trained, other.liver)  # type: ignore[arg-type]
    assert len(found) == 2 * len(NODES)
    assert found[::2] == pytest.approx([300.0] * 2, rel=0.05)  # .03 brighter than in training, at either level
    assert found[1::2] == [0.0] * 2


def test_a_lesion_ranks_first_by_its_own_side_alone() -> None:
    trained = mean_pushes([evidence(patient(0.0))], least=1.0)  # type: ignore[list-item]
    dark, bright = patient(0.0, -0.1), patient(0.0, 0.1)
    either = ranks(evidence(dark), trained, dark)  # type: ignore[arg-type]
    assert min(either) > 0.99
    body_either, _, body_dark, _ = ranks(evidence(bright), trained, bright)  # type: ignore[arg-type]
    assert body_either > 0.99
    assert body_dark < 0.6


def test_a_patient_without_the_organ_is_told(tmp_path: Path) -> None:
    (tmp_path / "btcv").mkdir()
    stored = np.stack([np.where(body(), 120, 0).astype(np.uint8)] * 3)
    for kind, array in {"ct8": stored, "seg": np.zeros_like(stored)}.items():
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "btcv" / f"case0001_{kind}.nii.gz"))
    with pytest.raises(EmptyInputError, match="No slice of BTCV 0001 shows the liver"):
        read(tmp_path, BTCV, "0001", CARD.window, 2)
