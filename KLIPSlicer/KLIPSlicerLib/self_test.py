"""A small simulated abdomen for the module's own test: no file, no patient, a lesion of known place."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

SPACING_MM = (5.0, 2.5, 2.5)
SHAPE = (4, 144, 160)
LESION_INDEX = (2, 70, 52)
"""(k, j, i) of the lesion's center."""


def smallStudy() -> np.ndarray:
    """(4, 144, 160) int16 HU: fat around muscle, a liver with a darker ball, a spine, noise."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    z, y, x = ((index - middle) * step for index, middle, step in zip((k, j, i), (2, 72, 80), SPACING_MM, strict=True))

    def inside(cx: float, cy: float, a: float, b: float) -> np.ndarray:
        return ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1

    hu = np.full(SHAPE, -1000.0)
    for shape, value in (
        (inside(0, 0, 165, 120), -95),
        (inside(0, 0, 150, 105), 55),
        (inside(-70, -10, 65, 75), 110),
        (inside(85, 0, 35, 45), 120),
        (inside(0, 75, 22, 22), 240),
        ((x + 70) ** 2 + (y + 5) ** 2 + z**2 <= 10**2, 60),
    ):
        hu[shape] = value
    noise = np.random.default_rng(0).normal(0, 8, SHAPE)
    return (hu + np.where(hu > -900, noise, 0)).astype(np.int16)


def smallStudyNode() -> Any:
    """:func:`smallStudy` as a volume node."""
    matrix = np.diag([-SPACING_MM[2], -SPACING_MM[1], SPACING_MM[0], 1.0])
    matrix[:3, 3] = (200.0, 180.0, 0.0)
    node = slicer.util.addVolumeFromArray(smallStudy(), ijkToRAS=matrix, name="Simulated abdomen")
    node.CreateDefaultDisplayNodes()
    return node
