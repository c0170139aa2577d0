"""A volume turned to LPS and back is the volume, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from any_grid import grids, indices
from hypothesis import given, settings

from KLIPCore.errors import GeometryError, IntensityError
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Source, Volume


def numbered(grid: Grid) -> Volume:
    """Every voxel another number, every slice its own instance."""
    names = tuple(f"1.2.{k}" for k in range(grid.shape[0]))
    array = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape)
    return Volume(array, grid, Source(sop_uids=names, files=names))


@settings(max_examples=60, deadline=None)
@given(grid=grids())
def test_there_and_back(grid: Grid) -> None:
    volume = numbered(grid)
    turned, orientation = volume.oriented_lps()
    np.testing.assert_array_equal(orientation.restore(turned.array), volume.array)
    np.testing.assert_array_equal(orientation.apply(volume.array), turned.array)
    mask = turned.array % 3 == 0
    assert orientation.restore(mask).dtype == bool
    np.testing.assert_array_equal(orientation.restore(mask), volume.array % 3 == 0)
    assert orientation.restore(mask).flags.c_contiguous


@settings(max_examples=60, deadline=None)
@given(grid=grids())
def test_every_number_stays_at_its_place(grid: Grid) -> None:
    volume = numbered(grid)
    turned, _ = volume.oriented_lps()
    places = dict(zip(volume.array.ravel(), grid.to_world(indices(grid)), strict=True))
    for number, place in zip(turned.array.ravel(), turned.grid.to_world(indices(turned.grid)), strict=True):
        np.testing.assert_allclose(place, places[number], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(grid=grids())
def test_instances_follow_their_slices(grid: Grid) -> None:
    """While slices are the scanner's slices; a sagittal stack turned to axial slices names none."""
    volume = numbered(grid)
    turned, orientation = volume.oriented_lps()
    if orientation.order[0] != 0:
        assert not turned.source.is_dicom
        return
    per_slice = np.prod(grid.shape[1:])
    for k, uid in enumerate(turned.source.sop_uids):
        assert uid == f"1.2.{int(turned.array[k].min() // per_slice)}"
    assert turned.source.files == turned.source.sop_uids


def test_slices_are_counted_from_the_feet() -> None:
    """A head-first stack of radiological slices seen from above: only k turns round."""
    grid = Grid((4, 3, 2), np.array([[0, 0, 1, 0], [0, 1, 0, 0], [-5.0, 0, 0, 100], [0, 0, 0, 1]]))
    turned, orientation = numbered(grid).oriented_lps()
    assert (orientation.order, orientation.flips) == ((0, 1, 2), (True, False, False))
    np.testing.assert_allclose(turned.grid.origin, [0, 0, 85])
    assert turned.source.sop_uids == ("1.2.3", "1.2.2", "1.2.1", "1.2.0")


def test_a_volume_checks_itself() -> None:
    grid = Grid((2, 3, 4), np.eye(4))
    with pytest.raises(GeometryError, match="shape"):
        Volume(np.zeros((2, 3, 5), np.float32), grid)
    broken = np.zeros((2, 3, 4), np.float32)
    broken[0, 0, :2] = np.nan
    with pytest.raises(IntensityError, match="2 voxels are NaN") as caught:
        Volume(broken, grid)
    assert "-1000 HU" in caught.value.remedy


def test_a_crop_keeps_its_own_instances() -> None:
    grid = Grid((4, 3, 2), np.eye(4))
    part = numbered(grid).cropped(np.s_[1:3, :, 1:])
    assert part.source.sop_uids == ("1.2.1", "1.2.2")
    np.testing.assert_array_equal(part.array, numbered(grid).array[1:3, :, 1:])
    np.testing.assert_allclose(part.grid.to_world((0, 0, 0)), grid.to_world((1, 0, 1)))
