"""Whole runs of `klip archive`, with real commands on small studies: once each, whatever dies."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from busy import in_vain, longest
from small_study import small_study

from KLIPCore.archive.child import any_ended
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.lab.fuzz.seeds import tiny_study, write_tiny_prior
from KLIPCore.runs.drift import read_verdicts

KLIP = (sys.executable, "-m", "KLIPCore.cli", "archive")
TINY = {
    "preset": "quick",
    "sampling": {"n_samples": 1, "n_steps": 2},
    "record": {"n_nodes": 2, "layers": ["cold", "path"]},
    "regions": {"score": "surprise"},
}
"""Settings of a detection of a second."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="kills processes as Linux does")


def klip(*words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*KLIP, *map(str, words)], capture_output=True, text=True, timeout=longest(600))
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def verdicts(out: Path) -> list[dict[str, str]]:
    with (out / "verdicts.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated studies, and one that is none."""
    folder = tmp_path_factory.mktemp("archive")
    for n in range(2):
        write_dicom_series(small_study(4, seed=n), folder / f"ct{n}", seed=n + 1)
    (folder / "broken.nrrd").write_bytes(b"NRRD0004\ntype: float\n")
    return folder


def index(out: Path, studies: Path, *more: dict[str, Any]) -> Path:
    """An index of two studies, with scanner and date, and one that is none."""
    path = out / "index.jsonl"
    rows = [{"path": str(studies / f"ct{n}"), "scanner": "=CT1", "date": f"2026-02-0{n + 2}"} for n in range(2)]
    rows += [{"path": str(studies / "broken.nrrd")}, *more]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_nothing_is_made_for_an_index_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"path": 3}\n')
    for name, said in (("nowhere.jsonl", "cannot be read"), ("bad.jsonl", "Line 1 of bad.jsonl")):
        done = klip("run", tmp_path / name, "-o", tmp_path / "out", code=2)
        assert said in done.stderr
        assert not (tmp_path / "out").exists()


def test_every_line_of_an_index_gets_its_outcome(studies: Path, tmp_path: Path) -> None:
    again, gone = {"path": str(studies / "ct1")}, {"path": str(studies / "gone")}
    source, out = index(tmp_path, studies, again, gone), tmp_path / "out"
    told = klip("run", source, "-o", out, "--job", "guard", "--studies", "2", "--progress", "json")
    assert "4 studies: 3 done, 1 failed, 1 lines name a study again" in told.stdout
    assert '"fraction": 1.0' in told.stdout
    rows = {(row["status"], Path(row["path"]).name): row for row in verdicts(out)}
    assert set(rows) == {
        ("done", "ct0"), ("done", "ct1"), ("done", "broken.nrrd"), ("failed", "gone"), ("duplicate", "ct1"),
    }  # fmt: skip
    assert rows["failed", "gone"]["message"] == "The study's path is not there any more."
    assert "line 2" in rows["duplicate", "ct1"]["message"]
    assert rows["done", "broken.nrrd"]["finding"] == "does not fit"
    assert rows["done", "ct0"]["finding"] == "look first"
    assert rows["done", "ct0"]["scanner"] == "'=CT1"  # no formula for a spreadsheet
    assert float(rows["done", "ct0"]["noise_hu"]) > 0
    known = read_verdicts(out / "verdicts.csv")
    assert [verdict["date"] for verdict in known] == ["2026-02-02", "2026-02-03"]
    if importlib.util.find_spec("pyarrow"):
        parquet = importlib.import_module("pyarrow.parquet").read_table(out / "verdicts.parquet")
        assert parquet.column_names == list(verdicts(out)[0])
        assert parquet["line"].to_pylist() == [float(row["line"]) for row in verdicts(out)]
    page = (out / "overview.html").read_text(encoding="utf-8")
    assert "Not a medical device" in page
    assert str(studies / "gone") in page
    began = [file.stat().st_mtime_ns for file in sorted(out.rglob("*.guard.json"))]
    klip("run", source, "-o", out, "--job", "guard", "--progress", "none")
    assert began == [file.stat().st_mtime_ns for file in sorted(out.rglob("*.guard.json"))]
    assert "other settings" in klip("run", source, "-o", out, "--progress", "none", code=3).stderr


