"""DICOM folders as people have them: each circumstance was reported by somebody, and is made here on a small study."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import JPEGLSLossless, generate_uid

from KLIPCore.errors import AmbiguousSeriesError, EmptyInputError, GeometryError, IntensityError, UnreadableFileError
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.volume.volume import Volume

Edit = Callable[[Path, Callable[[Dataset], None]], None]


def read(path: Path, series: str | None = None) -> tuple[Volume, str]:
    """The study, and all that is said about it."""
    volume = read_study(path, series)
    return volume, " ".join(check_ct(volume))


def written(dataset: Dataset, keyword: str, value: str) -> None:
    """A field as an export wrote it, valid or not."""
    raw = (value + " " * (len(value) % 2)).encode()
    tag = Tag(tag_for_keyword(keyword))
    dataset._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(raw), raw, 0, False, True)


def other_pixels(dataset: Dataset) -> None:
    dataset.SOPInstanceUID = generate_uid()
    dataset.PixelData = (dataset.pixel_array + 1).astype(dataset.pixel_array.dtype).tobytes()


def second_phase(series: list[Path], edit: Edit, change: Callable[[int, Dataset], object]) -> Path:
    """The folder with each slice a second time, of other pixels."""
    for k, file in enumerate(series):
        copy = file.with_name(f"second-{file.name}")
        shutil.copy(file, copy)
        edit(copy, lambda d, k=k: [other_pixels(d), change(k, d)])  # type: ignore[misc]
    return series[0].parent


def placed(k: int, step: float, places: int, corner: str = "-60.0") -> list[str]:
    return ["-50.0", corner, f"{-100 + k * step:.{places}f}"]


@pytest.mark.parametrize("name", ["DICOMDIR", "dicomdir", "DICOMDIR;1", "DIRFILE", "dirfile", "DicomDir.dcm"])
@pytest.mark.parametrize("content", [bytes(128) + b"DICM" + b"junk" * 40, b"Philips", b""])
def test_an_index_beside_the_slices(name: str, content: bytes, series: list[Path], volume: Volume) -> None:
    """The index of a medium is skipped; given by name it means its folder."""
    index = series[0].parent / name
    index.write_bytes(content)
    for path in (index.parent, index):
        np.testing.assert_array_equal(read(path)[0].array, volume.array)


@pytest.mark.parametrize("new_uid", [False, True])
def test_the_same_instance_twice(new_uid: bool, series: list[Path], edit: Edit, volume: Volume) -> None:
    copy = series[2].parent / "copy of it.dcm"
    shutil.copy(series[2], copy)
    if new_uid:
        edit(copy, lambda d: setattr(d, "SOPInstanceUID", generate_uid()))
    found, said = read(copy.parent)
    np.testing.assert_array_equal(found.array, volume.array)
    assert "1 files hold an instance that another file holds too" in said


def test_jpeg_lossless(series: list[Path], edit: Edit, volume: Volume) -> None:
    """What GDCM decodes and pydicom alone does not; the pixels were encoded by hand: predictor 1, one Huffman code."""

    def compress(d: Dataset) -> None:
        d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 15, 0
        d.PixelData = pydicom.encaps.encapsulate([jpeg_lossless(d.pixel_array.astype(np.uint16))])
        d["PixelData"].VR, d["PixelData"].is_undefined_length = "OB", True
        d.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1

    for file in series:
        edit(file, lambda d: d.pixel_array)
        edit(file, compress)
    np.testing.assert_array_equal(read(series[0].parent)[0].array, volume.array)


def jpeg_lossless(image: np.ndarray) -> bytes:
    """ITU-T T.81, process 14, selection value 1, 16 bits; all 17 categories get codes of five bits."""
    rows, columns = image.shape
    bits = ""
    for r in range(rows):
        for c in range(columns):
            before = 1 << 15 if r == c == 0 else image[r - 1, 0] if c == 0 else image[r, c - 1]
            step = (int(image[r, c]) - int(before) + 32768) % 65536 - 32768
            size = abs(step).bit_length()
            bits += f"{size:05b}" + (
                f"{step if step > 0 else step + (1 << size) - 1:0{size}b}" if 0 < size < 16 else ""
            )
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = b"\xff\xc3\0\x0b\x10" + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + b"\1\1\x11\0"
    table = b"\xff\xc4" + (19 + 17).to_bytes(2, "big") + b"\0" + bytes([0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17))
    return b"\xff\xd8" + frame + table + b"\xff\xda\0\x08\1\1\0\1\0\0" + scan + b"\xff\xd9"


@pytest.mark.parametrize("corner", ["-60.0", "-60.199997"])
@pytest.mark.parametrize(("step", "places"), [(0.625, 1), (0.75, 1), (1.25, 1), (0.33, 1), (2.5, 0)])
def test_positions_that_were_rounded(step: float, places: int, corner: str, series: list[Path], edit: Edit) -> None:
    """The table's height alone, or all three numbers."""

    def rounded(d: Dataset, k: int) -> None:
        written(d, "ImagePositionPatient", "\\".join(placed(k, step, places, corner)))
        d.SliceThickness = step
        d.pop("SpacingBetweenSlices", None)

    for k, file in enumerate(series):
        edit(file, lambda d, k=k: rounded(d, k))  # type: ignore[misc]
    found, said = read(series[0].parent)
    assert found.grid.spacing[0] == pytest.approx(step, rel=1e-6)
    assert "rounded" in said or step * 10**places % 1 in (0, 0.5)  # 1.2, 1.3, 1.2 … are even enough


