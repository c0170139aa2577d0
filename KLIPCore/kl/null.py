"""What would these nats be if nothing were wrong? A null without calibration data.

Nats are large wherever the measurement informs, lesion or not; a threshold needs the distribution of healthy blocks. Two
nulls are offered, neither of which needs a healthy scan:

``study``  the bulk of this study's own blocks. In every scan looked at, log nats of body blocks are close to normal; median and
           MAD (which a few per cent of abnormal blocks cannot move) give its centre and width. A p-value is the upper tail
           of that log-normal. What it tests is *unusual for this scan*: a scan that is abnormal throughout has no
           unusual block, and the image score, not this p-value, is then the thing to look at.
``twin``   prior-consistent twins: what the prior makes of the reconstruction when left alone, re-measured and scored by the
           same chain (posterior-predictive null). A p-value is a block's rank among all twin blocks of the study.

Twins carry the sampler's own texture and tend to larger nats than real healthy tissue: ``twin`` is the cautious choice.
How often ``study`` fires on healthy slices is measured in docs/results.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from KLIPCore.errors import TraceError

MAD_TO_STD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

FEWEST_BLOCKS = 50
"""Fewer tested blocks than this describe no distribution."""


@dataclass(frozen=True)
class LogNormalNull:
    """log nats ~ N(centre, width²) for healthy blocks.

    Attributes
    ----------
    centre : median of log nats.
    width : robust standard deviation of log nats.
    n_blocks : blocks it was fitted to.
    """

    centre: float
    width: float
    n_blocks: int

    @classmethod
    def fit(cls, nats: NDArray[np.floating]) -> LogNormalNull:
        """Median and MAD of the logarithm of block nats (any shape).

        Raises
        ------
        TraceError : too few blocks, or no spread at all.
        """
        values = np.asarray(nats, np.float64).ravel()
        if values.size < FEWEST_BLOCKS:
            raise TraceError(f"Only {values.size} body blocks: too few to say what is usual.", "Take more slices, a larger ROI or smaller blocks.")
        logs = np.log(_floored(values))
        centre = float(np.median(logs))
        width = float(MAD_TO_STD * np.median(np.abs(logs - centre)))
        if not width > 0:
            raise TraceError("All body blocks have the same nats: there is nothing to compare.", "Check that the study shows a patient.")
        return cls(centre, width, int(values.size))

    def z(self, nats: NDArray[np.floating]) -> NDArray[np.float64]:
        """Robust z-score of log nats, of the argument's shape."""
        return (np.log(_floored(np.asarray(nats, np.float64))) - self.centre) / self.width

    def p_values(self, nats: NDArray[np.floating]) -> NDArray[np.float64]:
        """P(healthy block ≥ nats), of the argument's shape."""
        return np.asarray(ndtr(-self.z(nats)))


def _floored(nats: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nats with the smallest positive value in place of zeros and of slightly negative U-statistics."""
    positive = nats[nats > 0]
    return np.maximum(nats, positive.min() if positive.size else 1e-12)


def twin_p_values(nats: NDArray[np.floating], twin_nats: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rank of each block among the twins' blocks: (1 + #{twin ≥ block}) / (1 + n), never 0.

    Parameters
    ----------
    nats : blocks to be judged, any shape.
    twin_nats : tested blocks of the twins, any shape.

    Raises
    ------
    TraceError : too few twin blocks.
    """
    reference = np.sort(np.asarray(twin_nats, np.float64).ravel())
    if reference.size < FEWEST_BLOCKS:
        raise TraceError(f"Only {reference.size} twin blocks: too few for a null.", "Take more slices or smaller blocks.")
    at_least = reference.size - np.searchsorted(reference, np.asarray(nats, np.float64), side="left")
    return np.asarray((1.0 + at_least) / (1.0 + reference.size))
