"""DICOM Segmentations read back by highdicom, pydicom and ITK-free arithmetic: same masks, right instances,
same patient.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from export.examples import kl_map, two_regions
from maps.grids import make_grid
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from KLIPCore.errors import GeometryError, InputError, OutputError, UnreadableFileError
from KLIPCore.export.dicom_seg import ABNORMAL, SERIES_DESCRIPTION, dicom_seg, write_dicom_seg
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.maps.regions import Region, find_regions
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Source, Volume

SHAPE = (6, 9, 8)
TILTED = make_grid(
    SHAPE, np.array([0.1, 0.2, 0.05]), np.array([5.0, 0.7, 0.8]), np.array([10.0, -20.0, 30.0]), (2, 1, 0), False
)
COPIED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyID",
    "AccessionNumber",
    "FrameOfReferenceUID",
)


@pytest.fixture
def study(tmp_path: Path) -> Volume:
    """An oblique synthetic series, read back as a user's study would be."""
    hu = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.float32)
    write_dicom_series(Volume(hu, TILTED), tmp_path / "study", seed=3)
    return read_dicom(tmp_path / "study")


def check(path: Path, regions: list[Region], study: Volume) -> None:
    """Every claim of the file against the regions and the source files."""
    seg = hd.seg.segread(path)
    assert seg.number_of_segments == len(regions)
    by_uid = {uid: k for k, uid in enumerate(study.source.sop_uids)}
    read = seg.get_pixels_by_source_instance(
        list(study.source.sop_uids), ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    for n, region in enumerate(regions):
        np.testing.assert_array_equal(read[..., n], region.full_mask(study.grid.shape))
    plain = pydicom.dcmread(path)  # pydicom alone, frame by frame
    frames = plain.pixel_array.reshape(-1, plain.Rows, plain.Columns)
    assert len(frames) == plain.NumberOfFrames == sum(int(r.mask.any((1, 2)).sum()) for r in regions)
    for frame, groups in zip(frames, plain.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence
        assert len(source) == 1
        k = by_uid[source[0].ReferencedSOPInstanceUID]
        region = regions[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        np.testing.assert_array_equal(frame, region.full_mask(study.grid.shape)[k])
        np.testing.assert_allclose(
            groups.PlanePositionSequence[0].ImagePositionPatient, study.grid.to_world((k, 0, 0)), atol=1e-3
        )
        original = pydicom.dcmread(study.source.files[k], stop_before_pixels=True)
        assert original.SOPInstanceUID == source[0].ReferencedSOPInstanceUID
        assert original.ImagePositionPatient == groups.PlanePositionSequence[0].ImagePositionPatient
    for keyword in COPIED:
        assert plain[keyword].value == original[keyword].value, keyword
    (series,) = plain.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == original.SeriesInstanceUID != plain.SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence} <= set(study.source.sop_uids)


def test_masks_instances_and_patient_come_back(study: Volume, tmp_path: Path) -> None:
    regions = two_regions(kl_map(study.grid, study.source))
    path = write_dicom_seg(regions, study, tmp_path / "seg.dcm", version="0.1.0", parameters={"block": "12 mm"})
    assert path == tmp_path / "seg.dcm"
    check(path, regions, study)
    assert not list(tmp_path.glob("*.part"))


def test_what_the_segments_say(study: Volume) -> None:
    regions = two_regions(kl_map(study.grid, study.source))
    seg = dicom_seg(regions, study, version="0.1.0", parameters={"block": "12 mm"})
    assert seg is not None
    assert (seg.SegmentationType, seg.Modality, seg.SeriesDescription) == ("BINARY", "SEG", SERIES_DESCRIPTION)
    assert len(SERIES_DESCRIPTION) <= 64
    for item, region in zip(seg.SegmentSequence, regions, strict=True):
        described = hd.seg.SegmentDescription.from_dataset(item)
        assert described.segment_label == region.name
        assert described.segmented_property_category == ABNORMAL == described.segmented_property_type
        assert described.algorithm_type.value == "AUTOMATIC"
        algorithm = described.algorithm_identification
        assert (algorithm.name, algorithm.version, algorithm.parameters) == ("KLIP", "0.1.0", {"block": "12 mm"})
        assert algorithm.family.meaning == "Artificial Intelligence"
        assert "not a diagnosis" in item.SegmentDescription
        assert "outline is rough" not in item.SegmentDescription
        assert item.SegmentDescription.isascii()
        rgb = hd.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb(clip=True)
        np.testing.assert_allclose(rgb, 255 * np.array(region.colour), atol=3)
    assert len({s.tracking_uid for s in map(hd.seg.SegmentDescription.from_dataset, seg.SegmentSequence)}) == 2
    broad = dicom_seg([replace(region, broad=True) for region in regions], study, version="0.1.0")
    assert broad is not None
    assert all("outline is rough" in item.SegmentDescription for item in broad.SegmentSequence)


def test_no_regions_no_file(study: Volume, tmp_path: Path) -> None:
    assert write_dicom_seg([], study, tmp_path / "seg.dcm", version="0") is None
    assert not (tmp_path / "seg.dcm").exists()


def test_an_in_plane_crop_and_a_slab_land_on_the_full_images(study: Volume, tmp_path: Path) -> None:
    crop = study.cropped((slice(1, 6), slice(2, 9), slice(1, 8)))
    array = np.zeros(crop.grid.shape, np.float32)
    array[2, 1:3, 4:6] = 4
    (inner,) = find_regions(Volume(array, crop.grid, crop.source, "nats"), array > 0, 1 - array / 8, array)
    path = write_dicom_seg([inner], crop, tmp_path / "seg.dcm", version="0")
    assert path is not None
    (groups,) = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    assert (
        groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID == study.source.sop_uids[3]
    )
    frame = pydicom.dcmread(path).pixel_array
    expected = np.zeros(SHAPE[1:], np.uint8)
    expected[3:5, 5:7] = 1
    np.testing.assert_array_equal(frame, expected)


def test_labels_need_not_be_consecutive(study: Volume, tmp_path: Path) -> None:
    first, second = two_regions(kl_map(study.grid, study.source))
    chosen = [replace(second, label=9), replace(first, label=4)]
    path = write_dicom_seg(chosen, study, tmp_path / "seg.dcm", version="0")
    assert path is not None
    check(path, chosen[::-1], study)


def test_missing_and_odd_header_fields_are_survived(study: Volume, tmp_path: Path) -> None:
    for file in study.source.files:
        dataset = pydicom.dcmread(file)
        del dataset.AccessionNumber, dataset.StudyID, dataset.StudyTime, dataset.PatientSex
        dataset.PatientSex = "X"
        dataset.save_as(file)
    regions = two_regions(kl_map(study.grid, study.source))
    seg = dicom_seg(regions, study, version="0")
    assert seg is not None
    assert seg.PatientSex == ""
    assert not seg.AccessionNumber


@pytest.mark.parametrize("jitter", ["position", "orientation", "no thickness"])
def test_series_that_are_not_perfectly_even_are_served(study: Volume, tmp_path: Path, jitter: str) -> None:
    for n, file in enumerate(study.source.files):
        dataset = pydicom.dcmread(file)
        if jitter == "position" and n == 2:
            dataset.ImagePositionPatient = [
                dataset.ImagePositionPatient[0],
                dataset.ImagePositionPatient[1],
                float(dataset.ImagePositionPatient[2]) + 0.15,
            ]
        if jitter == "orientation" and n == 3:
            dataset.ImageOrientationPatient = [
                float(dataset.ImageOrientationPatient[0]),
                float(dataset.ImageOrientationPatient[1]) + 5e-4,
            ] + [float(v) for v in dataset.ImageOrientationPatient[2:]]
        if jitter == "no thickness":
            del dataset.SliceThickness, dataset.SpacingBetweenSlices
        dataset.save_as(file)
    again = read_dicom(tmp_path / "study")
    regions = two_regions(kl_map(again.grid, again.source))
    path = write_dicom_seg(regions, again, tmp_path / "seg.dcm", version="0")
    assert path is not None
    read = hd.seg.segread(path).get_pixels_by_source_instance(
        list(again.source.sop_uids), ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(read[..., 0], regions[0].full_mask(SHAPE))
    measures = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(5.0, abs=1e-3)


def test_a_refusal_quotes_no_patient_data(study: Volume) -> None:
    for file in study.source.files:
        dataset = pydicom.dcmread(file)
        del dataset.FrameOfReferenceUID
        dataset.save_as(file)
    with pytest.raises(InputError, match="frame of reference") as caught:
        dicom_seg(two_regions(kl_map(study.grid, study.source)), study, version="0")
    assert "SYNTHETIC" not in str(caught.value)


def test_wrong_studies_are_refused(study: Volume, tmp_path: Path) -> None:
    kl = kl_map(study.grid, study.source)
    regions = two_regions(kl)
    with pytest.raises(InputError, match=r"DICOM slices.*seg\.nrrd"):
        dicom_seg(regions, Volume(study.array, study.grid), version="0")
    with pytest.raises(GeometryError, match="not the DICOM image"):  # instances in another order than the array
        dicom_seg(
            regions,
            replace(
                study,
                source=replace(study.source, files=study.source.files[::-1], sop_uids=study.source.sop_uids[::-1]),
            ),
            version="0",
        )
    swapped = replace(study.source, files=study.source.files[1:] + study.source.files[:1])
    with pytest.raises(GeometryError, match="no longer the image"):
        dicom_seg(regions, replace(study, source=swapped), version="0")
    affine = study.grid.affine.copy()
    affine[:3, 2] *= 1.2
    with pytest.raises(GeometryError, match="mm apart"):
        dicom_seg(regions, replace(study, grid=Grid(SHAPE, affine)), version="0")
    shifted = study.grid.affine.copy()
    shifted[:3, 3] -= shifted[:3, 1]
    with pytest.raises(GeometryError, match="not the DICOM image"):
        dicom_seg(regions, replace(study, grid=Grid(SHAPE, shifted)), version="0")
    (tmp_path / "occupied").mkdir()
    with pytest.raises(OutputError):
        write_dicom_seg(regions, study, tmp_path / "occupied", version="0")
    shutil.rmtree(tmp_path / "study")
    with pytest.raises(UnreadableFileError, match="no longer be read"):
        dicom_seg(regions, study, version="0")


@pytest.mark.shared_data
def test_a_real_study(shared_data: Path, tmp_path: Path) -> None:
    study = read_dicom(shared_data / "crlm-1006-dicom")
    d, h, w = study.grid.shape
    array = np.zeros((d, h, w), np.float32)
    array[13:18, 200:230, 140:190], array[36:38, 260:270, 300:340] = 5, 3
    regions = find_regions(
        Volume(array, study.grid, study.source, "nats"), array > 0, np.where(array > 0, 1e-4, 1), array / 100
    )
    path = write_dicom_seg(regions, study, tmp_path / "seg.dcm", version="0.1.0")
    assert path is not None
    check(path, regions, study)
    assert path.stat().st_size < 1e6  # 7 frames of 1 bit
    assert Source().is_dicom is False


def test_slices_written_with_decimal_commas(tmp_path: Path) -> None:
    """They are read, so the object at the end of a run must take them, too."""
    axial = np.diag([2.5, 0.75, 0.75, 1.0])[:, [2, 1, 0, 3]]
    hu = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.float32)
    for file in write_dicom_series(Volume(hu, Grid(SHAPE, axial)), tmp_path / "study", seed=3):
        dataset = pydicom.dcmread(file)
        commas = Dataset()
        for keyword in ("PixelSpacing", "ImagePositionPatient", "SliceThickness"):
            text = str(dataset[keyword].value).strip("[]").replace(", ", "\\").replace(".", ",").encode()
            tag = Tag(tag_for_keyword(keyword))
            commas._dict[tag] = RawDataElement(tag, "DS", len(text), text + b" " * (len(text) % 2), 0, False, True)
        dataset.update(commas)
        dataset.save_as(file)
    study = read_dicom(tmp_path / "study")
    assert "decimal comma" in " ".join(study.source.notes)
    regions = two_regions(kl_map(study.grid, study.source))
    path = write_dicom_seg(regions, study, tmp_path / "x.dcm", version="1")
    assert path is not None
    assert hd.seg.segread(path).number_of_segments == 2
