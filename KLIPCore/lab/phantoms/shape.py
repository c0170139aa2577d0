"""What all implanted things share: points in millimetres, depths, and checks.

Every kind of lesion is a shape with a signed depth in mm, positive inside, and a way to paint itself
(:class:`Lesion`).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.volume.grid import Grid

Array = NDArray[np.float64]
Point = tuple[float, float, float]


def require(condition: bool, message: str, remedy: str) -> None:
    """Raise a :class:`KLIPCore.errors.ConfigError` unless the condition holds."""
    if not condition:
        raise ConfigError(message, remedy)


class Lesion(Protocol):
    """Anything that :func:`KLIPCore.lab.phantoms.lesions.implant` can put into a volume."""

    @property
    def centre_lps_mm(self) -> Point:
        """Its middle."""
        ...

    @property
    def edge_mm(self) -> float:
        """Length over which its border fades; 0 is sharp."""
        ...

    @property
    def reach_mm(self) -> float:
        """Distance from the centre beyond which nothing changes; infinite when it is everywhere."""
        ...

    def depth_mm(self, points: Array, rng: np.random.Generator) -> Array:
        """Return signed depth of points (..., 3) in LPS mm, positive inside."""
        ...

    def paint(self, hu: Array, weight: Array, depth: Array, grid: Grid, rng: np.random.Generator) -> Array:
        """Return HU of a box with the lesion in it, where ``weight`` (0 to 1) says how much of it is there."""
        ...

    def pushed(self, hu: Array, points: Array, grid: Grid, corner: Array) -> Array:
        """Return HU of a box (its first voxel at index ``corner``) after surrounding tissue was moved.

        Unchanged for most kinds.
        """
        ...
