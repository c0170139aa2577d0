"""`klip evaluate` on a simulated study whose lesion is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from labelled import FAST, write_labelled
from small_study import small_study

from KLIPCore.errors import ConfigError, EmptyInputError, GeometryError
from KLIPCore.io.images import write_image
from KLIPCore.lab.evaluation.localization import EvaluationConfig, evaluate, markdown


def written(folder: Path) -> Path:
    """A configuration and its data in a folder: label 1 liver, 2 lesion."""
    case = write_labelled(folder)
    fields = {
        "title": "Simulated",
        "preset": "quick",
        "run": FAST,
        "max_slices": 1,
        "clean_slices": 1,
        "margin": 0,
        "scores": ["surprise", "darker", "klip"],
        "baselines": ["blob", "plain-kl", "reconstruction-residual", "reconstruction-residual-low-pass", "scoped"],
        "more_blocks_mm": [24.0],
        "quality_slices": 1,
        "cases": [case],
    }
    path = folder / "eval.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of the test's own, with its data beside it."""
    return written(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with a configuration, its data and what its evaluation left in ``out``; and its table."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, evaluate(EvaluationConfig.load(written(folder)), folder, folder / "out")


@pytest.mark.slow
def test_the_known_lesion_is_found_and_the_table_written(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, table = finished
    rows = {row["score"]: row for row in table["rows"]}
    assert rows["surprise"]["organ"] > 0.9
    assert 0 <= rows["klip"]["organ"] <= 1
    stored = json.loads((folder / "out" / "table.json").read_text())
    assert stored["summary"] == table["summary"]
    assert "| surprise | A | 1 |" in markdown(table)
    assert rows["darker"]["organ"] > 0.9
    assert rows["plain-kl"]["body"] != rows["klip"]["body"]  # no window
    summary = {s["score"]: s for s in table["summary"] if s["patient"] == "all"}
    assert summary["darker"]["froc_large"][1][0] == 1.0  # the only lesion, 20 mm
    assert summary["darker"]["n_large_lesions"] == 1
    assert summary["darker"]["froc_regions_large"][1][0] in (0.0, 1.0)
    assert summary["darker"]["froc_scan_large"][0][0] == 1.0
    assert (summary["darker"]["n_scans"], summary["darker"]["n_large_in_scans"]) == (1, 1)
    assert summary["blob"]["froc_regions_large"] == []
    assert summary["blob"]["froc_scan_large"]
    assert table["machine"]["cores"] >= 1
    assert 0 <= summary["darker"]["clean_fire_rates"]["0.05"][0] < 0.2
    assert summary["blob"]["clean_fire_rates"] is None
    assert [q["method"] for q in table["quality"]] == ["posterior mean", "fbp", "cg", "tv"]
    assert all(q["psnr_db"][0] > 15 and 0 < q["ssim"][0] < 1 for q in table["quality"])
    assert table["cost"]["blob"]["network_evaluations"] == 0
    assert rows["reconstruction-residual"]["body"] != rows["reconstruction-residual-low-pass"]["body"]
    assert table["cost"]["scoped"]["network_evaluations"] == 12
    (further,) = table["further"]
    coarse = {s["score"]: s for s in further["summary"] if s["patient"] == "all"}
    assert further["block_mm"] == 24.0
    assert coarse["darker"]["organ"][0] > 0.9
    assert coarse["scoped"]["organ"] != summary["scoped"]["organ"]  # its own ratio in every block
    assert coarse["scoped"]["image_auroc"] == summary["scoped"]["image_auroc"]  # one number an image
    assert "In blocks of 24 mm:" in markdown(table)
    assert table["cost"]["trace"]["network_evaluations"] > 5
    assert (folder / "out" / "froc.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "out" / "calibration.png").is_file()
    assert table["prior_sha256"][:12] in (folder / "out" / "table.md").read_text()


def test_a_finished_evaluation_is_read_back(finished: tuple[Path, dict[str, Any]]) -> None:
    """The second time nothing is computed: files stay, and the figures are the same."""
    folder, first = finished
    kept = {path: path.stat().st_mtime_ns for path in (folder / "out" / "cases").rglob("slice_*.npz")}
    again = evaluate(EvaluationConfig.load(folder / "eval.yaml"), folder, folder / "out")
    assert len(kept) == 10  # two slices: a trace and four computations, of which one serves two baselines
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert again["summary"] == first["summary"]


def test_missing_files_and_wrong_labels_are_explained(config: Path, tmp_path: Path) -> None:
    loaded = EvaluationConfig.load(config)
    with pytest.raises(EmptyInputError, match=r"ct\.nrrd is missing"):
        evaluate(loaded, tmp_path / "elsewhere", tmp_path / "out")
    write_image(small_study(2), tmp_path / "label.nrrd")
    with pytest.raises(GeometryError, match="different shapes"):
        evaluate(loaded, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(("field", "name"), [("scores", "oracle"), ("baselines", "dream")])
def test_unknown_names_are_refused_before_the_work(config: Path, field: str, name: str) -> None:
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {field: [name]}))
    with pytest.raises(ConfigError, match=name):
        EvaluationConfig.load(config)


@pytest.mark.slow
def test_the_healthy_reference_reaches_the_baseline_that_needs_one(
    config: Path, tmp_path: Path, finished: tuple[Path, dict[str, Any]]
) -> None:
    """Without one the configuration is refused; another one makes it compute again. The case's trace is there."""
    shutil.copytree(finished[0] / "out", tmp_path / "out")
    traced = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cases").rglob("slice_*.npz")}
    fields = yaml.safe_load(config.read_text()) | {"baselines": ["mahalanobis"], "scores": ["darker"]}
    fields |= {"quality_slices": 0, "more_blocks_mm": [], "reference_slices": 1}
    config.write_text(yaml.safe_dump(fields))
    with pytest.raises(ConfigError, match="healthy scans"):
        EvaluationConfig.load(config)
    fields["reference"] = [fields["cases"][0] | {"name": "well", "patient": "W"}]
    config.write_text(yaml.safe_dump(fields))
    table = evaluate(EvaluationConfig.load(config), tmp_path, tmp_path / "out")
    assert table["reference"] == ["well"]
    assert table["cost"]["mahalanobis"]["network_evaluations"] == 1
    (first,) = (tmp_path / "out" / "cases").rglob("mahalanobis")
    before = {path: path.read_bytes() for path in first.iterdir()}
    config.write_text(yaml.safe_dump(fields | {"reference_slices": 2}))
    evaluate(EvaluationConfig.load(config), tmp_path, tmp_path / "out")
    assert all(path.read_bytes() != content for path, content in before.items())
    assert {path: path.stat().st_mtime_ns for path in traced} == traced
    config.write_text(yaml.safe_dump(fields | {"organ_values": [7]}))
    with pytest.raises(EmptyInputError, match="no slice has the organ"):
        evaluate(EvaluationConfig.load(config), tmp_path, tmp_path / "other")


def test_unknown_fields_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "eval.yaml"
    path.write_text("title: x\ncases: []\ncolour: red\n")
    with pytest.raises(ConfigError, match="colour"):
        EvaluationConfig.load(path)
