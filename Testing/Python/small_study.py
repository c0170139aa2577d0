"""A small simulated abdomen for tests of the whole pipeline: ellipses of known HU, a liver and a lesion of
known place.
"""

from __future__ import annotations

import numpy as np

from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

SPACING_MM = (5.0, 2.5, 2.5)
LESION_LPS_MM = (-70.0, -5.0, 10.0)
LESION_RADIUS_MM = 10.0


def small_study(n_slices: int = 4, lesion: bool = True, seed: int = 0) -> Volume:
    """(n_slices, 144, 160) HU: fat and skin around muscle, a liver, a spine, noise; a hypodense ball in the liver."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, SPACING_MM[2]], [0, SPACING_MM[1], 0], [SPACING_MM[0], 0, 0]])
    affine[:3, 3] = (-200.0, -180.0, 0.0)
    grid = Grid((n_slices, 144, 160), affine, "")
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    x, y, z = np.moveaxis(grid.to_world(np.stack([k, j, i], -1)), -1, 0)
    hu = np.full(grid.shape, -1000.0)

    def ellipse(cx: float, cy: float, a: float, b: float) -> np.ndarray:
        return ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1

    hu[ellipse(0, 0, 165, 120)] = -95
    hu[ellipse(0, 0, 150, 105)] = 55
    hu[ellipse(-70, -10, 65, 75)] = 110
    hu[ellipse(85, 0, 35, 45)] = 120
    hu[ellipse(0, 75, 22, 22)] = 240
    if lesion:
        lx, ly, lz = LESION_LPS_MM
        hu[(x - lx) ** 2 + (y - ly) ** 2 + (z - lz) ** 2 <= LESION_RADIUS_MM**2] = 60
    noise = np.random.default_rng(seed).normal(0, 8, grid.shape)
    return Volume((hu + np.where(hu > -900, noise, 0)).astype(np.float32), grid)
