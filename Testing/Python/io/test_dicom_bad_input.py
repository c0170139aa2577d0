"""Every study that is no regular CT volume is refused with its reason and its remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    EnhancedCTImageStorage,
    HTJ2KLossless,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)

from KLIPCore.errors import (
    EmptyInputError,
    GeometryError,
    InputError,
    IntensityError,
    KlipError,
    NotCTError,
    UnreadableFileError,
)
from KLIPCore.io.dicom import read_dicom

Edit = Callable[[Path, Callable[[Dataset], None]], None]


def refused(folder: Path, kind: type[InputError], *message: str, remedy: str) -> None:
    """The study is refused as ``kind``, with all these words in the message, and ``remedy`` in the remedy."""
    with pytest.raises(InputError) as caught:
        read_dicom(folder)
    assert type(caught.value) is kind, caught.value
    for words in message:
        assert words in caught.value.message
    assert remedy in caught.value.remedy


def test_missing_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", EmptyInputError, "no folder", remedy="Check the path")


def test_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, EmptyInputError, "No DICOM file", remedy="folder that holds the slices")


def test_folder_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image here")
    refused(tmp_path, EmptyInputError, "No DICOM file", remedy="NIfTI")


@pytest.mark.parametrize(
    ("modality", "sop_class"), [("MR", MRImageStorage), ("PT", PositronEmissionTomographyImageStorage)]
)
def test_other_modality(series: list[Path], edit: Edit, modality: str, sop_class: str) -> None:
    for file in series:
        edit(file, lambda d: [setattr(d, "Modality", modality), setattr(d, "SOPClassUID", sop_class)])
    refused(series[0].parent, NotCTError, f"only {modality}", remedy="Hounsfield")


def test_a_photographed_dose_report(series: list[Path], edit: Edit) -> None:
    """Modality CT, but no CT slices."""
    for file in series:
        edit(file, lambda d: setattr(d, "SOPClassUID", SecondaryCaptureImageStorage))
    refused(series[0].parent, NotCTError, "only CT (Secondary Capture Image Storage)", remedy="Hounsfield")


def test_colour_pictures(series: list[Path], edit: Edit) -> None:
    def colour(d: Dataset) -> None:
        d.SamplesPerPixel, d.PhotometricInterpretation, d.PlanarConfiguration = 3, "RGB", 0
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 8, 8, 7, 0
        d.PixelData = bytes(d.Rows * d.Columns * 3)

    for file in series:
        edit(file, colour)
    refused(series[0].parent, NotCTError, "colour pictures", remedy="Hounsfield")


def test_only_localizers(series: list[Path], edit: Edit) -> None:
    for file in series:
        edit(file, lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    refused(series[0].parent, NotCTError, "Only localizers", remedy="axial CT")


@pytest.mark.parametrize("part", [0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 0.99])
def test_truncated_file(series: list[Path], part: float) -> None:
    """Cut at the start, in the file meta header, in the header, or in the pixels: the file is named each time."""
    data = series[4].read_bytes()
    series[4].write_bytes(data[: int(part * len(data))])
    refused(series[0].parent, UnreadableFileError, series[4].name, remedy="again")


def test_no_cut_ever_gives_a_traceback_or_a_volume(series: list[Path]) -> None:
    """Every 41st length of the file, the last byte among them."""
    data = series[4].read_bytes()
    for length in [*range(0, len(data), 41), len(data) - 1]:
        series[4].write_bytes(data[:length])
        with pytest.raises(UnreadableFileError):
            read_dicom(series[0].parent)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_headers_give_our_errors_or_a_volume(series: list[Path], seed: int) -> None:
    """A few header bytes overwritten at random, forty times: never another exception than ours, never a warning."""
    rng = np.random.default_rng(seed)
    data = series[4].read_bytes()
    refusals = 0
    for _ in range(40):
        damaged = bytearray(data)
        for place in rng.integers(128, len(data) - 2 * 24 * 20, size=5):
            damaged[place] = rng.integers(256)
        series[4].write_bytes(damaged)
        try:
            read_dicom(series[0].parent)
        except InputError:
            refusals += 1
    assert refusals > 10


def test_file_of_noise_named_dcm(series: list[Path]) -> None:
    series[2].write_bytes(np.random.default_rng(0).bytes(3000))
    refused(series[0].parent, UnreadableFileError, series[2].name, "is not one", remedy="again")


def test_several_gaps(series: list[Path]) -> None:
    """Of seven slices 0, 1, 4 and 6 are left: steps of 1, 3 and 2, of which most are wrong."""
    for k in (2, 3, 5):
        series[k].unlink()
    refused(
        series[0].parent, GeometryError, "3 slices are missing", "2 between", "1 between", remedy="whole series again"
    )


def test_a_gap_is_counted_and_located(series: list[Path]) -> None:
    for k in (4, 3):
        series[k].unlink()
    refused(
        series[0].parent,
        GeometryError,
        "2 slices are missing",
        "step 2.50 mm",
        "between -295.12 and -287.62 mm",
        series[2].name,
        series[5].name,
        remedy="Export or copy the whole series again",
    )


def test_duplicate_slices(series: list[Path], edit: Edit) -> None:
    double = series[0].parent / "double.dcm"
    shutil.copy(series[3], double)
    edit(double, lambda d: [setattr(d, "SOPInstanceUID", "1.2.3"), setattr(d, "PixelData", d.PixelData[::-1])])
    refused(
        series[0].parent,
        GeometryError,
        "1 slices are duplicates",
        "double.dcm",
        "-292.62 mm",
        remedy="one slice for each position",
    )


def test_uneven_spacing(series: list[Path], edit: Edit) -> None:
    edit(series[3], lambda d: setattr(d, "ImagePositionPatient", [-50.25, -60.5, -292.0]))
    refused(
        series[0].parent,
        GeometryError,
        "unevenly spaced",
        "1.88 to 3.12 mm",
        "mostly 2.50 mm",
        remedy="Acquisition geometry regularization",
    )


@pytest.mark.parametrize("header", [True, False])
def test_gantry_tilt(series: list[Path], edit: Edit, header: bool) -> None:
    """Rows stay left–right, columns lean by 15°, the table moves along z: the slices' stack is sheared."""
    angle = np.radians(15.0)

    def tilt(d: Dataset) -> None:
        d.ImageOrientationPatient = [1, 0, 0, 0, float(np.round(np.cos(angle), 7)), float(np.round(-np.sin(angle), 7))]
        if header:
            d.GantryDetectorTilt = 15.0

    for file in series:
        edit(file, tilt)
    words = ["tilted by 15.0°"] + ["(header: +15.0°)"] * header
    refused(series[0].parent, GeometryError, *words, remedy="Acquisition geometry regularization")


