"""`klip evaluate` on whole volumes, from the command to the files: a planted lesion in a folder of scans."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from labelled import write_labelled
from small_study import small_study

from KLIPCore.cli import main
from KLIPCore.errors import InputError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import read_image, write_image
from KLIPCore.lab.evaluation.ball_sizes import expected_by_size
from KLIPCore.lab.evaluation.volumes.command import evaluate_volumes
from KLIPCore.lab.evaluation.volumes.config import Scan, VolumesConfig
from KLIPCore.lab.evaluation.volumes.lesions import Lesions
from KLIPCore.lab.evaluation.volumes.reading import read_mask
from KLIPCore.runs.folder import RunFolder
from KLIPCore.scores import DEFAULT_SCORE

N_SLICES = 2
OPTIONS = ["--preset", "quick", "--prior", "abdomen-ct-256-small", "--lesion", "2", "--healthy"]
OPTIONS += ["--score", "hypodense", "--score", "unexpected"]


def klip(*arguments: str) -> int:
    """The command's own entry point; returns its exit code."""
    before, argv = signal.getsignal(signal.SIGTERM), sys.argv
    sys.argv = ["klip", *arguments]
    try:
        main()
        return 0
    except SystemExit as leave:
        return int(leave.code or 0)
    finally:
        sys.argv = argv
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ill``: DICOM, a lesion of 20 mm, label 2 of its mask; ``well``: without a mask; ``torn``: no image."""
    made = tmp_path_factory.mktemp("scans")
    write_labelled(made, N_SLICES)
    write_dicom_series(small_study(N_SLICES), made / "ill", seed=1)
    (made / "label.nrrd").rename(made / "ill_label.nrrd")
    (made / "ct.nrrd").unlink()
    write_image(small_study(1, lesion=False, seed=2), made / "well.nrrd")
    (made / "torn.nii.gz").write_bytes(b"nothing")
    return made


@pytest.fixture(scope="module")
def evaluated(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command wrote about that folder."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    assert klip("evaluate", str(folder), "-o", str(out), *OPTIONS, "--progress", "none") == 0
    return out


def table(out: Path) -> dict[str, Any]:
    """The record that an evaluation wrote."""
    return json.loads((out / "table.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_every_output_is_written(evaluated: Path) -> None:
    assert sorted(p.name for p in evaluated.iterdir()) == ["froc.png", "runs", "scans.csv", "table.json", "table.md"]
    assert (evaluated / "froc.png").read_bytes()[:4] == b"\x89PNG"
    text = (evaluated / "table.md").read_text(encoding="utf-8")
    assert "| unexpected | ill | 1 |" in text
    assert "mean of patients (1)" in text
    assert "- torn:" in text
    made = table(evaluated)
    assert made["command"].startswith("klip evaluate ")
    assert (made["n_studies"], made["n_evaluated"]) == (3, 2)
    run = made["runs"]["ill"]
    assert (run["preset"], run["seed"], run["slices"]) == ("quick", 0, N_SLICES)
    assert run["prior_sha256"] == RunFolder(evaluated / "runs" / "ill").run()["prior"]["sha256"]


def test_the_planted_lesion_is_ranked_as_scikit_learn_says(folder: Path, evaluated: Path) -> None:
    """From the files of the run alone: its map on the study's voxels, the body's, and the mask."""
    metrics = pytest.importorskip("sklearn.metrics")
    run = RunFolder(evaluated / "runs" / "ill")
    nats = read_image(run.file("kl_map.nrrd"))
    framing = run.read_framing()
    inside = framing.orientation.restore(framing.body)
    mask = np.round(read_image(folder / "ill_label.nrrd").array) == 2
    scan = next(s for s in table(evaluated)["scans"] if (s["scan"], s["score"]) == ("ill", DEFAULT_SCORE))
    assert scan["voxels"]["auroc"] == pytest.approx(metrics.roc_auc_score(mask[inside], nats.array[inside]), abs=1e-6)
    assert scan["voxels"]["n_lesion"] == np.count_nonzero(mask & inside)
    assert scan["voxels"]["auroc"] > 0.9
    assert scan["voxels"]["aupro"] == pytest.approx(scan["voxels"]["auroc_limited"])  # one lesion
    assert scan["diameters_mm"] == pytest.approx(Lesions.of(mask, nats.grid).diameter_mm.tolist())
    assert (scan["lesions"], scan["large"]) == (1, 1)

    regions = json.loads(run.file("result.json").read_text(encoding="utf-8"))["regions"]
    assert scan["points"][0]["regions"] == len(regions)  # the default is what the run itself reports


def test_a_ball_has_the_number_of_its_strongest_region(folder: Path, evaluated: Path) -> None:
    run = RunFolder(evaluated / "runs" / "ill")
    mask = (np.round(read_image(folder / "ill_label.nrrd").array) == 2).astype(np.uint8)
    ((twelve, six),) = expected_by_size(run, mask, (12.0, 6.0))
    drawn = np.round(read_image(run.file("regions.seg.nrrd")).array)[mask > 0]
    regions = json.loads(run.file("result.json").read_text(encoding="utf-8"))["regions"]
    on_it = [r["expected_in_healthy_study"] for r in regions if (drawn == r["label"]).any()]
    assert twelve == pytest.approx(min(on_it), rel=1e-3)
    assert six != twelve


def test_healthy_studies_are_counted_the_same_way(evaluated: Path) -> None:
    made = table(evaluated)
    well = [s for s in made["scans"] if s["scan"] == "well"]
    assert [s["score"] for s in well] == ["hypodense", "unexpected"]
    for scan in well:
        assert scan["voxels"]["auroc"] is None
        assert all(point["false"] == point["regions"] and point["dice"] is None for point in scan["points"])
    names = [[point["setting"] for point in s["points"]] for s in well]
    assert names[0][:2] == ["default", "FDR 0.05"]
    assert names[1][:2] == ["default", "≤ 0.25 false region"]
    for entry in made["summary"]:
        counts = [p["regions_a_study"] for name, p in entry["points"].items() if name != "default"]
        assert counts == sorted(counts)  # a looser setting never reports less


def test_one_row_a_scan_score_and_setting(evaluated: Path) -> None:
    rows = list(csv.DictReader((evaluated / "scans.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 2 * 2 * 6 + 1
    assert [row["error"] != "" for row in rows] == [False] * 24 + [True]
    assert rows[-1]["scan"] == "torn"
    assert {row["auroc"] for row in rows if row["scan"] == "well"} == {""}


@pytest.mark.slow
def test_finished_runs_are_reused_and_others_continued(folder: Path, evaluated: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(evaluated, out)
    lost = out / "runs" / "ill" / "trace" / "slice_0001.npz"
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*.*")}
    assert klip("evaluate", str(folder), "-o", str(out), *OPTIONS, "--progress", "none") == 0
    assert lost.is_file()
    same = {path for path, time in kept.items() if path.stat().st_mtime_ns == time}
    assert {p for p in kept if "well" in p.parts} <= same  # nothing of a finished run was written again
    assert {p for p in kept if p.parent.name == "trace"} <= same
    first, again = table(evaluated), table(out)
    assert again["summary"] == first["summary"]


def test_a_file_of_finished_runs_is_scored_without_detection(
    folder: Path, evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("KLIPCore.lab.evaluation.volumes.command.detect", None)
    studies = [
        {"name": "a", "patient": "P", "run": "out/runs/ill", "mask": "scans/ill_label.nrrd"},
        {"name": "b", "patient": "Q", "run": "out/runs/well", "healthy": True},
        {"name": "c", "run": "out/runs/nobody", "healthy": True},
        {"name": "d", "run": "out/runs/ill", "mask": "scans/gone.nrrd"},
        {"name": "e", "run": "out/runs/well", "mask": "scans/ill_label.nrrd"},
    ]
    data = tmp_path / "data"
    data.mkdir()
    (data / "out").symlink_to(evaluated, target_is_directory=True)
    (data / "scans").symlink_to(folder, target_is_directory=True)
    path = tmp_path / "set.yaml"
    fields = {"kind": "volumes", "lesion_values": [2], "organ_values": [1, 2], "scores": ["nats"], "studies": studies}
    path.write_text(yaml.safe_dump(fields))
    options = ("--data", str(data), "--score", "hypodense", "--score", "nats", "--progress", "none")
    assert klip("evaluate", str(path), "-o", str(tmp_path / "o"), *options) == 0
    made = table(tmp_path / "o")
    old = next(s for s in table(evaluated)["scans"] if (s["scan"], s["score"]) == ("ill", "hypodense"))
    new = next(s for s in made["scans"] if s["scan"] == "a")
    assert (new["voxels"], new["points"]) == (old["voxels"], old["points"])
    assert new["blocks"]["slices"] == 1  # the ball's end in the other has too few pixels to count
    assert new["blocks"]["body"] == old["blocks"]["body"] > 0.8
    assert old["blocks"]["organ"] is None  # no organ was named
    assert 0.8 < new["blocks"]["organ"] <= 1
    why = {(f["scan"], f["score"]): f["message"] for f in made["failed"]}
    assert set(why) == {("a", "nats"), ("b", "nats"), ("c", ""), ("d", ""), ("e", "")}  # nats were not recorded
    assert "gone.nrrd is missing" in why["d", ""]
    assert "elsewhere" in why["e", ""] or "%" in why["e", ""]


def test_unfinished_runs_are_said_to_be_so(evaluated: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(evaluated / "runs" / "ill", run)
    (run / "trace" / "slice_0000.npz").unlink()
    config = VolumesConfig("one", (Scan("one", run=run, healthy=True),))
    with pytest.raises(InputError, match=r"None of the 1 studies could be evaluated\. one: 1 of 2 slices"):
        evaluate_volumes(config, tmp_path / "out")
    assert table(tmp_path / "out")["failed"][0]["error"] == "TraceError"


def test_a_run_with_other_settings_is_kept(folder: Path, evaluated: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(evaluated / "runs" / "well", out / "runs" / "well")
    config = VolumesConfig("one", (Scan("well", image=folder / "well.nrrd", healthy=True),))
    before = (out / "runs" / "well" / "run.json").read_bytes()
    with pytest.raises(InputError, match="holds a run with other settings") as refused:  # preset default
        evaluate_volumes(config, out)
    assert "--overwrite" not in refused.value.remedy
    assert (out / "runs" / "well" / "run.json").read_bytes() == before


def test_what_the_machine_refuses_does_not_stop_the_others(
    evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evaluated / "runs" / "well"
    faults = {"a": PermissionError(13, "Permission denied"), "b": MemoryError()}

    def read(scan: Scan, *rest: Any) -> Any:
        if scan.name in faults:
            raise faults[scan.name]
        return read_mask(scan, *rest)

    monkeypatch.setattr("KLIPCore.lab.evaluation.volumes.scoring.read_mask", read)
    config = VolumesConfig("three", tuple(Scan(name, run=run, healthy=True) for name in "abc"))
    made = evaluate_volumes(config, tmp_path / "out")
    assert [f["message"] for f in made["failed"]] == [
        "a: a file operation was refused (Permission denied).",
        "b: the memory does not suffice.",
    ]
    assert made["n_evaluated"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["EMPTY"], "no scan"),
        (["EMPTY", "--data", "x"], "needs no --data"),
        (["EMPTY", "--prior", "a", "--prior", "b"], "one prior at a time"),
        (["VOLUMES", "--healthy"], "for a folder of scans"),
        (["PLAIN"], "No data folder"),
        (["PLAIN", "--data", "x", "--score", "klip"], "--score"),
        (["MISSING"], "nothing at"),
    ],
)
def test_wrong_options_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "VOLUMES").write_text("kind: volumes\nstudies: [{image: a.nrrd, healthy: true}]\n")
    (tmp_path / "PLAIN").write_text("title: x\ncases: []\n")
    assert klip("evaluate", str(tmp_path / arguments[0]), "-o", str(tmp_path / "out"), *arguments[1:]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
