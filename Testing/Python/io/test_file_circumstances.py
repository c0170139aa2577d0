"""Volume files as people have them: numbers that are none, spacings that disagree, headers that leave things open."""

from __future__ import annotations

import os
import re
import struct
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from KLIPCore.errors import GeometryError, IntensityError, KlipError, UnreadableFileError
from KLIPCore.io.images import read_image, write_image
from KLIPCore.io.sinogram import read_sinogram
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.volume.volume import Volume

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr")
AFFINE = np.array([[-0.7, 0, 0, 50], [0, -0.8, 0, 60], [0, 0, 2.5, -300], [0, 0, 0, 1.0]])
"""RAS: what the spacing of the test volume is, and which way its axes run."""
ONES = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(path: Path) -> tuple[Volume, str]:
    """The study, and all that is said about it."""
    volume = read_study(path)
    return volume, " ".join(check_ct(volume))


def save(array: np.ndarray, path: Path) -> Path:
    """Numbers (D, H, W) as a file of any format, NaN included."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([0.7, 0.8, 2.5])
    sitk.WriteImage(image, str(path))
    return path


def nifti(
    array: np.ndarray,
    path: Path,
    *,
    sform: np.ndarray | None = None,
    qform: np.ndarray | None = None,
    pixdim: tuple[float, float, float] = (0.7, 0.8, 2.5),
) -> Path:
    """A NIfTI file whose placements say what they are told to, and not what nibabel would make of them."""
    header = nib.Nifti1Header()
    if qform is not None:
        header.set_qform(qform, 1)
    nib.save(nib.Nifti1Image(array.T, None, header), path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<3f", data, 80, *pixdim)
    struct.pack_into("<2h", data, 252, qform is not None, sform is not None)
    if qform is not None:
        struct.pack_into("<6f", data, 256, *(float(header[f"q{k}"]) for k in QUATERNION))
    if sform is not None:
        struct.pack_into("<12f", data, 280, *sform[:3].ravel())
    path.write_bytes(data)
    return path


QUATERNION = ("uatern_b", "uatern_c", "uatern_d", "offset_x", "offset_y", "offset_z")


def outside(volume: Volume) -> np.ndarray:
    """(D, H, W) bool: the corners of every slice, as they lie outside a round field of view."""
    _, height, width = volume.array.shape
    y, x = np.mgrid[:height, :width]
    corner = ((y - (height - 1) / 2) / height) ** 2 + ((x - (width - 1) / 2) / width) ** 2 > 0.3
    return np.broadcast_to(corner, volume.array.shape)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("filled", [np.nan, np.inf, -np.inf, 0.0, 1e20])
def test_what_lies_outside_the_field_of_view_becomes_air(
    suffix: str, filled: float, volume: Volume, tmp_path: Path
) -> None:
    """ITK makes 0 HU of NaN in a NIfTI file, which is water, and the patient grows into the corners."""
    corners = outside(volume)
    found, said = read(save(np.where(corners, np.float32(filled), volume.array), tmp_path / f"x{suffix}"))
    np.testing.assert_array_equal(found.array, np.where(corners, np.float32(-1024), volume.array))
    assert "outside the field of view" in said


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_gap_inside_the_patient_is_refused(suffix: str, volume: Volume, tmp_path: Path) -> None:
    array = volume.array.copy()
    array[3, 10:12, 9:11] = np.nan
    with pytest.raises(IntensityError, match="4 of them inside the slices"):
        read_study(save(array, tmp_path / f"x{suffix}"))


@pytest.mark.parametrize(
    ("placements", "words"),
    [
        ({"sform": AFFINE, "pixdim": (1, 1, 1)}, "The affine's is taken"),
        ({"sform": AFFINE, "pixdim": (0.07, 0.08, 0.25)}, "The affine's is taken"),
        ({"sform": AFFINE, "qform": ONES, "pixdim": (1, 1, 1)}, "The affine's is taken"),
        ({"sform": ONES, "qform": AFFINE}, "The affine's is taken"),
        ({"sform": AFFINE, "pixdim": (0, 0, 0)}, ""),
        ({"sform": AFFINE}, ""),
        ({"qform": AFFINE}, ""),
        ({"sform": AFFINE + np.diag([1e-6, 0, 0, 0])}, ""),
    ],
)
def test_spacings_that_disagree(placements: dict, words: str, volume: Volume, tmp_path: Path) -> None:
    found, said = read(nifti(volume.array, tmp_path / "x.nii", **placements))
    np.testing.assert_allclose(found.grid.spacing, [2.5, 0.8, 0.7], rtol=1e-5)
    np.testing.assert_array_equal(found.array, volume.array)
    assert words in said
    assert bool(said) == bool(words)


@pytest.mark.parametrize(
    "placements",
    [
        {"sform": ONES},
        {"sform": AFFINE @ np.diag([1, 1, 2, 1]), "qform": AFFINE},
        {"sform": AFFINE @ np.diag([10, 10, 10, 1])},
        {"pixdim": (0, 0, 0)},
    ],
)
def test_spacings_of_which_none_can_be_trusted(placements: dict, volume: Volume, tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="spacing") as caught:
        read_study(nifti(volume.array, tmp_path / "x.nii", **placements))
    assert "DICOM" in caught.value.remedy


@pytest.mark.parametrize("pixdim", [(0.7, 0.8, 2.5), (1, 1, 1)])
def test_a_file_that_does_not_say_which_side_is_left(
    pixdim: tuple[float, float, float], volume: Volume, tmp_path: Path
) -> None:
    _, said = read(nifti(volume.array, tmp_path / "x.nii", pixdim=pixdim))
    assert "left and right are assumed" in said
    assert ("may stand for an unknown one" in said) == (pixdim == (1, 1, 1))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_neither_side_nor_spacing_in_other_formats(suffix: str, volume: Volume, tmp_path: Path) -> None:
    path = save(volume.array, tmp_path / f"x{suffix}")
    data = path.read_bytes()
    places = rb"^(space[^\n]*|TransformMatrix[^\n]*|AnatomicalOrientation[^\n]*)\n"
    without = re.sub(places, b"", data, flags=re.M)
    path.write_bytes(without.replace(b"kinds:", b"spacings: 0.7 0.8 2.5\nkinds:"))
    found, said = read(path)
    np.testing.assert_allclose(found.grid.spacing, [2.5, 0.8, 0.7])
    assert "left and right are assumed" in said
    path.write_bytes(re.sub(rb"ElementSpacing[^\n]*\n", b"", without))
    with pytest.raises(GeometryError, match="no spacing"):
        read_study(path)


def test_a_rotation_rounded_to_two_decimals(volume: Volume, tmp_path: Path) -> None:
    a, b = np.cos(0.61), np.sin(0.61)
    turn = np.array([[1, 0, 0], [0, a, -b], [0, b, a]]) @ np.array([[a, -b, 0], [b, a, 0], [0, 0, 1]])
    sform = np.eye(4)
    sform[:3, :3] = np.round(turn, 2) * [0.7, 0.8, 2.5]
    found, said = read(nifti(volume.array, tmp_path / "x.nii", sform=sform))
    directions = found.grid.directions
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(found.grid.spacing, [2.5, 0.8, 0.7], rtol=1e-5)
    assert "not at right angles, as if rounded" in said


def test_a_shear_is_no_rounding(volume: Volume, tmp_path: Path) -> None:
    sform = AFFINE.copy()
    sform[0, 2] = 0.8
    with pytest.raises(GeometryError, match="sheared"):
        read_study(nifti(volume.array, tmp_path / "x.nii", sform=sform))


@pytest.mark.parametrize("named", ["x.hdr", "x.img"])
def test_nifti_in_two_files(named: str, volume: Volume, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(volume.array.T, AFFINE), tmp_path / "x.img")
    np.testing.assert_array_equal(read(tmp_path / named)[0].array, volume.array)
    (tmp_path / {"x.hdr": "x.img", "x.img": "x.hdr"}[named]).unlink()
    with pytest.raises(UnreadableFileError, match="one file of a pair"):
        read_study(tmp_path / named)


def test_analyze_is_no_nifti(volume: Volume, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nib.save(nib.AnalyzeImage(volume.array.T.astype(np.int16), AFFINE), tmp_path / "x.img")
    with pytest.raises(UnreadableFileError, match="which side is left"):
        read_study(tmp_path / "x.hdr")


@pytest.mark.parametrize("packed", [True, False])
def test_a_detached_nrrd(packed: bool, volume: Volume, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(volume.array)
    sitk.WriteImage(image, str(tmp_path / "x.nhdr"), useCompression=packed)
    np.testing.assert_array_equal(read(tmp_path / "x.nhdr")[0].array, volume.array)
    numbers = tmp_path / ("x.raw.gz" if packed else "x.raw")
    numbers.rename(tmp_path / "y.raw")
    with pytest.raises(UnreadableFileError, match="not beside it") as caught:
        read_study(tmp_path / "x.nhdr")
    assert "one folder" in caught.value.remedy


def corners_of(value: float):
    def change(array: np.ndarray) -> np.ndarray:
        filled = array.copy()
        filled[:, :3], filled[:, -3:] = value, value
        return filled

    return change


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize(
    "change",
    {
        "stored, padded with -2000": lambda a: corners_of(-2000)(a + 1024),
        "stored, padded with -1024": lambda a: corners_of(-1024)(a + 1024),
        "stored, padded with -1": lambda a: corners_of(-1)(a + 1024),
        "stored from -1000 on": lambda a: corners_of(-2000)(a + 1000),
        "MR with noise below 0": lambda a: np.abs(a + 1000) * 0.4 + np.where(a < -1040, -9.0, 0.0),
        "8-bit with a sign": lambda a: np.rint(np.clip((a + 160) / 400, 0, 1) * 255) - 128,
        "tenths of a HU": lambda a: a / 10,
        "ten times": lambda a: a * 10,
        "turned round": lambda a: -a,
        "-1 to 1": lambda a: np.clip((a + 160) / 200 - 1, -1, 1),
    }.items(),
    ids=lambda item: item[0] if isinstance(item, tuple) else str(item),
)
def test_numbers_that_are_no_hounsfield_units(suffix: str, change: tuple, volume: Volume, tmp_path: Path) -> None:
    write_image(volume.with_array(change[1](volume.array.astype(np.float64))), tmp_path / f"x{suffix}")
    with pytest.raises(IntensityError) as caught:
        read(tmp_path / f"x{suffix}")
    assert "Hounsfield" in caught.value.remedy


def test_reading_an_image_that_is_no_study_changes_nothing(volume: Volume, tmp_path: Path) -> None:
    array = np.where(outside(volume), np.float32(0), volume.array)
    write_image(volume.with_array(array), tmp_path / "x.nrrd")
    np.testing.assert_array_equal(read_image(tmp_path / "x.nrrd").array, array)


RIGHT = {
    "01-dicomdir-beside-slices": (5, ""),
    "01-dicomdir-beside-slices/DICOMDIR": (5, ""),
    "02-nifti-nan-outside.nii.gz": (5, "taken for air"),
    "03-nifti-sform-true-pixdim-1.nii.gz": (5, "The affine's is taken"),
    "04-stored-values-padding-dicom": (None, "stored values without the rescale"),
    "04-stored-values-padding.nii.gz": (None, "stored values without the rescale"),
    "07-sinogram-degrees.npz": (None, "look like degrees"),
    "08-sinogram-counts.npz": (None, "-log(I / I0)"),
    "12-same-instance-twice": (5, "2 files hold an instance"),
    "13-jpeg-lossless": (5, ""),
    "14-positions-rounded": (0.625, "rounded"),
    "15-rescale-type-word": (5, ""),
    "16-series-uid-empty": (5, "read as one series"),
    "17-frame-of-reference-each": (5, "frame of reference"),
    "18-decimal-comma": (5, "decimal comma"),
    "19-localizer-unmarked": (5, "left out (s08.dcm)"),
    "21-detached.nhdr": (5, ""),
    "22-multiframe-classic": (None, "8 frames in one file"),
    "28-two-phases": (None, "acquisition 2"),
}
"""Slice step in mm, None where the case is refused; and words that are said."""


@pytest.mark.parametrize("name", RIGHT)
def test_the_cases_themselves(name: str, shared_cases: Path) -> None:
    step, words = RIGHT[name]
    path = shared_cases / name
    if step is None:
        with pytest.raises(KlipError) as caught:
            read_sinogram(path) if name.endswith(".npz") else read(path)
        assert words in f"{caught.value.message} {caught.value.remedy}"
        return
    found, said = read(path)
    assert found.grid.spacing[0] == pytest.approx(step, abs=1e-3)
    np.testing.assert_allclose(found.grid.spacing[1:], 3.2188, atol=1e-3)
    assert words in said


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_name_that_is_no_utf8(suffix: str, volume: Volume, tmp_path: Path) -> None:
    """ITK ends the whole process on such a name: its formats are refused, NIfTI is read without it."""
    named = tmp_path / (os.fsdecode(b"caf\xe9") + suffix)
    try:
        save(volume.array, tmp_path / f"x{suffix}").rename(named)
    except OSError:
        pytest.skip("this file system takes no such names")
    if suffix.startswith(".nii"):
        np.testing.assert_array_equal(read(named)[0].array, volume.array)
        return
    with pytest.raises(UnreadableFileError, match="not written in UTF-8") as caught:
        read_study(named)
    assert "Rename it" in caught.value.remedy


@pytest.mark.parametrize(
    ("suffix", "size", "more"),
    [(".mha", b"DimSize = 20 24 7", b"DimSize = 20 24 9"), (".nrrd", b"sizes: 20 24 7", b"sizes: 20 24 9")],
)
def test_a_compressed_stream_that_ends_before_the_volume(
    suffix: str, size: bytes, more: bytes, volume: Volume, tmp_path: Path
) -> None:
    """ITK fills up with zeros, which are water."""
    write_image(volume, tmp_path / f"x{suffix}")
    data = (tmp_path / f"x{suffix}").read_bytes()
    assert size in data
    (tmp_path / f"x{suffix}").write_bytes(data.replace(size, more))
    with pytest.raises(UnreadableFileError, match="damaged"):
        read_study(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize(("slices", "fine"), [(7, True), (6, False), (8, False)])
def test_plain_numbers_that_are_not_as_many_as_their_header_says(
    suffix: str, slices: int, fine: bool, volume: Volume, tmp_path: Path
) -> None:
    """A header beside the numbers of another volume: more of them are as wrong as fewer."""
    (tmp_path / "numbers of it.raw").write_bytes(volume.array.tobytes())
    depth, height, width = slices, *volume.array.shape[1:]
    header = {
        ".mhd": f"ObjectType = Image\nNDims = 3\nDimSize = {width} {height} {depth}\nElementSpacing = .7 .8 2.5\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementType = MET_FLOAT\nElementByteOrderMSB = False\n"
        "ElementDataFile = numbers of it.raw\n",
        ".nhdr": f"NRRD0004\ntype: float\ndimension: 3\nspace: LPS\nsizes: {width} {height} {depth}\n"
        "space directions: (.7,0,0) (0,.8,0) (0,0,2.5)\nspace origin: (0,0,0)\nendian: little\nencoding: raw\n"
        "data file: numbers of it.raw\n\n",
    }
    (tmp_path / f"x{suffix}").write_text(header[suffix], encoding="ascii")
    if fine:
        np.testing.assert_array_equal(read_study(tmp_path / f"x{suffix}").array, volume.array)
        return
    with pytest.raises(UnreadableFileError):
        read_study(tmp_path / f"x{suffix}")
