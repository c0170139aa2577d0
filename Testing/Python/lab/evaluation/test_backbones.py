"""Several priors in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from labelled import FAST, write_labelled

from KLIPCore.errors import PriorError
from KLIPCore.lab.evaluation.backbones import plot_priors, prior_rows, priors_markdown
from KLIPCore.lab.evaluation.config import EvaluationConfig
from KLIPCore.lab.evaluation.localization import evaluate, markdown
from KLIPCore.priors.checkpoint import load_prior, save_prior
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window


def test_two_priors_are_measured_on_the_same_slices(tmp_path: Path) -> None:
    shipped = load_prior()
    worse = shipped.card.from_dict(
        {**shipped.card.to_dict(), "name": "half", "training": {"backbone": "half", "validation_rmse": {"0.1": 0.5}}}
    )
    network = shipped.network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.9)
    save_prior(network, worse, tmp_path / "priors")
    fields = {
        "title": "Two priors",
        "preset": "quick",
        "priors": ["abdomen-ct-256", "priors/half.safetensors"],
        "run": FAST,
        "max_slices": 1,
        "clean_slices": 0,
        "scores": ["darker"],
        "cases": [write_labelled(tmp_path)],
    }
    path = tmp_path / "eval_priors.yaml"
    path.write_text(yaml.safe_dump(fields))
    table = evaluate(EvaluationConfig.load(path), tmp_path, tmp_path / "out")
    one, other = table["rows"]
    assert (one["prior"], other["prior"]) == ("abdomen-ct-256", "half")
    assert other["validation_rmse"] == {"0.1": 0.5}
    assert one["organ_all"][0] > 0.9
    assert one["organ_all"] != other["organ_all"]
    assert "| σ 0.1 |" in markdown(table)
    assert (
        str(tmp_path) not in (tmp_path / "out" / "table.json").read_text()
    )  # whose machine it was is nobody's business
    assert (tmp_path / "out" / "priors.png").is_file()
    alone = evaluate(EvaluationConfig.load(path), tmp_path, tmp_path / "alone", priors=("abdomen-ct-256",))
    assert alone["kind"] == "localization"  # the option replaces the configuration's list
    assert alone["summary"][0]["organ"] == one["organ_A"]
    with pytest.raises(PriorError):
        evaluate(EvaluationConfig.load(path), tmp_path, tmp_path / "none", priors=("no-such-prior",))


def table_of(organ: float) -> dict[str, Any]:
    figure = [organ, organ - 0.05, organ + 0.02]
    summary = [{"score": "darker", "patient": who, "body": figure, "organ": figure} for who in ("A", "all")]
    return {
        "scores": {"darker": ""},
        "summary": summary,
        "cost": {"trace": {"seconds_median": 1.5, "network_evaluations": 16.0}},
    }


def test_the_table_of_priors_names_backbones_and_keeps_what_cards_lack_open(tmp_path: Path) -> None:
    cards = [
        ModelCard(
            "one",
            "abdomen",
            Window(-125, 275),
            training={"backbone": "patch", "validation_rmse": {"0.1": 0.02, "0.05": 0.01}},
            sha256="a" * 64,
        ),
        ModelCard(
            "two", "abdomen", Window(-125, 275), position_channels=False, network={"kind": "DDPMUNet"}, sha256="b" * 64
        ),
    ]
    machine = {"cpu": "c", "cores": 2, "threads": 1, "busy": 0.5, "device": "cpu"}
    table = {
        "title": "Priors",
        "software": "s",
        "machine": machine,
        "block_mm": 12.0,
        "run": {"preset": "quick", "measurement": {"n_views": 60}, "sampling": {"n_samples": 2, "seed": 0}},
        "rows": prior_rows([table_of(0.9), table_of(0.8)], cards, ["A"]),
    }
    text = priors_markdown(table)
    assert "| one `aaaaaaaaaaaa` | patch | – | 0.0100 | 0.0200 | 1.50 | 16 |" in text
    assert "| two `bbbbbbbbbbbb` | DDPMUNet | – | – | – | 1.50 | 16 |" in text
    assert "| DDPMUNet | `darker` | 0.800 [0.750, 0.820] |" in text
    assert json.loads(json.dumps(table["rows"])) == table["rows"]
    assert plot_priors(table, tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
