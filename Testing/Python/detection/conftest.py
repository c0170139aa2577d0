"""One finished run on a small DICOM study, shared by the tests that only look at it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from small_study import small_study
from tiny_precision import measured, prior, weights  # noqa: F401 (fixtures of whoever asks for them)

from KLIPCore.config import Config, RecordConfig, RegionConfig, SamplingConfig
from KLIPCore.detection.detect import detect
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.runs.rerun import Detection

# The small shipped prior: what is tested here is the way through, not the network.
SMALL = "abdomen-ct-256-small"
FAST = Config(
    preset="quick",
    prior=SMALL,
    sampling=SamplingConfig(n_samples=2, n_steps=3),
    record=RecordConfig(n_nodes=2),
    regions=RegionConfig(fdr=0.3, min_volume_mm3=10.0),
)


def of_all_workers(factory: pytest.TempPathFactory) -> Path:
    """The session's folder, in which the workers of pytest-xdist have theirs; without them, it is the only one's."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def hand_on(made: Path, to: Path) -> None:
    """Put a folder, whole, where other workers look for it; one of them may have been quicker."""
    with suppress(OSError):
        made.rename(to)


@pytest.fixture(scope="session")
def dicom_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DICOM folder of four simulated slices with a lesion."""
    folder = of_all_workers(tmp_path_factory) / "ct"
    if not folder.is_dir():
        made = tmp_path_factory.mktemp("study") / "ct"
        write_dicom_series(small_study(), made, seed=1)
        hand_on(made, folder)
    return folder


@pytest.fixture(scope="session")
def run(dicom_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Detection:
    """A finished run, of slices that another worker may have sampled; its folder must not be changed by tests."""
    out, sampled = tmp_path_factory.mktemp("run") / "out", of_all_workers(tmp_path_factory) / "sampled"
    if sampled.is_dir():
        shutil.copytree(sampled, out)
    torch.manual_seed(0)
    found = detect(dicom_study, out, FAST)
    if not sampled.is_dir():
        hand_on(Path(shutil.copytree(out, tmp_path_factory.mktemp("run") / "copy")), sampled)
    return found