@pytest.mark.parametrize("corner", ["-60.0", "-60.199997"])
@pytest.mark.parametrize("missing", [1, 3, 5])
def test_a_gap_between_rounded_positions_is_still_a_gap(
    missing: int, corner: str, series: list[Path], edit: Edit
) -> None:
    for k, file in enumerate(series):
        edit(file, lambda d, k=k: setattr(d, "ImagePositionPatient", placed(k, 0.625, 1, corner)))  # type: ignore[misc]
    series[missing].unlink()
    with pytest.raises(GeometryError, match="1 slices are missing"):
        read_study(series[0].parent)


@pytest.mark.parametrize(
    "word",
    [
        "HOUNSFIELD",
        "Hounsfield Units",
        "Hounsfield Unit (HU)",
        "houndsfield",
        "H.U.",
        "UNSPECIFIED",
        "US",
        "CT HU",
        "N/A",
    ],
)
def test_a_rescale_type_written_out(word: str, series: list[Path], edit: Edit, volume: Volume) -> None:
    for file in series:
        edit(file, lambda d: setattr(d, "RescaleType", word))
    np.testing.assert_array_equal(read(series[0].parent)[0].array, volume.array)


@pytest.mark.parametrize("word", ["MGML", "Z_EFF", "NORMALIZED", "OD"])
def test_another_rescale_type_is_refused(word: str, series: list[Path], edit: Edit) -> None:
    for file in series:
        edit(file, lambda d: setattr(d, "RescaleType", word))
    with pytest.raises(IntensityError, match=word):
        read_study(series[0].parent)


@pytest.mark.parametrize("uids", ["empty", "absent", "one each"])
def test_series_uids_after_anonymization(uids: str, series: list[Path], edit: Edit, volume: Volume) -> None:
    for file in series:
        uid = generate_uid() if uids == "one each" else ""
        edit(file, lambda d, uid=uid: setattr(d, "SeriesInstanceUID", uid))  # type: ignore[misc]
        if uids == "absent":
            edit(file, lambda d: d.pop("SeriesInstanceUID"))
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    assert "are read as one series" in said
    assert not found.source.is_dicom  # nothing may refer to a series without a UID


def test_a_frame_of_reference_for_each_slice(series: list[Path], edit: Edit, volume: Volume) -> None:
    for file in series:
        edit(file, lambda d: setattr(d, "FrameOfReferenceUID", generate_uid()))
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    assert "frame of reference of its own" in said


@pytest.mark.parametrize("spacing", ["0,8\\0,7", "0,8,0,7"])
def test_decimal_commas(spacing: str, series: list[Path], edit: Edit, volume: Volume) -> None:
    for file in series:
        edit(file, lambda d: [written(d, "PixelSpacing", spacing), written(d, "RescaleIntercept", "-1024,0")])
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    np.testing.assert_allclose(found.grid.spacing, [2.5, 0.8, 0.7])
    assert "decimal comma" in said


