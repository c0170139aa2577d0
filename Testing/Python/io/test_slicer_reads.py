"""3D Slicer's own readers (slicer-core) find our files' voxels where our grid says they are."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from busy import longest
from made_volumes import kl_map

from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import write_image
from KLIPCore.volume.volume import Volume

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("slicer") is None, reason="needs slicer-core (pip install 'klipcore[test]')"
)

REAL_STUDY = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "crlm-1006-dicom"
Found = dict[str, tuple[Volume, np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Name → (our volume, the array Slicer read, its IJK-to-RAS matrix), all read in one process."""
    folder = tmp_path_factory.mktemp("slicer")
    volumes, jobs = {}, {}
    for name, mirrored in (("kl.nrrd", False), ("kl.nii.gz", False), ("mirrored.nrrd", True)):
        volumes[name] = kl_map(6, mirrored)
        write_image(volumes[name], folder / name, "KL map in nats")
        jobs[name] = [str(folder / name)]
    ct = kl_map(7)
    volumes["series"] = ct.with_array(np.rint(ct.array * 20 - 60), unit="HU")
    jobs["series"] = [str(f) for f in write_dicom_series(volumes["series"], folder / "series")]
    if REAL_STUDY.is_dir():
        volumes["real"] = read_dicom(REAL_STUDY)
        jobs["real"] = list(volumes["real"].source.files)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("slicer_reader.py")
    run = subprocess.run(
        [sys.executable, script, folder / "jobs.json", folder / "out.npz"],
        capture_output=True,
        text=True,
        timeout=longest(300),
        check=False,
    )
    assert run.returncode == 0, run.stderr
    with np.load(folder / "out.npz") as out:
        return {name: (volume, out[name + " array"], out[name + " matrix"]) for name, volume in volumes.items()}


def ijk_to_ras(volume: Volume) -> np.ndarray:
    """What Slicer should find: columns from (k, j, i) to (i, j, k), x and y from LPS to RAS."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.grid.affine[:, [2, 1, 0, 3]]


@pytest.mark.parametrize(("name", "atol"), [("kl.nrrd", 1e-9), ("kl.nii.gz", 1e-3)])
def test_a_kl_map(found: Found, name: str, atol: float) -> None:
    volume, array, matrix = found[name]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, volume.array)
    np.testing.assert_allclose(matrix, ijk_to_ras(volume), atol=atol)


def test_a_dicom_series(found: Found) -> None:
    """Oblique, so that no two axes can be exchanged unnoticed."""
    volume, array, matrix = found["series"]
    np.testing.assert_array_equal(array, volume.array)
    np.testing.assert_allclose(matrix, ijk_to_ras(volume), atol=1e-6)


def test_a_left_handed_map(found: Found) -> None:
    """Slicer makes such volumes right-handed: it reverses k in array and matrix alike, so places stay."""
    volume, array, matrix = found["mirrored.nrrd"]
    np.testing.assert_array_equal(array, volume.array[::-1])
    turned = volume.grid.oriented((0, 1, 2), (True, False, False))
    np.testing.assert_allclose(matrix, ijk_to_ras(Volume(array, turned)), atol=1e-9)


@pytest.mark.shared_data
def test_a_real_study(found: Found, shared_data: Path) -> None:
    """Slicer and read_dicom see the same TCIA study."""
    volume, array, matrix = found["real"]
    np.testing.assert_array_equal(np.maximum(array, -1024), volume.array)
    np.testing.assert_allclose(matrix, ijk_to_ras(volume), atol=1e-6)
