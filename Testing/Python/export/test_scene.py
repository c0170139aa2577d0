"""Display order: patient right on image left, feet first, whatever the storage order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from maps.grids import grids

from KLIPCore.errors import GeometryError
from KLIPCore.export.scene import Scene, direction_letters
from KLIPCore.maps.regions import find_regions
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

SHAPE = (4, 6, 5)


def volume(grid: Grid, array: np.ndarray | None = None, unit: str = "nats") -> Volume:
    return Volume(
        np.random.default_rng(1).uniform(0, 9, grid.shape).astype(np.float32) if array is None else array,
        grid,
        unit=unit,
    )


@given(grids(SHAPE))
@settings(max_examples=40, deadline=None)
def test_everything_is_turned_alike_and_stays_where_it_is(grid: Grid) -> None:
    kl = volume(grid)
    where = grid.to_world(np.moveaxis(np.indices(SHAPE), 0, -1))
    z = Volume(where[..., 2].astype(np.float32), grid)
    significant = kl.array > 8
    regions = find_regions(kl, significant, 1.0 - significant, kl.array)
    scene = Scene.of(z, kl, regions, reconstruction=z)
    shown = scene.grid.to_world(np.moveaxis(np.indices(scene.grid.shape), 0, -1))
    np.testing.assert_allclose(
        scene.ct, shown[..., 2], atol=1e-3
    )  # the voxel at each shown place is the voxel of that place
    np.testing.assert_array_equal(scene.labels > 0, scene.kl > 8)
    assert scene.reconstruction is not None
    np.testing.assert_array_equal(scene.reconstruction, scene.ct)
    for region in regions:
        touched = np.flatnonzero((scene.labels == region.label).any((1, 2)))
        assert (touched[0], touched[-1]) == region.slices
        assert all(region in scene.regions_on(s) for s in touched)


def test_letters_of_upright_and_oblique_axes() -> None:
    up = Scene.of(
        volume(Grid.from_itk(SHAPE, (1, 1, 1), (0, 0, 0), np.eye(3))),
        volume(Grid.from_itk(SHAPE, (1, 1, 1), (0, 0, 0), np.eye(3))),
    )
    assert up.letters == ("R", "L", "A", "P")
    ras = Grid.from_itk(SHAPE, (1, 1, 1), (0, 0, 0), np.diag([-1, -1, 1]))
    assert Scene.of(volume(ras), volume(ras)).letters == ("R", "L", "A", "P")  # NIfTI's order is turned for display
    assert direction_letters(np.array([0.8, 0.6, 0.0])) == "LP"
    assert direction_letters(np.array([0.0, -0.1, -0.99])) == "I"


def test_the_scale_and_the_crop_come_from_the_body() -> None:
    grid = Grid.from_itk((3, 100, 80), (1, 1, 5), (0, 0, 0), np.eye(3))
    body = np.zeros(grid.shape, bool)
    body[1, 40:60, 30:50] = True
    nats = np.where(body, np.arange(grid.shape[2]), 1000.0).astype(np.float32)
    scene = Scene.of(volume(grid, unit="HU"), volume(grid, nats), body=body)
    assert scene.crop == (slice(28, 72), slice(18, 62))  # 12 mm of air around it
    assert scene.low == pytest.approx(45, abs=1)
    assert scene.high == pytest.approx(49, abs=1)
    fixed = Scene.of(volume(grid, unit="HU"), volume(grid, nats), scale=(2.0, 2.0))
    assert fixed.low == 2.0 < fixed.high
    assert fixed.z_mm(2) == 10.0
    assert fixed.key_slices() == [0]  # air ties: the first of the strongest


def test_key_slices_follow_the_regions() -> None:
    grid = Grid.from_itk((9, 8, 8), (1, 1, 5), (0, 0, 0), np.eye(3))
    nats = np.zeros(grid.shape, np.float32)
    nats[6:8, 1:4, 1:4], nats[6, 6, 6], nats[2, 2, 2] = 5, 4, 3
    regions = find_regions(volume(grid, nats), nats > 0, np.ones(grid.shape), nats)
    scene = Scene.of(volume(grid), volume(grid, nats), regions)
    assert scene.key_slices() == [6, 2]
    assert scene.key_slices(1) == [6]
    assert [r.name for r in scene.regions_on(6)] == ["OOD 1", "OOD 2"]


def test_other_grids_are_refused() -> None:
    grid = Grid.from_itk(SHAPE, (1, 1, 1), (0, 0, 0), np.eye(3))
    moved = Grid.from_itk(SHAPE, (1, 1, 1), (0, 0, 0.5), np.eye(3))
    with pytest.raises(GeometryError, match="KL map"):
        Scene.of(volume(grid), volume(moved))
    with pytest.raises(GeometryError, match="reconstruction"):
        Scene.of(volume(grid), volume(grid), reconstruction=volume(moved))
    with pytest.raises(GeometryError, match="body mask"):
        Scene.of(volume(grid), volume(grid), body=np.ones((1, 1, 1), bool))
