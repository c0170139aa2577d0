"""`klip evaluate` on a simulated study whose lesion is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_study import LESION_LPS_MM, LESION_RADIUS_MM, small_study

from KLIPCore.errors import ConfigError, EmptyInputError, GeometryError
from KLIPCore.evaluation.localization import EvaluationConfig, evaluate, markdown
from KLIPCore.io.images import write_image


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration and its data: label 1 liver, 2 lesion."""
    study = small_study(3)
    points = np.moveaxis(study.grid.to_world(np.stack(np.meshgrid(*(np.arange(n) for n in study.grid.shape), indexing="ij"), -1)), -1, 0)
    x, y, z = points
    label = (((x + 70) / 65) ** 2 + ((y + 10) / 75) ** 2 <= 1).astype(np.float32)
    lx, ly, lz = LESION_LPS_MM
    label[(x - lx) ** 2 + (y - ly) ** 2 + (z - lz) ** 2 <= LESION_RADIUS_MM**2] = 2
    write_image(study, tmp_path / "ct.nrrd")
    write_image(study.with_array(label), tmp_path / "label.nrrd")
    fields = {
        "title": "Simulated",
        "preset": "quick",
        "run": {"sampling": {"n_steps": 3, "n_samples": 2}},
        "max_slices": 1,
        "clean_slices": 0,
        "scores": ["surprise", "klip"],
        "cases": [{"name": "one", "patient": "A", "image": "ct.nrrd", "label": "label.nrrd"}],
    }
    path = tmp_path / "eval.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def test_the_known_lesion_is_found_and_the_table_written(config: Path, tmp_path: Path) -> None:
    table = evaluate(EvaluationConfig.load(config), tmp_path, tmp_path / "out")
    rows = {row["score"]: row for row in table["rows"]}
    assert rows["surprise"]["organ"] > 0.9
    assert 0 <= rows["klip"]["organ"] <= 1
    stored = json.loads((tmp_path / "out" / "table.json").read_text())
    assert stored["summary"] == table["summary"]
    assert "| surprise | A | 1 |" in markdown(table)
    assert table["prior_sha256"][:12] in (tmp_path / "out" / "table.md").read_text()


def test_missing_files_and_wrong_labels_are_explained(config: Path, tmp_path: Path) -> None:
    loaded = EvaluationConfig.load(config)
    with pytest.raises(EmptyInputError, match=r"ct\.nrrd is missing"):
        evaluate(loaded, tmp_path / "elsewhere", tmp_path / "out")
    write_image(small_study(2), tmp_path / "label.nrrd")
    with pytest.raises(GeometryError, match="different shapes"):
        evaluate(loaded, tmp_path, tmp_path / "out")


def test_unknown_fields_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "eval.yaml"
    path.write_text("title: x\ncases: []\ncolour: red\n")
    with pytest.raises(ConfigError, match="colour"):
        EvaluationConfig.load(path)
