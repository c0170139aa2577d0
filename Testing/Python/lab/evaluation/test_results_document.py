"""docs/make_results.py: tables go where they belong, and every configuration that fills one is there."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from KLIPCore.errors import ConfigError
from KLIPCore.lab.evaluation.cases import SliceTruth
from KLIPCore.lab.evaluation.config import EvaluationConfig
from KLIPCore.lab.evaluation.figures import MapName, measure_slice, summarize

REPOSITORY = Path(__file__).resolve().parents[4]
MACHINE = {"cpu": "a processor", "cores": 2, "threads": 1, "busy": 0.5, "device": "cpu"}
RUN = {"preset": "quick", "measurement": {"n_views": 60}, "sampling": {"n_samples": 2, "seed": 0}}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_results", REPOSITORY / "docs" / "make_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def summary(patients: tuple[str, ...]) -> list[dict[str, Any]]:
    """Real figures of a plain map, one lesion slice and one clean one a patient."""
    rng = np.random.default_rng(0)
    organ = np.zeros((64, 64), bool)
    organ[:, :40] = True
    slices = []
    for k in range(2):
        lesion = np.zeros((64, 64), bool)
        lesion[20:32, 20:32] = k == 0
        number = lesion.astype(np.int32)
        positive = lesion[2::4, 2::4]
        truth = SliceTruth(k, k == 0, lesion, organ, positive, organ[2::4, 2::4], 1.5, 4, number)
        values = rng.uniform(size=(16, 16)) + 2 * positive
        labels = positive.astype(int)
        slices.append(
            measure_slice(
                MapName("darker", "one", "A"),
                values,
                np.ones((16, 16), bool),
                truth,
                12.0,
                1 - values / 3,
                labels,
                (labels, np.ones(1)),
            )
        )
    return [summarize("darker", patient, slices, 10.0) for patient in patients]


def tables() -> dict[str, dict[str, Any]]:
    """One finished evaluation a configuration."""
    base = {
        "title": "T",
        "software": "s",
        "machine": MACHINE,
        "run": RUN,
        "block_mm": 12.0,
        "lesion_mm": 10.0,
        "prior": "p",
        "prior_sha256": "f" * 64,
    }
    quality = [
        {"method": "posterior mean", "n_slices": 1, "psnr_db": [30.0, 30.0, 30.0], "ssim": [0.9, 0.9, 0.9]},
        {"method": "fbp", "n_slices": 1, "psnr_db": [26.5, 26.5, 26.5], "ssim": [0.8, 0.8, 0.8]},
    ]
    quality_rows = [
        {"patient": "A", "method": q["method"], "psnr_db": q["psnr_db"][0], "ssim": q["ssim"][0]} for q in quality
    ]
    plain = base | {
        "summary": summary(("A", "all")),
        "cost": {"trace": {"network_evaluations": 16.0}},
        "quality": quality,
        "quality_rows": quality_rows,
    }
    figure = [0.9, 0.8, 0.95]
    varied = {
        "score": "darker",
        "organ_A": figure,
        "organ_all": figure,
        "body_all": figure,
        "seconds": 1.5,
        "network_evaluations": 16.0,
    }
    points = [
        varied | {"factor": "preset", "value": "preset", "organ_difference": None},
        varied | {"factor": "views", "value": "24", "organ_difference": [-0.1, -0.2, 0.0]},
    ]
    prior = {
        "backbone": "patch",
        "sha256": "a" * 64,
        "validation_rmse": {"0.1": 0.017},
        "score": "darker",
        "body_all": figure,
        "organ_all": figure,
        "seconds": 1.5,
    }
    return {
        **dict.fromkeys(("eval_lits_dev", "eval_baselines", "eval_views24", "eval_quality24"), plain),
        **dict.fromkeys(
            ("eval_more_baselines", "eval_baselines24", "eval_published", "eval_published24"),
            plain | {"further": [{"block_mm": 24.0, "summary": summary(("A", "all"))}]},
        ),
        **dict.fromkeys(("eval_implants", "eval_large"), plain | {"summary": summary(("tumour, A", "tumour, all"))}),
        "eval_variations": base | {"patients": ["A"], "rows": points},
        "eval_backbones": base | {"rows": [prior]},
    }


def write(folder: Path, name: str, table: dict[str, Any]) -> Path:
    folder = folder / name
    folder.mkdir(parents=True)
    (folder / "table.json").write_text(json.dumps(table | {"name": name}))
    for picture in ("froc.png", "variations.png", "priors.png"):
        (folder / picture).write_bytes(b"picture of " + name.encode())
    return folder


def test_every_table_has_its_place_and_its_configuration(script: ModuleType, tmp_path: Path) -> None:
    folders = [write(tmp_path, name, table) for name, table in tables().items()]
    document, pictures = tmp_path / "results_slices.md", tmp_path / "images"
    pictures.mkdir()
    original = (REPOSITORY / "docs" / "results_slices.md").read_text()
    document.write_text(original)
    done = script.main(folders, document, pictures)
    assert set(script.MADE_OF) == set(tables())
    text = document.read_text()

    def outside(content: str) -> str:
        return re.sub(
            r"(<!-- measured: begin (\w+) -->).*?(<!-- measured: end \2 -->)", r"\1\3", content, flags=re.DOTALL
        )

    assert outside(text) == outside(original)  # prose is left alone
    for name in done:
        part = re.search(rf"begin {name} -->\n(.*?)\n<!-- measured: end {name} ", text, re.DOTALL)
        assert part is not None
        lines = part[1].splitlines()
        width = lines[0].count("|")
        table = [line for line in lines if line.startswith("|")]
        assert len(table) > 2
        assert all(line.count("|") == width for line in table), name
        assert "a processor, 2 cores" in part[1]
    assert "](images/variations.png)" in text
    assert "+3.5 dB" in text
    assert "-0.100 [-0.200, 0.000]" in text
    assert (pictures / "lits_dev.png").read_bytes() == b"picture of eval_lits_dev"
    assert sorted(p.name for p in pictures.iterdir()) == ["backbones.png", "lits_dev.png", "variations.png"]
    for name in script.MADE_OF:
        loaded = EvaluationConfig.load(REPOSITORY / "configs" / f"{name}.yaml")
        assert loaded.name == name
        assert loaded.cases


def test_what_was_left_out_stays_as_it_was(script: ModuleType, tmp_path: Path) -> None:
    folder = write(tmp_path, "eval_lits_dev", tables()["eval_lits_dev"] | {"quality": [], "quality_rows": []})
    document = tmp_path / "results_slices.md"
    document.write_text((REPOSITORY / "docs" / "results_slices.md").read_text())
    before = document.read_text().split("begin quality60")[1].split("end quality60")[0]
    assert script.main([folder], document, tmp_path) == ["localization", "found", "calibration"]
    assert document.read_text().split("begin quality60")[1].split("end quality60")[0] == before


def test_a_folder_without_a_known_table_changes_nothing(script: ModuleType, tmp_path: Path) -> None:
    document = tmp_path / "results_slices.md"
    document.write_text("nothing")
    with pytest.raises(ConfigError, match="no finished evaluation"):
        script.main([tmp_path], document, tmp_path)
    with pytest.raises(ConfigError, match="No table of the document"):
        script.main([write(tmp_path, "eval_mine", {})], document, tmp_path)
    with pytest.raises(ConfigError, match="no place for the table"):
        script.main([write(tmp_path, "eval_backbones", tables()["eval_backbones"])], document, tmp_path)
    assert document.read_text() == "nothing"
