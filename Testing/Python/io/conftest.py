"""Small synthetic studies, written as real files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from made_volumes import AXIAL, ct_like
from pydicom.dataset import Dataset

from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder of small inputs after reports of users; tests that need it are skipped where it is not."""
    folder = Path(__file__).resolve().parents[3].parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("needs the collected cases beside the checkout (../shared/cases)")
    return folder


@pytest.fixture
def volume() -> Volume:
    """(7, 24, 20) HU at anisotropic axial spacing."""
    return Volume(ct_like((7, 24, 20)), Grid((7, 24, 20), AXIAL))


@pytest.fixture
def series(volume: Volume, tmp_path: Path) -> list[Path]:
    """The volume as seven DICOM slices, in array order."""
    return write_dicom_series(volume, tmp_path / "series", seed=1)


@pytest.fixture
def edit() -> Callable[[Path, Callable[[Dataset], None]], None]:
    """Change a DICOM file in place: ``edit(file, change)``."""

    def change_file(file: Path, change: Callable[[Dataset], None]) -> None:
        dataset = pydicom.dcmread(file)
        change(dataset)
        dataset.save_as(file)

    return change_file