@pytest.mark.parametrize("decimal", [".", ","])
def test_a_position_whose_numbers_are_separated_by_commas(
    decimal: str, series: list[Path], edit: Edit, volume: Volume
) -> None:
    for k, file in enumerate(series):
        place = ",".join(placed(k, 2.5, 1)).replace(".", decimal)
        edit(file, lambda d, place=place: written(d, "ImagePositionPatient", place))  # type: ignore[misc]
    found, _ = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    np.testing.assert_allclose(found.grid.spacing, [2.5, 0.8, 0.7])


def test_a_thousands_separator_is_no_decimal_comma(series: list[Path], edit: Edit) -> None:
    """−1,024 read as −1.024 would leave stored values; their tissue gives them away."""
    for file in series:
        edit(file, lambda d: written(d, "RescaleIntercept", "-1,024"))
    with pytest.raises(IntensityError, match="Hounsfield"):
        read(series[0].parent)


def test_classic_files_of_several_frames(series: list[Path], edit: Edit) -> None:
    def frames(d: Dataset) -> None:
        d.NumberOfFrames, d.PixelData = 3, d.PixelData * 3

    edit(series[0], frames)
    for file in series[1:]:
        file.unlink()
    with pytest.raises(GeometryError, match="3 frames in one file of the classic CT kind"):
        read_study(series[0].parent)


PHASES: dict[str, Callable[[int, Dataset], object]] = {
    "acquisition": lambda k, d: setattr(d, "AcquisitionNumber", 7),
    "kernel": lambda k, d: setattr(d, "ConvolutionKernel", "B80f"),
    "temporal": lambda k, d: setattr(d, "TemporalPositionIdentifier", 2),
    "numbered on": lambda k, d: setattr(d, "InstanceNumber", 100 + k),
    "times": lambda k, d: setattr(d, "AcquisitionTime", f"2359{k:02d}"),
    "half a step on": lambda k, d: [
        setattr(d, "AcquisitionNumber", 7),
        setattr(d, "ImagePositionPatient", [*d.ImagePositionPatient[:2], d.ImagePositionPatient[2] + 1.25]),
    ],
}


@pytest.mark.parametrize("kind", PHASES)
def test_two_phases_in_one_series(kind: str, series: list[Path], edit: Edit, volume: Volume) -> None:
    """They are listed, ``--series`` chooses, and the choice is kept for whoever reads the study again."""
    for k, file in enumerate(series):
        edit(file, lambda d, k=k: [setattr(d, "AcquisitionNumber", 3), setattr(d, "AcquisitionTime", f"1200{k:02d}")])  # type: ignore[misc]
    folder = second_phase(series, edit, PHASES[kind])
    with pytest.raises(AmbiguousSeriesError, match="2 acquisitions of the same place") as caught:
        read_study(folder)
    assert "--series" in caught.value.remedy
    found = {tuple(read(folder, f"#{n}")[0].array.ravel()) for n in (1, 2)}
    assert found == {tuple(volume.array.ravel()), tuple((volume.array + 1).ravel())}
    chosen = read_study(series[0])  # a slice by name stands for its own phase
    np.testing.assert_array_equal(chosen.array, volume.array)
    np.testing.assert_array_equal(read_study(folder, chosen.source.choice).array, volume.array)


def test_two_phases_that_nothing_tells_apart(series: list[Path], edit: Edit) -> None:
    with pytest.raises(GeometryError, match="duplicates"):
        read_study(second_phase(series, edit, lambda k, d: None))


@pytest.mark.parametrize("compressed", [False, True])
def test_an_old_overlay_in_the_high_bits(compressed: bool, series: list[Path], edit: Edit, volume: Volume) -> None:
    """12 bits are stored, and what lies above them is no HU; decoders of JPEG-LS hand it on."""

    def overlay(d: Dataset) -> None:
        stored = (d.pixel_array.astype(np.int64) * d.RescaleSlope + d.RescaleIntercept + 1024).astype(np.uint16)
        stored[3:9, 2:7] |= 0x7000
        d.RescaleSlope, d.RescaleIntercept, d.PixelRepresentation = 1, -1024, 0
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelData = 16, 16, 15, stored.tobytes()
        if compressed:
            d.compress(JPEGLSLossless, generate_instance_uid=False)
        d.BitsStored, d.HighBit = 12, 11

    for file in series:
        edit(file, overlay)
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    assert "bits beyond those stored" in said