@linux
def test_each_study_once_though_worker_and_run_are_killed(studies: Path, tmp_path: Path) -> None:
    source, out = index(tmp_path, studies), tmp_path / "out"
    command = [*KLIP, "run", str(source), "-o", str(out), "--job", "guard", "--progress", "none"]
    run = psutil.Popen([*command, "--studies", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    worker = _wait_for(lambda: [p for p in _below(run) if "KLIPCore.archive.work" in " ".join(p.cmdline())])[0]
    worker.kill()
    _wait_for(lambda: list(out.rglob("*.guard.json")))
    below = _below(run)
    run.kill()
    run.wait()
    assert psutil.wait_procs(below, timeout=longest(20))[1] == []
    klip("run", source, "-o", out, "--job", "guard", "--progress", "none")
    rows = verdicts(out)
    assert sorted(row["status"] for row in rows) == ["done"] * 3
    assert len({row["path"] for row in rows}) == 3
    assert not list(out.rglob("*.part"))


@linux
def test_ctrl_c_takes_all_processes_with_it_and_the_rest_is_continued(studies: Path, tmp_path: Path) -> None:
    source = index(tmp_path, studies)
    for attempt in range(5):  # on a busy computer all studies may be done before the signal arrives
        out = tmp_path / f"out{attempt}"
        command = [*KLIP, "run", str(source), "-o", str(out), "--job", "guard", "--progress", "none"]
        run = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        _wait_for(lambda run=run: [p for p in _below(run) if "--format" in p.cmdline()])
        below = _below(run)
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate(timeout=longest(60))[1]
        if run.returncode:
            break
    assert b"Run the same command again to continue" in said
    assert run.returncode == 130
    assert psutil.wait_procs(below, timeout=longest(20))[1] == []
    assert "3 done" in klip("run", source, "-o", out, "--job", "guard", "--progress", "none").stdout


@pytest.mark.parametrize("told", [True, False], ids=["by the system", "by looking"])
def test_processes_are_waited_for(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not told:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    long, short = (subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({s})"]) for s in (60, 0.5))
    try:
        began = time.monotonic()
        assert not any_ended([long], 0.2)
        assert any_ended([long, short], 50)
        assert time.monotonic() - began < 50  # told, not timed out
        assert short.wait() == 0
        assert any_ended([short], 50)  # it was waited for already
    finally:
        long.kill()
        long.wait()


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _wait_for(what: Any, seconds: float = 120.0) -> Any:
    began = time.monotonic()
    while not in_vain(began, seconds):
        try:
            if found := what():
                return found
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.02)
    raise AssertionError("it never came")


def test_detections_and_failures_with_their_sentence(studies: Path, tmp_path: Path) -> None:
    """A detection each; one study is none, which is told in the reader's words."""
    write_dicom_series(tiny_study(4), tmp_path / "ct", seed=1)
    prior = write_tiny_prior(tmp_path / "prior")
    (tmp_path / "settings.json").write_text(json.dumps(TINY | {"prior": str(prior)}), encoding="utf-8")
    source = tmp_path / "paths.txt"
    source.write_text(f"ct\n{studies / 'broken.nrrd'}\n", encoding="utf-8")
    out = tmp_path / "out"
    klip("run", source, "-o", out, "--config", tmp_path / "settings.json", "--threads", "1", "--progress", "none")
    done, failed = verdicts(out)
    assert (done["status"], failed["status"]) == ("done", "failed")
    assert failed["error"] == "GeometryError"
    assert "broken.nrrd" in failed["message"]
    assert failed["remedy"]
    assert (out / done["report"]).is_file()
    result = json.loads((out / "studies" / done["study"][:2] / done["study"] / "result.json").read_bytes())
    assert int(done["regions"]) == len(result["regions"])
    assert float(done["tested_ml"]) == pytest.approx(result["tested_mm3"] / 1000)
    with (out / "regions.csv").open(encoding="utf-8-sig", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(result["regions"])


def test_study_after_study_that_fails_for_the_computers_sake_stops_the_run(studies: Path, tmp_path: Path) -> None:
    """The tiny prior has no reference of health: no study could be judged by it."""
    prior = write_tiny_prior(tmp_path / "prior")
    source, out = index(tmp_path, studies), tmp_path / "out"
    done = klip("run", source, "-o", out, "--job", "guard", "--prior", prior, "--progress", "none", code=4)
    assert "3 studies in a row" in done.stderr
    assert "no reference of health" in done.stderr
    assert "0 done, 0 failed, 3 left" in klip("report", out).stdout


def run_in_two_shards(source: Path, out: Path, *words: str) -> None:
    """Run an archive of three studies by another engine, and look that each is done by one of two shards."""
    klip("run", source, "-o", out, *words, "--shards", "2", "--progress", "none")
    assert sorted(row["status"] for row in verdicts(out)) == ["done"] * 3
    assert sorted(file.name for file in (out / "state").glob("*.sqlite")) == [
        "shard-1-of-2.sqlite",
        "shard-2-of-2.sqlite",
    ]


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs submitit (klipcore[slurm])")
def test_shards_as_jobs_of_submitit(studies: Path, tmp_path: Path) -> None:
    source, out = index(tmp_path, studies), tmp_path / "out"
    words = ("--job", "guard", "--on", "slurm", "--cluster-option", "cluster=local")
    run_in_two_shards(source, out, *words)
    assert "begun in 2 shards" in klip("run", source, "-o", out, "--job", "guard", code=3).stderr
    wrong = klip("run", source, "-o", out, "--job", "guard", "--on", "slurm", "--cluster-option", "x", code=2)
    assert "no option of a cluster" in wrong.stderr


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray (klipcore[ray])")
def test_shards_as_tasks_of_ray(studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray starts on this computer for the command and ends with it."""
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")
    source, out = index(tmp_path, studies), tmp_path / "out"
    words = ("--job", "guard", "--on", "ray", "--cluster-option", "num_cpus=1")
    run_in_two_shards(source, out, *words)
