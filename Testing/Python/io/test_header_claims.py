"""What a volume file's header claims and its numbers, or its maker, contradict: lost slices, other units, an MR."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from KLIPCore.errors import EmptyInputError, GeometryError, KlipError, NotCTError, UnreadableFileError
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.volume.volume import Volume

NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: {size}
space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)
endian: little
encoding: raw
space origin: (0,0,0)

"""
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
ElementSpacing = 0.7 0.8 2.5
DimSize = {size}
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""
HEADS = {".nrrd": NRRD, ".mha": META}
PACKED = {
    ".nrrd": ("encoding: raw", "encoding: gzip"),
    ".mha": ("CompressedData = False", "CompressedData = True"),
}
LINE_OF = {".nrrd": "space: left-posterior-superior\n", ".mha": "NDims = 3\n"}


def write(
    path: Path, array: np.ndarray, size: tuple[int, ...] | None = None, swap: tuple[str, str] = ("", "")
) -> Path:
    """Numbers (D, H, W) behind a header that claims another size, or in which one text is swapped for another."""
    head = HEADS[path.suffix].format(size=" ".join(map(str, size or array.shape[::-1])))
    assert swap[0] in head
    numbers = array.astype("<i2").tobytes()
    if swap[1] == "encoding: gzip":
        numbers = gzip.compress(numbers)
    if swap[1] == "CompressedData = True":
        numbers = zlib.compress(numbers)
        head = head.replace("ElementType", f"CompressedDataSize = {len(numbers)}\nElementType")
    path.write_bytes(head.replace(swap[0], swap[1], 1 if swap[0] else 0).encode() + numbers)
    return path


def read(path: Path) -> Volume:
    volume = read_study(path)
    check_ct(volume)
    return volume


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", [".nrrd", ".nrrd gz", ".mha", ".mha gz", ".nii", ".nii.gz", ".img"])
def test_a_header_of_fewer_slices_rows_or_columns(kind: str, axis: int, volume: Volume, tmp_path: Path) -> None:
    """A slice would be lost without a word, and a row or column would shear all the others."""
    suffix, _, packed = kind.partition(" ")
    path, whole = tmp_path / f"x{suffix}", volume.array.astype(np.int16)
    fewer = list(whole.shape)
    fewer[axis] -= 1
    if suffix in HEADS:
        swap = PACKED[suffix] if packed else ("", "")
        np.testing.assert_array_equal(read(write(path, whole, swap=swap)).array, whole)
        write(path, whole, tuple(fewer[::-1]), swap)
    else:
        affine = np.diag([-0.7, -0.8, 2.5, 1])
        (nib.Nifti1Pair if suffix == ".img" else nib.Nifti1Image)(whole.T, affine).to_filename(path)
        np.testing.assert_array_equal(read(path).array, whole)
        header = path.with_suffix(".hdr") if suffix == ".img" else path
        data = bytearray(gzip.decompress(header.read_bytes()) if suffix.endswith(".gz") else header.read_bytes())
        data[42:48] = np.array(fewer[::-1], "<i2").tobytes()
        header.write_bytes(gzip.compress(bytes(data)) if suffix.endswith(".gz") else bytes(data))
    with pytest.raises(UnreadableFileError, match="sizes or type are wrong"):
        read_study(path)


def test_a_byte_behind_the_numbers_is_no_lost_slice(volume: Volume, tmp_path: Path) -> None:
    for suffix in HEADS:
        path = write(tmp_path / f"x{suffix}", volume.array)
        path.write_bytes(path.read_bytes() + b"\n")
        np.testing.assert_array_equal(read(path).array, volume.array)


@pytest.mark.parametrize(
    ("suffix", "unit"),
    [
        (".nrrd", 'space units: "cm" "cm" "cm"\n'),
        (".nrrd", 'space units: "m" "m" "m"\n'),
        (".mha", "DistanceUnits = um\n"),
    ],
)
def test_a_spacing_that_its_header_gives_in_another_unit(
    suffix: str, unit: str, volume: Volume, tmp_path: Path
) -> None:
    line = LINE_OF[suffix]
    path = write(tmp_path / f"x{suffix}", volume.array, swap=(line, line + unit))
    with pytest.raises(GeometryError, match="not in mm"):
        read_study(path)
    in_mm = unit.replace("cm", "mm").replace("um", "mm").replace('"m"', '"mm"')
    np.testing.assert_allclose(
        read(write(path, volume.array, swap=(line, line + in_mm))).grid.spacing, [2.5, 0.8, 0.7]
    )


