"""Small synthetic studies, written as real files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

AXIAL = np.array([[0.0, 0.0, 0.7, -50.25], [0.0, 0.8, 0.0, -60.5], [2.5, 0.0, 0.0, -300.125], [0.0, 0.0, 0.0, 1.0]])
"""Feet-first rows, ordinary axial: k to Superior, j to Posterior, i to Left."""


def ct_like(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Whole HU: air around a soft-tissue box with a bony core, noisy, no voxel pattern repeated."""
    rng = np.random.default_rng(seed)
    hu = np.full(shape, -1000.0)
    depth, height, width = shape
    hu[:, height // 6 : -(height // 6), width // 6 : -(width // 6)] = 40.0
    hu[depth // 3 :, height // 2 : height // 2 + 3, width // 2 : width // 2 + 4] = 900.0
    return np.rint(hu + rng.normal(0.0, 12.0, shape)).clip(-1024, 3071).astype(np.float32)


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
