"""A tiny prior, and a measurement of its precisions that nobody has to wait for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from KLIPCore.detection import precision as chosen
from KLIPCore.detection.precision import (
    Choice,
)
from KLIPCore.detection.user_cache import SWITCH
from KLIPCore.priors.checkpoint import load_prior, save_prior
from KLIPCore.priors.networks import build_network, network_fields
from KLIPCore.priors.unet import UNetConfig, UNetPrior
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window

MADE = {"float32": 0.5, "bfloat16": 0.2, "float16": None, "bfloat16, channels apart": 0.19}
"""Seconds that somebody measured."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained prior of 32² on disk that answers something."""
    torch.manual_seed(0)
    shape = UNetConfig(channels=(16, 16))
    network = build_network(shape)
    with torch.no_grad():
        for p in network.parameters():  # MONAI starts its last convolution at zero
            p.add_(0.05 * torch.randn_like(p))
    card = ModelCard("tiny", "nothing", Window(-160, 240), size=32, network=network_fields(shape))
    return str(save_prior(network, card, tmp_path_factory.mktemp("prior")))


@pytest.fixture
def prior(weights: str) -> UNetPrior:
    """The tiny prior in float32."""
    return load_prior(weights, "cpu", "float32")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A cache of its own, and a measurement that notes that it was made."""
    calls: list[str] = []

    def fake(prior: UNetPrior, places: Sequence[str]) -> dict[str, float | None]:
        calls.append(prior.card.sha256)
        return dict(MADE)

    monkeypatch.setattr(chosen, "measure", fake)
    monkeypatch.setattr(chosen, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv(SWITCH, raising=False)
    return calls


def remember(folder: Path, prior: UNetPrior, choice: Choice, places: Sequence[str] = chosen.HERE) -> None:
    """Write what this computer is to have chosen."""
    folder.mkdir(exist_ok=True)
    (folder / "precision.json").write_text(json.dumps({chosen._key(prior, places): choice.to_dict()}))
