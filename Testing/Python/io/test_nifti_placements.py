"""NIfTI-2, and NIfTI files whose placements contradict each other in orientation or unit."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from test_file_circumstances import AFFINE, nifti, read

from KLIPCore.errors import GeometryError, IntensityError, UnreadableFileError
from KLIPCore.io.study import read_study
from KLIPCore.volume.volume import Volume

TURNED = AFFINE.copy()
TURNED[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]]) @ AFFINE[:3, :3]
MIRRORED = np.diag([-1.0, 1, 1, 1]) @ AFFINE


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.img", "x.img.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_2(name: str, order: str, volume: Volume, tmp_path: Path) -> None:
    """ITK has no reader for it; nibabel wrote it."""
    kind = nib.Nifti2Pair if ".img" in name else nib.Nifti2Image
    image = kind(volume.array.T.astype(f"{order}i2"), AFFINE, kind.header_class(endianness=order))
    nib.save(image, tmp_path / name)
    found, said = read(tmp_path / name)
    np.testing.assert_array_equal(found.array, volume.array)
    np.testing.assert_allclose(found.grid.spacing, [2.5, 0.8, 0.7], rtol=1e-12)
    np.testing.assert_allclose(found.grid.origin, [-50, -60, -300])
    assert said == ""


def test_nifti_2_with_a_rescale(volume: Volume, tmp_path: Path) -> None:
    image = nib.Nifti2Image((volume.array.T + 1024).astype(np.uint16), AFFINE)
    image.header.set_slope_inter(1, -1024)
    nib.save(image, tmp_path / "x.nii")
    data = bytearray((tmp_path / "x.nii").read_bytes())
    data[176:192] = np.array([1.0, -1024.0]).tobytes()  # nibabel writes its own
    data[544:] = (volume.array + 1024).astype("<u2").tobytes()
    (tmp_path / "x.nii").write_bytes(data)
    np.testing.assert_array_equal(read(tmp_path / "x.nii")[0].array, volume.array)


def test_a_nifti_2_header_that_ends_early(volume: Volume, tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(volume.array.T, AFFINE), tmp_path / "x.nii")
    data = (tmp_path / "x.nii").read_bytes()
    for n in (3, 20, 400, 543):
        (tmp_path / "x.nii").write_bytes(data[:n])
        with pytest.raises(UnreadableFileError, match="damaged"):
            read_study(tmp_path / "x.nii")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_slices_that_were_stored_otherwise_than_axial(
    order: tuple[int, int, int], volume: Volume, tmp_path: Path
) -> None:
    """Coronal and sagittal slices beside the patient hold nothing but air, and nothing was lost."""
    array = np.where(volume.array < -500, np.float32(-1000), volume.array)
    turned = AFFINE.copy()
    turned[:3, :3] = AFFINE[:3, list(order)]
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array.T.transpose(order)), turned), tmp_path / "x.nii")
    found, said = read(tmp_path / "x.nii")
    np.testing.assert_array_equal(found.oriented_lps()[0].array, array)
    assert said == ""
    array[3] = -1000.0  # an axial slice was
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array.T.transpose(order)), turned), tmp_path / "x.nii")
    with pytest.raises(IntensityError, match="1 slice holds nothing but one value"):
        read(tmp_path / "x.nii")


@pytest.mark.parametrize(("qform", "words"), [(TURNED, "the patient is turned"), (MIRRORED, "left and right")])
def test_two_orientations_that_differ_are_noted(qform: np.ndarray, words: str, volume: Volume, tmp_path: Path) -> None:
    _, said = read(nifti(volume.array, tmp_path / "x.nii", sform=AFFINE, qform=qform))
    assert "two orientations" in said
    assert words in said


def test_spacings_in_two_units_are_asked_about(volume: Volume, tmp_path: Path) -> None:
    affine = AFFINE @ np.diag([0.5, 0.5, 0.2, 1])
    with pytest.raises(GeometryError, match="in another unit"):
        read_study(nifti(volume.array, tmp_path / "x.nii", sform=affine, pixdim=(3.5, 4.0, 5.0)))


@pytest.mark.parametrize("factor", [0.1, 0.001])
def test_an_affine_that_was_rounded(factor: float, volume: Volume, tmp_path: Path) -> None:
    """Spacing and axes were rounded together: that is no second spacing."""
    turn = np.array([[0.978, -0.208, 0], [0.208, 0.978, 0], [0, 0, 1.0]])
    sform = np.eye(4)
    sform[:3, :3] = np.round(turn @ np.diag([7.03, 8.02, 2.5]) / factor) * factor
    found, said = read(nifti(volume.array, tmp_path / "x.nii", sform=sform, pixdim=(7.03, 8.02, 2.5)))
    np.testing.assert_allclose(found.grid.spacing, [2.5, 8.02, 7.03], rtol=5e-3)
    assert "two spacings" not in said


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("scale", [0.1, 0.001, 100])
def test_a_spacing_that_is_not_in_millimetres(suffix: str, scale: float, volume: Volume, tmp_path: Path) -> None:
    """Centimetres and metres in a file that names no unit: no CT has such voxels."""
    steps = np.array([0.7, 0.8, 2.5]) * scale
    if suffix == ".nii":
        path = nifti(volume.array, tmp_path / "x.nii", sform=np.diag([*steps, 1.0]), pixdim=tuple(steps))
    else:
        path = tmp_path / f"x{suffix}"
        save_with(volume.array, path, steps)
    with pytest.raises(GeometryError, match=r"cannot be|Neither can be trusted") as caught:
        read_study(path)
    assert "mm" in caught.value.message


def save_with(array: np.ndarray, path: Path, spacing: np.ndarray) -> None:
    """Numbers (D, H, W) with a spacing (i, j, k)."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(s) for s in spacing])
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_spacing_of_ones_may_stand_for_none(suffix: str, volume: Volume, tmp_path: Path) -> None:
    save_with(volume.array, tmp_path / f"x{suffix}", np.ones(3))
    assert "may stand for an unknown one" in read(tmp_path / f"x{suffix}")[1]


