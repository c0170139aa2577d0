"""One training with one change at a time: what is trained, what is kept, and what is said."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from tiny import YAML, made_patients

from KLIPCore.errors import ConfigError
from KLIPCore.lab.training import variations as module
from KLIPCore.lab.training.health import Health
from KLIPCore.lab.training.loop import train
from KLIPCore.lab.training.variations import Variations, compare, folder, health_table, merged
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.unet import UNetPrior

REPOSITORY = Path(__file__).resolve().parents[4]
VARIATIONS = """
of: base.yaml
init: start/tiny.safetensors
all: {steps: 2, decay_steps: 1, save_every: 2}
changes:
  as it is: {}
  another seed: {seed: 1}
  cold: {temperature_probability: 0.5}
"""
HEALTH = Health([1.0] * 4, {"a": [2.0] * 4, "b": [4.0] * 4}, {"a": [0.5, 0.7] * 2}, {"l": [0.9, 0.8, 0.7, 0.6]})


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_patients(tmp_path_factory.mktemp("patients"))


@pytest.fixture
def config(patients: Path, tmp_path: Path) -> Path:
    """What is compared, from the weights of a run of four steps on."""
    (tmp_path / "base.yaml").write_text(YAML, encoding="utf-8")
    (tmp_path / "v.yaml").write_text(VARIATIONS, encoding="utf-8")
    train(module.TrainingConfig.load(tmp_path / "base.yaml"), patients, tmp_path / "start")
    return tmp_path / "v.yaml"


def test_each_change_is_trained_from_the_same_start(
    config: Path, patients: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = config.parent / "out"
    line = [str(config), "--data", str(patients), "-o", str(out), "--slices", "0", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["variations", *line])
    module.main()
    printed = capsys.readouterr().out
    rows = [row.split(" | ") for row in printed.splitlines() if row.startswith("|")]
    assert [row[0] for row in rows[2:]] == ["| the start", "| as it is", "| another seed", "| cold"]
    assert len({tuple(row[1:]) for row in rows[2:]}) == 4
    cards = [load_prior(out / folder(name) / "tiny.safetensors").card for name in ("as it is", "another seed", "cold")]
    assert {card.training["initialised_from"] for card in cards} == {"tiny.safetensors"}
    assert {card.training["steps"] for card in cards} == {2}
    assert [card.training["config"]["seed"] for card in cards] == [0, 1, 0]
    assert [card.training["config"]["temperature_probability"] for card in cards] == [0, 0, 0.5]
    page = (out / "variations.md").read_text(encoding="utf-8")
    assert printed.splitlines()[-1] in page
    again = compare(Variations.load(config), patients, out, 0, tell=lambda line: None)  # finished
    assert again in page
    config.write_text(VARIATIONS.replace("0.5", "0.6"), encoding="utf-8")
    with pytest.raises(ConfigError, match="cold holds a training with other settings"):
        compare(Variations.load(config), patients, out, 0, tell=lambda line: None)


def test_what_is_wrong_is_said_in_a_sentence(
    config: Path, patients: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config.write_text(VARIATIONS.replace("start/", "nowhere/"), encoding="utf-8")
    line = [str(config), "--data", str(patients), "-o", str(tmp_path / "out"), "--slices", "0", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["variations", *line])
    with pytest.raises(SystemExit, match=r"tiny\.safetensors"):
        module.main()


def test_health_is_measured_once(
    config: Path, patients: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def measured(root: Path, prior: UNetPrior, n: int, seed: int) -> Health:
        asked.append(prior.card.sha256)
        return HEALTH

    monkeypatch.setattr(module, "measured", measured)
    made = [compare(Variations.load(config), patients, tmp_path / "out", 2, tell=lambda line: None) for _ in range(2)]
    assert len(asked) == len(set(asked)) == 4
    assert made[0] == made[1]
    assert made[0].endswith("| cold | 3.0 | 3.0 | 3.0 | 3.0 | 3.000 | 0.500 / 0.700 | 0.9000 | 0.6000 |")
    assert health_table({"cold": HEALTH}).splitlines()[-1] == made[0].splitlines()[-1]
    kept = tmp_path / "out" / "cold" / "health.json"
    assert json.loads(kept.read_text(encoding="utf-8"))["health"] == asdict(HEALTH)
    kept.write_text("{", encoding="utf-8")
    assert compare(Variations.load(config), patients, tmp_path / "out", 2, tell=lambda line: None) == made[0]
    assert len(asked) == 5


def test_of_a_mapping_only_what_is_named_changes() -> None:
    base = {"network": {"channels": [8], "positions": False}, "steps": 3}
    assert merged(base, {"network": {"positions": True}, "seed": 1}) == {
        "network": {"channels": [8], "positions": True},
        "steps": 3,
        "seed": 1,
    }
    assert base["network"] == {"channels": [8], "positions": False}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("of: base.yaml", "cannot be used"),
        ("of: nobody.yaml\nchanges: {a: {}}", "cannot be used"),
        ("of: base.yaml\nchanges: [1]", "cannot be used"),
        ("of: base.yaml\nchange: {a: {}}", "its settings are of, init, all, changes"),
        ("of: base.yaml\nchanges: {}", "are none"),
        ("of: base.yaml\nchanges: {A b: {}, a-b: {}}", "share a name"),
        ("of: base.yaml\nchanges: {the start: {}}", "share a name"),
        ("of: base.yaml\nchanges: {a: {stepz: 3}}", "v.yaml, a .*no setting called stepz"),
        ("of: base.yaml\nchanges: {a: {temperature: 2}}", "between 0 and 1"),
        ("of: base.yaml\nchanges: {a: {temperature_probability: 0.5, network: {kind: DDPMUNet}}}", "no temperature"),
        ("- 3", "its settings are"),
        ("of: [", "cannot be used"),
    ],
)
def test_what_is_no_comparison_is_told(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(YAML, encoding="utf-8")
    (tmp_path / "v.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        Variations.load(tmp_path / "v.yaml")


def test_the_committed_comparison_starts_from_the_shipped_small_prior() -> None:
    found = Variations.load(REPOSITORY / "configs" / "vary_abdomen.yaml")
    assert found.init is not None
    assert found.init.resolve() == REPOSITORY / "KLIPCore" / "priors" / "zoo" / "abdomen-ct-256-small.safetensors"
    assert len({(c.steps, c.sources, c.learning_rate) for c in found.trainings.values()}) == 1
