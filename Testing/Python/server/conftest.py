"""A tiny study, a prior of random weights, and the run that this computer makes of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="klip serve needs the extra server")
pytest.importorskip("uvicorn", reason="klip serve needs the extra server")

from serving import SETTINGS

from KLIPCore.client.detector import Request
from KLIPCore.client.local import LocalDetector
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.lab.fuzz.seeds import tiny_study, write_tiny_prior


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Equal bits are promised for equal threads only."""
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with their card, named seed."""
    return write_tiny_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DICOM folder of six small slices, under names as they should not travel."""
    folder = tmp_path_factory.mktemp("study") / "Doe^Jane"
    write_dicom_series(tiny_study(6), folder, seed=1)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"DOE_JANE_{number}.dcm")
    (folder / "letter.txt").write_text("Dear Ms Doe")
    return folder


@pytest.fixture(scope="session")
def local(study: Path, prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder as this computer makes it."""
    out = tmp_path_factory.mktemp("local") / "out"
    LocalDetector().run(Request(study, out, SETTINGS | {"prior": str(prior)}))
    return out
