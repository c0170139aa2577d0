"""Names of regions in pictures: none over another, each beside what it names."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from KLIPCore.export.images import encode
from KLIPCore.export.label_layout import Box, leader, place_names
from KLIPCore.export.overlay import NAME, slice_figure
from KLIPCore.export.scene import Scene
from KLIPCore.maps.regions import find_regions
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

PIXEL = (1.0, 2.0)
SIZE = (16.0, 4.0)


def spot(row: int, column: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[row : row + 4, column : column + 3] = True
    return mask


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 56), st.integers(0, 77)), min_size=1, max_size=12), st.booleans())
def test_names_lie_inside_and_apart(corners: list[tuple[int, int]], with_taken: bool) -> None:
    taken = [Box(0, 0, 40, 20), Box(100, 30, 160, 60)] if with_taken else []
    places = place_names([SIZE] * len(corners), [spot(*corner) for corner in corners], PIXEL, taken)
    assert None not in places, "there is room for a dozen"
    for box in places:
        assert box is not None
        assert 0 <= box.x0 < box.x1 <= 160
        assert 0 <= box.y0 < box.y1 <= 60
        assert (box.x1 - box.x0, box.y1 - box.y0) == pytest.approx(SIZE)
    for one, other in itertools.combinations([*places, *taken], 2):
        if one not in taken:
            assert not one.meets(other)


def test_a_lone_name_stands_centred_above_and_below_where_there_is_no_above() -> None:
    (above,) = place_names([SIZE], [spot(30, 40)], PIXEL)
    assert above is not None
    assert (above.x0 + above.x1) / 2 == pytest.approx(83, abs=1)
    assert 29 <= above.y1 <= 30
    assert leader(above, spot(30, 40), PIXEL) is None
    (below,) = place_names([SIZE], [spot(1, 40)], PIXEL)
    assert below is not None
    assert 5 <= below.y0 <= 6


def test_a_name_does_not_cover_a_neighbour() -> None:
    masks = [spot(30, 40), spot(24, 40)]
    places = place_names([SIZE] * 2, masks, PIXEL)
    for box in places:
        assert box is not None
        for row, column in np.argwhere(np.any(masks, axis=0)):
            assert not box.meets(Box(2 * column, row, 2 * column + 2, row + 1))


def test_a_name_that_had_to_go_away_points_back() -> None:
    mask = spot(30, 40)
    (far,) = place_names([SIZE], [mask], PIXEL, [Box(40, 10, 130, 55)])
    assert far is not None
    line = leader(far, mask, PIXEL)
    assert line is not None
    (x0, y0), (x1, y1) = line
    assert far.nearest(x0, y0) == (x0, y0)
    assert mask[int(y1), int(x1 / 2)]


def test_where_there_is_no_room_a_name_is_left_out() -> None:
    assert place_names([SIZE], [spot(30, 40)], PIXEL, [Box(0, 0, 160, 60)]) == [None]
    assert place_names([(500.0, 4.0)], [spot(30, 40)], PIXEL) == [None]
    assert place_names([], [], PIXEL) == []


def crowded(n: int) -> Scene:
    """A body with ``n`` small regions side by side, 3 mm apart."""
    grid = Grid.from_itk((3, 120, 150), (2.0, 2.0, 5.0), (0, 0, 0), np.eye(3))
    nats = np.zeros(grid.shape, np.float32)
    for region in range(n):
        row, column = divmod(region, 4)
        nats[:, 40 + 7 * row : 45 + 7 * row, 60 + 7 * column : 65 + 7 * column] = 10 + region
    kl = Volume(nats, grid, unit="nats")
    return Scene.of(
        Volume(np.zeros(grid.shape, np.float32), grid),
        kl,
        find_regions(kl, nats > 0, np.ones(grid.shape), nats),
        scale=(1.0, 10.0),
    )


def names_in(figure: Figure) -> list[Text]:
    return [text for axes in figure.axes for text in axes.texts if text.get_gid() == NAME]


@pytest.mark.parametrize("n", [2, 12])
def test_drawn_names_do_not_intersect(n: int) -> None:
    scene = crowded(n)
    figure = slice_figure(scene, 1)
    encode(figure)  # as it is drawn, at the picture's own resolution
    names = names_in(figure)
    assert sorted(text.get_text() for text in names) == sorted(region.name for region in scene.regions)
    axes = names[0].axes
    assert axes is not None
    extents = [text.get_window_extent(dpi=110) for text in axes.texts]  # orientation letters too
    for one, other in itertools.combinations(extents, 2):
        assert not one.overlaps(other)
    inside = axes.get_window_extent()
    figure.canvas.draw()
    for text in names:
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1
    assert bool(axes.lines) == (n == 12), "among many some had to move away and point back"
