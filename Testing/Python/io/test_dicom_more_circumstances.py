"""Further DICOM folders as people have them: bits, phases, copies and indexes of other kinds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless, MediaStorageDirectoryStorage, RLELossless, generate_uid
from test_dicom_circumstances import Edit, other_pixels, placed, read, second_phase, written

from KLIPCore.errors import AmbiguousSeriesError, GeometryError, IntensityError, KlipError, UnreadableFileError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.study import read_study
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


def twelve_bits(d: Dataset, change: Callable[[np.ndarray], np.ndarray] = lambda s: s) -> np.ndarray:
    """Values 0 to 4095 with an intercept of −1024, in 16 bits, all of them said to be stored; and what they are."""
    stored = (d.pixel_array.astype(np.int64) * d.RescaleSlope + d.RescaleIntercept + 1024).astype(np.uint16)
    stored = change(stored).astype(np.uint16)
    d.RescaleSlope, d.RescaleIntercept, d.PixelRepresentation = 1, -1024, 0
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelData = 16, 16, 15, stored.tobytes()
    d["PixelData"].VR = "OW"
    return stored


def jpeg_2000(d: Dataset, stored: np.ndarray, folder: Path) -> None:
    """Pixels as GDCM compresses them."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(folder / "j2k.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG2000")
    writer.Execute(sitk.GetImageFromArray(stored[None]))
    made = dcmread(folder / "j2k.dcm")
    d.PixelData, d.file_meta.TransferSyntaxUID = made.PixelData, made.file_meta.TransferSyntaxUID
    d["PixelData"].VR, d["PixelData"].is_undefined_length = "OB", True


@pytest.mark.parametrize("bits", [0x1000, 0x7000, 0x8000])
@pytest.mark.parametrize("compression", ["none", "RLE", "JPEG-LS", "JPEG 2000"])
def test_overlays_in_the_high_bits(
    compression: str, bits: int, series: list[Path], edit: Edit, volume: Volume, tmp_path: Path
) -> None:
    def overlay(d: Dataset) -> None:
        def drawn(stored: np.ndarray) -> np.ndarray:
            stored[3:20, 2:18] |= bits
            return stored

        stored = twelve_bits(d, drawn)
        if compression == "JPEG 2000":
            jpeg_2000(d, stored, tmp_path)
        elif compression != "none":
            d.compress(JPEGLSLossless if compression == "JPEG-LS" else RLELossless, generate_instance_uid=False)
        d.BitsStored, d.HighBit = 12, 11

    for file in series:
        edit(file, overlay)
    np.testing.assert_array_equal(read(series[0].parent)[0].array, volume.array)


def test_values_in_the_upper_bits(series: list[Path], edit: Edit, volume: Volume) -> None:
    """Twelve of sixteen bits, left-aligned: nothing is left out, and no overlay is spoken of."""

    def left(d: Dataset) -> None:
        twelve_bits(d, lambda s: s << 4)
        d.BitsStored = 12

    for file in series:
        edit(file, left)
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    assert "overlay" not in said
    assert "bits" not in said


def test_a_high_bit_that_is_wrong(series: list[Path], edit: Edit, volume: Volume) -> None:
    """HighBit 15 for values that lie in the lower twelve bits: taken at its word it divides them by 16."""
    for file in series:
        edit(file, lambda d: [twelve_bits(d), setattr(d, "BitsStored", 12)])
    np.testing.assert_array_equal(read(series[0].parent)[0].array, volume.array)


def test_bone_that_needs_more_bits_than_are_said_to_be_stored(series: list[Path], edit: Edit) -> None:
    """Cut off, it would become air; an overlay does not continue what lies beside it."""

    def bright(d: Dataset) -> None:
        def bone(stored: np.ndarray) -> np.ndarray:
            stored[10:14, 8:12] = 1900  # the rim of a bone, and its bright middle
            stored[11:13, 9:11] = 2100
            return stored

        twelve_bits(d, bone)
        d.BitsStored, d.HighBit = 11, 10

    for file in series:
        edit(file, bright)
    found, said = read(series[0].parent)
    assert found.array[2, 11:13, 9:11].tolist() == [[1076, 1076], [1076, 1076]]
    assert "need more bits" in said


