"""Oblique grids for property tests: any rotation, spacing, handedness and axis order."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from KLIPCore.volume.grid import Grid


def make_grid(
    shape: tuple[int, int, int],
    rotation: np.ndarray,
    spacing: np.ndarray,
    origin: np.ndarray,
    order: tuple[int, ...],
    flip: bool,
) -> Grid:
    """A grid whose (k, j, i) axes are rotated unit vectors, permuted and perhaps mirrored."""
    axes = Rotation.from_rotvec(rotation).as_matrix()[:, list(order)]
    if flip:
        axes[:, 0] *= -1
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = origin
    return Grid(shape, affine)


def grids(shape: tuple[int, int, int]) -> st.SearchStrategy[Grid]:
    """Grids of that shape anywhere, at any angle."""
    vector = st.tuples(*[st.floats(-3, 3)] * 3).map(np.array)
    spacing = st.tuples(*[st.floats(0.3, 8)] * 3).map(np.array)
    return st.builds(
        make_grid,
        st.just(shape),
        vector,
        spacing,
        vector.map(lambda v: 100 * v),
        st.permutations(range(3)).map(tuple),
        st.booleans(),
    )