@pytest.mark.parametrize(
    "swap",
    [
        ("space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)", "spacings: 0.7 0.8 nan"),
        ("space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)", "spacings: 0.7 nan 2.5"),
        ("(0,0,2.5)", "(nan,nan,nan)"),
    ],
)
def test_a_spacing_of_two_axes_alone(swap: tuple[str, str], volume: Volume, tmp_path: Path) -> None:
    """ITK takes 1 mm for the third."""
    with pytest.raises(GeometryError, match="gives no spacing"):
        read_study(write(tmp_path / "x.nrrd", volume.array, swap=swap))


@pytest.mark.parametrize(
    ("suffix", "line"),
    [
        (".mha", "Modality = MET_MOD_MR\n"),
        (".nrrd", "modality:=DWMRI\n"),
        (".nrrd", "DICOM_0008_0060:=MR\n"),
        (".nrrd", "DICOM_0008_0060:=PT\n"),
    ],
)
def test_a_header_that_names_another_modality(suffix: str, line: str, volume: Volume, tmp_path: Path) -> None:
    before = LINE_OF[suffix]
    with pytest.raises(NotCTError, match="not CT in HU"):
        read(write(tmp_path / f"x{suffix}", volume.array, swap=(before, before + line)))
    ct = line.replace("DWMRI", "CT").replace("MR", "CT").replace("PT", "CT")
    read(write(tmp_path / f"x{suffix}", volume.array, swap=(before, before + ct)))


def test_numbers_that_are_packed_or_ordered_in_a_way_that_is_not_read(volume: Volume, tmp_path: Path) -> None:
    path = write(tmp_path / "x.nrrd", volume.array, swap=("encoding: raw", "encoding: bzip2"))
    head, _, numbers = path.read_bytes().partition(b"\n\n")
    path.write_bytes(head + b"\n\n" + bz2.compress(numbers))
    with pytest.raises(UnreadableFileError, match="packed as bzip2") as caught:
        read_study(path)
    assert "gzip" in caught.value.remedy
    with pytest.raises(UnreadableFileError, match="order of the bytes"):
        read_study(write(path, volume.array, swap=("endian: little\n", "")))


def test_a_pair_in_a_folder_is_named(volume: Volume, tmp_path: Path) -> None:
    nib.Nifti1Pair(volume.array.T, np.eye(4)).to_filename(tmp_path / "ct.img")
    packed = tmp_path / "ct.img.gz"
    packed.write_bytes(gzip.compress((tmp_path / "ct.img").read_bytes()))
    (tmp_path / "ct.img").unlink()
    with pytest.raises(EmptyInputError) as caught:
        read_study(tmp_path)
    assert isinstance(caught.value, KlipError)
    assert "Give that file" in caught.value.remedy


@pytest.mark.parametrize(
    ("suffix", "swap", "error", "words"),
    [
        (".nrrd", ("(0.7,0,0)", "none"), GeometryError, "no spacing"),
        (".mha", ("DimSize", "ElementSpacing = 1 1 1\nDimSize"), UnreadableFileError, "ElementSpacing twice"),
        (".mha", ("Offset", "Rotation = 0 1 0 1 0 0 0 0 1\nOffset"), GeometryError, "axes twice"),
        (".mha", ("Offset", "Position = 0 0 9\nOffset"), GeometryError, "place twice"),
        (".mha", ("NDims = 3", "NDims = 3\nElementToIntensityFunctionSlope = 2"), UnreadableFileError, "times 2"),
        (".mha", ("NDims = 3", "NDims = 3\nElementToIntensityFunctionOffset = -1024"), UnreadableFileError, "-1024"),
    ],
)
def test_what_a_header_leaves_out_says_twice_or_asks_for_in_vain(
    suffix: str, swap: tuple[str, str], error: type[KlipError], words: str, volume: Volume, tmp_path: Path
) -> None:
    """ITK takes 1 mm, the last of two, and the numbers as they are."""
    array = volume.array.astype(np.int16)
    with pytest.raises(error, match=words):
        read_study(write(tmp_path / f"ct{suffix}", array, swap=swap))
    read_study(write(tmp_path / f"same{suffix}", array, swap=(swap[0], swap[0])))
