"""`klip reconstruct` and `klip export`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from KLIPCore.cli.jobs import export_regions, reconstruct_file, reconstruct_folder
from KLIPCore.errors import ConfigError, InputError, KlipError, OutputError, TraceError
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.images import write_image
from KLIPCore.io.sinogram import write_sinogram
from KLIPCore.physics.ellipses import EllipsePhantom
from KLIPCore.runs.dicom_results import DICOM_FILES
from KLIPCore.runs.rerun import Detection
from KLIPCore.volume.geometry import FanBeam, ImageGrid2D


def test_a_sinogram_file_becomes_an_image_of_the_right_values(tmp_path: Path) -> None:
    image = ImageGrid2D((96, 96), 1.0)
    geometry = FanBeam.sparse(180, image)
    phantom = EllipsePhantom.disc(30.0, 0.02)
    path = tmp_path / "scan.npz"
    write_sinogram(path, phantom.sinogram(geometry), geometry)
    text = reconstruct_file(path, tmp_path / "out.nrrd", "fbp", None, 96, 1.0)
    assert "180 views" in text
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nrrd")))[0]
    rows, columns = np.mgrid[0:96, 0:96]
    inside = (rows - 47.5) ** 2 + (columns - 47.5) ** 2 < 24**2
    assert found[inside].mean() == pytest.approx(0.02, rel=0.02)
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"


def test_impossible_requests_are_explained(tmp_path: Path) -> None:
    image = ImageGrid2D((32, 32), 1.0)
    geometry = FanBeam.sparse(30, image)
    path = tmp_path / "scan.npz"
    write_sinogram(path, np.zeros(geometry.shape), geometry)
    with pytest.raises(OutputError, match="not a file name for an image"):
        reconstruct_file(path, tmp_path / "out.txt", "fbp", None, 32, None)
    with pytest.raises(ConfigError, match="cannot be taken from 30"):
        reconstruct_file(path, tmp_path / "out.nrrd", "fbp", 60, 32, None)
    with pytest.raises(ConfigError, match="no reconstruction method"):
        reconstruct_file(path, tmp_path / "out.nrrd", "magic", None, 32, None)


def test_the_place_for_an_image_is_looked_at_before_the_scan(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="no folder"):
        reconstruct_file(tmp_path / "nothing.npz", tmp_path / "file" / "x.nrrd", "fbp", None, 64, None)


@pytest.mark.shared_data
def test_measured_discs_reconstruct_to_their_truth(shared_data: Path, tmp_path: Path) -> None:
    text = reconstruct_file(shared_data / "htc2022" / "htc2022_ta.npz", tmp_path / "ta.nrrd", "fbp", 120, 512, None)
    assert float(text.rsplit(" ", 1)[1]) > 0.98
    with pytest.raises(ConfigError, match="divisor of 720"):
        reconstruct_folder(shared_data / "htc2022", ["fbp"], [7])


def test_export_writes_labels_and_surfaces(run: Detection, tmp_path: Path) -> None:
    files = export_regions(run.folder.path, tmp_path / "to", ["nifti", "stl"])
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "to" / "regions.nii.gz")))
    assert set(np.unique(labels)) == {0, *(r.label for r in run.report.regions)}
    assert sum(f.suffix == ".stl" for f in files) == len(run.report.regions)
    with pytest.raises(ConfigError, match="Unknown export formats"):
        export_regions(run.folder.path, tmp_path / "to", ["dwg"])
    with pytest.raises(TraceError):
        export_regions(tmp_path, tmp_path / "to", ["stl"])


def test_export_writes_dicom_results_of_a_finished_run(run: Detection, dicom_study: Path, tmp_path: Path) -> None:
    files = export_regions(run.folder.path, tmp_path / "to", ["dicom"])
    assert [file.name for file in files] == list(DICOM_FILES)
    again, first = (pydicom.dcmread(folder / "kl_map.dcm") for folder in (tmp_path / "to", run.folder.path))
    assert again.FloatPixelData == first.FloatPixelData
    assert again.SOPInstanceUID != first.SOPInstanceUID
    shutil.copytree(dicom_study, tmp_path / "moved")
    shutil.copytree(run.folder.path, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    record["study"]["path"] = str(tmp_path / "gone")
    (tmp_path / "run" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError):
        export_regions(tmp_path / "run", tmp_path / "to2", ["dicom"])
    assert len(export_regions(tmp_path / "run", tmp_path / "to2", ["dicom"], tmp_path / "moved")) == 3


def test_dicom_results_of_what_is_no_dicom_are_refused(run: Detection, dicom_study: Path, tmp_path: Path) -> None:
    write_image(read_dicom(dicom_study), tmp_path / "ct.nii.gz")
    with pytest.raises(KlipError):  # another grid frame, or no DICOM: never files
        export_regions(run.folder.path, tmp_path / "to", ["dicom"], tmp_path / "ct.nii.gz")
    image = ImageGrid2D((32, 32), 1.0)
    geometry = FanBeam.sparse(30, image)
    write_sinogram(tmp_path / "scan.npz", np.zeros(geometry.shape), geometry)
    with pytest.raises(InputError, match="measured projections"):
        export_regions(run.folder.path, tmp_path / "to", ["dicom"], tmp_path / "scan.npz")
    assert not list((tmp_path / "to").iterdir())


def test_export_to_an_existing_file_is_refused(run: Detection, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot be made") as caught:
            export_regions(run.folder.path, target, ["nifti"])
        assert caught.value.remedy
