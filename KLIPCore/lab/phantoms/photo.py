"""Scars for images that are no CT: the anomaly of KLIP's deblurring tests, with an exact mask.

Images here are arrays (H, W) or (H, W, C) with values 0 to 1; nothing is a patient, nothing has millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from KLIPCore.lab.phantoms.shape import require


@dataclass(frozen=True)
class Scar:
    """A thin curved line of another shade across the image, fading over one pixel.

    Attributes
    ----------
    length, width : in pixels, along and across.
    bend : largest sideways deviation from a straight line, as a part of the length.
    shade : added to the image; negative is darker.
    """

    length: float
    width: float = 3.0
    bend: float = 0.15
    shade: float = -0.4

    def __post_init__(self) -> None:
        require(
            self.length > 0 and self.width > 0, "A scar needs a length and a width.", "Give them in pixels above 0."
        )
        require(0 <= self.bend <= 1, f"A bend of {self.bend} is out of range.", "Choose 0 to 1.")

    def draw(self, image: NDArray[np.floating], seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the image with the scar at a random place and angle, and the pixels of the scar.

        These lie at most half a width from its middle line.
        """
        rng = np.random.default_rng(np.random.SeedSequence([seed, 0x5C]))
        height, width = image.shape[:2]
        require(self.length < min(height, width), "The scar is longer than the image.", "Choose a shorter one.")
        t = np.linspace(-0.5, 0.5, max(64, int(8 * self.length)))
        across = self.bend * self.length * rng.uniform(-1, 1) * (0.25 - t**2) * 4
        angle = rng.uniform(0, np.pi)
        rows = t * self.length * np.sin(angle) + across * np.cos(angle)
        columns = t * self.length * np.cos(angle) - across * np.sin(angle)
        margin = 0.5 * self.width
        row = rng.uniform(margin - rows.min(), height - 1 - margin - rows.max())
        column = rng.uniform(margin - columns.min(), width - 1 - margin - columns.max())
        grid = np.argwhere(np.ones((height, width), bool))
        distance = cKDTree(np.stack([rows + row, columns + column], -1)).query(grid)[0].reshape(height, width)
        weight = np.clip(0.5 * self.width - distance + 0.5, 0, 1)
        changed = np.clip(
            np.asarray(image, np.float64) + self.shade * weight.reshape(height, width, *[1] * (image.ndim - 2)), 0, 1
        )
        return changed, distance <= 0.5 * self.width
