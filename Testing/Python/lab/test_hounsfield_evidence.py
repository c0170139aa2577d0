"""The table of numbers that are not Hounsfield units."""

from __future__ import annotations

import numpy as np
import pytest

from KLIPCore.io.images import write_image
from KLIPCore.lab import hounsfield_scale
from KLIPCore.lab.hounsfield_scale import OUTCOMES, spoiled, unspoiled
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

AXIAL = np.array([[0, 0, 3.0, 0], [0, 3.0, 0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]])


def patient() -> np.ndarray:
    """(6, 96, 96) HU: fat, muscle and a spine in noisy air."""
    y, x = np.mgrid[:96, :96]
    away = np.hypot((y - 48) / 36, (x - 48) / 42)
    hu = np.where(away < 1, -105.0, -1000.0)
    hu[away < 0.8] = 50
    hu[np.hypot(y - 68, x - 48) < 6] = 800
    return (hu + np.random.default_rng(0).normal(0, 18, (6, 96, 96))).astype(np.float32)


def test_every_input_is_counted_once(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hu = patient()
    good, window = tmp_path / "good.nrrd", tmp_path / "window.nrrd"
    write_image(Volume(hu, Grid(hu.shape, AXIAL)), good)
    write_image(Volume(hu.clip(-160, 240), Grid(hu.shape, AXIAL)), window)
    monkeypatch.setattr("sys.argv", ["hounsfield_scale", str(good), str(window), str(tmp_path / "missing.nrrd")])
    hounsfield_scale.main()
    out = capsys.readouterr().out
    assert "window.nrrd is left out" in out
    assert "missing.nrrd is left out" in out
    assert "1 study\n" in out
    rows = {cells[1].strip(): cells[2:5] for cells in (line.split("|") for line in out.splitlines()) if len(cells) > 4}
    for what, _ in [*unspoiled(hu, np.random.default_rng(0)), *spoiled(hu)]:
        assert sum(int(count) for count in rows[what]) == 1
    assert [cell.strip() for cell in rows["values"]] == list(OUTCOMES)
    assert int(rows["as they are"][2]) == 1
    assert int(rows["sign turned"][0]) == 1
