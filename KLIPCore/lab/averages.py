"""Making the laws of averages over a neighbourhood (:mod:`KLIPCore.maps.averages`), from finished runs in health.

As in :mod:`KLIPCore.lab.reference`: regions of a training patient are counted with laws that the patient had no part
in, and healthy patients outside training decide how far a rate is widened. Where slices were left out of the runs,
averages are taken over those that are there, and litres are of all: such laws are a little too kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from KLIPCore.maps.averages import Average, AverageLaws, largest_rarity, means_of, quantiles_of
from KLIPCore.maps.unexpected import SIGNS, Evidence
from KLIPCore.maps.verdict import litres_of, regions_of_sign

KEPT = 600
"""Strongest regions of a sign that are kept: weaker ones are expected more than ten times in any study."""

PROMISE = 3.0
"""Expected regions, of both signs, at which a widening is read: fewer are too few to count in some patients."""


@dataclass(frozen=True, eq=False)
class HealthyMeans:
    """A healthy study, as far as these laws are made of it.

    Attributes
    ----------
    means, asked : of :func:`KLIPCore.maps.averages.means_of`.
    tested : (n, h, w) bool, cells in the body.
    places : (n,) numbers of its slices, neighbours one apart.
    litres : body examined.
    """

    means: NDArray[np.float32]
    asked: NDArray[np.bool_]
    tested: NDArray[np.bool_]
    places: NDArray[np.intp]
    litres: float

    @classmethod
    def of(cls, average: Average, evidence: Evidence, tested: NDArray[np.bool_]) -> HealthyMeans | None:
        """Return them; None where :func:`KLIPCore.maps.averages.means_of` gives none."""
        found = means_of(average, evidence)
        if found is None:
            return None
        step = max(1, int(np.median(np.diff(evidence.places)))) if len(evidence.places) > 1 else 1
        return cls(*found, tested, evidence.places // step, step * litres_of(evidence, tested))

    def strengths(self, quantiles: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
        """Return strengths of its regions, by sign, under some laws."""
        out = {}
        for number, sign in enumerate(SIGNS):
            field = largest_rarity(self.means, self.asked, sign, quantiles[number])
            out[sign] = regions_of_sign(field, self.tested, self.places)[1]
        return out


def fit_average(train: Sequence[HealthyMeans], unseen: Sequence[HealthyMeans], folds: int) -> AverageLaws:
    """Return the laws.

    Parameters
    ----------
    train : the prior's training patients, at least as many as folds.
    unseen : healthy patients outside training.
    folds : parts of the training patients for the cross-fit.
    """
    strengths: dict[str, list[NDArray[np.float64]]] = {sign: [] for sign in SIGNS}
    for fold in range(folds):
        quantiles = quantiles_of([(s.means, s.asked) for n, s in enumerate(train) if n % folds != fold])
        for study in train[fold::folds]:
            for sign, values in study.strengths(quantiles).items():
                strengths[sign].append(values)
    made = AverageLaws(
        quantiles_of([(s.means, s.asked) for s in train]),
        {sign: np.sort(np.concatenate(own))[::-1][:KEPT].astype(np.float32) for sign, own in strengths.items()},
        dict.fromkeys(SIGNS, 1.0),
        sum(study.litres for study in train),
    )
    if not unseen:
        return made
    promised = PROMISE / len(SIGNS)
    found = dict.fromkeys(SIGNS, 0)
    for study in unseen:
        for sign, values in study.strengths(made.quantiles).items():
            found[sign] += int((made.expected(values, sign, study.litres) <= promised).sum())
    return replace(made, widening={sign: max(1.0, n / (promised * len(unseen))) for sign, n in found.items()})
