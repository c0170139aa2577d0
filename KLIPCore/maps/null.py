"""What would these nats be if nothing were wrong? A null without calibration data.

Nats are large wherever the measurement informs, lesion or not; a threshold needs the distribution of healthy
blocks. Two nulls are offered, neither of which needs a healthy scan:

``study``  the bulk of this study's own blocks. Nats of body blocks are skewed, by a different amount for
           every score: a whole KL is close
           to log-normal, a one-sided one (half of the places have none) less skewed than that. A power of the
           nats makes the bulk symmetric (Hinkley, Applied Statistics 24, 1975, 101: the power whose quantiles
           lie evenly around the median); then median and MAD, which a few per cent of abnormal blocks cannot
           move, give centre and width, and a p-value is the upper tail of that normal. What it tests is
           *unusual for this scan*: a scan that is abnormal throughout has no unusual block, and the image
           score, not this p-value, is then the thing to look at.
``twin``   prior-consistent twins: what the prior makes of the reconstruction when left alone, re-measured and scored
           by the
           same chain (posterior-predictive null). A p-value is a block's rank among all twin blocks of the study.

Twins carry the sampler's own texture and tend to larger nats than real healthy tissue: ``twin`` is the
cautious choice. How often ``study`` fires on healthy slices is measured in docs/results.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from KLIPCore.errors import TraceError

MAD_TO_STD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

ENOUGH_BLOCKS = 50_000
"""Of more than twice as many blocks every second, third, … is looked at: neighbours overlap and say nearly
the same.
"""

FEWEST_BLOCKS = 50
"""Fewer tested blocks than this describe no distribution."""


SYMMETRY_QUANTILE = 0.1
"""The power puts this quantile and its mirror image equally far from the median."""

LEAST_POWER, LARGEST_POWER = -0.25, 1.0
"""Powers that are tried: from heavier than log-normal (0) to as symmetric as a normal (1). Abnormal blocks
pull down, to the cautious side.
"""


@dataclass(frozen=True)
class BulkNull:
    """((nats / centre)^power − 1) / power ~ N(0, width²) for healthy blocks; power 0 is the logarithm.

    Attributes
    ----------
    centre : median of nats.
    power : exponent that makes the bulk symmetric.
    width : robust standard deviation of the transformed nats.
    n_blocks : blocks it was fitted to.
    """

    centre: float
    power: float
    width: float
    n_blocks: int

    @classmethod
    def fit(cls, nats: NDArray[np.floating]) -> BulkNull:
        """Power, median and MAD of block nats (any shape).

        Raises
        ------
        TraceError : too few blocks, or no spread at all.
        """
        values = np.asarray(nats, np.float64).ravel()
        if values.size < FEWEST_BLOCKS:
            raise TraceError(
                f"Only {values.size} body blocks: too few to say what is usual.",
                "Take more slices, a larger ROI or smaller blocks.",
            )
        values = values[:: max(1, values.size // ENOUGH_BLOCKS)]
        low, middle, high = np.log(np.quantile(_floored(values), (SYMMETRY_QUANTILE, 0.5, 1 - SYMMETRY_QUANTILE)))
        power = _symmetric_power(low - middle, high - middle)
        made = cls(float(np.exp(middle)), power, 1.0, int(values.size))
        width = float(MAD_TO_STD * np.median(np.abs(made.z(values))))
        if not width > 0:
            raise TraceError(
                "All body blocks have the same nats: there is nothing to compare.",
                "Check that the study shows a patient.",
            )
        return replace(made, width=width)

    def z(self, nats: NDArray[np.floating]) -> NDArray[np.float64]:
        """Robust z-score of nats, of the argument's shape."""
        return _power(np.log(_floored(np.asarray(nats, np.float64)) / self.centre), self.power) / self.width

    def nats_at(self, z: float) -> float:
        """Nats of a block with this z-score: the inverse of :meth:`z`; 0 where no nats are that small."""
        t = z * self.width
        if abs(self.power) < SMALL_POWER:
            return float(self.centre * np.exp(t))
        base = 1 + self.power * t
        return float(self.centre * base ** (1 / self.power)) if base > 0 else (0.0 if self.power > 0 else np.inf)

    def p_values(self, nats: NDArray[np.floating]) -> NDArray[np.float64]:
        """P(healthy block ≥ nats), of the argument's shape."""
        return np.asarray(ndtr(-self.z(nats)))


SMALL_POWER = 1e-6
"""Below this a power is the logarithm to all digits."""


def _power(logs: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """(exp(power · logs) − 1) / power, and logs themselves for power 0."""
    return logs if abs(power) < SMALL_POWER else np.asarray(np.expm1(power * logs) / power)


def _symmetric_power(low: float, high: float) -> float:
    """The power for which the transformed low (< 0) and high (> 0) log quantiles lie evenly around 0, by
    halving to rounding error.

    A root of one number; scipy.optimize would find it sooner, and takes a tenth of a second to import each
    time a slider's value is tried in a shell.
    """

    def lopsided(power: float) -> float:
        return float(_power(np.array([low, high]), power).sum())  # rises with the power

    if lopsided(LARGEST_POWER) <= 0:
        return LARGEST_POWER
    if lopsided(LEAST_POWER) >= 0:
        return LEAST_POWER
    below, above = LEAST_POWER, LARGEST_POWER
    while below < (middle := (below + above) / 2) < above:
        below, above = (middle, above) if lopsided(middle) < 0 else (below, middle)
    return middle


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
        raise TraceError(
            f"Only {reference.size} twin blocks: too few for a null.", "Take more slices or smaller blocks."
        )
    at_least = reference.size - np.searchsorted(reference, np.asarray(nats, np.float64), side="left")
    return np.asarray((1.0 + at_least) / (1.0 + reference.size))
