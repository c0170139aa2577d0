"""Several noise levels, one verdict: p-values that are combined although they depend on each other.

How large a thing the denoiser overlooks is set by σ. At σ = 0.2 it keeps a plain lesion of some centimetres,
which is clear in that little noise, and only its rim is a surprise; at σ = 1 it has forgotten the lesion, and
with it every fold of a healthy bowel. Nats of the two are not comparable, and a sum is ruled by the larger. So
each σ window gets its *own* null, and what is combined are p-values, by their harmonic mean (Wilson, PNAS 116,
2019, 1195):

    h = L / (1/p₁ + … + 1/p_L) .

A block is as unusual as its most unusual window makes it, less a factor of at most L for having looked L
times. For *independent* windows the distribution of h is known exactly: 1/p is Pareto distributed, and for two

    P(h ≤ α) = 2/s + 2 ln(s − 1)/s² ,   s = 2/α      (0.0546 for α = 0.05);

for more the same convolution is done numerically. The combined p is that probability.

**Windows that depend on each other.** 1/p has so heavy a tail that its sum is mostly one term, and so the dependence
matters little, but it is not true of every dependence. For windows that agree completely h would already be uniform,
so the combined p is slightly too large: cautious. For jointly normal z of any correlation, also negative, and for
squares of smooth pushes that share noise, p ≤ α came out no more often than α
(``Testing/Python/maps/test_combine.py``). The worst dependence there is has the two windows unusual *together and in
turns*, p₂ = 2h − p₁ where p₁ < 2h: then P(h ≤ α) = 2α (Rüschendorf, Adv. Appl. Probab. 14, 1982, 623), and the
combined p is ≤ 0.05 in 9.2 % of the blocks. So two windows may at worst claim nearly twice as often as they say.

**Nats of a combination.** Windows are disjoint, so their nats add up, and totals do that. The *map* must rank
blocks as p does. It shows
**equivalent nats**: how many nats the first (smallest) window would have to hold for a block as unusual as
this one. Where only the first window speaks, these are its own nats.

**Blocks that hold no nats at all** (fat, for a score of soft tissue) have nothing to be tested: they take no
part in the nulls and get p = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from KLIPCore.errors import TraceError
from KLIPCore.maps.null import FEWEST_BLOCKS, SMALL_POWER, BulkNull, twin_p_values

LEAST_SHARE = 1e-9
"""Blocks with less than this share of the largest block's nats hold none: what block sums leave of zeros."""

LEAST_Z = -8.0
"""z-score of a block without nats."""

STEP = 0.02
"""Of the table in the log of 1/h."""

LARGEST_LOG = 30.0
"""Up to this log of 1/h the exact distribution is tabulated; beyond, its tail is 1/h to all digits that matter."""

MOST_LOG_NATS = 50.0
"""ln of the most nats, over the usual, that are shown: float32 ends at 88."""

SMALLEST_BASE = 0.05
"""Where the power of a null is negative, nats have a pole at a finite z; from here to it they are continued
by an exponential.
"""


@dataclass(frozen=True, eq=False)
class Combined:
    """Blocks judged in several windows.

    Attributes
    ----------
    nats : (n, h, w) float32 equivalent nats of the first window.
    p : (n, h, w) float64 combined p-values, 1 where nothing was judged.
    z : (n, h, w) float64 their normal quantiles, :data:`LEAST_Z` where nothing was judged.
    judged : (n, h, w) bool, tested blocks that hold nats in any window.
    width : robust standard deviation of the first window's null.
    """

    nats: NDArray[np.float32]
    p: NDArray[np.float64]
    z: NDArray[np.float64]
    judged: NDArray[np.bool_]
    width: float


def combine(
    windows: Sequence[NDArray[np.float32]],
    tested: NDArray[np.bool_],
    twins: Sequence[NDArray[np.float32]] | None = None,
) -> Combined:
    """Combine the block nats of several σ windows into one verdict per block.

    Parameters
    ----------
    windows : (n, h, w) block nats of each window, the smallest σ first; the first one's nats are the map's currency.
    tested : (n, h, w) bool.
    twins : block nats of the twins in the same windows, which then give the p-values; the study's own bulk
        does when None. Equivalent nats are the study's own in either case.

    Raises
    ------
    TraceError : no window is given, too few blocks hold nats in the first, or too few twin blocks.
    """
    if not windows:
        raise TraceError("No σ window is left to judge.", "Choose a window inside what was recorded.")
    active = [holds_nats(nats, tested) for nats in windows]
    asked = [
        k for k, own in enumerate(active) if not k or own.sum() >= FEWEST_BLOCKS
    ]  # a window that says next to nothing is not asked
    if not active[0].any():
        raise TraceError("No place of the body holds nats of this score.", "Choose another score.")
    judged = np.any([active[k] for k in asked], axis=0)
    log_p = np.zeros((len(asked), *tested.shape))

    def judge(place: int) -> BulkNull:
        values, mask = windows[asked[place]], active[asked[place]]
        null = BulkNull.fit(values[mask])
        log_p[place][mask] = log_ndtr(-null.z(values[mask]))
        return null

    with ThreadPoolExecutor(2) as threads:  # a slider waits for this; it is spent in compiled code
        nulls = list(threads.map(judge, range(len(asked))))
    log_combined = harmonic_mean([own[judged] for own in log_p])
    quantiles = _z(log_combined)
    nats = np.zeros(tested.shape, np.float32)
    nats[judged] = equivalent_nats(nulls[0], quantiles)
    if twins is not None:
        for own, k in zip(log_p, asked, strict=True):
            own[active[k]] = np.log(twin_p_values(windows[k][active[k]], twins[k][holds_nats(twins[k], tested)]))
        log_combined = harmonic_mean([own[judged] for own in log_p])
        quantiles = _z(log_combined)
    z, p = np.full(tested.shape, LEAST_Z), np.ones(tested.shape)
    z[judged], p[judged] = quantiles, np.exp(log_combined)
    return Combined(nats, p, z, judged, nulls[0].width)


