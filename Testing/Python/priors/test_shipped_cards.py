"""Model cards of what is shipped: nothing missing, the page for people is that of the JSON, weights and card
belong together.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from KLIPCore.lab.training.card import missing, model_card
from KLIPCore.priors import checkpoint
from KLIPCore.priors.checkpoint import file_sha256, shipped_cards
from KLIPCore.volume.model_card import ModelCard

ZOO = Path(checkpoint.__file__).parent / "zoo"
CARDS = sorted(ZOO.glob("*.json"))


def card_of(path: Path) -> ModelCard:
    return ModelCard.from_dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.stem)
def test_a_shipped_card_is_complete(path: Path) -> None:
    card = card_of(path)
    assert missing(card) == []
    assert card.name == path.stem
    assert card.training["history"][-1]["step"] == card.training["steps"]
    assert len(card.training["history"]) > 5, "a curve"
    assert path.with_suffix(".md").read_text(encoding="utf-8") == model_card(card, ZOO), (
        "make the page again: training.card.model_card"
    )
    weights = path.with_suffix(".safetensors")
    if weights.is_file():
        assert file_sha256(weights) == card.sha256


def test_every_prior_that_is_shipped_has_a_card() -> None:
    assert {p.stem for p in ZOO.glob("*.safetensors")} <= {card.name for card in shipped_cards()}
    assert checkpoint.DEFAULT_PRIOR in {card.name for card in shipped_cards()}


@pytest.mark.parametrize(
    ("part", "gap"),
    [
        ({"licence": ""}, "licence"),
        ({"training": {"history": []}}, "training.history"),
        ({"training": {"validation_rmse": {}}}, "training.validation_rmse"),
        (
            {"training": {"data": [{"file": "a.nii", "source": "s", "n_slices": 3, "licence": ""}]}},
            "training.data: licence of a.nii",
        ),
        (
            {"training": {"data": [{"file": "a.nii", "source": "s", "n_slices": 3, "licence": "MIT"}]}},
            "training.data: spacing_mm of a.nii",
        ),
        ({"training": {"history": [{"step": 1, "loss": 0.1}]}}, "training.history: validation"),
    ],
)
def test_what_is_missing_is_noticed(part: dict, gap: str) -> None:
    whole = card_of(CARDS[0])
    changed = {**part, "training": {**whole.training, **part.get("training", {})}}
    assert gap in missing(replace(whole, **changed))


def test_the_page_shows_the_curve_and_says_what_is_unknown() -> None:
    card = card_of(ZOO / "abdomen-ct-256.json")
    page = model_card(card, ZOO)
    assert f"| {card.training['steps']} | {card.training['history'][-1]['loss']:.4f} |" in page
    assert "nominal" in page
    assert "| unknown | unknown |" in page