@pytest.mark.parametrize("offset", [1024, 1000])
@pytest.mark.parametrize("padding", [-2000, -1024, 0, -32768])
def test_stored_values_of_any_offset(offset: int, padding: int, series: list[Path], edit: Edit) -> None:
    def unscaled(d: Dataset) -> None:
        hu = d.pixel_array.astype(np.int64) * d.RescaleSlope + d.RescaleIntercept
        stored = np.clip(hu + offset, 0, 4095).astype(np.int16)
        stored[:3], stored[-3:] = padding, padding
        d.RescaleSlope, d.RescaleIntercept, d.PixelRepresentation, d.PixelData = 1, 0, 1, stored.tobytes()
        d.PixelPaddingValue = padding
        d["PixelPaddingValue"].VR = "SS"

    for file in series:
        edit(file, unscaled)
    with pytest.raises(IntensityError, match="Hounsfield"):
        read(series[0].parent)


MORE_PHASES: dict[str, Callable[[int, Dataset], object]] = {
    "TemporalPositionIndex": lambda k, d: written(d, "TemporalPositionIndex", "\2\0\0"),
    "TriggerTime": lambda k, d: setattr(d, "TriggerTime", 500 + k),
    "FrameReferenceTime": lambda k, d: setattr(d, "FrameReferenceTime", 9000),
    "ContentTime": lambda k, d: setattr(d, "ContentTime", f"1907{k:02d}"),
    "AcquisitionDate": lambda k, d: setattr(d, "AcquisitionDate", "20200105"),
    "InstanceCreationTime": lambda k, d: setattr(d, "InstanceCreationTime", f"2307{k:02d}"),
    "ReconstructionDiameter": lambda k, d: setattr(d, "ReconstructionDiameter", 200),
    "in turn": lambda k, d: setattr(d, "InstanceNumber", 2 * k + 2),
    "SeriesNumber": lambda k, d: setattr(d, "SeriesNumber", 77),
    "StudyInstanceUID": lambda k, d: setattr(d, "StudyInstanceUID", "1.2.3"),
    "FrameOfReferenceUID": lambda k, d: setattr(d, "FrameOfReferenceUID", "1.2.3"),
    "CTDIvol": lambda k, d: setattr(d, "CTDIvol", 3.25),
    "ImageComments": lambda k, d: setattr(d, "ImageComments", "venous"),
}


@pytest.mark.parametrize("kind", MORE_PHASES)
def test_phases_by_other_fields(kind: str, series: list[Path], edit: Edit, volume: Volume) -> None:
    for k, file in enumerate(series):
        edit(
            file,
            lambda d, k=k: [  # type: ignore[misc]
                setattr(d, "AcquisitionTime", "120000"),
                setattr(d, "TriggerTime", 100 + k),
                setattr(d, "ContentTime", f"18000{k // 5}"),
                setattr(d, "InstanceCreationTime", f"2106{k:02d}"),
                setattr(d, "InstanceNumber", 2 * k + 1 if kind == "in turn" else 5),
            ],
        )
    folder = second_phase(series, edit, MORE_PHASES[kind])
    with pytest.raises(AmbiguousSeriesError, match="2 acquisitions of the same place"):
        read_study(folder)
    found = {tuple(read(folder, f"#{n}")[0].array.ravel()) for n in (1, 2)}
    assert found == {tuple(volume.array.ravel()), tuple((volume.array + 1).ravel())}


def test_two_phases_in_two_folders(series: list[Path], edit: Edit, volume: Volume) -> None:
    """Nothing in the headers tells them apart, and their numbers are the same."""
    folder = second_phase(series, edit, lambda k, d: None)
    for name, files in (("arterial", list(folder.glob("second-*"))), ("venous", series)):
        (folder / name).mkdir()
        for file in files:
            file.rename(folder / name / file.name)
    with pytest.raises(AmbiguousSeriesError, match=r"in the folder arterial[^$]*in the folder venous"):
        read_study(folder)
    np.testing.assert_array_equal(read(folder, "#2")[0].array, volume.array)
    np.testing.assert_array_equal(read(folder, "#1")[0].array, volume.array + 1)


def test_a_field_that_varies_within_phases_does_not_mix_them(series: list[Path], edit: Edit, volume: Volume) -> None:
    """The tube's current follows the patient: its values are no phases, the numbers are."""
    for k, file in enumerate(series):
        edit(file, lambda d, k=k: [setattr(d, "XRayTubeCurrent", 100 + k % 3), setattr(d, "InstanceNumber", k)])  # type: ignore[misc]
    folder = second_phase(
        series,
        edit,
        lambda k, d: [setattr(d, "XRayTubeCurrent", 103 + k % 2), setattr(d, "InstanceNumber", 50 + k)],
    )
    np.testing.assert_array_equal(read(folder, "#1")[0].array, volume.array)
    np.testing.assert_array_equal(read(folder, "#2")[0].array, volume.array + 1)


