"""Stopped half-way and run again: nothing redone, nothing different. Real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from busy import longest
from detection.conftest import SMALL

ARGUMENTS = ["--preset", "quick", "--prior", SMALL, "--steps", "3", "--samples", "1", "--progress", "json"]


def klip(*arguments: str) -> subprocess.Popen[str]:
    """The real command in its own process, on one thread: "the same" below means every bit, which libraries
    promise for equal thread counts only.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "KLIPCore.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_a_stopped_run_continues_and_ends_the_same(dicom_study: Path, tmp_path: Path, how: signal.Signals) -> None:
    out = tmp_path / "stopped"
    three = [str(dicom_study), "--slices", "0:3", *ARGUMENTS]
    first = klip("detect", *three, "-o", str(out))
    assert first.stdout is not None
    for line in first.stdout:
        if "(3 of 3)" in json.loads(line)["detail"]:
            os.kill(first.pid, how)
            break
    rest, errors = first.communicate(timeout=longest(120))
    assert first.returncode == 130, errors
    assert "2 of 3 slices are done and kept" in errors
    assert "Traceback" not in errors
    stop = json.loads(rest.strip().splitlines()[-1])
    assert stop["stage"] == "error"
    assert stop["error"] == "Cancelled"
    kept = {p.name: p.stat().st_mtime_ns for p in (out / "trace").iterdir()}
    assert sorted(kept) == ["slice_0000.npz", "slice_0001.npz"]
    if how is signal.SIGTERM:
        return  # stopped alike: what follows would be the same twice

    second = klip("detect", *three, "-o", str(out))
    output, errors = second.communicate(timeout=longest(240))
    assert second.returncode == 0, errors
    details = [json.loads(line)["detail"] for line in output.splitlines()]
    assert not any("(1 of 3)" in d or "(2 of 3)" in d for d in details)
    assert {name: (out / "trace" / name).stat().st_mtime_ns for name in kept} == kept

    undisturbed = tmp_path / "undisturbed"
    third = klip("detect", *three, "-o", str(undisturbed))
    _, errors = third.communicate(timeout=longest(240))
    assert third.returncode == 0, errors
    a, b = (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "kl_map.nrrd"))) for folder in (out, undisturbed))
    np.testing.assert_array_equal(a, b)
