"""One finished run on a small DICOM study, shared by the tests that only look at it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_study import small_study

from KLIPCore.config import Config, RecordConfig, RegionConfig, SamplingConfig
from KLIPCore.detection.detect import detect
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.runs.rerun import Detection

FAST = Config(
    preset="quick",
    sampling=SamplingConfig(n_samples=2, n_steps=3),
    record=RecordConfig(n_nodes=2),
    regions=RegionConfig(fdr=0.3, min_volume_mm3=10.0),
)


@pytest.fixture(scope="session")
def dicom_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DICOM folder of four simulated slices with a lesion."""
    folder = tmp_path_factory.mktemp("study") / "ct"
    write_dicom_series(small_study(), folder, seed=1)
    return folder


@pytest.fixture(scope="session")
def run(dicom_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Detection:
    """A finished run; its folder must not be changed by tests."""
    torch.manual_seed(0)
    return detect(dicom_study, tmp_path_factory.mktemp("run") / "out", FAST)