def test_mixed_orientation(series: list[Path], edit: Edit) -> None:
    """Too many for localizers beside a stack: two of seven."""
    for file in series[5:]:
        edit(file, lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 0, 0, -1]))
    refused(series[0].parent, GeometryError, "differ in orientation", series[5].name, remedy="into another folder")


def test_mixed_size(series: list[Path], edit: Edit) -> None:
    edit(series[6], lambda d: [setattr(d, "Rows", 20), setattr(d, "Columns", 24)])
    refused(series[0].parent, GeometryError, "differ in size", "24x20", "20x24", remedy="into another folder")


def test_mixed_pixel_spacing(series: list[Path], edit: Edit) -> None:
    edit(series[6], lambda d: setattr(d, "PixelSpacing", [0.9, 0.7]))
    refused(series[0].parent, GeometryError, "differ in pixel spacing", series[6].name, remedy="into another folder")


def test_mixed_frames_of_reference(series: list[Path], edit: Edit) -> None:
    edit(series[6], lambda d: setattr(d, "FrameOfReferenceUID", "1.2.3"))
    refused(series[0].parent, GeometryError, "frame of reference", series[6].name, remedy="into another folder")


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_no_place(series: list[Path], edit: Edit, keyword: str) -> None:
    edit(series[1], lambda d: delattr(d, keyword))
    refused(series[0].parent, GeometryError, series[1].name, keyword, remedy="original axial series")


