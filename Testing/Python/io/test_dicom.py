"""A DICOM folder becomes the volume it was made from, whatever the order, encoding and company of its files."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from KLIPCore.errors import AmbiguousSeriesError, GeometryError
from KLIPCore.io.dicom import list_series, read_dicom
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import read_image, write_image
from KLIPCore.io.study import read_study
from KLIPCore.volume.volume import Volume

Edit = Callable[[Path, Callable[[Dataset], None]], None]


def assert_same(read: Volume, volume: Volume) -> None:
    np.testing.assert_array_equal(read.array, volume.array)
    np.testing.assert_allclose(read.grid.affine, volume.grid.affine, atol=1e-9)


def test_reads_back_what_was_written(volume: Volume, series: list[Path]) -> None:
    read = read_dicom(series[0].parent)
    assert_same(read, volume)
    headers = [pydicom.dcmread(f) for f in series]
    assert read.source.sop_uids == tuple(h.SOPInstanceUID for h in headers)
    assert read.source.files == tuple(map(str, series))
    assert read.source.series_uid == headers[0].SeriesInstanceUID
    assert read.source.study_uid == headers[0].StudyInstanceUID
    assert read.grid.frame_uid == headers[0].FrameOfReferenceUID
    assert read.unit == "HU"


def test_place_decides_the_order_not_names_or_instance_numbers(volume: Volume, series: list[Path], edit: Edit) -> None:
    """Files renamed, spread over folders and renumbered at random still stack by position."""
    shuffled = random.Random(3).sample(range(len(series)), len(series))
    files: list[str] = []
    for k, (file, name) in enumerate(zip(series, shuffled, strict=True)):
        edit(file, lambda d, name=name: setattr(d, "InstanceNumber", 100 - name))
        target = file.parent / f"part{k % 2}" / f"{name}"  # no extension, as PACS exports often have
        target.parent.mkdir(exist_ok=True)
        file.rename(target)
        files.append(str(target))
    read = read_dicom(series[0].parent)
    assert_same(read, volume)
    assert read.source.files == tuple(files)


def test_rescale_is_taken_from_each_slice(volume: Volume, series: list[Path], edit: Edit) -> None:
    def coarsen(d: Dataset) -> None:
        d.PixelData = (d.pixel_array // 2).astype("<i2").tobytes()
        d.RescaleSlope, d.RescaleIntercept = 2, -1000

    edit(series[3], coarsen)
    expected = volume.array.copy()
    expected[3] = (expected[3] + 1024) // 2 * 2 - 1000
    np.testing.assert_array_equal(read_dicom(series[0].parent).array, expected)


@pytest.mark.parametrize(("value", "limit"), [(-2000, None), (-2000, -1990), (63536, None)])
def test_padding_becomes_air(
    volume: Volume, series: list[Path], edit: Edit, caplog: pytest.LogCaptureFixture, value: int, limit: int | None
) -> None:
    """PixelPaddingValue, alone, as one end of a range, or written as the unsigned twin of a signed value."""

    def pad(d: Dataset) -> None:
        stored = d.pixel_array.copy()
        stored[:2, :] = -2000
        stored[2, :] = -1990 if limit else -2000
        d.PixelData = stored.astype("<i2").tobytes()
        d.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
        if limit:
            d.add_new("PixelPaddingRangeLimit", "SS", limit)

    edit(series[2], pad)
    with caplog.at_level(logging.INFO):
        read = read_dicom(series[0].parent)
    expected = volume.array.copy()
    expected[2, :3] = -1024
    np.testing.assert_array_equal(read.array, expected)
    assert "60 padding pixels" in caplog.text


def test_a_padding_value_within_tissue_is_told(series: list[Path], edit: Edit) -> None:
    edit(series[2], lambda d: d.add_new("PixelPaddingValue", "SS", 1024 + 40))
    (note,) = read_dicom(series[0].parent).source.notes
    assert "padding value is 40 HU" in note


def test_scanner_padding_below_air_is_clipped_and_told(
    volume: Volume, series: list[Path], edit: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    def corner(d: Dataset) -> None:
        stored = d.pixel_array.copy()
        stored[:4, :5] = -3024 + 1024
        d.PixelData = stored.astype("<i2").tobytes()

    edit(series[0], corner)
    with caplog.at_level(logging.INFO):
        read = read_dicom(series[0].parent)
    assert (read.array[0, :4, :5] == -1024).all()
    np.testing.assert_array_equal(read.array[1:], volume.array[1:])
    assert "20 pixels down to -3024 HU are clipped to -1024 HU" in caplog.text


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_transfer_syntaxes(volume: Volume, series: list[Path], syntax: str) -> None:
    """Other encodings, written by pydicom."""
    for file in series:
        dataset = pydicom.dcmread(file)
        if syntax == RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
            dataset.save_as(file)
            continue
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = dataset.pixel_array.astype(">i2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(
            file, dataset, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian
        )
    assert_same(read_dicom(series[0].parent), volume)


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble(volume: Volume, series: list[Path], implicit: bool) -> None:
    """Datasets bare of preamble and file meta information, as before DICOM part 10."""
    for file in series:
        dataset = pydicom.dcmread(file)
        bare = Dataset()
        bare.update(dataset)
        pydicom.dcmwrite(file, bare, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert series[0].read_bytes()[128:132] != b"DICM"
    assert_same(read_dicom(series[0].parent), volume)


def test_company_of_the_ct_is_left_aside(volume: Volume, series: list[Path], edit: Edit) -> None:
    """Localizers (one even in the CT's own series), a photographed dose report, notes and macOS shadows
    change nothing.
    """
    folder = series[0].parent
    for name, change in {
        "scout_own_series.dcm": lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "scout.dcm": lambda d: [
            setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
            setattr(d, "SeriesInstanceUID", "1.2.3"),
        ],
        "dose.dcm": lambda d: [
            setattr(d, "SOPClassUID", SecondaryCaptureImageStorage),
            setattr(d, "SeriesInstanceUID", "1.2.4"),
        ],
        "mr.dcm": lambda d: [setattr(d, "Modality", "MR"), setattr(d, "SeriesInstanceUID", "1.2.5")],
    }.items():
        shutil.copy(series[0], folder / name)
        edit(folder / name, change)
    (folder / "notes.txt").write_text("no image")
    (folder / "._IM0001.dcm").write_bytes(b"\0\5\26\7")
    assert_same(read_dicom(folder), volume)
    kinds = {(s.series_uid, s.modality, s.localizer, s.n_images) for s in list_series(folder)}
    own = pydicom.dcmread(series[0]).SeriesInstanceUID
    assert kinds == {
        (own, "CT", False, 7),
        (own, "CT", True, 1),
        ("1.2.3", "CT", True, 1),
        ("1.2.4", "CT", False, 1),
        ("1.2.5", "MR", False, 1),
    }


def test_a_listing_says_what_is_there_and_not_who(volume: Volume, series: list[Path]) -> None:
    (info,) = list_series(series[0].parent)
    assert (info.number, info.description, info.modality, info.n_images, info.shape) == (
        1,
        "Synthetic CT",
        "CT",
        7,
        (24, 20),
    )
    assert info.files == tuple(series)
    assert "SYNTHETIC" not in repr(info)


def test_a_series_is_chosen_by_uid_number_or_place(volume: Volume, tmp_path: Path) -> None:
    other = volume.with_array(volume.array[::-1])
    write_dicom_series(volume, tmp_path / "study/a", seed=1, series_number=3, series_description="Portal")
    write_dicom_series(other, tmp_path / "study/b", seed=1, series_number=1, series_description="Arterial")
    first, second = list_series(tmp_path / "study")
    assert (first.number, second.number, first.study_uid == second.study_uid) == (1, 3, True)
    for name in (first.series_uid, "1", "#1"):
        assert_same(read_dicom(tmp_path / "study", name), other)
    for name in (second.series_uid, "3", "#2", "2"):
        assert_same(read_dicom(tmp_path / "study", name), volume)


def test_several_series_are_listed(volume: Volume, tmp_path: Path) -> None:
    for number, name in ((3, "Portal"), (1, "Arterial")):
        write_dicom_series(volume, tmp_path / name, seed=1, series_number=number, series_description=name)
    for choice in (None, "7", "portal", "#0"):
        with pytest.raises(AmbiguousSeriesError) as caught:
            read_dicom(tmp_path, choice)
        assert "#1 number 1: Arterial (CT, 7 images of 24x20)" in caught.value.message
        assert "#2 number 3: Portal (CT, 7 images of 24x20)" in caught.value.message
        assert "--series" in caught.value.remedy


def test_enhanced_multiframe_made_by_highdicom(volume: Volume, series: list[Path], tmp_path: Path) -> None:
    """All slices in one file: the legacy-converted class, and the same file under the Enhanced CT class."""
    datasets = [pydicom.dcmread(f) for f in series]
    random.Random(1).shuffle(datasets)
    for d in datasets:
        d.StudyDate, d.StudyTime, d.ContentDate, d.ContentTime = "20000101", "120000", "20000101", "120000"
        d.AcquisitionNumber = 1
    enhanced = LegacyConvertedEnhancedCTImage(
        datasets, series_instance_uid="1.2.9", series_number=1, sop_instance_uid="1.2.9.1", instance_number=1
    )
    file = tmp_path / "enhanced" / "multi.dcm"
    file.parent.mkdir()
    enhanced.save_as(file)
    (info,) = list_series(file.parent)
    assert (info.n_images, info.is_ct) == (7, True)
    read = read_dicom(file.parent)
    assert_same(read, volume)
    assert not read.source.is_dicom
    dataset = pydicom.dcmread(file)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.save_as(file)
    assert_same(read_dicom(file.parent), volume)
    shutil.copy(file, file.with_name("copy.dcm"))
    twice = read_study(file.parent)
    assert_same(twice, volume)
    assert "1 files hold an instance that another file holds too" in " ".join(twice.source.notes)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.9.2"
    dataset.save_as(file.with_name("second.dcm"))
    with pytest.raises(GeometryError, match="spread over 2 multi-frame files") as caught:
        read_study(file.parent)
    assert "by name" in caught.value.remedy
    named = read_study(file)  # one file that holds a whole stack stands for itself
    assert_same(named, volume)
    assert Path(named.source.path) == file


def test_a_single_slice_takes_its_thickness(volume: Volume, series: list[Path]) -> None:
    for file in series[1:]:
        file.unlink()
    assert_same(read_dicom(series[0].parent), volume.cropped(np.s_[:1, :, :]))


def test_positions_rounded_by_the_scanner_pass(volume: Volume, series: list[Path], edit: Edit) -> None:
    """1.25 mm steps written with one decimal: ±0.05 mm is rounding, not uneven spacing."""
    for k, file in enumerate(series):
        edit(file, lambda d, k=k: setattr(d, "ImagePositionPatient", [-50.25, -60.5, round(1.25 * k + 0.01, 1)]))
    assert read_dicom(series[0].parent).grid.spacing[0] == pytest.approx(1.25, abs=0.01)


def test_positions_rounded_sideways_give_right_angles(
    volume: Volume, series: list[Path], edit: Edit, tmp_path: Path
) -> None:
    """0.05 mm to the side over two slices is rounding; the grid stays one that every format can keep."""
    for file in series[2:]:
        file.unlink()
    edit(series[1], lambda d: setattr(d, "ImagePositionPatient", [-50.2, -60.5, -297.6]))
    read = read_dicom(series[0].parent)
    np.testing.assert_allclose(read.grid.affine[:3, 0], [0, 0, 2.525], atol=1e-9)
    write_image(read, tmp_path / "ct.nii.gz")
    assert read_image(tmp_path / "ct.nii.gz").grid.same_as(read.grid, atol_mm=1e-3)


@pytest.mark.shared_data
def test_a_real_study(shared_data: Path) -> None:
    """TCIA CRLM-1006: 51 slices of 5 mm, air padded with -3024 HU."""
    study = read_dicom(shared_data / "crlm-1006-dicom")
    assert study.array.shape == (51, 512, 512)
    np.testing.assert_allclose(study.grid.spacing, [5, 0.804688, 0.804688])
    np.testing.assert_allclose(study.grid.origin, [-191.0, -167.199997, -376.440002])
    assert study.array.min() == -1024
    assert len(set(study.source.sop_uids)) == 51


@pytest.mark.shared_data
def test_a_real_study_beside_its_segmentation(shared_data: Path) -> None:
    """A SEG in the folder above is no rival of the CT; slices written feet-last are sorted."""
    study = read_dicom(shared_data / "odd" / "ct-3slice-with-seg")
    assert [Path(f).name for f in study.source.files] == ["03.dcm", "02.dcm", "01.dcm"]
    np.testing.assert_allclose(study.grid.origin, [-235.199997, -226.800003, -128.690002])
    np.testing.assert_allclose(study.grid.spacing, [1.0, 0.810547, 0.810547])
    assert study.array.shape == (3, 512, 512)
