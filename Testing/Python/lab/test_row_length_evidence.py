"""The table of rows of another length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from KLIPCore.io.images import write_image
from KLIPCore.lab.row_length import BEGINNINGS, OTHER_LENGTHS, cases, main, outcome
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


def body() -> np.ndarray:
    """(8, 72, 64) HU: an ellipse with an organ, in noisy air."""
    y, x = np.mgrid[:72, :64]
    hu = np.where(np.hypot((y - 36) / 20, (x - 32) / 27) < 1, 40.0, -1000.0)
    hu[np.hypot(y - 30, x - 22) < 8] = 180.0
    return (hu + np.random.default_rng(0).normal(0, 10, (8, 72, 64))).astype(np.float32)


def test_its_own_rows_pass_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slices = body()
    said = {what: outcome(changed) for what, changed in cases(slices, np.random.default_rng(0))}
    own = {what: told for what, told in said.items() if what.startswith("turned")}
    assert set(own.values()) == {"passed"}
    others = {what: told for what, told in said.items() if what not in own}
    assert len(others) == len(OTHER_LENGTHS) + 2 + 2 * len(BEGINNINGS)
    assert {told for what, told in others.items() if what.startswith("rows")} == {"refused"}
    assert others["read from 0.5 of a row on"] == others["read from 0.5 of a slice on"] == "refused"
    grid = Grid.from_itk(slices.shape, (3.0, 3.0, 5.0), (0.0, 0.0, 0.0), np.eye(3))
    write_image(Volume(slices, grid), tmp_path / "x.nrrd")
    monkeypatch.setattr("sys.argv", ["row_length", str(tmp_path)])
    main()
    out = capsys.readouterr().out
    assert "1 volumes" in out
    assert "| rows +1 pixels | 1 | 0 |" in out