def test_instances_without_a_uid(series: list[Path], edit: Edit, volume: Volume) -> None:
    for file in series:
        edit(file, lambda d: setattr(d, "SOPInstanceUID", ""))
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    assert "no instance UID" in said
    assert found.source.sop_uids == ()


@pytest.mark.parametrize("name", ["INDEX", "VERSION.dcm"])
def test_an_index_under_another_name_means_its_folder(name: str, series: list[Path], volume: Volume) -> None:
    index = dcmread(series[0], stop_before_pixels=True)
    index.SOPClassUID = index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    for keyword in ("Rows", "SeriesInstanceUID", "Modality"):
        delattr(index, keyword)
    index.save_as(series[0].parent / name)
    for path in (series[0].parent, series[0].parent / name):
        np.testing.assert_array_equal(read(path)[0].array, volume.array)


def test_a_study_uid_for_each_slice(series: list[Path], edit: Edit, volume: Volume) -> None:
    for file in series:
        edit(
            file,
            lambda d: [
                setattr(d, "StudyInstanceUID", generate_uid()),
                setattr(d, "SeriesInstanceUID", generate_uid()),
            ],
        )
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    assert "read as one series" in said


def test_positions_rounded_to_whole_millimetres(series: list[Path], edit: Edit) -> None:
    """The header's step tells how they were meant, as long as no missing slice could hide behind the rounding."""
    for k, file in enumerate(series):
        edit(file, lambda d, k=k: [written(d, "ImagePositionPatient", "\\".join(placed(k, 1.25, 0)))])  # type: ignore[misc]
        edit(file, lambda d: [setattr(d, "SliceThickness", 1.25), d.pop("SpacingBetweenSlices", None)])
    assert read(series[0].parent)[0].grid.spacing[0] == pytest.approx(1.25, rel=1e-6)
    series[3].unlink()
    with pytest.raises(GeometryError, match=r"missing|unevenly"):
        read_study(series[0].parent)


def test_a_slice_whose_lower_rows_were_lost(series: list[Path], edit: Edit) -> None:
    """A transfer that broke off leaves 0, which is water after the rescale of some scanners."""

    def cut(d: Dataset) -> None:
        pixels = d.pixel_array.copy()
        pixels[15:] = round(-d.RescaleIntercept / d.RescaleSlope)
        d.PixelData = pixels.tobytes()

    edit(series[3], cut)
    with pytest.raises(IntensityError, match=f"rows of one value, first {series[3].name}"):
        read(series[0].parent)


def test_a_tar_without_its_ending(tmp_path: Path, series: list[Path]) -> None:
    made = shutil.make_archive(str(tmp_path / "study"), "tar", series[0].parent)
    renamed = Path(made).rename(tmp_path / "study")
    with pytest.raises(UnreadableFileError, match="is an archive"):
        read_study(renamed)


def test_copies_under_other_names_are_no_phase(series: list[Path], edit: Edit, volume: Volume) -> None:
    for name in ("s (1).dcm", "Kopie von s.dcm"):
        shutil.copy(series[2], series[2].with_name(name))
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    assert "2 files hold" in said
    edit(series[2].with_name("s (1).dcm"), other_pixels)
    with pytest.raises(GeometryError, match="duplicates"):
        read_study(series[0].parent)


