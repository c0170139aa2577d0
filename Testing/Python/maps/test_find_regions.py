"""Regions: where they are, how large, how many nats; under any grid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from maps.grids import grids, make_grid

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.maps.regions import PALETTE, KnownRegions, RegionLimits, find_regions, label_volume, region_colour
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

SHAPE = (6, 9, 8)
RAI = Grid.from_itk(SHAPE, (0.8, 0.7, 5.0), (-100, -80, 40), np.eye(3))  # k up, j back, i left: LPS order


def nats(grid: Grid, seed: int = 0) -> Volume:
    return Volume(np.random.default_rng(seed).uniform(1, 9, grid.shape).astype(np.float32), grid, unit="nats")


def find(kl: Volume, significant: np.ndarray, density: np.ndarray | None = None, **limits: Any) -> list:
    p = np.where(significant, 0.001, 0.5)
    return find_regions(
        kl, significant, p, np.full(kl.grid.shape, 0.01) if density is None else density, limits=RegionLimits(**limits)
    )


@given(grids(SHAPE), arrays(bool, SHAPE, elements=st.booleans()), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_regions_partition_the_significant_voxels(grid: Grid, significant: np.ndarray, seed: int) -> None:
    kl = nats(grid, seed)
    density = np.random.default_rng(seed + 1).uniform(-0.1, 1, SHAPE)
    regions = find(kl, significant, density)
    labels = label_volume(regions, grid)
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels > 0, significant)  # nothing lost, nothing invented, none twice
    assert sum(r.mask.sum() for r in regions) == significant.sum()
    np.testing.assert_allclose(
        sum(r.volume_mm3 for r in regions), significant.sum() * grid.voxel_volume_mm3, rtol=1e-9
    )
    np.testing.assert_allclose(
        sum(r.total_nats for r in regions), density[significant].sum() * grid.voxel_volume_mm3, rtol=1e-9, atol=1e-9
    )
    assert [r.label for r in regions] == list(range(1, len(regions) + 1))
    assert len(regions) == ndi.label(significant, np.ones((3, 3, 3)))[1]


BOXES = st.tuples(
    *[st.tuples(st.integers(0, n - 1), st.integers(1, n)).filter(lambda t, n=n: t[0] < t[1]) for n in SHAPE]
)


@given(grids(SHAPE), BOXES)
@settings(max_examples=60, deadline=None)
def test_a_box_is_where_it_is_under_oblique_affines(grid: Grid, ends: tuple) -> None:
    significant = np.zeros(SHAPE, bool)
    box = tuple(slice(a, b) for a, b in ends)
    significant[box] = True
    (region,) = find(nats(grid), significant)
    middle = np.array([(a + b - 1) / 2 for a, b in ends])
    centre = grid.affine[:3, :3] @ middle + grid.affine[:3, 3]
    np.testing.assert_allclose(region.centroid_lps_mm, centre, atol=1e-8)
    assert region.box == box
    assert region.mask.all()
    np.testing.assert_allclose(
        region.volume_mm3, np.prod([b - a for a, b in ends]) * abs(np.linalg.det(grid.affine[:3, :3]))
    )
    np.testing.assert_allclose(
        np.prod(region.extent_mm), region.volume_mm3
    )  # a box fills its extent, the axes being orthogonal
    np.testing.assert_array_equal(region.full_mask(SHAPE), significant)


@given(grids(SHAPE), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_the_peak_is_the_largest_voxel_and_slices_count_from_the_feet(grid: Grid, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kl, significant = nats(grid, seed), rng.random(SHAPE) < 0.1
    significant[tuple(rng.integers(SHAPE))] = True
    up, flips = grid.lps_axes()
    lps = lambda a: np.flip(a.transpose(up), [axis for axis, flip in enumerate(flips) if flip])  # noqa: E731
    for region in find(kl, significant):
        mask = region.full_mask(SHAPE)
        index = np.unravel_index(np.argmax(np.where(mask, kl.array, -1)), SHAPE)
        assert region.peak_nats == kl.array[index]
        np.testing.assert_allclose(region.peak_lps_mm, grid.to_world(index), atol=1e-9)
        touched = np.flatnonzero(lps(mask).any((1, 2)))
        assert region.slices == (touched[0], touched[-1])
        at_peak = np.zeros(SHAPE, bool)
        at_peak[index] = True
        assert region.peak_slice == np.flatnonzero(lps(at_peak).any((1, 2)))[0]


def test_slices_of_a_head_first_array_are_turned_round() -> None:
    affine = RAI.affine.copy()
    affine[:3, 0] *= -1
    grid = Grid(SHAPE, affine)
    significant = np.zeros(SHAPE, bool)
    significant[0:2, 3, 3] = True  # the two top slices
    (region,) = find(nats(grid), significant)
    assert region.slices == (4, 5)
    assert region.extent_mm == pytest.approx((0.8, 0.7, 10.0))


def test_corner_neighbours_are_one_region_and_further_ones_two() -> None:
    significant = np.zeros(SHAPE, bool)
    significant[1, 1, 1] = significant[2, 2, 2] = significant[4, 4, 4] = True
    assert sorted(int(r.mask.sum()) for r in find(nats(RAI), significant)) == [1, 2]


def three_boxes() -> tuple[Volume, np.ndarray, np.ndarray]:
    significant = np.zeros(SHAPE, bool)
    density = np.zeros(SHAPE)
    array = np.zeros(SHAPE, np.float32)
    for box, peak, total in (
        (np.s_[0:2, 0:2, 0:2], 3.0, 0.5),
        (np.s_[3:5, 5:8, 0:3], 2.0, 0.9),
        (np.s_[0:1, 6:7, 7:8], 9.0, 0.1),
    ):
        significant[box], array[box], density[box] = True, peak, total
    return Volume(array, RAI, unit="nats"), significant, density


def test_order_limits_and_names() -> None:
    kl, significant, density = three_boxes()
    by_total = find(kl, significant, density)
    assert [int(r.mask.sum()) for r in by_total] == [18, 8, 1]
    assert [r.name for r in by_total] == ["OOD 1", "OOD 2", "OOD 3"]
    assert by_total[0].total_nats == pytest.approx(18 * 0.9 * 0.8 * 0.7 * 5)
    voxel = RAI.voxel_volume_mm3
    assert (
        len(find(kl, significant, density, minimum_volume_mm3=8 * voxel)) == 2
    )  # exactly as large as asked for stays
    assert len(find(kl, significant, density, minimum_volume_mm3=8.01 * voxel)) == 1
    assert [int(r.mask.sum()) for r in find(kl, significant, density, maximum_regions=1)] == [18]
    assert find(kl, significant, density, minimum_volume_mm3=1e9) == []
    assert find(kl, np.zeros(SHAPE, bool)) == []


def test_the_rarest_region_comes_first_and_of_equals_the_higher_peak() -> None:
    kl, significant, density = three_boxes()
    components, _ = ndi.label(significant, np.ones((3, 3, 3)))
    limits, known = RegionLimits(order_by="rarity"), KnownRegions(components, q_values=np.ones(3))
    for p, order in (([0.02, 0.3, 0.1], [1, 3, 2]), ([0.5, 0.2, 0.2], [2, 3, 1]), ([1e-9, 1e-12, 0.0], [3, 2, 1])):
        found = find_regions(kl, None, np.array(p), density, known=known, limits=limits)
        assert [components[r.box][r.mask][0] for r in found] == order
        assert [r.name for r in found] == ["OOD 1", "OOD 2", "OOD 3"]
    everywhere = np.where(components == 2, 0.01, 0.4)
    found = find_regions(kl, significant, everywhere, density, limits=limits)
    assert [float(r.p_value) for r in found] == [0.01, 0.4, 0.4]
    assert found[1].peak_nats > found[2].peak_nats


def test_p_and_q_are_the_smallest_inside() -> None:
    kl, significant, density = three_boxes()
    p = np.full(SHAPE, 0.4)
    p[0, 0, 0], p[4, 6, 1] = 0.002, 0.01
    tested = np.zeros(SHAPE, bool)
    tested[:, :8] = True
    by_total = find_regions(kl, significant, p, density, known=KnownRegions(tested=tested))
    assert [r.p_value for r in by_total] == [0.01, 0.002, 0.4]
    np.testing.assert_allclose(
        [r.q_value for r in by_total], [0.4, 0.4, 0.4]
    )  # two low values in 384 tests prove nothing
    given_q = np.full(SHAPE, 0.9)
    given_q[0, 0, 0] = 0.03
    assert [r.q_value for r in find_regions(kl, significant, p, density, known=KnownRegions(q_values=given_q))] == [
        0.9,
        0.03,
        0.9,
    ]


def test_colours_are_bright_and_differ() -> None:
    colours = [region_colour(n) for n in range(1, 51)]
    assert len({tuple(round(255 * c) for c in colour) for colour in colours}) == 50
    assert all(0 <= c <= 1 for colour in colours for c in colour)
    assert all(max(colour) > 0.9 for colour in colours)
    assert region_colour(1) == PALETTE[0]


def test_a_region_tells_its_numbers() -> None:
    kl, significant, density = three_boxes()
    region = find(kl, significant, density)[0]
    numbers = region.to_dict()
    assert numbers["slices_from_feet"] == [3, 4]
    assert numbers["voxels"] == 18
    assert numbers["colour"] == region.hex_colour == "#00d9ff"
    assert region.volume_ml == pytest.approx(region.volume_mm3 / 1000)


def test_bad_input_is_refused() -> None:
    kl, significant, density = three_boxes()
    with pytest.raises(GeometryError, match="density"):
        find(kl, significant, density[:2])
    with pytest.raises(ConfigError, match="at most"):
        find(kl, significant, density, maximum_regions=0)
    with pytest.raises(ConfigError, match="minimum volume"):
        find(kl, significant, density, minimum_volume_mm3=float("nan"))
    with pytest.raises(ConfigError, match="ordered"):
        find(kl, significant, density, order_by="age")
    far = replace(find(kl, significant, density)[0], box=(slice(5, 7), slice(0, 3), slice(0, 3)))
    with pytest.raises(GeometryError, match="outside"):
        label_volume([far], RAI)


def test_make_grid_is_oblique() -> None:
    grid = make_grid(SHAPE, np.array([0.3, 0.2, 0.1]), np.array([5, 0.8, 0.7]), np.zeros(3), (2, 1, 0), False)
    assert np.count_nonzero(np.abs(grid.directions) > 0.01) == 9


def test_given_components_decide_what_belongs_together() -> None:
    """Two touching halves may be two regions, and two islands one, when the caller knows better than adjacency."""
    grid = Grid((1, 4, 12), np.eye(4))
    nats = np.ones(grid.shape, np.float32)
    significant = np.zeros(grid.shape, bool)
    significant[0, 1, 0:4] = True
    significant[0, 1, 8:10] = True
    components = np.zeros(grid.shape, int)
    components[0, 1, 0:2] = 7
    components[0, 1, 2:4] = 3
    components[0, 1, 8:10] = 3
    found = find_regions(
        Volume(nats, grid, unit="nats"), significant, np.full(grid.shape, 0.01), nats, known=KnownRegions(components)
    )
    assert sorted(int(r.mask.sum()) for r in found) == [2, 4]
    assert int((label_volume(found, grid) > 0).sum()) == 6
