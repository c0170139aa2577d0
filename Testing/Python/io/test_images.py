"""Volume files: numbers and places survive, are where nibabel and ITK say, and damage is noticed."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_volumes import ct_like, kl_map, oblique

from KLIPCore.errors import GeometryError, InputError, IntensityError, NotCTError, OutputError, UnreadableFileError
from KLIPCore.io.images import FORMATS, read_image, write_image
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

PRECISION_MM = {".nii": 1e-3, ".nii.gz": 1e-3, ".nrrd": 1e-9, ".mha": 1e-9, ".mhd": 1e-9}
"""NIfTI stores its affine as float32: at 1000 mm that is 6e-5 mm."""


def assert_same_place(read: Grid, grid: Grid, atol: float) -> None:
    assert read.shape == grid.shape
    np.testing.assert_allclose(read.affine, grid.affine, atol=atol)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("suffix", FORMATS)
def test_round_trip(tmp_path: Path, suffix: str, mirrored: bool) -> None:
    for seed in range(5):
        volume = kl_map(seed, mirrored)
        path = tmp_path / f"map{seed}{suffix}"
        write_image(volume, path, "KL map in nats")
        read = read_image(path)
        assert read.array.dtype == np.float32
        np.testing.assert_array_equal(read.array, volume.array)
        assert_same_place(read.grid, volume.grid, PRECISION_MM[suffix])
        assert read.source.path == str(path)
        assert read.source.description == f"map{seed}"
        if not suffix.startswith(".nii"):
            assert read.unit == "nats"


@settings(max_examples=25, deadline=None)
@given(
    array=arrays(np.float32, (2, 3, 4), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    seed=st.integers(0, 2**31),
    suffix=st.sampled_from(FORMATS),
)
def test_any_float32_survives(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, seed: int, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"x{suffix}"
    volume = Volume(array, oblique((2, 3, 4), seed))
    write_image(volume, path)
    np.testing.assert_array_equal(read_image(path).array, array)
    assert_same_place(read_image(path).grid, volume.grid, PRECISION_MM[suffix])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nibabel_finds_every_voxel_at_its_place(tmp_path: Path, suffix: str) -> None:
    """Absolute, through another library: nibabel's RAS is our LPS with x and y negated."""
    volume = kl_map(3)
    write_image(volume, tmp_path / f"map{suffix}", "KL map in nats")
    image = nib.load(tmp_path / f"map{suffix}")
    data = np.asarray(image.dataobj)
    assert data.dtype == np.float32
    for k, j, i in np.ndindex(*volume.grid.shape):
        assert data[i, j, k] == volume.array[k, j, i]
    index = np.array(list(np.ndindex(*volume.grid.shape)))
    ras = nib.affines.apply_affine(image.affine, index[:, ::-1])
    np.testing.assert_allclose(ras * [-1, -1, 1], volume.grid.to_world(index), atol=1e-3)
    assert image.header["descrip"].item() == b"KL map in nats"


def test_a_nifti_made_by_nibabel_lands_in_lps(tmp_path: Path) -> None:
    """A golden value: RAS (10, 20, 30) is LPS (-10, -20, 30), whatever the axes."""
    affine = np.array([[0, 0, 2.0, 10], [-3.0, 0, 0, 20], [0, 1.5, 0, 30], [0, 0, 0, 1]])
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "x.nii.gz")
    volume = read_image(tmp_path / "x.nii.gz")
    np.testing.assert_allclose(volume.grid.to_world((0, 0, 0)), [-10, -20, 30], atol=1e-5)
    np.testing.assert_allclose(volume.grid.to_world((3, 2, 1)), [-16, -17, 33], atol=1e-5)
    assert volume.array[3, 2, 1] == data[1, 2, 3]


