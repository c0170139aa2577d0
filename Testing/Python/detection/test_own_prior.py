"""A user's own prior is one option: a copy of the shipped one under another name gives the same run, and
says whose it is.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from KLIPCore.cli import main
from KLIPCore.priors import checkpoint

SHIPPED = Path(checkpoint.__file__).parent / "zoo" / f"{checkpoint.DEFAULT_PRIOR}.safetensors"


def klip(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["klip", *arguments])
    try:
        main()
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_a_copy_under_another_name_gives_the_same_map(
    dicom_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(SHIPPED, tmp_path / "mine.safetensors")
    shutil.copy(SHIPPED.with_suffix(".reference.npz"), tmp_path / "mine.reference.npz")
    card = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8"))
    (tmp_path / "mine.json").write_text(
        json.dumps({**card, "name": "mine", "anatomy": "what I know"}), encoding="utf-8"
    )
    small = (
        "--preset",
        "quick",
        "--steps",
        "3",
        "--samples",
        "1",
        "--slices",
        "1:2",
        "--device",
        "cpu",
        "--progress",
        "none",
    )
    klip(monkeypatch, "detect", str(dicom_study), "-o", str(tmp_path / "a"), *small)
    klip(
        monkeypatch,
        "detect",
        str(dicom_study),
        "-o",
        str(tmp_path / "b"),
        *small,
        "--prior",
        str(tmp_path / "mine.safetensors"),
    )
    shipped, own = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / run / "kl_map.nrrd"))) for run in "ab")
    assert shipped.max() > 0
    np.testing.assert_array_equal(own, shipped)
    run = json.loads((tmp_path / "b" / "run.json").read_text(encoding="utf-8"))
    assert (run["prior"]["name"], run["prior"]["sha256"]) == ("mine", card["sha256"])
    assert run["config"]["prior"] == str(tmp_path / "mine.safetensors")
    assert "what I know" in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "b" / "result.json").read_text(encoding="utf-8"))["provenance"]["prior"] == "mine"