@pytest.mark.parametrize("padding", [-1024, -2000])
def test_stored_values_behind_padding(padding: int, series: list[Path], edit: Edit) -> None:
    """A slope of 1 and an intercept of 0 in the header; padding made the range look like a CT's."""

    def unscaled(d: Dataset) -> None:
        stored = (d.pixel_array.astype(np.int64) * d.RescaleSlope + d.RescaleIntercept + 1024).astype(np.int16)
        stored[:3], stored[-3:] = padding, padding
        d.RescaleSlope, d.RescaleIntercept, d.PixelRepresentation, d.PixelData = 1, 0, 1, stored.tobytes()

    for file in series:
        edit(file, unscaled)
    with pytest.raises(IntensityError, match="stored values without the rescale"):
        read(series[0].parent)


def test_one_slice_of_stored_values_among_others(series: list[Path], edit: Edit) -> None:
    edit(series[4], lambda d: setattr(d, "RescaleIntercept", d.RescaleIntercept + 1024))
    with pytest.raises(
        IntensityError, match=f"to {series[4].name} the rescale changes and all values jump by 1023 HU"
    ):
        read(series[0].parent)


def test_one_slice_of_stored_values_under_the_rescale_of_all(series: list[Path], edit: Edit) -> None:
    def shifted(d: Dataset) -> None:
        d.PixelData = (d.pixel_array.astype(np.int64) + 1024).astype(d.pixel_array.dtype).tobytes()

    edit(series[4], shifted)
    with pytest.raises(IntensityError, match=f"1 of 7 slices look like stored values.*first {series[4].name}"):
        read(series[0].parent)


@pytest.mark.parametrize("numbers", ["1\\0\\0\\0", "1\\0\\0\\0\\1\\0\\1\\0\\0\\0\\1\\0", "1"])
def test_an_orientation_of_another_length(numbers: str, series: list[Path], edit: Edit) -> None:
    for file in series:
        edit(file, lambda d: written(d, "ImageOrientationPatient", numbers))
    with pytest.raises(GeometryError, match="no usable ImageOrientationPatient"):
        read_study(series[0].parent)


@pytest.mark.parametrize("moved", [slice(4, None), slice(4, 5)])
def test_a_table_that_moved_sideways_is_no_tilt(moved: slice, series: list[Path], edit: Edit) -> None:
    for file in series[moved]:
        edit(file, lambda d: setattr(d, "ImagePositionPatient", [-42.25, *d.ImagePositionPatient[1:]]))
    with pytest.raises(GeometryError, match=r"moved sideways by 8\.00 mm") as caught:
        read_study(series[0].parent)
    assert series[3].name in caught.value.message


def test_an_archive_by_name_and_in_a_folder(tmp_path: Path) -> None:
    for name in ("study.zip", "study", "slice.dcm"):
        (tmp_path / name).write_bytes(b"PK\3\4" + bytes(300))
        with pytest.raises(UnreadableFileError, match="is an archive") as caught:
            read_study(tmp_path / name)
        assert "Unpack" in caught.value.remedy
        if name != "slice.dcm":
            with pytest.raises(EmptyInputError) as inside:
                read_study(tmp_path)
            assert "Unpack" in inside.value.remedy
        (tmp_path / name).unlink()


def test_a_volume_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "ct.nii.gz").write_bytes(b"\x1f\x8b" + bytes(30))
    with pytest.raises(EmptyInputError, match=r"but ct\.nii\.gz") as caught:
        read_study(tmp_path)
    assert "Give that file" in caught.value.remedy


def test_no_line_of_a_library_in_a_message(series: list[Path]) -> None:
    data = series[3].read_bytes()
    series[3].write_bytes(data[: len(data) - 100])
    with pytest.raises(UnreadableFileError) as caught:
        read_study(series[0].parent)
    assert caught.value.message == f"The pixels of {series[3].name} are damaged or cut short."


def test_slices_whose_names_are_no_utf8(series: list[Path], volume: Volume) -> None:
    try:
        series[1].rename(series[1].with_name(os.fsdecode(b"caf\xe9.dcm")))
    except OSError:
        pytest.skip("this file system takes no such names")
    np.testing.assert_array_equal(read(series[0].parent)[0].array, volume.array)
