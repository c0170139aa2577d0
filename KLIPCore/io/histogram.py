"""How many voxels have which HU: of a volume, of its single slices, and without what was filled in.

Nearly all that :mod:`KLIPCore.io.judgement` asks about numbers is a question to a histogram, which is made of a slice
while it is in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AIR_BELOW_HU = -700.0
"""Voxels below this are air, outside or in the lung."""
PADDING_BELOW_HU = -1100.0
"""No tissue and no air lies below this."""
CLIPPED_FRACTION = 0.002
"""A bound that this part of all voxels shares exactly is the edge of a window, not chance."""
SOFT_HU = (-200, 300)
"""Fat, organs, muscle, blood with contrast agent."""
STORED_SHIFT = 1024
"""What most scanners add to HU to store them without a sign."""
LEAST_BODY = 0.005
"""Part of all voxels that must be denser than air and lung for there to be a body."""
LOWEST_BIN, HIGHEST_BIN = -4096, 8191


def counted(plane: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return how many pixels have which HU, from :data:`LOWEST_BIN` up; what lies beyond is in the ends."""
    place = np.clip(np.rint(plane), LOWEST_BIN, HIGHEST_BIN).astype(np.int32) - LOWEST_BIN
    return np.bincount(place.ravel(), minlength=HIGHEST_BIN - LOWEST_BIN + 1)


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many voxels have which HU.

    Attributes
    ----------
    counts : of HU rounded to integers, from ``LOWEST_BIN`` up, padding left out.
    n_all : voxels counted, with padding.
    padding_hu : the isolated lowest value that was left out, None where there is none.
    """

    counts: NDArray[np.int64]
    n_all: int
    padding_hu: float | None

    @classmethod
    def of(cls, counts: NDArray[np.int64], lo: float, hi: float) -> Histogram:
        """Return the histogram of HU between ``lo`` and ``hi``, without padding at either end.

        ``counts`` are those of all pixels, from :data:`LOWEST_BIN` up.

        A plateau at the very lowest or highest value with nothing beside it is padding: clipped values have
        neighbours. A highest value that soft tissue has is none: a phantom without noise looks like that.
        """
        counts, size = counts.copy(), int(counts.sum())
        counts[: int(PADDING_BELOW_HU) - LOWEST_BIN] = 0
        padding = lo if lo < PADDING_BELOW_HU else None
        for value, inward in ((lo, 1), (hi, -1)):
            at = round(min(max(value, LOWEST_BIN), HIGHEST_BIN)) - LOWEST_BIN
            beside = counts[at + 1 : at + 101] if inward > 0 else counts[max(at - 100, 0) : at]
            tissue = inward < 0 and SOFT_HU[0] <= value < SOFT_HU[1]
            if not tissue and counts[at] > CLIPPED_FRACTION * size and beside.sum() < 0.02 * counts[at]:
                counts[at] = 0
                padding = value if inward > 0 else padding
        return cls(counts, size, padding)

    def ends(self) -> tuple[int, int]:
        """Return the lowest and the highest HU that are no padding; (0, 0) where there are none."""
        held = np.flatnonzero(self.counts)
        return (int(held[0]) + LOWEST_BIN, int(held[-1]) + LOWEST_BIN) if len(held) else (0, 0)

    def between(self, low: float, high: float) -> int:
        """Return voxels with ``low`` ≤ HU < ``high``."""
        return int(self.counts[max(int(low) - LOWEST_BIN, 0) : max(int(high) - LOWEST_BIN, 0)].sum())


@dataclass(frozen=True)
class SliceShares:
    """What a slice is made of, by its histogram.

    Attributes
    ----------
    shifted : pixels where soft tissue lies in values that are stored without their rescale.
    body, soft : pixels denser than lung; soft tissue.
    air, fat : air but for its commonest value, which may be padding; fat.
    size : pixels.
    """

    shifted: int
    body: int
    soft: int
    air: int
    fat: int
    size: int

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> SliceShares:
        """Return the shares in a histogram from :data:`LOWEST_BIN` up."""

        def between(low: float, high: float) -> int:
            return int(counts[int(low) - LOWEST_BIN : int(high) - LOWEST_BIN].sum())

        plateau = int(counts[int(PADDING_BELOW_HU) - LOWEST_BIN : int(AIR_BELOW_HU) - LOWEST_BIN].max())
        return cls(
            between(STORED_SHIFT + SOFT_HU[0], STORED_SHIFT + SOFT_HU[1]),
            between(-500, HIGHEST_BIN + 1),
            between(*SOFT_HU),
            between(PADDING_BELOW_HU, AIR_BELOW_HU) - plateau,
            between(-300, -50),
            int(counts.sum()),
        )

    def look_stored(self) -> bool:
        """Return whether tissue is where stored values have it, and air and fat, or soft tissue, not where HU do."""
        bright = self.shifted > 0.15 * self.body and self.body > LEAST_BODY * self.size
        if bright and self.shifted > 0.5 * self.body and self.soft < 0.05 * self.body:
            return True
        return bright and self.air < 0.1 * self.shifted and self.fat < 0.05 * self.shifted
