"""Rescales that change within a stack: what the slices themselves say of them.

A scanner may change slope and intercept from slice to slice; the stored values then change with them, and HU go on.
Where a header was changed by mistake, stored values go on and HU jump.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from KLIPCore.errors import IntensityError
from KLIPCore.io.fields import number
from KLIPCore.io.pixels import only_stored_bits

LEAST_PIXELS = 50
LEAST_JUMP_HU, CLEARLY = 30.0, 5.0
"""HU jump by more than the former, and by the latter factor more than under the rescale of the slice before."""


@dataclass(frozen=True)
class Rescale:
    """A slice's stored values and what its header makes of them.

    Attributes
    ----------
    stored : (H, W) as decoded.
    header : with RescaleSlope and RescaleIntercept.
    label : what to call the slice.
    """

    stored: NDArray[np.integer]
    header: Dataset
    label: str

    def check_after(self, before: Rescale) -> None:
        """Refuse another rescale than the neighbour's where the stored values did not change with it.

        Raises
        ------
        IntensityError : HU jump from slice to slice, and stored values do not.
        """
        if self._line() == before._line():
            return
        own, other = (only_stored_bits(each.stored, each.header) for each in (self, before))
        both = _tissue(own) & _tissue(other)
        if both.sum() < LEAST_PIXELS:
            return
        values, others = own[both].astype(np.float64), before._hu(other[both].astype(np.float64))
        jump = float(np.median(self._hu(values) - others))
        without = float(np.median(before._hu(values) - others))
        if abs(jump) > LEAST_JUMP_HU and abs(jump) > CLEARLY * abs(without):
            raise IntensityError(
                f"From {before.label} to {self.label} the rescale changes and all values jump by {jump:.0f} HU, while "
                "the stored values go on: a rescale slope or intercept is wrong.",
                "Export the study again, with the rescale slope and intercept that the scanner wrote.",
            )

    def _line(self) -> tuple[float | None, float | None]:
        return number(self.header, "RescaleSlope"), number(self.header, "RescaleIntercept")

    def _hu(self, stored: NDArray[np.float64]) -> NDArray[np.float64]:
        slope, intercept = self._line()
        return (slope or 1.0) * stored + (intercept or 0.0)


def _tissue(stored: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels well above the lowest values, whatever the rescale is."""
    low, high = np.quantile(stored, (0.02, 0.98))
    tissue: NDArray[np.bool_] = stored > low + 0.4 * (high - low)
    return tissue
