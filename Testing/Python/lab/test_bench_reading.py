"""What checks cost is counted check by check, and restores what it replaced."""

from __future__ import annotations

from pathlib import Path

from KLIPCore.io import dicom
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.lab.bench.reading import CHECKS, measure, synthetic


def test_every_check_is_timed(tmp_path: Path) -> None:
    before = dicom.stack
    write_dicom_series(synthetic(6, 64), tmp_path / "ct", seed=1)
    seconds = measure(tmp_path / "ct")
    assert set(seconds) == {*CHECKS, "Hounsfield units", "all"}
    assert all(spent > 0 for spent in seconds.values())
    assert sum(spent for name, spent in seconds.items() if name != "all") < seconds["all"]
    assert dicom.stack is before
