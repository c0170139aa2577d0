"""Whatever a path means is read, and numbers that are no Hounsfield units are recognised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from KLIPCore.errors import EmptyInputError, InputError, IntensityError, NotCTError, UnreadableFileError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import FORMATS, write_image
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.volume.volume import Source, Volume


def test_folder_slice_and_file_mean_the_same_volume(volume: Volume, series: list[Path], tmp_path: Path) -> None:
    paths = [series[0].parent, series[4]]
    for suffix in FORMATS:
        paths.append(tmp_path / f"ct{suffix}")
        write_image(volume, paths[-1])
    for path in paths:
        read = read_study(path)
        np.testing.assert_array_equal(read.array, volume.array)
        np.testing.assert_allclose(read.grid.affine, volume.grid.affine, atol=1e-4)


def test_a_slice_means_its_own_series_among_several(volume: Volume, tmp_path: Path) -> None:
    other = volume.with_array(volume.array + 7)
    first = write_dicom_series(volume, tmp_path / "a", seed=1)
    second = write_dicom_series(other, tmp_path / "b", seed=1, series_number=2)
    for n, file in enumerate((*first, *second)):
        file.rename(tmp_path / f"{n}.dcm")
    np.testing.assert_array_equal(read_study(tmp_path / "2.dcm").array, volume.array)
    np.testing.assert_array_equal(read_study(tmp_path / "9.dcm").array, other.array)
    np.testing.assert_array_equal(read_study(tmp_path / "2.dcm", series="2").array, other.array)


def refused(path: Path, kind: type[InputError], *message: str, remedy: str) -> None:
    with pytest.raises(InputError) as caught:
        read_study(path)
    assert type(caught.value) is kind, caught.value
    for words in message:
        assert words in caught.value.message
    assert remedy in caught.value.remedy


def test_nothing_there(tmp_path: Path) -> None:
    refused(tmp_path / "gone", EmptyInputError, "nothing at", remedy="Check the path")
    refused(tmp_path / "gone.nii.gz", EmptyInputError, "nothing at", remedy="Check the path")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "slice").touch()
    refused(tmp_path / "slice", EmptyInputError, "empty", remedy="again")


def test_no_image(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("dear colleague")
    refused(
        tmp_path / "notes.txt",
        UnreadableFileError,
        "notes.txt",
        "neither a DICOM file nor a volume file",
        remedy=".nrrd",
    )


def test_a_dicom_file_that_is_no_ct(series: list[Path], tmp_path: Path) -> None:
    dataset = pydicom.dcmread(series[0])
    dataset.SOPClassUID, dataset.Modality = pydicom.uid.SegmentationStorage, "SEG"
    dataset.save_as(tmp_path / "seg.dcm")
    refused(tmp_path / "seg.dcm", NotCTError, "seg.dcm", "SEG", remedy="CT slice")


def numbers(volume: Volume, change: Callable[[np.ndarray], np.ndarray]) -> Volume:
    """The volume with other numbers."""
    return volume.with_array(change(volume.array))


def test_hounsfield_units_pass_without_a_word(volume: Volume) -> None:
    assert check_ct(volume) == []


@pytest.mark.parametrize(("lo", "hi"), [(-160, 240), (-125, 275), (-200, 300)])
def test_a_clipped_window_passes_with_a_warning(volume: Volume, lo: int, hi: int) -> None:
    assert check_ct(numbers(volume, lambda a: np.clip(a, lo, hi))) == [f"Values are clipped to {lo}..{hi} HU."]


def test_missing_air_is_told(volume: Volume) -> None:
    (warning,) = check_ct(numbers(volume, lambda a: np.where(a < -300, -100 - (a + 1000), a)))
    assert "no air" in warning


def test_padding_is_told(volume: Volume) -> None:
    (warning,) = check_ct(numbers(volume, lambda a: np.where(a < -990, -3024, a)))
    assert "-3024 HU are padding" in warning


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: (a + 1024) / 4095, "normalised"),
        (lambda a: a / 1000, "normalised"),
        (lambda a: (a - a.mean()) / a.std(), "normalised"),
        (lambda a: np.rint(255 * np.clip((a + 125) / 400, 0, 1)), "8-bit"),
        (lambda a: a + 1024, "without the rescale"),
        (lambda a: np.full_like(a, 40), "All voxels have the value 40"),
        (lambda a: a * 1000, "no CT of a body"),
        (lambda a: a - 9000, "no CT of a body"),
    ],
    ids=["0..1", "thousandths", "z-score", "8-bit", "no rescale", "constant", "too high", "too low"],
)
def test_values_that_are_no_hounsfield_units(
    volume: Volume, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    with pytest.raises(IntensityError) as caught:
        check_ct(numbers(volume, change))
    assert message in caught.value.message
    assert "Hounsfield" in caught.value.remedy


def test_another_modality_or_unit(volume: Volume) -> None:
    for other in (
        Volume(volume.array, volume.grid, Source(modality="MR")),
        volume.with_array(volume.array, unit="nats"),
    ):
        with pytest.raises(NotCTError) as caught:
            check_ct(other)
        assert "not CT in HU" in caught.value.message


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "warnings"),
    [
        ("volumes/chaos-set3_ct.nii.gz", []),
        ("volumes/lung1-001_ct_256.nii.gz", []),
        ("volumes/crlm-1004_ct.nii.gz", ["Values down to -3024 HU are padding, not tissue; they count as air."]),
        ("lits-dev/lits00_hu_win-160_240.nii.gz", ["Values are clipped to -160..240 HU."]),
    ],
)
def test_real_volumes(shared_data: Path, name: str, warnings: list[str]) -> None:
    assert check_ct(read_study(shared_data / name)) == warnings


@pytest.mark.shared_data
def test_a_real_8_bit_copy_of_a_ct(shared_data: Path) -> None:
    with pytest.raises(IntensityError, match="8-bit"):
        check_ct(read_study(shared_data / "btcv" / "case0006_ct8.nii.gz"))