def holds_nats(nats: NDArray[np.floating], tested: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return tested blocks that hold any nats, of the shape of both."""
    return tested & (nats > LEAST_SHARE * np.max(nats, initial=0.0, where=tested))


def _z(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal quantiles of upper tail probabilities, however small."""
    return np.asarray(np.maximum(-ndtri_exp(log_p), LEAST_Z))


def harmonic_mean(log_p: Sequence[NDArray[np.float64]] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln of the combined p-value; exact when the p-values along the first axis are independent and uniform.

    Parameters
    ----------
    log_p : (L, ...) ln p of L tests; logarithms, because p underflows where a lesion is plain.
    """
    if len(log_p) == 1:
        return np.asarray(log_p[0], np.float64)
    log_t = -np.asarray(log_p[0], np.float64)
    for own in log_p[1:]:  # one after the other: logaddexp.reduce gives the same and takes three times as long
        log_t = np.logaddexp(log_t, -np.asarray(own, np.float64))
    log_t = log_t - np.log(len(log_p))  # 1/h
    excess = _tail(len(log_p))[1]
    at = np.minimum(log_t / STEP, len(excess) - 1.001)  # even steps: looked up, not searched for
    below = at.astype(np.intp)
    left = excess[below]
    return np.asarray(np.minimum(left + (at - below) * (excess[below + 1] - left) - log_t, 0.0))


@lru_cache(maxsize=8)
def _tail(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ln t and ln(t · P(mean of n independent 1/p > t)), from t = 1, where it is 0, to where it is 0 again.

    By convolution: given p of the last test, n times the mean must exceed n t − 1/p in the others.
    """
    grid = np.asarray(np.arange(round(LARGEST_LOG / STEP) + 1) * STEP, np.float64)
    nodes, weights = np.polynomial.legendre.leggauss(
        20
    )  # in each of 20 panels: one rule of 400 nodes would cost a second to find
    u = (np.arange(20)[:, None] + 0.5 * (nodes + 1)).ravel() / 20
    q, weight = (
        0.5 * (1 - np.cos(np.pi * u)),
        np.tile(0.5 * weights, 20) / 20 * 0.5 * np.pi * np.sin(np.pi * u),
    )  # dense at both ends
    excess = np.zeros(len(grid))  # one test: P(1/p > t) = 1/t
    for m in range(2, n + 1):
        total = m * np.exp(grid)  # what the sum of m must exceed
        alone = 1 / (total - (m - 1))  # the last p below this: enough, whatever the others are
        log_last = np.log(alone)[:, None] * (1 - q)  # the rest of its range
        log_others = np.log(np.maximum((total[:, None] - np.exp(-log_last)) / (m - 1), 1.0))
        tail = np.exp(np.interp(log_others, grid, excess) - log_others)
        excess = grid + np.log(alone + (tail * np.exp(log_last) * weight).sum(1) * -np.log(alone))
    return grid, np.asarray(excess, np.float64)


def equivalent_nats(null: BulkNull, z: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return nats that have these z-scores under a null.

    The inverse of :meth:`KLIPCore.maps.null.BulkNull.z`, rising and finite everywhere.
    """
    t = np.asarray(z, np.float64) * null.width
    if abs(null.power) < SMALL_POWER:
        log_nats = t
    else:
        base = 1 + null.power * t
        floor = SMALLEST_BASE if null.power < 0 else 0.0
        with np.errstate(divide="ignore"):
            log_nats = np.log(np.maximum(base, floor)) / null.power
        if floor:
            log_nats = log_nats + np.minimum(base - floor, 0.0) / (floor * null.power)
    return np.asarray(null.centre * np.exp(np.minimum(log_nats, MOST_LOG_NATS)), np.float32)
