"""Balls of both signs in healthy organs: where they may lie, and what counts as muscle."""

from __future__ import annotations

import numpy as np
import pytest

from KLIPCore.lab.evaluation.signs import Donor, draw_places, markdown, muscles_behind, slices_markdown
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

SPACING = (4.0, 2.0, 2.0)
CONFIG = {"radius_mm": 8.0, "edge_mm": 1.0, "per_organ": 4}


def volume(array: np.ndarray) -> Volume:
    grid = Grid.from_itk(array.shape, SPACING[::-1], (0.0, 0.0, 0.0), np.eye(3))
    return Volume(array.astype(np.float32), grid)


@pytest.fixture(scope="module")
def body() -> tuple[Volume, np.ndarray]:
    """Soft tissue in fat, a spine with marrow in it, and an aorta in front of it; labels: 1 aorta, 5 liver."""
    hu = np.full((12, 80, 100), -100.0)
    labels = np.zeros(hu.shape, np.int16)
    hu[:, 42:75, 10:90] = 55.0  # muscle, in front of and behind the aorta's back edge
    hu[:, 50:66, 40:60] = 300.0
    hu[:, 54:62, 44:56] = 60.0  # marrow, as dense as muscle
    labels[:11, 38:50, 46:54] = 1
    hu[labels == 1] = 150.0
    hu[:, 5:40, 5:40] = 110.0
    labels[:, 5:40, 5:40] = 5
    return volume(hu), labels


def test_muscle_is_soft_tissue_behind_the_aorta_and_outside_bone(body: tuple[Volume, np.ndarray]) -> None:
    muscle = muscles_behind(*body, label=1)
    assert muscle[:11, 68:72, 15:85].all()
    assert not muscle[:, :49].any()  # in front of the aorta's back edge
    assert not muscle[:, 50:66, 40:60].any()  # spine and its marrow
    assert not muscle[11].any()  # no aorta there
    assert not muscle[:, 5:40].any()  # fat and liver


def test_places_have_room_and_keep_apart(body: tuple[Volume, np.ndarray]) -> None:
    study, labels = body
    grid, mask = study.grid, labels == 5
    first = draw_places(mask, grid, (1, 11), CONFIG, [], np.random.default_rng(0))
    more = draw_places(mask, grid, (1, 11), CONFIG, first, np.random.default_rng(0))
    places = np.array([*first, *more])
    assert 2 <= len(first) <= 4
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert (apart[~np.eye(len(places), dtype=bool)] > 3 * CONFIG["radius_mm"]).all()
    for place in places:
        k, row, column = grid.to_index(place).round().astype(int)
        assert 3 <= k < 9  # two slices inside those that are examined
        n = int(CONFIG["radius_mm"] / SPACING[1])
        assert mask[k, row - n : row + n + 1, column - n : column + n + 1].all()


def test_balls_change_their_places_and_nothing_else(body: tuple[Volume, np.ndarray]) -> None:
    study, labels = body
    places = {"liver": draw_places(labels == 5, study.grid, (1, 11), CONFIG, [], np.random.default_rng(0))}
    donor = Donor("donor", study, {"liver": labels == 5}, places, (1, 11))
    changed, balls = donor.with_balls(-30.0, CONFIG)
    difference = changed.array - study.array
    assert difference[balls == 0].min() > -16.0  # the edge at most
    assert np.median(difference[balls > 0]) == pytest.approx(-30.0, abs=3.0)
    assert (labels[balls > 0] == 5).all()


def test_tables_have_a_row_for_each_measurement() -> None:
    block = {"donor": "d", "organ": "liver", "contrast_hu": -30.0, "balls": 4, "blocks": 17}
    text = markdown([block | {"right_sign": 0.99, "either": 0.9}])
    assert text.splitlines()[-1] == "| d | liver | -30 | 4 | 17 | 0.990 | 0.900 |"
    row = {"donor": "d", "contrast_hu": 60.0, "slices": 9, "auroc": 0.8}
    text = slices_markdown([row | {"median_share_with": 0.1, "median_share_without": 1.0}])
    assert text.splitlines()[-1] == "| d | +60 | 9 | 0.800 | 0.100 | 1.000 |"
