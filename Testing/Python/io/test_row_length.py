"""Rows that are not as long as the header says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage as ndi
from made_volumes import AXIAL
from test_hounsfield_scale import chest

from KLIPCore.errors import GeometryError
from KLIPCore.io.images import read_image, write_image
from KLIPCore.io.row_length import check_rows, row_length
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


def study(array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 5.0)) -> Volume:
    return Volume(np.ascontiguousarray(array, np.float32), Grid.from_itk(array.shape, spacing, (0, 0, 0), np.eye(3)))


def reshaped(array: np.ndarray, width: int) -> np.ndarray:
    """The same numbers in rows of another length, as many rows a slice."""
    height = array.shape[1]
    n = array.size // (height * width)
    return array.ravel()[: n * height * width].reshape(n, height, width)


@pytest.mark.parametrize("width", [100, 118, 119, 121, 125, 150])
def test_a_wrong_number_of_columns_is_refused(width: int) -> None:
    with pytest.raises(GeometryError, match=f"Rows hold {width} pixels by the header, and 120 by what they show"):
        check_ct(study(reshaped(chest(), width)))


@pytest.mark.parametrize("part", [0.4, 0.5, 0.6])
def test_pixels_read_from_a_wrong_place_on_are_refused(part: float) -> None:
    """As where a header is longer or shorter than was assumed."""
    whole = chest()
    check_rows(study(whole))
    _, height, width = whole.shape
    for pixels in (part * width, part * height * width, (part + 3) * width):
        with pytest.raises(GeometryError, match="goes on from one edge of a slice to the opposite one"):
            check_rows(study(np.roll(whole, -int(pixels))))


def test_a_body_on_both_edges_passes() -> None:
    """A field of view inside the body, or that cuts off both its sides, or the outer sides of two legs."""
    body = chest()
    for part in (body[:, 45:80, 30:90], body[:, :, 25:95], body[:, 28:92, 20:100]):
        check_rows(study(part))
        check_rows(study(part.clip(-160, 240)))
    leg = np.hypot(*np.indices((120, 120)) - 60)
    one = np.where(leg < 50, np.where(leg < 38, 55.0, -100.0), -1000.0) + np.where(leg < 12, 700.0, 0.0)
    both = np.hstack([one[:, 35:], one[:, :85]])
    assert both[60, 0] > 0 < both[60, -1]
    noise = np.random.default_rng(0).normal(0, 10, (8, *both.shape))
    check_rows(study(both + noise))


def test_rows_and_columns_exchanged_are_refused(tmp_path: Path) -> None:
    """As of an array whose axes were taken in the other order."""
    array = chest()[:, :90]  # 90 rows of 120
    path = tmp_path / "x.nrrd"
    write_image(study(array.reshape(8, 120, 90)), path)
    with pytest.raises(GeometryError, match="90 pixels by the header, and 120"):
        check_ct(read_study(path))


@pytest.mark.parametrize("angle", [0, 7, 30, 45, 60, 83])
@pytest.mark.parametrize("noise_hu", [0, 60])
def test_slices_that_are_turned_or_noisy_pass(angle: float, noise_hu: float) -> None:
    turned = ndi.rotate(chest()[0], angle, reshape=False, order=1, cval=-1000)
    noisy = turned + np.random.default_rng(0).normal(0, noise_hu, turned.shape)
    assert row_length(noisy) == 120


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 64, 64)), np.random.default_rng(0).normal(0, 50, (3, 64, 64)), chest()[:, :20, :20]],
    ids=["nothing", "noise", "too small"],
)
def test_what_cannot_be_told_passes(array: np.ndarray) -> None:
    check_rows(study(array))


def test_pixels_of_another_shape_are_not_asked() -> None:
    check_rows(Volume(reshaped(chest(), 100), Grid((9, 120, 100), AXIAL @ np.diag([1, 3, 1, 1]))))


def test_real_studies_pass(shared_data: Path) -> None:
    for name in ("volumes/chaos-set3_ct", "volumes/head-cranium_ct", "other/lidc0001_ct_256", "btcv/case0039_ct8"):
        check_rows(read_image(shared_data / f"{name}.nii.gz"))
