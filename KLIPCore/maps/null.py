"""What would these nats be if nothing were wrong? A null without calibration data.

Nats are large wherever the measurement informs, lesion or not; a threshold needs the distribution of healthy
blocks. Two nulls are offered, neither of which needs a healthy scan:

``study``  the bulk of this study's own blocks. Nats of body blocks are skewed, by a different amount for
           every score: a whole KL is close to log-normal, a one-sided one (half of the places have none) less
           skewed than that. A power of the nats makes the *upper half* of the bulk that of a normal (Box & Cox, J. R.
           Stat. Soc. B 26, 1964, 211; the power and the width for which two quantiles above the median lie where
           a normal has them), and a p-value is the upper tail of that normal. The lower half has no say: what
           happens to blocks with next to no nats (and of a one-sided score there are many) tells nothing of the
           tail that is tested. Blocks that the fit itself finds abnormal (p < :data:`LESION_P`, beyond the number that
           chance gives) are left out and it is made again, so that a few per cent of lesions do not widen it.
           What it tests is *unusual for this scan*: a scan that is abnormal throughout has no unusual block, and
           the image score, not this p-value, is then the thing to look at.
``twin``   for scans of something whose healthy form is known, as a solid disc's is
           (:mod:`KLIPCore.detection.measured_scan`): that form, measured by the same rays with the same noise and
           scored by the same chain. A p-value is a block's rank among all its blocks.

How true ``study`` is where nothing is wrong: on squares of smooth noise, one-sided and two-sided, and on gamma and
log-normal nats, p < .05 / .01 / .001 comes out in 4.8 to 5.1 / .7 to 1.1 / .02 to .2 % of the blocks
(``Testing/Python/maps/test_null.py``). Among lesions in 5 % of the blocks it is cautious: 1.7 to 5 / .1 to 1 / 0 to
.1 % of the healthy ones. Healthy anatomy that varies from place to place is not in that: how often the null fires on
healthy slices is measured in docs/results_slices.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from KLIPCore.errors import TraceError

ENOUGH_BLOCKS = 50_000
"""Of more than twice as many blocks every second, third, … is looked at: neighbours overlap and say nearly
the same.
"""

FEWEST_BLOCKS = 50
"""Fewer tested blocks than this describe no distribution."""


SHAPE_QUANTILES = (0.65, 0.9)
"""The power and the width put these quantiles where a normal has them. Above the median, because the upper tail is
what is tested; not further up, because lesions are there.
"""

LEAST_POWER, LARGEST_POWER = -0.25, 1.0
"""Powers that are tried: from heavier than log-normal (0) to as symmetric as a normal (1). Abnormal blocks
pull down, to the cautious side.
"""

LESION_P = 1e-3
"""Blocks with a smaller p-value than this, less the number that chance gives, are left out of the fit."""

MOST_ROUNDS = 8
"""Of fitting again without them. Three are the rule; each costs a look-up."""


@dataclass(frozen=True)
class BulkNull:
    """((nats / centre)^power − 1) / power ~ N(0, width²) above the median of healthy blocks; power 0 is the logarithm.

    Attributes
    ----------
    centre : median of nats.
    power : exponent that makes the upper half of the bulk normal.
    width : robust standard deviation of the transformed nats above the median.
    n_blocks : blocks it was fitted to, before abnormal ones were left out.
    """

    centre: float
    power: float
    width: float
    n_blocks: int

    @classmethod
    def fit(cls, nats: NDArray[np.floating]) -> BulkNull:
        """Fit median, power and width of block nats (any shape).

        Raises
        ------
        TraceError : too few blocks, or no spread at all.
        """
        values = np.asarray(nats).ravel()
        if values.dtype != np.float32:
            values = values.astype(np.float64)
        if values.size < FEWEST_BLOCKS:
            raise TraceError(
                f"Only {values.size} body blocks: too few to say what is usual.",
                "Take more slices, a larger ROI or smaller blocks.",
            )
        values = np.sort(_floored(values[:: max(1, values.size // ENOUGH_BLOCKS)]))  # float32: half the time
        values = values.astype(np.float64)
        made, kept = _fit_sorted(values), values.size
        for _ in range(MOST_ROUNDS):
            beyond = values.size - np.searchsorted(values, made.nats_at(-float(ndtri(LESION_P))))
            healthy = values.size - max(0, round(beyond - LESION_P * values.size))
            if healthy == kept or healthy < 0.5 * values.size:  # settled; or the bulk itself, which is no lesion
                break
            made, kept = _fit_sorted(values[:healthy]), healthy
        return replace(made, n_blocks=int(values.size))

    def z(self, nats: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the robust z-score of nats, of the argument's shape."""
        return _power(np.log(_floored(np.asarray(nats, np.float64)) / self.centre), self.power) / self.width

    def nats_at(self, z: float) -> float:
        """Return nats of a block with this z-score: the inverse of :meth:`z`; 0 where no nats are that small."""
        t = z * self.width
        if abs(self.power) < SMALL_POWER:
            return float(self.centre * np.exp(t))
        base = 1 + self.power * t
        return float(self.centre * base ** (1 / self.power)) if base > 0 else (0.0 if self.power > 0 else np.inf)

    def p_values(self, nats: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return P(healthy block ≥ nats), of the argument's shape."""
        return np.asarray(ndtr(-self.z(nats)))


SMALL_POWER = 1e-6
"""Below this a power is the logarithm to all digits."""


def _power(logs: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """(exp(power · logs) − 1) / power, and logs themselves for power 0."""
    return logs if abs(power) < SMALL_POWER else np.asarray(np.expm1(power * logs) / power)


def _fit_sorted(values: NDArray[np.float64]) -> BulkNull:
    """The null of blocks above 0, sorted by nats.

    Raises
    ------
    TraceError : there is no spread at all above the median.
    """
    logs = np.log(np.interp(np.array((0.5, *SHAPE_QUANTILES)) * (len(values) - 1), np.arange(len(values)), values))
    near, far = logs[1:] - logs[0]
    power = _normal_power(float(near), float(far))
    # equal, unless the power has come to the end of its range; the larger is the cautious one then
    width = float(np.max(_power(np.array([near, far]), power) / ndtri(SHAPE_QUANTILES)))
    if not width > 0:
        raise TraceError(
            "All body blocks have the same nats: there is nothing to compare.",
            "Check that the study shows a patient.",
        )
    return BulkNull(float(np.exp(logs[0])), power, width, len(values))


def _normal_power(near: float, far: float) -> float:
    """The power for which two log quantiles over the median's (0 ≤ near ≤ far) have the ratio of a normal's, by
    halving to rounding error.

    A root of one number; scipy.optimize would find it sooner, and takes a tenth of a second to import each
    time a slider's value is tried in a shell.
    """
    of_normal = float(ndtri(SHAPE_QUANTILES[1]) / ndtri(SHAPE_QUANTILES[0]))

    def too_far(power: float) -> float:
        one, other = _power(np.array([near, far]), power)
        return float(other - of_normal * one)  # rises with the power

    if too_far(LARGEST_POWER) <= 0:
        return LARGEST_POWER
    if too_far(LEAST_POWER) >= 0:
        return LEAST_POWER
    below, above = LEAST_POWER, LARGEST_POWER
    while below < (middle := (below + above) / 2) < above:
        below, above = (middle, above) if too_far(middle) < 0 else (below, middle)
    return middle


def _floored(nats: NDArray[np.floating]) -> NDArray[np.floating]:
    """Nats with the smallest positive value in place of zeros and of slightly negative U-statistics."""
    positive = nats[nats > 0]
    return np.maximum(nats, positive.min() if positive.size else 1e-12)


def twin_p_values(nats: NDArray[np.floating], twin_nats: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank of each block among the twins' blocks: (1 + #{twin ≥ block}) / (1 + n), never 0.

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