def thin(volume: Volume, folder: Path, step: float, n: int, stated: bool) -> tuple[list[Path], np.ndarray]:
    """A series of ``n`` slices a fraction of a millimetre apart, with positions in whole millimetres."""
    array = np.concatenate([volume.array] * (n // len(volume.array) + 1))[:n]
    array = np.rint(array + np.arange(n)[:, None, None] * (array > -500)).astype(np.float32)
    affine = volume.grid.affine.copy()
    affine[:3, 0] *= step / 2.5
    files = write_dicom_series(Volume(array, Grid(array.shape, affine)), folder, seed=3)
    for k, file in enumerate(files):
        d = dcmread(file)
        written(d, "ImagePositionPatient", "\\".join(placed(k, step, 0)))
        d.pop("SpacingBetweenSlices", None)
        d.SliceThickness = step if stated else 2 * step
        d.save_as(file)
    return files, array


@pytest.mark.parametrize(
    ("step", "n", "stated"), [(0.5, 12, True), (0.625, 12, True), (0.625, 30, False), (0.8, 24, False)]
)
def test_steps_below_the_rounding_of_positions(
    step: float, n: int, stated: bool, volume: Volume, tmp_path: Path
) -> None:
    """Neighbours share a position; their numbers tell the order, and the header or the whole extent the step."""
    _, array = thin(volume, tmp_path / "thin", step, n, stated)
    found, said = read(tmp_path / "thin")
    np.testing.assert_array_equal(found.array, array)
    assert found.grid.spacing[0] == pytest.approx(step, rel=1e-6 if stated else 0.02)
    assert "rounded to more than their step" in said


@pytest.mark.parametrize(
    ("step", "n", "stated", "lost"),
    [(0.5, 12, False, ()), (0.625, 30, True, (11,)), (0.625, 12, False, ()), (0.625, 30, False, (9, 10))],
    ids=["as two phases", "one missing", "too few to fit", "two missing"],
)
def test_rounded_steps_that_could_be_something_else(
    step: float, n: int, stated: bool, lost: tuple[int, ...], volume: Volume, tmp_path: Path
) -> None:
    files, _ = thin(volume, tmp_path / "thin", step, n, stated)
    for k in lost:
        files[k].unlink()
    with pytest.raises(KlipError) as caught:
        read_study(tmp_path / "thin")
    assert caught.value.remedy


@pytest.mark.parametrize("missing", [False, True])
def test_two_patients_under_one_series(missing: bool, series: list[Path], edit: Edit) -> None:
    """As where a phantom's or a neighbour's slices were copied into a series; an empty ID is nobody else's."""
    for k, file in enumerate(series):
        edit(file, lambda d, k=k: [setattr(d, "PatientID", ("A" if k < 4 else "" if missing else "B"))])  # type: ignore[misc]
    if missing:
        read(series[0].parent)
        return
    with pytest.raises(AmbiguousSeriesError, match="2 patients") as caught:
        read_study(series[0].parent)
    assert "A" not in caught.value.message.replace("IDs", "")


def test_a_patient_of_its_own_for_each_slice(series: list[Path], edit: Edit, volume: Volume) -> None:
    for k, file in enumerate(series):
        edit(file, lambda d, k=k: [setattr(d, "PatientID", f"anon{k}")])  # type: ignore[misc]
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    assert "a patient of its own" in said


def test_compression_with_loss_is_told(series: list[Path], edit: Edit, volume: Volume) -> None:
    for file in series[:2]:
        edit(file, lambda d: d.compress(JPEGLSNearLossless, jls_error=2, generate_instance_uid=False))
    edit(series[4], lambda d: setattr(d, "LossyImageCompression", "01"))
    found, said = read(series[0].parent)
    np.testing.assert_allclose(found.array, volume.array, atol=2)
    assert "3 slices were compressed with loss" in said


@pytest.mark.parametrize(("slope", "added"), [(1.0, -1000.0), (1.0, 40.0), (1.2, 0.0)])
def test_a_rescale_that_changes_while_stored_values_go_on(
    slope: float, added: float, series: list[Path], edit: Edit
) -> None:
    """As after an export that lost the intercept of some slices; alone, each of them looks like a CT."""
    for file in series[4:]:
        edit(
            file,
            lambda d: [
                setattr(d, "RescaleSlope", slope * float(d.RescaleSlope)),
                setattr(d, "RescaleIntercept", float(d.RescaleIntercept) + added),
            ],
        )
    with pytest.raises(IntensityError, match=r"rescale slope or intercept is wrong|look like stored values"):
        read_study(series[0].parent)


def test_a_rescale_that_changes_with_the_stored_values_is_right(
    volume: Volume, series: list[Path], edit: Edit
) -> None:
    for file in series[4:]:
        edit(
            file,
            lambda d: [
                setattr(d, "PixelData", (d.pixel_array - 100).astype(d.pixel_array.dtype).tobytes()),
                setattr(d, "RescaleIntercept", float(d.RescaleIntercept) + 100),
            ],
        )
    np.testing.assert_allclose(read_study(series[0].parent).array, volume.array, atol=1)


@pytest.mark.parametrize(
    ("image_type", "told"),
    [
        ("DERIVED\\SECONDARY\\AXIAL\\MIP", "maximum intensity projections"),
        ("DERIVED\\PRIMARY\\AXIAL\\CT_SOM5 SPI\\DE_VNC", "a material taken out"),
        ("DERIVED\\PRIMARY\\AXIAL\\MAT_SPECIFIC", "images of one material"),
        ("ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI", ""),
    ],
)
def test_images_that_are_no_plain_slices_are_told(series: list[Path], edit: Edit, image_type: str, told: str) -> None:
    for file in series:
        edit(file, lambda d: setattr(d, "ImageType", image_type.split("\\")))
    notes = [note for note in read(series[0].parent)[0].source.notes if "image type" in note]
    assert len(notes) == bool(told)
    assert all(told in note for note in notes)
