"""Segmentation files on a study's grid: every format, other grids, and what is refused in a sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from made_volumes import oblique

from KLIPCore.errors import ConfigError, EmptyInputError, GeometryError, UnreadableFileError
from KLIPCore.export.dicom_codes import ABNORMAL
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.headers import LABEL_RATIO, check_size
from KLIPCore.io.images import image_on
from KLIPCore.io.organs import parse_within, read_organs
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

SHAPE = (5, 12, 10)
GRID = oblique(SHAPE, seed=4)


def labels_of(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Two organs that touch, on no axis of symmetry; one reaches the array's edge."""
    labels = np.zeros(shape, np.uint8)
    labels[1:4, 2:7, 0:4] = 2
    labels[1:3, 2:9, 4:8] = 5
    return labels


def write(labels: np.ndarray, path: Path, grid: Grid = GRID, fields: dict[str, str] | None = None) -> Path:
    vectors = labels.ndim == 4
    image = sitk.GetImageFromArray(labels, isVector=vectors)
    image.CopyInformation(image_on(labels[..., 0] if vectors else labels, grid))
    for key, value in (fields or {}).items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def named(*segments: tuple[str, int, int]) -> dict[str, str]:
    """Fields of a .seg.nrrd: name, label, layer."""
    return {
        key: str(value)
        for n, (name, label, layer) in enumerate(segments)
        for key, value in (
            (f"Segment{n}_ID", f"Segment_{n}"),
            (f"Segment{n}_Name", name),
            (f"Segment{n}_LabelValue", label),
            (f"Segment{n}_Layer", layer),
        )
    }


@pytest.mark.parametrize("name", ["organs.nii.gz", "organs.nii", "organs.nrrd", "organs.mha"])
def test_plain_labels_come_back_on_the_studys_grid(name: str, tmp_path: Path) -> None:
    organs, asked = read_organs(write(labels_of(), tmp_path / name), GRID)
    np.testing.assert_array_equal(organs.labels, labels_of())
    assert asked == (2, 5)
    assert organs.called(5) == "label 5"
    assert read_organs(tmp_path / name, GRID, "5")[1] == (5,)


def test_a_slicer_segmentation_brings_its_names(tmp_path: Path) -> None:
    path = write(labels_of(), tmp_path / "a.seg.nrrd", fields=named(("Liver", 2, 0), ("left kidney", 5, 0)))
    organs, asked = read_organs(path, GRID, "left KIDNEY")
    assert asked == (5,)
    assert dict(organs.names) == {2: "Liver", 5: "left kidney"}


def test_of_overlapping_layers_the_smaller_stays_and_the_one_asked_for_is_whole(tmp_path: Path) -> None:
    layers = np.zeros((*SHAPE, 2), np.uint8)
    layers[1:4, 2:9, 2:8, 0] = 1
    layers[2:3, 4:6, 4:6, 1] = 1
    path = write(layers, tmp_path / "b.seg.nrrd", fields=named(("kidney", 1, 0), ("cyst", 1, 1)))
    organs, _ = read_organs(path, GRID)
    assert dict(organs.names) == {1: "kidney", 2: "cyst"}
    np.testing.assert_array_equal(organs.where([2]), layers[..., 1] > 0)
    whole, asked = read_organs(path, GRID, "kidney")
    np.testing.assert_array_equal(whole.where(asked), layers[..., 0] > 0)


