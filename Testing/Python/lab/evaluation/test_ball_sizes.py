"""Balls of several sizes: where they are put, and the table of block sizes."""

from __future__ import annotations

import numpy as np
import pytest

from KLIPCore.errors import ConfigError
from KLIPCore.lab.evaluation.ball_sizes import APART_MM, deepest_places, markdown
from KLIPCore.volume.grid import Grid

SPACING = (4.0, 2.0, 2.0)
RADII = (20.0, 8.0, 8.0)


def organ() -> tuple[np.ndarray, Grid]:
    """A box of 80 x 120 x 160 mm in a volume of 120 x 160 x 200 mm."""
    mask = np.zeros((30, 80, 100), bool)
    mask[5:25, 10:70, 10:90] = True
    return mask, Grid.from_itk(mask.shape, SPACING[::-1], (0.0, 0.0, 0.0), np.eye(3))


def test_each_ball_lies_inside_the_organ_and_away_from_the_others() -> None:
    mask, grid = organ()
    places = deepest_places(mask, grid, RADII)
    index = np.moveaxis(np.indices(mask.shape), 0, -1)
    centres = np.array([grid.to_world(own.astype(float)) for own in index.reshape(-1, 3)]).reshape(*mask.shape, 3)
    for n, (place, radius) in enumerate(zip(places, RADII, strict=True)):
        distance = np.linalg.norm(centres - np.array(place), axis=-1)
        assert mask[distance < radius].all()
        for other, size in zip(places[:n], RADII, strict=False):
            assert np.linalg.norm(np.array(place) - np.array(other)) >= radius + size + APART_MM


def test_the_first_ball_lies_deepest() -> None:
    mask, grid = organ()
    x, y, z = deepest_places(mask, grid, RADII[:1])[0]
    assert min(x - 18.0, 180.0 - x, y - 18.0, 140.0 - y, z - 16.0, 100.0 - z) == pytest.approx(40.0, abs=4.0)


def test_a_ball_without_room_is_refused() -> None:
    mask, grid = organ()
    with pytest.raises(ConfigError, match="no room for a ball of 60 mm"):
        deepest_places(mask, grid, (60.0,))


def test_the_table_has_a_row_for_each_ball_and_a_column_for_each_block_size() -> None:
    row = {"donor": "d", "contrast_hu": -40, "radius_mm": 25.0, "expected": {"12": 0.5592, "40": None}}
    assert markdown([row]).splitlines() == [
        "| donor | contrast (HU) | ball, diameter (mm) | blocks of 12 mm | blocks of 40 mm |",
        "|---|---|---|---|---|",
        "| d | -40 | 50 | 0.56 | – |",
    ]
