"""How unusual a whole slice is in health: a scan over block sizes.

    strength of a slice    the largest u = -ln P_health(S >= s | class) over its blocks of all sizes of :data:`SCAN_MM`
    share                  P_health(strength >= x): how many healthy slices are as unusual, of all signs asked for

A deviation of unknown place and size is found near-optimally by the largest of the blocks' log-likelihood ratios over
places *and* sizes; u puts blocks of different sizes on one scale, so that no penalty of size is needed. A sum over a
slice sees where a patient is a little unusual everywhere, and loses; the mass of the largest cluster does as well
(:mod:`KLIPCore.lab.evaluation.slice_aggregates`).

References
----------
E. Arias-Castro, D. L. Donoho, X. Huo: Near-optimal detection of geometric objects by fast multiscale methods.
IEEE Trans. Inf. Theory 51(7), 2005.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCAN_MM = (6.0, 12.0, 18.0)
"""Block sizes that are scanned."""

LEAST_CELLS = 20
"""A slice with fewer tested cells has no strength: 0."""

KEPT = 200
"""Strongest healthy slices of a kind that are kept one by one."""

N_TAIL = 20
"""Strongest healthy slices whose mean excess continues the law."""

Fields = dict[tuple[str, str], NDArray[np.float32]]


def slice_strengths(fields: Iterable[Fields], tested: NDArray[np.bool_]) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Return the strength of each slice, (n,), by kind.

    Parameters
    ----------
    fields : iterable of dict
        Surprise (n, h, w) by kind, one for each size of :data:`SCAN_MM`.
    tested : array of bool, (n, h, w)
        Blocks that count.
    """
    enough = tested.sum((1, 2)) >= LEAST_CELLS
    out: dict[tuple[str, str], NDArray[np.float64]] = {}
    for own in fields:
        for kind, surprise in own.items():
            largest = np.where(tested, surprise, 0).max((1, 2)).astype(np.float64) * enough
            out[kind] = np.maximum(out[kind], largest) if kind in out else largest
    return out


@dataclass(frozen=True, eq=False)
class SliceLaws:
    """The law of slices' strengths in health.

    Attributes
    ----------
    strongest : dict
        By kind, strengths of the strongest healthy slices, falling.
    n_slices : int
        Healthy slices that were counted.
    widening : dict
        By kind, the factor of the share that makes it true on healthy patients outside training, at least 1.
    """

    strongest: dict[tuple[str, str], NDArray[np.float32]]
    n_slices: int
    widening: dict[tuple[str, str], float]

    @classmethod
    def fit(cls, strengths: Sequence[dict[tuple[str, str], NDArray[np.float64]]]) -> SliceLaws:
        """Return the law of some healthy studies, one entry each; slices of strength 0 do not count."""
        kinds = list(strengths[0])
        every = {kind: np.concatenate([own[kind] for own in strengths]) for kind in kinds}
        kept = {kind: np.sort(own)[::-1][:KEPT].astype(np.float32) for kind, own in every.items()}
        return cls(kept, int((every[kinds[0]] > 0).sum()), dict.fromkeys(kinds, 1.0))

    def share_of(self, strength: NDArray[np.floating], kind: tuple[str, str]) -> NDArray[np.float64]:
        """Return which share of healthy slices is at least as unusual in one kind.

        1 for whatever is weaker than the slices kept.
        """
        strength = np.asarray(strength, np.float64)
        healthy = np.asarray(self.strongest[kind], np.float64)
        at_least = np.searchsorted(-healthy, -strength, side="right").astype(np.float64)
        tail = healthy[: min(N_TAIL, len(healthy))]
        scale = max(float(np.mean(tail - tail[-1])), 1e-3)
        beyond = len(tail) * np.exp(-(strength - tail[-1]) / scale)
        counted = np.where(strength > tail[-1], beyond, at_least)
        share = self.widening[kind] * counted / max(self.n_slices, 1)
        return np.where(strength > healthy[-1], np.minimum(share, 1.0), 1.0)

    def share(
        self, strengths: dict[tuple[str, str], NDArray[np.float64]], tissue: str, signs: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return which share of healthy slices is at least as unusual in any of the signs asked for, (n,)."""
        own = [self.share_of(strengths[tissue, sign], (tissue, sign)) for sign in signs]
        return np.minimum(np.minimum.reduce(own) * len(own), 1.0)