def test_names_of_a_nifti_label_table(tmp_path: Path) -> None:
    """As TotalSegmentator writes it: a header extension with Connectome Workbench's XML."""
    plain = write(labels_of(), tmp_path / "plain.nii").read_bytes()
    table = (
        b'<CaretExtension><LabelTable><Label Key="2" Red="1"><![CDATA[spleen]]></Label>'
        b'<Label Key="5"><![CDATA[kidney_right]]></Label></LabelTable></CaretExtension>'
    )
    size = -(-(len(table) + 8) // 16) * 16
    extension = np.array([size, 30], "<i4").tobytes() + table.ljust(size - 8, b"\0")
    header = bytearray(plain[:348])
    header[108:112] = np.array([352 + size], "<f4").tobytes()
    path = tmp_path / "ts.nii.gz"
    path.write_bytes(gzip.compress(bytes(header) + b"\1\0\0\0" + extension + plain[352:]))
    organs, asked = read_organs(path, GRID, "Kidney_Right")
    assert asked == (5,)
    assert organs.called(2) == "spleen"


def dicom_segmentation(series: list[Path], labels: np.ndarray, names: dict[int, str], path: Path) -> Path:
    """A DICOM SEG of a series, its slices in array order."""
    describe = [
        hd.seg.SegmentDescription(
            segment_number=n,
            segment_label=name,
            segmented_property_category=ABNORMAL,
            segmented_property_type=ABNORMAL,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n, name in names.items()
    ]
    made = hd.seg.Segmentation(
        source_images=[pydicom.dcmread(file) for file in series],
        pixel_array=labels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=describe,
        series_instance_uid=hd.UID(),
        series_number=9,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    )
    made.save_as(path)
    return path


def test_a_dicom_segmentation_lies_on_its_series(series: list[Path], volume: Volume, tmp_path: Path) -> None:
    study = read_dicom(series[0].parent)
    labels = np.zeros(volume.grid.shape, np.uint8)
    labels[2:5, 3:9, 4:9] = 1
    labels[4:6, 10:20, 2:12] = 2
    path = dicom_segmentation(series, labels, {1: "Liver", 2: "Spleen"}, tmp_path / "seg.dcm")
    organs, asked = read_organs(path, study.grid, "spleen")
    assert asked == (2,)
    at = study.grid.to_index(volume.grid.to_world(np.argwhere(labels == 2))).round().astype(int)
    expected = np.zeros(study.grid.shape, bool)
    expected[tuple(at.T)] = True
    np.testing.assert_array_equal(organs.where([2]), expected)
    other = Grid(study.grid.shape, study.grid.affine, "1.2.3")
    with pytest.raises(GeometryError, match="frame of reference"):
        read_organs(path, other)


def test_another_grid_takes_the_nearest_voxel_of_the_file(tmp_path: Path) -> None:
    """Each voxel asked about is looked up in the file by hand."""
    path = write(labels_of(), tmp_path / "organs.nrrd")
    turn = np.array([[0, 0, 0.41, 0.3], [0, -0.37, 0, 11.3], [0.53, 0, 0, -0.6], [0, 0, 0, 1.0]])
    study = Grid((31, 33, 12), GRID.affine @ turn)
    organs, _ = read_organs(path, study)
    places = np.argwhere(np.ones(study.shape, bool))
    at = np.floor(GRID.to_index(study.to_world(places)) + 0.5).astype(int)
    inside = ((at >= 0) & (at < SHAPE)).all(1)
    expected = np.zeros(len(places), np.uint8)
    expected[inside] = labels_of()[tuple(at[inside].T)]
    assert (expected == 2).any()
    np.testing.assert_array_equal(organs.labels.ravel(), expected)


def test_numbers_beyond_eight_bits_keep_their_names(tmp_path: Path) -> None:
    path = write(labels_of().astype(np.int16) * 1000, tmp_path / "brain.nii.gz")
    organs, asked = read_organs(path, GRID, "5000")
    np.testing.assert_array_equal(organs.where(asked), labels_of() == 5)
    assert organs.called(asked[0]) == "label 5000"


def test_what_is_refused_says_why_and_what_there_is(tmp_path: Path) -> None:
    path = write(labels_of(), tmp_path / "organs.nrrd")
    with pytest.raises(ConfigError, match="no label 'liver'") as told:
        read_organs(path, GRID, "liver")
    assert "2, 5" in told.value.remedy
    far = Grid(SHAPE, GRID.affine + np.array([[0, 0, 0, 900.0]] * 3 + [[0, 0, 0, 0]]))
    with pytest.raises(GeometryError, match="does not overlap"):
        read_organs(path, far)
    with pytest.raises(ConfigError, match="outside this study"):
        read_organs(path, GRID.cropped((slice(1, 4), slice(2, 7), slice(0, 4))), "5")
    empty = write(np.zeros(SHAPE, np.uint8), tmp_path / "empty.nrrd")
    with pytest.raises(GeometryError, match="is empty"):
        read_organs(empty, GRID)
    soft = write(np.full(SHAPE, 0.5, np.float32), tmp_path / "soft.nii.gz")
    with pytest.raises(UnreadableFileError, match="no labels"):
        read_organs(soft, GRID)
    with pytest.raises(EmptyInputError):
        read_organs(tmp_path / "absent.nrrd", GRID)
    for name in ("text.txt", "cut.nrrd", "cut.nii.gz", "named.dcm"):
        (tmp_path / name).write_bytes(path.read_bytes()[:-20])
        with pytest.raises(UnreadableFileError):
            read_organs(tmp_path / name, GRID)


def test_labels_compress_further_than_a_ct_and_no_further_than_deflate_can(tmp_path: Path) -> None:
    file = tmp_path / "liver.nii.gz"
    file.write_bytes(bytes(100_000))
    check_size(file, file, (300, 512, 512), 8, LABEL_RATIO)
    with pytest.raises(UnreadableFileError, match="no CT"):
        check_size(file, file, (300, 512, 512), 8)
    with pytest.raises(UnreadableFileError, match="no segmentation"):
        check_size(file, file, (600, 512, 512), 8, LABEL_RATIO)


def test_a_ct_slice_is_no_segmentation(series: list[Path]) -> None:
    with pytest.raises(UnreadableFileError, match="no segmentation"):
        read_organs(series[0], GRID)


def test_file_and_label_are_told_apart(tmp_path: Path) -> None:
    plain, colon = tmp_path / "organs.nrrd", tmp_path / "phase:2.nrrd"
    for path in (plain, colon):
        path.touch()
    assert parse_within(str(plain)) == (plain, "")
    assert parse_within(f"{plain}: left kidney ") == (plain, "left kidney")
    assert parse_within(str(colon)) == (colon, "")
    assert parse_within(f"{colon}:3") == (colon, "3")
    with pytest.raises(ConfigError, match="no segmentation file"):
        parse_within(str(tmp_path / "absent.nrrd:1"))
