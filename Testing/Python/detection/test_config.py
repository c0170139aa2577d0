"""Settings: defaults that hold together, round trips, and refusals that name the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from KLIPCore.config import PRESETS, Config, MeasurementConfig, RegionConfig
from KLIPCore.errors import ConfigError
from KLIPCore.scores import DEFAULT_SCORE, SCORES

WRONG_KINDS = (
    "regions: {fdr: high}",
    "regions: {window: 3}",
    "regions: {window: [0.1, 0.2, 0.3]}",
    "regions: {1: 2}",
    "measurement: {n_views: 3.5}",
    "record: {layers: cold}",
    "device: 3",
    "1: 2",
    "preset: [1]",
)


def test_regions_are_outlined_at_the_rate_of_their_score_unless_another_is_asked_for() -> None:
    assert {name: RegionConfig(score=name).rate for name in SCORES} == {
        name: score.fdr for name, score in SCORES.items()
    }
    assert RegionConfig(score="darker", fdr=0.33).rate == 0.33
    kept = Config(regions=RegionConfig(score="darker"))
    assert Config.from_dict(kept.to_dict()).regions.rate == SCORES["darker"].fdr


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_a_round_trip_and_record_their_default_score(name: str) -> None:
    config = PRESETS[name]
    assert config.preset == name
    assert Config.from_dict(config.to_dict()) == config
    score = SCORES[DEFAULT_SCORE]
    assert score.layer in config.record.layers
    assert config.record.sigma_lo <= score.window[0] < score.window[1] <= config.record.sigma_large


def test_the_fingerprint_follows_what_decides_the_trace_and_nothing_else() -> None:
    base = Config()
    assert base.fingerprint("a") == base.updated({"regions": {"block_mm": 20.0}, "device": "cpu"}).fingerprint("a")
    assert base.fingerprint("a") != base.fingerprint("b")
    assert base.fingerprint("a") != base.updated({"sampling": {"seed": 1}}).fingerprint("a")
    assert base.fingerprint("a") != base.updated({"regions": {"null": "twin"}}).fingerprint("a"), (
        "twins are sampled too"
    )


def test_yaml_takes_the_bare_word_null_for_nothing_and_is_understood_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("regions: {null: twin}\n")
    assert Config.load(path).regions.null == "twin"


def test_yaml_on_top_of_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("preset: quick\nmeasurement: {n_views: 24}\nregions: {window: [0.1, 0.2]}\n")
    config = Config.load(path)
    assert config.measurement.n_views == 24
    assert config.sampling == PRESETS["quick"].sampling
    assert config.regions.chosen.window == (0.1, 0.2)


@pytest.mark.parametrize(
    "text", ["preset: nobody", "measurement: {n_vews: 3}", "colour: red", "measurement: 3", "- a", "{{{", *WRONG_KINDS]
)
def test_wrong_files_are_explained(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config.load(path)
    assert caught.value.remedy


def test_a_full_arc_depends_on_the_geometry() -> None:
    assert MeasurementConfig().arc == 180
    assert MeasurementConfig(geometry="fan").arc == 360
    assert MeasurementConfig(arc_deg=90).arc == 90


def test_impossible_regions() -> None:
    with pytest.raises(ConfigError, match="score"):
        RegionConfig(score="magic")
    with pytest.raises(ConfigError, match="window"):
        RegionConfig(window=(0.3, 0.1))
