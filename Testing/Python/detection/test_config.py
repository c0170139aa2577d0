"""Settings: defaults that hold together, round trips, and refusals that name the way out."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from KLIPCore.config import PRESETS, SECTIONS, Config, MeasurementConfig, RegionConfig
from KLIPCore.declare import settings_of
from KLIPCore.errors import ConfigError
from KLIPCore.scores import DEFAULT_SCORE, SCORES

REPOSITORY = Path(__file__).resolve().parents[3]

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


def test_runs_made_with_settings_of_the_past_can_be_read() -> None:
    values = Config().to_dict()
    values["sampling"]["twin_every"] = 4
    assert Config.from_dict(values) == Config()
    values["sampling"]["twin_ever"] = 4
    with pytest.raises(ConfigError, match="twin_ever"):
        Config.from_dict(values)


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


@pytest.mark.parametrize(
    ("preset", "changes", "most"),
    [
        ("quick", {}, 20),
        ("default", {}, 28),
        ("full", {}, 208),
        ("quick", {"temperature": 0.0}, 16),
        ("quick", {"n_large": 0}, 16),
        ("quick", {"layers": ["cold", "path"]}, 16),
        ("quick", {"layers": ["path"]}, 12),
        ("quick", {"layers": ["renoised"]}, 16),
    ],
)
def test_evaluations_of_the_network_are_those_of_chain_nodes_and_large_nodes(
    preset: str, changes: dict[str, Any], most: int
) -> None:
    assert Config.from_preset(preset).updated({"record": changes}).evaluations_a_slice == most


def test_a_full_arc_depends_on_the_geometry() -> None:
    assert MeasurementConfig().arc == 180
    assert MeasurementConfig(geometry="fan").arc == 360
    assert MeasurementConfig(arc_deg=90).arc == 90


def test_impossible_regions() -> None:
    with pytest.raises(ConfigError, match="score"):
        RegionConfig(score="magic")
    with pytest.raises(ConfigError, match="window"):
        RegionConfig(window=(0.3, 0.1))


FINGERPRINTS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("default", {}, "e64c7c1908c1d8b7"),
    ("quick", {}, "cadf5eeb0503828f"),
    ("full", {}, "73fe3b971ed6c32b"),
    (
        "default",
        {"measurement": {"n_views": 24, "photons": 1e5, "geometry": "fan", "arc_deg": 200}},
        "b655c2b1c583ebcc",
    ),
    (
        "default",
        {"sampling": {"sigma_start": 1, "stop_error": 0.1}, "record": {"n_nodes": 6, "soft_hu": [-50, 10]}},
        "6dc4e0d93ed3d60d",
    ),
    ("default", {"record": {"layers": ["cold", "path"]}, "regions": {"score": "klip"}}, "3be480230e5593d9"),
)


@pytest.mark.parametrize(("preset", "changes", "expected"), FINGERPRINTS)
def test_fingerprints_are_those_of_runs_that_are_on_disk(preset: str, changes: dict[str, Any], expected: str) -> None:
    """Golden values: with another hash a finished run would be sampled again."""
    assert Config.from_preset(preset).updated(changes).fingerprint("a", "b") == expected


def test_the_fingerprint_of_an_example_file() -> None:
    assert Config.load(REPOSITORY / "configs" / "detect_disc.yaml").fingerprint("a", "b") == "b6279d87e55b9463"


REFUSED: tuple[tuple[str, str, Any, str, str], ...] = (
    ("measurement", "n_views", 0, "The number of views cannot be 0.", "Choose 1 to 4000 views, e.g. 60."),
    ("measurement", "n_views", 3.5, "The setting 'n_views' cannot be 3.5.", "Write it like 60."),
    ("measurement", "n_views", True, "The setting 'n_views' cannot be true.", "Write it like 60."),
    (
        "measurement",
        "arc_deg",
        0,
        "The arc cannot be 0.",
        "Choose more than 0 and at most 360 degrees, e.g. 90.",
    ),
    ("measurement", "photons", 3, "The number of photons cannot be 3.", "Choose at least 10 photons, e.g. 100000."),
    ("measurement", "noise", math.nan, "The noise cannot be nan.", "Choose more than 0 and less than 1, e.g. 0.002."),
    ("measurement", "noise", "1e-3", "The setting 'noise' cannot be '1e-3'.", "Write it like 0.002."),
    ("measurement", "geometry", "cone", "There is no geometry 'cone'.", "Choose parallel or fan."),
    ("measurement", "finer", 5, "The refinement of the simulation cannot be 5.", "Choose 2, 3 or 4."),
    ("sampling", "preconditioned", "yes", "The setting 'preconditioned' cannot be 'yes'.", "Write it like true."),
    ("sampling", "sigma_end", 0.4, "The chain must run from a larger σ", "Check sigma_start and sigma_end."),
    ("record", "cell", 3, "The cell size cannot be 3.", "Choose 1, 2, 4 or 8 pixels."),
    ("record", "layers", [], "The setting 'layers' cannot be [].", "Write it like [cold, path,"),
    ("record", "layers", ["cold", "warm"], "There is no trace layer 'warm'.", "Choose cold, path,"),
    ("record", "soft_hu", ["a", "b"], "The setting 'soft_hu' cannot be [a, b].", "Write it like [-60, 0]."),
    ("regions", "window", 3, "The setting 'window' cannot be 3.", "Write it like [0.08, 0.32]."),
    ("regions", "window", [0.3, 0.1], "The σ window is empty.", "e.g. 0.08:0.32"),
    ("regions", "null", None, "There is no null 'None'.", "Choose study or twin."),
    ("regions", "min_volume_mm3", -1, "The smallest volume cannot be -1.", "Choose at least 0 mm³, e.g. 100."),
)


@pytest.mark.parametrize(("section", "name", "value", "message", "remedy"), REFUSED)
def test_a_refused_value_is_named_with_what_is_offered(
    section: str, name: str, value: Any, message: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config().updated({section: {name: value}})
    assert caught.value.message.startswith(message)
    assert remedy in caught.value.remedy


def test_a_configuration_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no score"):
        RegionConfig(score="magic")


@pytest.mark.parametrize("section", [Config, *SECTIONS.values()])
def test_every_setting_is_declared_in_full_and_has_a_default_that_is_offered(section: type) -> None:
    for name, known in settings_of(section).items():
        assert known.help.endswith("."), name
        assert known.title, name
        assert not known.reason or known.reason.endswith("."), name
        assert known.default is not None or (known.unset and known.example is not None), name
        section(**{name: known.instance})
        for bound, step in ((known.ge, -1), (known.gt, 0), (known.le, 1), (known.lt, 0)):
            if bound is not None:
                with pytest.raises(ConfigError):
                    section(**{name: type(known.instance)(bound + step)})
        assert name in (section.__doc__ or "")
    assert set(section.__annotations__) - set(settings_of(section)) <= set(SECTIONS)


def test_values_are_kept_as_they_were_given() -> None:
    """A whole number stays one: the fingerprint is made of what was written."""
    assert json.dumps(Config().updated({"sampling": {"sigma_start": 1}}).to_dict()["sampling"]["sigma_start"]) == "1"


def test_importing_the_settings_checks_nothing_and_needs_no_pydantic() -> None:
    code = """if True:
        import sys
        import KLIPCore.cli, KLIPCore.config
        assert "pydantic" not in sys.modules
        sys.modules["pydantic"] = None  # as in Slicer's own Python, before anything is installed
        from KLIPCore.config import PRESETS, Config, RegionConfig
        from KLIPCore.errors import ConfigError
        config = PRESETS["full"].updated({"measurement": {"n_views": 24}, "regions": {"block_mm": 20.0}})
        for wrong in ({"window": (0.3, 0.1)}, {"window": (5.0, 9.0)}, {"window": "x"}):
            try:
                config.updated({"regions": wrong})
            except ConfigError as error:
                assert error.remedy
            else:
                raise AssertionError(wrong)
        print(config.fingerprint())
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    checked = PRESETS["full"].updated({"measurement": {"n_views": 24}, "regions": {"block_mm": 20.0}})
    assert run.stdout.strip() == checked.fingerprint()


def test_the_layer_of_a_score_is_recorded_with_it_or_missed_in_time() -> None:
    lacking = Config().updated({"record": {"layers": ["cold", "path"]}})
    assert not lacking.records_score
    with pytest.raises(ConfigError, match="would not be recorded"):
        lacking.require_layer()
    complete = lacking.with_layer()
    assert complete.record.layers == ("cold", "path", SCORES[DEFAULT_SCORE].layer)
    assert complete.regions == lacking.regions
    complete.require_layer()
    assert complete.with_layer() is complete


def test_a_measured_scan_takes_no_settings_of_a_simulation() -> None:
    MeasurementConfig(n_views=24, arc_deg=90.0).require_scanner()
    with pytest.raises(ConfigError, match=r"geometry, finer apply to a CT volume") as caught:
        MeasurementConfig(geometry="fan", finer=3).require_scanner()
    assert caught.value.remedy
