"""The table of slices that lie where they do not belong: what is spoiled, and what is counted."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from KLIPCore.io.images import write_image
from KLIPCore.lab.slice_order import in_order, main, outcome, spoiled
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


def cone(seed: int) -> np.ndarray:
    """(36, 64, 64) HU: a body that widens, with an organ that crosses it from one side to the other."""
    z, y, x = np.meshgrid(np.arange(36) / 36, np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    hu = np.where(x**2 + y**2 < (0.5 + 0.4 * z) ** 2, 40.0, -1000.0)
    hu[(x + 0.4 - 0.8 * z) ** 2 + (y + 0.1) ** 2 < 0.06] = 180.0
    return (hu + np.random.default_rng(seed).normal(0, 5, hu.shape)).astype(np.float32)


def test_what_is_spoiled_differs_from_what_is_in_order() -> None:
    slices, rng = cone(0), np.random.default_rng(0)
    assert {outcome(own) for _, own in in_order(slices, rng)} == {"passed"}
    said: dict[str, set[str]] = {}
    for what, own in spoiled(slices, cone(1)[4], rng):
        assert own.shape[1:] == slices.shape[1:]
        assert own.shape != slices.shape or not np.array_equal(own, slices), what
        said.setdefault(what, set()).add(outcome(own))
    assert said["two exchanged, 10 apart"] == said["shuffled"] == {"refused"}
    assert said["halves exchanged"] == {"noted"}


def test_the_command_counts_every_input_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = Grid.from_itk((36, 64, 64), (4.0, 4.0, 5.0), (0.0, 0.0, 0.0), np.eye(3))
    for seed in (0, 1):
        write_image(Volume(cone(seed), grid), tmp_path / f"{seed}.nrrd")
    (tmp_path / "torn.nrrd").write_bytes(b"nothing")
    monkeypatch.setattr(sys, "argv", ["slice_order", str(tmp_path)])
    main()
    text = capsys.readouterr().out
    assert text.startswith("2 volumes\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[4:]]
    assert ["in order", "2", "0", "0", "2"] in rows
    for _, inputs, *outcomes in rows:
        assert int(inputs) == sum(map(int, outcomes)) > 0
