"""A hypothesis strategy for grids."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from KLIPCore.volume.grid import Grid


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Any shape, spacing, position and orientation, mirrored ones and exact axis permutations among them."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=3, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    axes = Rotation.random(rng=rng).as_matrix() if draw(st.booleans()) else np.eye(3)[rng.permutation(3)]
    axes = axes * rng.choice([-1.0, 1.0], 3) * rng.uniform(0.2, 8.0, 3)
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = rng.uniform(-1000, 1000, 3)
    return Grid((shape[0], shape[1], shape[2]), affine, "1.2.3")


def indices(grid: Grid) -> np.ndarray:
    """(N, 3) of all voxels."""
    return np.array(list(np.ndindex(*grid.shape)))
