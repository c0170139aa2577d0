"""One setting at a time: what is sampled again, what is only read again, and what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from labelled import FAST, write_labelled

from KLIPCore.config import Config
from KLIPCore.errors import ConfigError
from KLIPCore.lab.evaluation.config import EvaluationConfig
from KLIPCore.lab.evaluation.localization import evaluate, markdown
from KLIPCore.lab.evaluation.variations import Reading, Variation, plan

BASE = Config.from_preset("quick")


def test_a_setting_of_the_run_changes_the_run_and_one_of_the_reading_does_not() -> None:
    views = Variation("views", "measurement.n_views", (24, 90)).settings(BASE, 12.0, ["darker", "surprise"])
    assert [point.run.measurement.n_views for point in views] == [24, 90]
    assert [reading.score for reading in views[0].readings] == ["darker", "surprise"]
    assert views[0].run.fingerprint() != BASE.fingerprint()
    for variation in (
        Variation("block", "regions.block_mm", (8.0,)),
        Variation("window", "regions.window", ((0.08, 0.16),)),
    ):
        (point,) = variation.settings(BASE, 12.0, ["darker"])
        assert point.run.fingerprint() == BASE.fingerprint()


def test_a_reading_may_take_another_part_or_other_bands_of_a_score() -> None:
    reading = Reading(score="surprise", part="energy", bands=(2, 5), window=(0.1, 0.2))
    assert (reading.chosen.layer, reading.chosen.part, reading.chosen.bands, reading.chosen.window) == (
        "cold",
        "energy",
        (2, 5),
        (0.1, 0.2),
    )
    assert Reading(score="surprise").chosen.part == "mean"


def test_the_plan_begins_with_the_preset() -> None:
    points = plan(
        [
            Variation("score", "regions.score", ("klip", "brighter")),
            Variation("samples", "sampling.n_samples", (1,), score="darker"),
        ],
        BASE,
        12.0,
        ["surprise"],
    )
    assert [(p.factor, p.value, [r.score for r in p.readings]) for p in points] == [
        ("preset", "preset", ["surprise"]),
        ("score", "klip", ["klip"]),
        ("score", "brighter", ["brighter"]),
        ("samples", "1", ["darker"]),
    ]
    (both,) = Variation("window", "regions.window", ([0.08, 0.2],), also={"sampling.n_samples": 1}).settings(
        BASE, 12.0, ["darker"]
    )
    assert (both.value, both.run.sampling.n_samples) == ("0.08 to 0.2", 1)


@pytest.mark.parametrize(
    "variation",
    [
        Variation("x", "measurement.colour", (1,)),
        Variation("x", "views", (1,)),
        Variation("x", "measurement.n_views", (0,)),
        Variation("x", "regions.score", ("oracle",)),
        Variation("x", "regions.block_mm", (8.0,), score="oracle"),
    ],
)
def test_what_cannot_be_varied_is_refused_before_the_work(variation: Variation) -> None:
    with pytest.raises(ConfigError):
        EvaluationConfig("x", (), variations=(variation,))


def test_a_variation_needs_a_name_and_values() -> None:
    with pytest.raises(ConfigError, match="in quotes"):
        Variation(**yaml.safe_load("{factor: null, setting: regions.null, values: [twin]}"))
    with pytest.raises(ConfigError, match="no values"):
        Variation("views", "measurement.n_views", ())


@pytest.mark.parametrize(
    "name",
    [
        "lits_dev",
        "baselines",
        "baselines24",
        "more_baselines",
        "published",
        "views24",
        "implants",
        "variations",
        "backbones",
    ],
)
def test_the_configurations_of_the_repository_can_be_read(name: str) -> None:
    loaded = EvaluationConfig.load(Path(__file__).parents[4] / "configs" / f"eval_{name}.yaml")
    points = plan(loaded.variations, loaded.run, loaded.block_mm, loaded.scores)
    assert len({(p.factor, p.value) for p in points}) == len(points)
    assert all(reading.chosen.layer in point.run.record.layers for point in points for reading in point.readings)


def test_a_study_of_variations(tmp_path: Path) -> None:
    fields = {
        "title": "Variations",
        "preset": "quick",
        "run": FAST,
        "max_slices": 1,
        "clean_slices": 1,
        "margin": 0,
        "scores": ["darker", "surprise"],
        "variations": [
            {"factor": "samples", "setting": "sampling.n_samples", "values": [1]},
            {"factor": "block mm", "setting": "regions.block_mm", "values": [12.0, 20.0]},
            {"factor": "part", "setting": "regions.part", "values": ["energy"], "score": "surprise"},
        ],
        "cases": [write_labelled(tmp_path)],
    }
    path = tmp_path / "eval_vary.yaml"
    path.write_text(yaml.safe_dump(fields))
    table = evaluate(EvaluationConfig.load(path), tmp_path, tmp_path / "out")
    rows = {(r["factor"], r["value"], r["score"]): r for r in table["rows"]}
    assert len(rows) == len(table["rows"]) == 2 * 4 + 1
    base, same = rows["preset", "preset", "darker"], rows["block mm", "12", "darker"]
    assert base["organ_all"][0] > 0.9
    assert base["organ_difference"] is None
    assert same["organ_difference"][0] == 0.0  # the preset's own value
    assert (same["seconds"], same["body_A"]) == (base["seconds"], base["body_A"])
    assert rows["samples", "1", "darker"]["network_evaluations"] < base["network_evaluations"]
    energy, mean = rows["part", "energy", "surprise"], rows["preset", "preset", "surprise"]
    assert energy["organ_difference"][0] == pytest.approx(energy["organ_all"][0] - mean["organ_all"][0], abs=2e-4)
    assert np.isfinite(base["clean_fire_rate"][0])
    runs = list((tmp_path / "out" / "runs").iterdir())
    assert len(runs) == 2  # the preset's and that of one sample: what only reads was not sampled again
    assert len(list((tmp_path / "out").rglob("slice_*.npz"))) == 4
    assert json.loads((tmp_path / "out" / "table.json").read_text())["rows"] == table["rows"]
    assert "| samples | 1 | `darker` |" in markdown(table)
    assert (tmp_path / "out" / "variations.png").read_bytes()[:4] == b"\x89PNG"