def test_a_single_slice_without_thickness(series: list[Path], edit: Edit) -> None:
    for file in series[1:]:
        file.unlink()
    edit(series[0], lambda d: [delattr(d, "SliceThickness"), delattr(d, "SpacingBetweenSlices")])
    refused(series[0].parent, GeometryError, "single slice", remedy="whole CT series")


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_no_rescale(series: list[Path], edit: Edit, keyword: str) -> None:
    edit(series[1], lambda d: delattr(d, keyword))
    refused(series[0].parent, IntensityError, series[1].name, "no usable rescale", remedy="original CT series")


def test_nan_rescale(series: list[Path]) -> None:
    """A slope of NaN would make every voxel NaN."""
    data = series[1].read_bytes()
    slope = b"\x28\x00\x53\x10DS\x04\x001.0 "
    assert data.count(slope) == 1
    series[1].write_bytes(data.replace(slope, slope.replace(b"1.0 ", b"nan ")))
    refused(series[0].parent, IntensityError, series[1].name, "no usable rescale", remedy="original CT series")


def test_spectral_units(series: list[Path], edit: Edit) -> None:
    edit(series[1], lambda d: setattr(d, "RescaleType", "Z_EFF"))
    refused(series[0].parent, IntensityError, "Z_EFF", "not to Hounsfield units", remedy="spectral")


def test_compression_without_a_decoder(series: list[Path], edit: Edit) -> None:
    """High-Throughput JPEG 2000 is known neither to pydicom's decoders here nor to GDCM."""

    def compress(d: Dataset) -> None:
        d.PixelData = encapsulate([b"\xff\x4f\xff\xd9"])
        d["PixelData"].VR = "OB"
        d.file_meta.TransferSyntaxUID = HTJ2KLossless

    for file in series:
        edit(file, compress)
    refused(
        series[0].parent, UnreadableFileError, series[0].name, "High-Throughput", "no decoder", remedy="Explicit VR"
    )


def test_damaged_compressed_pixels(series: list[Path]) -> None:
    dataset = pydicom.dcmread(series[2])
    dataset.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    dataset.PixelData = encapsulate([b"\0" * 70])
    dataset.save_as(series[2])
    refused(series[0].parent, UnreadableFileError, series[2].name, "damaged", remedy="again")


def test_enhanced_ct_without_frames(series: list[Path], edit: Edit) -> None:
    for file in series[1:]:
        file.unlink()
    edit(series[0], lambda d: [setattr(d, "SOPClassUID", EnhancedCTImageStorage), setattr(d, "NumberOfFrames", 7)])
    refused(series[0].parent, UnreadableFileError, series[0].name, "functional groups", remedy="single-frame")


def test_enhanced_ct_in_several_files(series: list[Path], edit: Edit) -> None:
    for file in series:
        edit(file, lambda d: setattr(d, "SOPClassUID", EnhancedCTImageStorage))
    refused(series[0].parent, GeometryError, "7 multi-frame files", remedy="single-frame")


def test_no_message_names_the_patient(series: list[Path], edit: Edit) -> None:
    edit(series[3], lambda d: setattr(d, "ImagePositionPatient", [-50.25, -60.5, -292.0]))
    with pytest.raises(KlipError) as caught:
        read_dicom(series[0].parent)
    assert "SYNTHETIC" not in str(caught.value)


@pytest.mark.shared_data
def test_a_real_tilted_head(shared_data: Path) -> None:
    """28 slices with 18.5° of tilt and three spacings."""
    refused(
        shared_data / "odd" / "head-ge-tilt-dicom",
        GeometryError,
        "tilted by 18.5°",
        "(header: +18.5°)",
        "1.14 to 7.38 mm",
        remedy="Acquisition geometry regularization",
    )
