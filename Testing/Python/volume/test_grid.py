"""Laws of the grid: index and world are inverse, and turning or cropping moves no voxel."""

from __future__ import annotations

import numpy as np
import pytest
from any_grid import grids, indices
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import GeometryError
from KLIPCore.volume.grid import Grid


@settings(max_examples=50, deadline=None)
@given(grid=grids(), seed=st.integers(0, 2**31))
def test_index_and_world_are_inverse(grid: Grid, seed: int) -> None:
    index = np.random.default_rng(seed).uniform(-10, 10, (4, 5, 3))
    np.testing.assert_allclose(grid.to_index(grid.to_world(index)), index, atol=1e-9)
    np.testing.assert_allclose(grid.to_world(grid.to_index(index)), index, atol=1e-9)
    np.testing.assert_allclose(grid.to_world(index[0, 0]), (grid.affine @ [*index[0, 0], 1])[:3], atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(grid=grids())
def test_neighbours_are_a_spacing_apart(grid: Grid) -> None:
    for axis in range(3):
        step = grid.to_world(np.eye(3)[axis]) - grid.origin
        assert np.linalg.norm(step) == pytest.approx(grid.spacing[axis])
        np.testing.assert_allclose(step, grid.directions[:, axis] * grid.spacing[axis], atol=1e-9)
    assert grid.voxel_volume_mm3 == pytest.approx(np.prod(grid.spacing))


@settings(max_examples=50, deadline=None)
@given(grid=grids())
def test_turning_to_lps_moves_no_voxel(grid: Grid) -> None:
    """Each voxel carries its number and its place along; the new axes run to Superior, Posterior and Left."""
    order, flips = grid.lps_axes()
    turned = grid.oriented(order, flips)
    number = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    moved = np.flip(number.transpose(order), [a for a in range(3) if flips[a]])
    assert moved.shape == turned.shape
    places = grid.to_world(indices(grid))
    np.testing.assert_allclose(turned.to_world(indices(turned)), places[moved.ravel()], atol=1e-9)
    assert turned.lps_axes() == ((0, 1, 2), (False, False, False))
    assert turned.frame_uid == grid.frame_uid
    assert (turned.directions[[2, 1, 0], [0, 1, 2]] > 0).all()


@settings(max_examples=50, deadline=None)
@given(grid=grids(), data=st.data())
def test_cropping_moves_no_voxel(grid: Grid, data: st.DataObject) -> None:
    starts = [data.draw(st.integers(0, n - 1)) for n in grid.shape]
    stops = [data.draw(st.integers(start + 1, n)) for start, n in zip(starts, grid.shape, strict=True)]
    box = (slice(starts[0], stops[0]), slice(starts[1], stops[1]), slice(starts[2], stops[2]))
    part = grid.cropped(box)
    assert part.shape == np.empty(grid.shape)[box].shape
    np.testing.assert_allclose(part.to_world(indices(part)), grid.to_world(indices(part) + starts), atol=1e-9)


def test_cropping_counts_from_the_end_and_refuses_nothing_and_steps() -> None:
    grid = Grid((5, 6, 7), np.diag([2.0, 1.0, 1.0, 1.0]))
    assert grid.cropped(np.s_[-2:, :, 1:]).shape == (2, 6, 6)
    np.testing.assert_allclose(grid.cropped(np.s_[-2:, :, 1:]).origin, [6, 0, 1])
    for box in (np.s_[3:3, :, :], np.s_[9:12, :, :], np.s_[::2, :, :], np.s_[::-1, :, :]):
        with pytest.raises(GeometryError, match="keeps no voxels"):
            grid.cropped(box)


def test_a_golden_axial_grid() -> None:
    """Absolute: DICOM rows to the Left, columns to Posterior, slices from the feet; (k, j, i) = (1, 2, 3)."""
    grid = Grid.from_itk((10, 20, 30), spacing=(0.5, 0.6, 3.0), origin=(-100.0, -120.0, 50.0), direction=np.eye(3))
    np.testing.assert_allclose(grid.to_world((1, 2, 3)), [-98.5, -118.8, 53.0])
    np.testing.assert_allclose(grid.spacing, [3.0, 0.6, 0.5])
    assert grid.lps_axes() == ((0, 1, 2), (False, False, False))


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((2, 2, 2), np.full((4, 4), np.nan)),
        ((2, 2, 2), np.eye(3)),
        ((2, 2, 2), np.diag([1.0, 0.0, 1.0, 1.0])),
        ((2, 0, 2), np.eye(4)),
        ((2, 2), np.eye(4)),
    ],
)
def test_no_grid(shape: tuple[int, ...], affine: np.ndarray) -> None:
    with pytest.raises(GeometryError) as caught:
        Grid(shape, affine)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_same_place() -> None:
    grid = Grid((5, 6, 7), np.diag([2.0, 1.0, 1.0, 1.0]))
    moved = np.array(grid.affine)
    moved[0, 3] += 1e-3
    assert grid.same_as(Grid((5, 6, 7), grid.affine))
    assert not grid.same_as(Grid((5, 6, 7), moved))
    assert not grid.same_as(Grid((5, 6, 8), grid.affine))
    stretched = np.array(grid.affine)
    stretched[2, 2] *= 1.001  # the first voxels agree, the last do not
    assert not grid.same_as(Grid((5, 6, 7), stretched))
