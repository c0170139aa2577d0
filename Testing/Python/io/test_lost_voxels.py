"""Voxels that were lost, and numbers that were scaled: what looks like a CT clipped to a window and is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_file_circumstances import outside, read, save

from KLIPCore.errors import IntensityError
from KLIPCore.io.images import write_image
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.volume.volume import Volume

LOST = {
    "a slice": (slice(3, 4), slice(None), slice(None)),
    "two slices": (slice(2, 4), slice(None), slice(None)),
    "a row": (slice(None), 12, slice(None)),
    "columns of one slice": (4, slice(None), slice(9, 12)),
}


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("what", LOST)
def test_nan_that_reach_the_edge_and_are_no_field_of_view(
    suffix: str, what: str, volume: Volume, tmp_path: Path
) -> None:
    array = volume.array.copy()
    array[LOST[what]] = np.nan
    with pytest.raises(IntensityError, match="NaN or infinite, between others"):
        read(save(array, tmp_path / f"x{suffix}"))


def test_a_slice_of_nan_at_the_end_is_air(volume: Volume, tmp_path: Path) -> None:
    """As resampling leaves it beyond the study."""
    array = volume.array.copy()
    array[-1] = np.nan
    found, said = read(save(array, tmp_path / "x.nrrd"))
    assert (found.array[-1] == -1024).all()
    assert "taken for air" in said


def test_two_legs_with_nan_between_them(volume: Volume, tmp_path: Path) -> None:
    """A mask of the body leaves empty columns between the legs; nothing was lost there."""
    array = volume.array.copy()
    y, x = np.mgrid[:24, :20]
    legs = ((y - 12) ** 2 + (x - 5) ** 2 < 16) | ((y - 12) ** 2 + (x - 14) ** 2 < 16)
    array[:, ~legs] = np.nan
    assert "taken for air" in read(save(array, tmp_path / "x.nrrd"))[1]


@pytest.mark.parametrize("value", [0, 100, -1000])
def test_a_slice_of_one_value_between_others(value: float, volume: Volume) -> None:
    array = volume.array.copy()
    array[3] = value
    with pytest.raises(IntensityError, match="nothing but one value, first slice 3"):
        check_ct(volume.with_array(array))


@pytest.mark.parametrize(("value", "lost"), [(0, True), (-1000, False)])
def test_a_slice_of_one_value_at_the_end(value: float, lost: bool, volume: Volume) -> None:
    array = volume.array.copy()
    array[-1] = value
    if not lost:
        check_ct(volume.with_array(array))
        return
    with pytest.raises(IntensityError, match=r"rows of one value|nothing but one value"):
        check_ct(volume.with_array(array))


def head(shape: tuple[int, int, int] = (12, 96, 80)) -> np.ndarray:
    """A skull with a brain in air, as noisy as a head CT: much bone, little fat, much air."""
    y, x = np.mgrid[: shape[1], : shape[2]]
    radius = np.hypot((y - 48) / 40, (x - 40) / 33)
    hu = np.where(radius < 1, 20.0, -1000.0)
    hu[(radius > 0.82) & (radius < 0.97)] = 900
    hu[(radius > 0.88) & (radius < 0.9)] = 400
    hu[radius < 0.8] = 32
    return np.rint(hu[None] + np.random.default_rng(0).normal(0, 8, shape)).clip(-1024, 3071).astype(np.float32)


@pytest.mark.parametrize("divisor", [10, 8, 4])
@pytest.mark.parametrize("whole", [True, False])
def test_a_head_in_parts_of_hounsfield_units(divisor: int, whole: bool, volume: Volume) -> None:
    """A tenth of HU reads as a volume that was clipped at -102: but its air has noise, and its bone no common edge."""
    scaled = head() / divisor
    grid = type(volume.grid)(scaled.shape, volume.grid.affine)
    with pytest.raises(IntensityError, match="scaled and are not Hounsfield") as caught:
        check_ct(Volume(np.rint(scaled) if whole else scaled, grid))
    assert "Hounsfield" in caught.value.remedy


@pytest.mark.parametrize("window", [(-1024, 3071), (-160, 240), (-125, 275), (-100, 300), (-1000, 1000)])
def test_a_head_in_hounsfield_units_passes(window: tuple[int, int], volume: Volume) -> None:
    clipped = head().clip(*window)
    check_ct(Volume(clipped, type(volume.grid)(clipped.shape, volume.grid.affine)))


def test_real_studies_pass_and_their_tenths_do_not(shared_data: Path) -> None:
    for name in ("head-cranium_ct", "crlm-1004_ct"):
        study = read_study(shared_data / "volumes" / f"{name}.nii.gz")
        part = study.array[:40, ::2, ::2]
        small = Volume(part, type(study.grid)(part.shape, study.grid.affine))
        check_ct(small)
        with pytest.raises(IntensityError, match="not Hounsfield"):
            check_ct(small.with_array(part / 10))


def test_filling_outside_the_field_of_view_is_no_loss(volume: Volume, tmp_path: Path) -> None:
    write_image(volume.with_array(np.where(outside(volume), np.float32(0), volume.array)), tmp_path / "x.nrrd")
    assert "filled with 0 HU" in read(tmp_path / "x.nrrd")[1]
