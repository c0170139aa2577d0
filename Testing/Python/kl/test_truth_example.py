"""The example that prints estimates against closed forms still runs, and what it prints is near 1."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "01_gaussian_truth.py"


def test_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("gaussian_truth", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    for name, value in {
        "NODES": (10,),
        "STEPS": (20, 40, 80, 160),
        "CHAINS": 16,
        "RUNS": 2,
        "FOR_APPROXIMATIONS": 4,
    }.items():
        monkeypatch.setattr(example, name, value)
    monkeypatch.setattr(sys, "argv", ["example", "--out", str(tmp_path / "figure.png")])
    example.main()
    text = capsys.readouterr().out
    assert [f.name for f in tmp_path.iterdir()] == ["figure.png"]
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    ratios = {
        line[:40].strip(): float(m[1])
        for line in text.splitlines()
        if (m := re.search(r"(\d+\.\d{3}) ± \d", line[54:]))
    }
    assert len(ratios) > 20
    assert ratios["10 nodes, Stein"] == pytest.approx(1, abs=0.03)
    assert ratios["reverse diffusion, 160 steps"] == pytest.approx(1, abs=0.15)
    assert "never seen" in text
    monkeypatch.setattr(sys, "argv", ["example", "--reliability", "2"])
    example.main()
    rows = [
        line.split("|")
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(("| inpainting", "| tomography", "| mixture"))
    ]
    assert len(rows) == 6
    assert all(float(row[4].split()[0]) < 2 for row in rows)
