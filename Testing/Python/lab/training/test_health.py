"""What a prior makes of healthy livers and lesions: on a prior whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor

from KLIPCore.errors import EmptyInputError
from KLIPCore.lab.training import health as module
from KLIPCore.lab.training.health import (
    BTCV,
    LITS,
    Slices,
    asked,
    erased,
    measured,
    ranks,
    read,
    rows,
    sides,
    with_disc,
)
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


class Copying(Flat):
    """A denoiser that takes nothing off."""

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(("kind", "part"), [(Flat, 1.0), (Copying, 0.0)])
def test_a_disc_is_pushed_away_whole_or_not_at_all(kind: type[Flat], part: float) -> None:
    prior: UNetPrior = kind()  # type: ignore[assignment]
    own = patient(0.0)
    found = erased(prior, own, asked(prior, own, seed=0), seed=0)
    assert found == pytest.approx([part] * (2 * len(NODES)), abs=1e-4)


def test_a_disc_lies_where_the_liver_is_widest() -> None:
    own = patient(0.0)
    changed, disc = with_disc(own, -0.1)
    assert disc.sum() == pytest.approx(2 * np.pi * (10.0 / module.WIDTH_MM * 0.875 * SIZE) ** 2, rel=0.05)
    centre = np.argwhere(disc[0]).mean(0)
    assert np.abs(centre - (SIZE - 1) / 2).max() <= 1
    np.testing.assert_allclose((changed.images - own.images)[disc], -0.1, atol=1e-6)
    assert np.array_equal(changed.images[~disc], own.images[~disc])


def test_the_tables_of_a_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(root: Path, source: object, case: str, window: Window, n: int) -> Slices:
        offset = 0.02 if case in module.BTCV_TRAIN else 0.03
        return replace(patient(offset, -0.1 if source is LITS else 0.0), name=case)

    monkeypatch.setattr(module, "read", drawn)
    monkeypatch.setattr(module, "mean_pushes", partial(mean_pushes, least=1.0))
    monkeypatch.setattr(module, "sides", lambda *given: [s + 1.0 for s in sides(*given)])
    prior: UNetPrior = Flat()  # type: ignore[assignment]
    found = measured(Path(), prior, 2, 0)
    assert set(found.others) == {*module.BTCV_TEST, "3"} == set(found.discs)
    assert found.training == pytest.approx([1.0] * 4, abs=0.5)
    assert found.others["0039"] == pytest.approx([101.0, 1.0] * 2, rel=0.06)  # .01 brighter than in training
    assert found.memorised("0039") == pytest.approx(101.0, rel=0.3)
    lines = list(rows(found))
    assert (
        lines[0]
        == "| liver | brighter σ .11 | darker σ .11 | brighter σ .24 | darker σ .24 | brighter against training |"
    )
    assert {line.count("|") for line in lines if line} == {7, 6}
    assert sum(line.startswith("| 0039 |") for line in lines) == 2
    assert next(line for line in lines if line.startswith("| 00 |")).split(" | ")[1] == "1.000"


def test_a_patient_without_the_organ_is_told(tmp_path: Path) -> None:
    (tmp_path / "btcv").mkdir()
    stored = np.stack([np.where(body(), 120, 0).astype(np.uint8)] * 3)
    for kind, array in {"ct8": stored, "seg": np.zeros_like(stored)}.items():
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "btcv" / f"case0001_{kind}.nii.gz"))
    with pytest.raises(EmptyInputError, match="No slice of BTCV 0001 shows the liver"):
        read(tmp_path, BTCV, "0001", CARD.window, 2)
