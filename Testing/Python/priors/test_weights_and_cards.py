"""Weights and cards that do not belong together: each is a sentence with a remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from KLIPCore.cli.application import app
from KLIPCore.detection.devices import choose_device
from KLIPCore.detection.precision import fastest
from KLIPCore.errors import PriorError, ResourceError
from KLIPCore.lab.fuzz.seeds import write_tiny_prior
from KLIPCore.priors.checkpoint import file_sha256, load_prior
from KLIPCore.priors.convert.publish import format_of
from KLIPCore.runs.guard import klip_guard
from KLIPCore.runs.health import reference_file


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_tiny_prior(tmp_path)


def changed(weights: Path, **fields: object) -> Path:
    """The card beside the weights with other fields."""
    file = weights.with_suffix(".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return weights


def test_a_card_without_a_hash_is_refused_and_says_the_hash(weights: Path) -> None:
    with pytest.raises(PriorError, match="does not say which weights") as told:
        load_prior(changed(weights, sha256=""))
    assert file_sha256(weights) in told.value.remedy
    assert load_prior(changed(weights, sha256=file_sha256(weights))).card.sha256  # what the remedy says


def test_weights_of_another_architecture_are_called_so(weights: Path) -> None:
    network = json.loads(weights.with_suffix(".json").read_text())["network"]
    without_header(weights)
    for other in ({"channels": [64]}, {"channels": [16, 16]}, {"n_res_blocks": 2}, {"positions": True}):
        with pytest.raises(PriorError, match="weights of another network") as told:
            load_prior(changed(weights, network=network | other, sha256=file_sha256(weights)))
        assert "convert" in told.value.remedy


def test_another_kind_of_network_with_the_same_shapes_is_noticed(weights: Path) -> None:
    network = json.loads(weights.with_suffix(".json").read_text())["network"]
    with pytest.raises(PriorError, match="saved as another network"):
        load_prior(changed(weights, network=network | {"unshuffle": 2, "kind": "DDPMUNet", "positions": False}))
    changed(weights, network=network)
    without_header(weights)  # as earlier versions saved them
    assert load_prior(changed(weights, sha256=file_sha256(weights))).card.network == network


def without_header(weights: Path) -> None:
    """Save the same tensors with nothing said of them."""
    tensors = load_file(weights)
    weights.unlink()
    save_file(tensors, weights)


def test_a_reference_of_other_weights_is_told(weights: Path, tmp_path: Path) -> None:
    shutil.copy(reference_file("abdomen-ct-256"), weights.with_name(f"{weights.stem}.reference.npz"))
    shown = CliRunner().invoke(app, ["priors", "show", str(weights)])
    assert shown.exit_code == 0, shown.output
    assert "belongs to other weights and is not used" in shown.output
    own = CliRunner().invoke(app, ["priors", "show", "abdomen-ct-256"])
    assert "belongs to other weights" not in own.output
    with pytest.raises(PriorError, match="belongs to other weights") as told:
        klip_guard(tmp_path / "study.nii.gz", str(weights))
    assert "klip priors reference" in told.value.remedy


def test_the_list_is_a_command_of_its_own() -> None:
    alone, named = (CliRunner().invoke(app, words) for words in (["priors"], ["priors", "list"]))
    assert named.exit_code == 0
    assert named.output == alone.output
    assert "abdomen-ct-256-small" in named.output


def test_a_checkpoint_that_is_not_there_is_no_format(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match="nothing at"):
        format_of(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["mps", "cuda", "cuda:3", "cuda:all"])
def test_a_device_that_is_not_there_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ResourceError) as told:
        choose_device(name)
    assert "--device cpu" in told.value.remedy
    assert choose_device("auto") == torch.device("cpu")


def test_a_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device("mps").type == "mps"
    found = fastest({"float32": 0.02, "bfloat16": None, "float16": 0.008}, "graphics processor")
    assert (found.precision, found.reason) == (
        "float16",
        "fastest of float32, bfloat16 and float16 on this graphics processor, measured",
    )
