"""How unusual a block, and a region, is in health, for blocks of one size.

    surprise of a block       u = −ln P_health(S ≥ s | class)                  in nats of rarity, per kind
    expected false regions    E(strength) = signs asked for · rate_kind(strength) · litres examined

The class is how little the scan informs at the place; S is in nats, which compare between studies and tissues.
E is the reader's unit: the number of regions of any sign asked for, as strong as this one, that a healthy study of
this size would show. A kind is a sign and the tissue in which regions are sought. Beyond the strongest healthy
regions the rate falls exponentially, with the mean excess of the strongest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.maps.unexpected import KINDS, SIGNS, Evidence, block_classes, block_statistics

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Of the law of a class."""

FLOOR = 1e-4
"""Added to S before its logarithm."""

JOINT_KINDS = tuple(("joint", sign) for sign in SIGNS)
"""Kinds of regions of the sum of a block's surprise in soft tissue and the focal average's
(:mod:`KLIPCore.maps.averages`), as far as there are laws of them."""

N_TAIL = 30
"""Strongest healthy regions whose mean excess continues the rate."""


@dataclass(frozen=True, eq=False)
class BlockLaws:
    """The laws of blocks of one size, and of the regions they form.

    Attributes
    ----------
    block_mm : edge of the blocks.
    quantiles : (kinds, block classes, quantiles) ln(S + floor), rising.
    strengths : by kind, of the sum, too, where it was counted: strengths of the strongest regions in the healthy
        studies, falling.
    widening : by kind, factor of the rate that makes its promise true on healthy patients outside training.
    """

    block_mm: float
    quantiles: NDArray[np.float32]
    strengths: dict[tuple[str, str], NDArray[np.float32]]
    widening: dict[tuple[str, str], float]

    def regions_as_strong(self, strength: NDArray[np.floating], kind: tuple[str, str]) -> NDArray[np.float64]:
        """Return how many regions of a kind, at least as strong, so much unseen healthy body would show."""
        return self.widening[kind] * regions_as_strong(strength, self.strengths[kind])


def regions_as_strong(strength: NDArray[np.floating], healthy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how many of some healthy regions are at least as strong; beyond the strongest ones, how many would be.

    Parameters
    ----------
    strength : of regions.
    healthy : strengths of healthy regions, falling.
    """
    healthy, strength = np.asarray(healthy, np.float64), np.asarray(strength, np.float64)
    at_least = np.searchsorted(-healthy, -strength, side="right").astype(np.float64)
    tail = healthy[: min(N_TAIL, len(healthy))]
    scale = max(float(np.mean(tail - tail[-1])), 1e-3)
    beyond = len(tail) * np.exp(-(strength - tail[-1]) / scale)
    return np.where(strength > tail[-1], beyond, at_least)


def rarity(
    statistic: NDArray[np.floating], classes: NDArray[np.intp], law: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return −ln P_health(S ≥ s | class) of every block; beyond the last quantile the slope of the tail goes on.

    Parameters
    ----------
    statistic, classes : (n, h, w).
    law : (classes, quantiles) rising ln(S + floor).
    """
    logs, levels = np.log(statistic + FLOOR), -np.log(1 - np.array(QUANTILES))
    tail = QUANTILES.index(0.95)
    out = np.zeros(logs.shape, np.float32)
    for number in np.unique(classes):
        inside = classes == number
        at = law[number] + np.arange(len(QUANTILES)) * 1e-6
        values = logs[inside]
        made = np.interp(values, at, levels)
        slope = (levels[-1] - levels[tail]) / max(float(at[-1] - at[tail]), 1e-3)
        beyond = values > at[-1]
        made[beyond] = levels[-1] + slope * (values[beyond] - at[-1])
        out[inside] = made
    return out


def surprise_of(
    cells: dict[tuple[str, str], NDArray[np.float32]],
    evidence: Evidence,
    quantiles: NDArray[np.floating],
    block_mm: float,
) -> dict[tuple[str, str], NDArray[np.float32]]:
    """Return u of every block, (n, h, w), by kind.

    Parameters
    ----------
    cells : of the study, :func:`KLIPCore.maps.unexpected.cell_nats`.
    evidence : of the study.
    quantiles : (kinds, block classes, quantiles) of the block size.
    block_mm : edge of the blocks.
    """
    classes, stats = block_classes(evidence), block_statistics(cells, evidence, block_mm)
    return {kind: rarity(own, classes, quantiles[KINDS.index(kind)]) for kind, own in stats.items()}
