"""The synthetic CT series: complete by the standard, marked as synthetic, and read alike by others."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID
from scipy.spatial.transform import Rotation

from KLIPCore.errors import GeometryError, IntensityError, OutputError
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


def test_simpleitk_reads_the_same(volume: Volume, series: list[Path]) -> None:
    """GDCM's own sorting and geometry, through SimpleITK's series reader."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series[0].parent))
    assert [Path(n) for n in names] == series
    image = sitk.ReadImage(names)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.array)
    grid = Grid.from_itk(volume.grid.shape, image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    assert grid.same_as(volume.grid, atol_mm=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), depth=st.integers(2, 5))
def test_oblique_volumes_round_trip(tmp_path_factory: pytest.TempPathFactory, seed: int, depth: int) -> None:
    """Any rotation and spacing; fractions of HU are rounded; 16 characters a number keep a micrometre."""
    rng = np.random.default_rng(seed)
    i, j, _ = Rotation.random(rng=rng).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([np.cross(i, j), j, i]) * rng.uniform(0.3, 6.0, 3)
    affine[:3, 3] = rng.uniform(-900, 900, 3)
    volume = Volume(rng.uniform(-1024, 3071, (depth, 4, 3)).astype(np.float32), Grid((depth, 4, 3), affine))
    folder = tmp_path_factory.mktemp("oblique") / "series"
    write_dicom_series(volume, folder)
    read = read_dicom(folder)
    np.testing.assert_array_equal(read.array, np.rint(volume.array))
    assert read.grid.same_as(volume.grid, atol_mm=1e-6)


def test_every_attribute_the_standard_demands(series: list[Path]) -> None:
    """Type 1 present with a value, type 2 present, in all mandatory modules of the CT Image IOD (tables:
    highdicom).
    """
    pytest.importorskip("highdicom._standard", reason="highdicom 0.27 keeps its tables elsewhere")
    tables = resources.files("highdicom._standard")
    modules = json.loads((tables / "iod_module_map.json").read_text())["ct-image"]
    attributes = json.loads((tables / "module_attribute_map.json").read_text())
    mandatory = [m["key"] for m in modules if m["usage"] == "M"]
    assert {"ct-image", "image-plane", "frame-of-reference", "patient"} <= set(mandatory)
    checked = 0
    dataset = pydicom.dcmread(series[0])
    for module in mandatory:
        for attribute in attributes[module]:
            if attribute["path"] or attribute["type"] not in ("1", "2"):
                continue
            assert attribute["keyword"] in dataset, (module, attribute)
            if attribute["type"] == "1":
                assert dataset[attribute["keyword"]].value not in (None, "", []), (module, attribute)
            checked += 1
    assert checked > 40


def test_nobody_takes_it_for_a_patient(series: list[Path]) -> None:
    for file in series:
        dataset = pydicom.dcmread(file)
        assert str(dataset.PatientName) == "SYNTHETIC^KLIP"
        assert "SYNTHETIC" in dataset.PatientID
        assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert "synthetic" in dataset.DerivationDescription
        assert "synthetic" in dataset.ImageComments
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


def uids(files: list[Path]) -> list[UID]:
    datasets = [pydicom.dcmread(f) for f in files]
    return [
        u for d in datasets for u in (d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID, d.SOPInstanceUID)
    ]


def test_seeds_fix_uids(volume: Volume, tmp_path: Path) -> None:
    a = uids(write_dicom_series(volume, tmp_path / "a", seed=5))
    b = uids(write_dicom_series(volume, tmp_path / "b", seed=5))
    c = uids(write_dicom_series(volume, tmp_path / "c", seed=6))
    d = uids(write_dicom_series(volume, tmp_path / "d"))
    e = uids(write_dicom_series(volume, tmp_path / "e"))
    second = uids(write_dicom_series(volume, tmp_path / "f", seed=5, series_number=2))
    assert a == b
    assert not set(a) & set(c)
    assert not set(d) & set(e)
    assert (second[0], second[2]) == (a[0], a[2])
    assert second[1] != a[1]
    assert not {*second[3::4]} & {*a[3::4]}
    assert all(u.is_valid and len(u) <= 64 for u in (*a, *d))
    assert (tmp_path / "a" / "IM0003.dcm").read_bytes() == (tmp_path / "b" / "IM0003.dcm").read_bytes()


def test_an_existing_study_is_not_overwritten(volume: Volume, series: list[Path], tmp_path: Path) -> None:
    before = series[0].read_bytes()
    with pytest.raises(OutputError, match="not an empty folder") as caught:
        write_dicom_series(volume, series[0].parent)
    assert "new folder" in caught.value.remedy
    assert series[0].read_bytes() == before
    (tmp_path / "empty").mkdir()
    assert len(write_dicom_series(volume, tmp_path / "empty")) == 7


def test_what_a_ct_series_cannot_hold(volume: Volume, tmp_path: Path) -> None:
    with pytest.raises(IntensityError, match="nats"):
        write_dicom_series(volume.with_array(volume.array, unit="nats"), tmp_path / "x")
    with pytest.raises(IntensityError, match="16 bits"):
        write_dicom_series(volume.with_array(volume.array + 40000), tmp_path / "x")
    mirrored = volume.grid.affine * [1, 1, -1, 1]
    with pytest.raises(GeometryError, match="right angles"):
        write_dicom_series(Volume(volume.array, Grid(volume.grid.shape, mirrored)), tmp_path / "x")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_dicom_series(volume, tmp_path / "file" / "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
