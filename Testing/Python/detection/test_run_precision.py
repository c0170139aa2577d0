"""The precision that a run keeps to, and says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_precision import MADE, remember

from KLIPCore.config import Config
from KLIPCore.detection.detect import detect
from KLIPCore.detection.precision import Choice, choose
from KLIPCore.detection.run_precision import precision_mark
from KLIPCore.errors import Cancelled, OutputError
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.unet import DTYPES, UNetPrior
from KLIPCore.runs.rerun import precision_told

CPU = torch.device("cpu")

CONFIG = Config(preset="quick").updated(
    {"sampling": {"n_samples": 1, "n_steps": 2}, "regions": {"score": "one-shot", "min_volume_mm3": 10.0}}
)


def test_fingerprints_name_a_precision_that_is_not_the_networks_own(weights: str) -> None:
    assert precision_mark(load_prior(weights, "cpu", "bfloat16")) == ()
    assert precision_mark(load_prior(weights, "cpu", "float32")) == ("precision float32",)
    assert precision_mark(object()) == ()
    assert Config(precision="float16").fingerprint("x") == Config().fingerprint("x")


def test_a_run_is_recognised_whatever_precision_it_began_in(weights: str) -> None:
    prior = load_prior(weights, CPU, "float32")
    identity = (prior.card.sha256, "study")
    expected = CONFIG.fingerprints(*identity)
    for name in DTYPES:
        assert CONFIG.fingerprint(*identity, *precision_mark(prior, name)) in expected
    assert CONFIG.fingerprint(prior.card.sha256, "another study") not in expected


def test_a_run_says_its_precision(dicom_study: Path, weights: str, measured: list[str], tmp_path: Path) -> None:
    found = detect(dicom_study, tmp_path / "out", replace(CONFIG, prior=weights))
    told = "bfloat16: fastest of float32, bfloat16 and float16 on this processor, measured"
    assert found.report.provenance["precision"] == told
    assert told in found.folder.file("report.html").read_text(encoding="utf-8")
    noted = found.folder.run()["precision"]
    assert (noted["precision"], noted["channels_last"], noted["seconds"]) == ("bfloat16", True, MADE)
    for damaged in (3, [], {}, {"precision": 4}, {"precision": []}, {"place": "mps"}):
        assert precision_told({"precision": damaged}) == "as the network was trained"
    assert precision_told({}) == "as the network was trained"


def stopped(study: Path, out: Path, config: Config) -> list[int]:
    """A run that is stopped when its third slice begins; times of the files that are kept."""

    def stop(stage: str, fraction: float, detail: str) -> None:
        if "(3 of 4)" in detail:
            raise KeyboardInterrupt

    with pytest.raises(Cancelled):
        detect(study, out, config, progress=stop)
    return [p.stat().st_mtime_ns for p in sorted((out / "trace").iterdir())]


def test_a_stopped_run_continues_in_its_precision_whatever_is_fastest_now(
    dicom_study: Path, weights: str, prior: UNetPrior, measured: list[str], tmp_path: Path
) -> None:
    config, out = replace(CONFIG, prior=weights), tmp_path / "out"
    remember(tmp_path / "cache", prior, Choice("float32", False, "fastest then"))
    kept = stopped(dicom_study, out, config)
    assert len(kept) == 2
    remember(tmp_path / "cache", prior, Choice("bfloat16", True, "fastest now"))
    assert choose(prior).precision == "bfloat16"
    found = detect(dicom_study, out, config)
    assert not measured
    assert found.folder.run()["precision"] == Choice("float32", False, "fastest then").to_dict()
    assert found.report.provenance["precision"] == "float32: fastest then"
    assert [p.stat().st_mtime_ns for p in sorted((out / "trace").iterdir())][:2] == kept
    remember(tmp_path / "cache", prior, Choice("float32", False, "fastest then"))
    undisturbed = detect(dicom_study, tmp_path / "undisturbed", config)
    a, b = (sitk.GetArrayFromImage(sitk.ReadImage(str(f.folder.file("kl_map.nrrd")))) for f in (found, undisturbed))
    np.testing.assert_array_equal(a, b)


def test_another_precision_is_asked_of_a_run_that_began(
    dicom_study: Path, weights: str, measured: list[str], tmp_path: Path
) -> None:
    config, out = replace(CONFIG, prior=weights), tmp_path / "out"
    found = detect(dicom_study, out, config)
    first = found.folder.run()
    same = detect(dicom_study, out, config.updated({"precision": "bfloat16"}))
    assert same.folder.run()["fingerprint"] == first["fingerprint"], "what auto chose, said aloud"
    with pytest.raises(OutputError, match=r"began in bfloat16, not in float32") as refused:
        detect(dicom_study, out, config.updated({"precision": "float32"}))
    assert "--overwrite" in refused.value.remedy
    other = detect(dicom_study, out, config.updated({"precision": "float32"}), overwrite=True)
    assert other.folder.run()["precision"]["precision"] == "float32"
    assert other.folder.run()["fingerprint"] != first["fingerprint"]


def test_a_run_without_a_sound_record_continues_as_its_fingerprint_says(
    dicom_study: Path, weights: str, prior: UNetPrior, measured: list[str], tmp_path: Path
) -> None:
    """Earlier versions noted nothing, and always took the precision that the network was trained in."""
    config, out = replace(CONFIG, prior=weights), tmp_path / "out"
    folder = detect(dicom_study, out, config).folder
    kept = folder.slice_file(0).stat().st_mtime_ns
    remember(tmp_path / "cache", prior, Choice("float32"))
    for noted in (None, 3, {"precision": "float16", "seconds": {}}):
        (out / "run.json").write_text(json.dumps({**folder.run(), "precision": noted}))
        again = detect(dicom_study, out, config)
        assert again.report.provenance["precision"] == "bfloat16: as the run began"
        assert folder.slice_file(0).stat().st_mtime_ns == kept


def test_every_device_computes_alike(
    dicom_study: Path,
    weights: str,
    prior: UNetPrior,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    asked: list[tuple[object, ...]] = []

    def noted(name: str, device: torch.device, *way: object) -> UNetPrior:
        asked.append(way)
        return load_prior(name, device, *way)  # type: ignore[arg-type]

    remember(tmp_path / "cache", prior, Choice("float32", False))
    monkeypatch.setattr("KLIPCore.detection.detect.load_prior", noted)
    monkeypatch.setattr("KLIPCore.detection.detect.choose_devices", lambda name: [CPU, CPU, CPU])
    detect(dicom_study, tmp_path / "out", replace(CONFIG, prior=weights))
    assert asked == [("float32",), ("float32", False), ("float32", False)]
