"""A prepared landing against the frame's own way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.maps.resample import Landing, LandingSlice
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.framed_study import Framing
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Orientation

AXES = st.permutations([0, 1, 2])
SIGNS = st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)


def framing_of(order: list[int], signs: tuple[float, ...], seed: int) -> Framing:
    """A study whose array axes point anywhere, with a random body and a frame that does not quite cover it."""
    rng = np.random.default_rng(seed)
    shape = [0, 0, 0]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * (1.5, 2.0, 2.5)[world]
        shape[axis] = (37, 29, 5)[world]
    grid = Grid((shape[0], shape[1], shape[2]), affine)
    orientation = Orientation(*grid.lps_axes())
    lps = grid.oriented(orientation.order, orientation.flips).shape
    body = rng.random(lps) < 0.7
    frame = Frame(32, rng.uniform(12, 18, (lps[0], 2)), np.array([0.9, 0.8]), 1.8)
    return Framing(grid, orientation, body, frame)


@settings(max_examples=25, deadline=None)
@given(AXES, SIGNS, st.integers(0, 1000))
def test_a_landing_is_the_frames_push_inside_the_body(order: list[int], signs: tuple[float, ...], seed: int) -> None:
    framing = framing_of(order, signs, seed)
    indices = (0, 2, 3)
    cells = np.random.default_rng(seed).random((3, 8, 8)).astype(np.float32)
    landing = Landing(framing, indices, 8)
    smooth, smooth_lps = landing.blank(np.float32)
    nearest, nearest_lps = landing.blank(np.float32)
    for part in landing.slices:
        smooth_lps[part.place] = part.smooth(cells[part.n]) * part.body
        nearest_lps[part.place] = part.nearest(cells[part.n]) * part.body
    for made, order_ in ((smooth, 1), (nearest, 0)):
        expected = np.zeros(framing.lps_grid.shape, np.float32)
        for n, k in enumerate(indices):
            expected[k] = (
                framing.frame_of(k).push(cells[n : n + 1], expected.shape[1:], order=order_)[0] * framing.body[k]
            )
        np.testing.assert_allclose(made, framing.orientation.restore(expected), atol=1e-6)


def test_a_part_holds_every_voxel_of_its_cells() -> None:
    framing = framing_of([2, 1, 0], (1, 1, 1), 3)
    marked = np.zeros((8, 8), bool)
    marked[3:5, 2] = True
    (whole,) = Landing(framing, (1,), 8).slices
    part = whole.part(marked)
    assert part is not None
    everywhere = whole.nearest(marked)
    assert part.nearest(marked).all(), "nothing else than those cells"
    assert part.nearest(marked).sum() == everywhere.sum()
    cells = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    (_, rows, columns), (_, r, c) = whole.place, part.place
    inside = (slice(r.start - rows.start, r.stop - rows.start), slice(c.start - columns.start, c.stop - columns.start))
    for way in (LandingSlice.smooth, LandingSlice.nearest):
        np.testing.assert_array_equal(way(part, cells), way(whole, cells)[inside])
    assert whole.part(np.zeros((8, 8), bool)) is None
    many = np.zeros((3, 8, 8), bool)
    many[[0, 2]] = marked
    landing = Landing(framing_of([2, 1, 0], (1, 1, 1), 3), (0, 1, 2), 8)
    wanted = [one.part(marked).place for one in landing.slices if one.n != 1]  # type: ignore[union-attr]
    assert [part.place for part in landing.around(many)] == wanted


@settings(max_examples=25, deadline=None)
@given(AXES, SIGNS)
def test_a_box_comes_back_to_the_sources_order(order: list[int], signs: tuple[float, ...]) -> None:
    framing = framing_of(order, signs, 0)
    array, lps = Landing(framing, (0,), 8).blank(int)
    box = (slice(1, 3), slice(5, 11), slice(20, 31))
    lps[box] = 1
    assert array[framing.orientation.restore_box(box, lps.shape)].all()
    assert array.sum() == 2 * 6 * 11


def test_interpolation_leaves_constants_alone() -> None:
    framing = framing_of([2, 1, 0], (1, 1, 1), 4)
    for part in Landing(framing, (0, 1), 8).slices:
        inside = np.isfinite(part.rows)[:, None] & np.isfinite(part.columns)
        assert part.smooth(np.full((8, 8), 3.0)) == pytest.approx(np.where(inside, 3.0, 0.0), abs=1e-5)
