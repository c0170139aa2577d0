"""A small study with two regions, on any grid."""

from __future__ import annotations

import numpy as np
from maps.grids import make_grid

from KLIPCore.maps.regions import Region, find_regions
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Source, Volume

SHAPE = (6, 9, 8)
OBLIQUE = make_grid(
    SHAPE, np.array([0.1, 0.2, 0.05]), np.array([5.0, 0.7, 0.8]), np.array([10.0, -20.0, 30.0]), (2, 1, 0), False
)


def kl_map(grid: Grid = OBLIQUE, source: Source | None = None) -> Volume:
    """Nats with an L-shaped region (peak 3) and a box (peak 5); 0 elsewhere."""
    array = np.zeros(grid.shape, np.float32)
    array[1:3, 2:5, 1:4] = 3
    array[1, 4, 3] = array[2, 2, 1] = 0  # no box: corners are missing
    array[4:6, 6:9, 6:8] = 5
    return Volume(array, grid, source or Source(), "nats")


def two_regions(kl: Volume) -> list[Region]:
    """The box first (more nats), the other second."""
    return find_regions(kl, kl.array > 0, np.where(kl.array > 0, 0.001, 1.0), kl.array / 100)