@pytest.mark.parametrize("suffix", FORMATS)
def test_simpleitk_agrees(tmp_path: Path, suffix: str) -> None:
    volume = kl_map(4)
    write_image(volume, tmp_path / f"map{suffix}")
    image = sitk.ReadImage(str(tmp_path / f"map{suffix}"))
    assert image.GetPixelID() == sitk.sitkFloat32
    for index in ((0, 0, 0), (4, 6, 5), (2, 0, 3)):
        k, j, i = index
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint((i, j, k)), volume.grid.to_world(index), atol=PRECISION_MM[suffix]
        )
        assert image[i, j, k] == volume.array[index]


def test_scaled_integers_are_rescaled(tmp_path: Path) -> None:
    """NIfTI's scl_slope and scl_inter are part of the number."""
    image = nib.Nifti1Image(np.full((2, 3, 4), 1064, np.int16), np.eye(4))
    nib.save(image, tmp_path / "x.nii")
    data = bytearray((tmp_path / "x.nii").read_bytes())
    data[112:120] = np.array([0.5, -1024], "<f4").tobytes()
    (tmp_path / "x.nii").write_bytes(data)
    assert (nib.load(tmp_path / "x.nii").get_fdata() == -492).all()
    assert (read_image(tmp_path / "x.nii").array == -492).all()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "map.mhd"
    for seed in (1, 2):
        write_image(kl_map(seed), path)
        np.testing.assert_array_equal(read_image(path).array, kl_map(seed).array)
    assert sorted(p.name for p in path.parent.iterdir()) == ["map.mhd", "map.zraw"]
    before = path.read_bytes()
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(GeometryError, match="right angles"):
        write_image(Volume(np.zeros((2, 2, 2), np.float32), Grid((2, 2, 2), sheared)), path)
    assert path.read_bytes() == before


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_image(kl_map(), tmp_path / "file" / "map.nrrd")
    assert "permissions" in caught.value.remedy
    with pytest.raises(OutputError, match="no extension") as caught:
        write_image(kl_map(), tmp_path / "map.png")
    assert ".nrrd" in caught.value.remedy
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def refused(path: Path, kind: type[InputError], *message: str, remedy: str) -> None:
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert type(caught.value) is kind, caught.value
    for words in (path.name, *message):
        assert words in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("suffix", FORMATS)
def test_truncated(tmp_path: Path, suffix: str, part: float) -> None:
    """ITK itself reads a cut NIfTI without a word and fills it with zeros."""
    path = tmp_path / f"map{suffix}"
    noise = np.random.default_rng(0).normal(size=(9, 20, 20)).astype(np.float32)
    write_image(Volume(noise, oblique((9, 20, 20), 0)), path)
    cut = path.with_suffix(".zraw") if suffix == ".mhd" else path
    data = cut.read_bytes()
    cut.write_bytes(data[: int(part * len(data))])
    refused(path, UnreadableFileError, remedy="again")