NRRD = b"space directions: (0.69999999999999996,0,0) (0,0.80000000000000004,0) (0,0,2.5)"
META = b"ElementSpacing = 0.7 0.8 2.5"
CONTRADICTIONS = {
    "both fields": (".nrrd", NRRD, NRRD + b"\nspacings: 1 1 1", "two spacings"),
    "none": (".nrrd", NRRD, b"space directions: none none none", "no spacing"),
    "sheared": (".nrrd", NRRD, b"space directions: (0.7,0,0) (0,0.8,0) (0,1.5,2.5)", "sheared"),
    "matrix": (
        ".mha",
        b"TransformMatrix = 1 0 0 0 1 0 0 0 1",
        b"TransformMatrix = 0.7 0 0 0 0.8 0 0 0 2.5",
        "two spacings",
    ),
    "sheared matrix": (
        ".mha",
        b"TransformMatrix = 1 0 0 0 1 0 0 0 1",
        b"TransformMatrix = 1 0 0 0 1 0 0 0.3 1",
        "sheared",
    ),
    "negative": (".mha", META, b"ElementSpacing = 0.7 0.8 -2.5", "negative"),
    "ones beside a size": (".mha", META, b"ElementSpacing = 1 1 1\nElementSize = 0.7 0.8 2.5", "two spacings"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_axes_of_other_formats_that_contradict_each_other(name: str, volume: Volume, tmp_path: Path) -> None:
    """ITK takes one of them, or 1 mm, without a word."""
    suffix, old, new, words = CONTRADICTIONS[name]
    path = tmp_path / f"x{suffix}"
    save_with(volume.array, path, np.array([0.7, 0.8, 2.5]))
    data = re_spaced(path.read_bytes())
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(GeometryError, match=words) as caught:
        read_study(path)
    assert caught.value.remedy


def re_spaced(data: bytes) -> bytes:
    """The spacing of a MetaImage header as a person writes it."""
    return data.replace(b"0.69999999999999996 0.80000000000000004 2.5", b"0.7 0.8 2.5")


def test_a_long_volume_that_is_narrow_is_told(tmp_path: Path) -> None:
    """Pixels a tenth as large as they are, slices as far apart as they are."""
    array = np.random.default_rng(0).normal(0, 30, (120, 120, 70)).astype(np.int16)
    for side, told in ((2.5, False), (0.25, True)):
        nib.save(nib.Nifti1Image(array, np.diag([side, side, 2.5, 1])), tmp_path / "scan.nii")
        notes = read_study(tmp_path / "scan.nii").source.notes
        assert any("check that its spacing is in mm" in note for note in notes) == told
