"""Small volumes on grids that leave no axis to be mistaken for another."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

AXIAL = np.array([[0.0, 0.0, 0.7, -50.25], [0.0, 0.8, 0.0, -60.5], [2.5, 0.0, 0.0, -300.125], [0.0, 0.0, 0.0, 1.0]])
"""Feet-first rows, ordinary axial: k to Superior, j to Posterior, i to Left."""


def ct_like(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Whole HU: air around a soft-tissue box with a bony core, noisy, no voxel pattern repeated."""
    rng = np.random.default_rng(seed)
    hu = np.full(shape, -1000.0)
    depth, height, width = shape
    hu[:, height // 6 : -(height // 6), width // 6 : -(width // 6)] = 40.0
    hu[depth // 3 :, height // 2 : height // 2 + 3, width // 2 : width // 2 + 4] = 900.0
    return np.rint(hu + rng.normal(0.0, 12.0, shape)).clip(-1024, 3071).astype(np.float32)


def oblique(shape: tuple[int, int, int], seed: int, mirrored: bool = False) -> Grid:
    """Any orientation, any spacing, an origin half a metre away."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    i, j, k = Rotation.random(rng=rng).as_matrix().T  # right-handed as DICOM counts axes, unless mirrored
    affine[:3, :3] = np.column_stack([-k if mirrored else k, j, i]) * rng.uniform(0.3, 6.0, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    return Grid(shape, affine)


def kl_map(seed: int = 0, mirrored: bool = False) -> Volume:
    """Nats with a long tail on an oblique grid."""
    array = np.random.default_rng(seed).gamma(0.3, 4.0, (5, 7, 6)).astype(np.float32)
    return Volume(array, oblique((5, 7, 6), seed, mirrored), unit="nats")