@pytest.mark.parametrize("order", "<>")
def test_a_nifti_without_its_last_byte(tmp_path: Path, order: str) -> None:
    """In both byte orders: what is missing is counted by the header's own numbers."""
    data = np.random.default_rng(0).integers(-1024, 3071, (3, 4, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.eye(4), header=nib.Nifti1Header(endianness=order)), tmp_path / "x.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "x.nii").array, data.T)
    (tmp_path / "x.nii").write_bytes((tmp_path / "x.nii").read_bytes()[:-1])
    refused(tmp_path / "x.nii", UnreadableFileError, "cut short", remedy="again")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_one_wrong_byte_in_compressed_numbers(tmp_path: Path, suffix: str) -> None:
    """ITK does not look at the checksums of NRRD and MetaImage and returns other numbers."""
    path = tmp_path / f"map{suffix}"
    write_image(
        Volume(np.random.default_rng(0).normal(size=(9, 20, 20)).astype(np.float32), oblique((9, 20, 20), 0)), path
    )
    body = path.with_suffix(".zraw") if suffix == ".mhd" else path
    data = body.read_bytes()
    rng = np.random.default_rng(1)
    for place in [
        *rng.integers(1000, len(data) - 8, 20),
        len(data) - 5 + (suffix == ".mhd"),
    ]:  # the last: in the checksum
        flipped = bytearray(data)
        flipped[place] ^= int(rng.integers(1, 256))
        body.write_bytes(flipped)
        refused(path, UnreadableFileError, remedy="again")
    body.write_bytes(data)
    assert read_image(path).array.shape == (9, 20, 20)


@pytest.mark.parametrize("size", [b"", b"0", b"7", b"x"])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_a_length_of_compressed_numbers_that_is_not_theirs(tmp_path: Path, suffix: str, size: bytes) -> None:
    """ITK unpacks no more than the header says, and leaves the rest as the memory was, of another patient perhaps."""
    array = ct_like((6, 16, 16))
    image = sitk.GetImageFromArray(array.astype(np.int16))
    image.SetSpacing((0.8, 0.7, 2.5))
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(image, str(path), useCompression=True)
    np.testing.assert_array_equal(read_image(path).array, array)
    data = path.read_bytes()
    stated = b"CompressedDataSize = %b\n" % size if size else b""
    changed = re.sub(rb"CompressedDataSize = \d+\n", stated, data, count=1)
    assert changed != data
    path.write_bytes(changed)
    with pytest.raises(UnreadableFileError, match="damaged"):
        read_image(path)


def test_uncompressed_files_of_others(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32))
    for suffix in FORMATS:
        sitk.WriteImage(image, str(tmp_path / f"x{suffix}"), useCompression=False)
        np.testing.assert_array_equal(read_image(tmp_path / f"x{suffix}").array, sitk.GetArrayFromImage(image))


def test_unknown_extension(tmp_path: Path) -> None:
    (tmp_path / "ct.jpg").write_bytes(b"no volume")
    refused(tmp_path / "ct.jpg", UnreadableFileError, "unknown format", remedy=".nii.gz")


def test_another_file_under_a_known_extension(tmp_path: Path) -> None:
    for name in ("ct.nrrd", "ct.nii", "ct.mha"):
        (tmp_path / name).write_text("this is a letter, not a volume\n" * 40)
        refused(tmp_path / name, UnreadableFileError, remedy="again")
    with gzip.open(tmp_path / "ct.nii.gz", "wb") as file:
        file.write(b"letter" * 100)
    refused(tmp_path / "ct.nii.gz", UnreadableFileError, remedy="again")


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "ct.nrrd", UnreadableFileError, remedy="again")


def test_a_picture(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5), np.float32)), str(tmp_path / "x.nrrd"))
    refused(tmp_path / "x.nrrd", GeometryError, "single picture of 5x4", remedy="3-D")


def test_four_dimensions(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 3), np.float32), np.eye(4)), tmp_path / "x.nii.gz")
    refused(tmp_path / "x.nii.gz", GeometryError, "4 dimensions (4, 5, 6, 3)", remedy="one time point")


def test_a_fourth_axis_of_one_is_dropped(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(4, 5, 6, 1)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "x.nii.gz")
    read = read_image(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(read.array, data[..., 0].T)
    np.testing.assert_allclose(read.grid.spacing, [3, 2, 1])


def test_colour_and_complex_voxels(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True), str(tmp_path / "x.mha"))
    refused(tmp_path / "x.mha", NotCTError, "3 numbers per voxel", remedy="Hounsfield")
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.complex64), np.eye(4)), tmp_path / "x.nii")
    refused(tmp_path / "x.nii", NotCTError, "complex", remedy="Hounsfield")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan(tmp_path: Path, value: float) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[1, 2, 3] = value
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "x.nrrd"))
    refused(tmp_path / "x.nrrd", IntensityError, "1 voxels are NaN or infinite", remedy="-1000 HU")


def test_sheared_axes(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 2] = 0.3
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), affine)
    image.set_qform(None, 0)
    image.set_sform(affine, 1)
    nib.save(image, tmp_path / "x.nii")
    refused(tmp_path / "x.nii", GeometryError, "sheared", remedy="Resample")
