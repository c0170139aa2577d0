"""Is each organ as bright as in the studies that the prior has learned from? One number in nats an organ.

The median HU of an organ has a law over the prior's training patients: mean m, standard deviation s of n patients. A
new healthy patient's median x then follows Student's predictive law with ν = n − 1 degrees of freedom,

    t = (x − m) / (s √(1 + 1/n)) ,     nats = ln p(m) − ln p(x) = ½ (ν + 1) ln(1 + t²/ν) ,

so that nats say how much less usual this organ is than the most usual one; 0 where it is right at the mean. Whole
organs are compared, at their median: a lesion does not move it, a missing contrast phase, other HU or another organ's
name do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from KLIPCore.volume.organs import OrganMap

PATIENTS = 11
LAWS = {
    "aorta": (162.3, 40.3),
    "gallbladder": (20.7, 11.2),
    "left kidney": (132.1, 62.7),
    "right kidney": (137.0, 56.3),
    "liver": (96.2, 25.5),
    "pancreas": (79.2, 38.8),
    "spleen": (111.7, 29.9),
}
"""Organ → mean and standard deviation over :data:`PATIENTS` of its median HU:
`python -m KLIPCore.lab.organ_laws --data FOLDER` prints them. The stomach is left out: it holds anything.
"""
LEAST_VOXELS = 200
"""Of a smaller piece the median says little."""
LOOK_ALPHA = 0.05
"""Chance that any of a healthy patient's organs is as unusual as one that is pointed out."""


@dataclass(frozen=True)
class OrganFit:
    """One organ of a study.

    Attributes
    ----------
    organ : as :data:`LAWS` call it.
    hu : its median.
    usual, spread : mean and standard deviation of that over the training patients.
    nats : how much less usual it is than the most usual; 0 at least.
    p : two-sided, of this organ alone.
    """

    organ: str
    hu: float
    usual: float
    spread: float
    nats: float
    p: float

    def clause(self) -> str:
        """Say what is unusual."""
        how = "darker" if self.hu < self.usual else "brighter"
        return (
            f"its {self.organ} is {how} than usual: {self.hu:.0f} HU, in the prior's patients {self.usual:.0f} ± "
            f"{self.spread:.0f} ({self.nats:.1f} nats)"
        )


def organ_fits(array: NDArray[np.floating], organs: OrganMap) -> tuple[OrganFit, ...]:
    """Return every organ that has a law and lies in the study, the least usual first.

    Parameters
    ----------
    array : (slices, rows, columns) HU.
    organs : on the same voxels; names in any order of words, with spaces or underscores.
    """
    known = {_key(name): name for name in LAWS}
    found = []
    for label in organs.present:
        organ = known.get(_key(organs.called(label)))
        values = array[organs.labels == label] if organ else ()
        if organ is not None and len(values) >= LEAST_VOXELS:
            found.append(fit_of(organ, float(np.median(values))))
    return tuple(sorted(found, key=lambda fit: -fit.nats))


def fit_of(organ: str, hu: float) -> OrganFit:
    """Return how usual a median is; KeyError of an organ without a law."""
    usual, spread = LAWS[organ]
    nu = PATIENTS - 1
    t = (hu - usual) / (spread * math.sqrt(1 + 1 / PATIENTS))
    return OrganFit(organ, hu, usual, spread, 0.5 * (nu + 1) * math.log1p(t * t / nu), 2 * float(stdtr(nu, -abs(t))))


def unusual(fits: Sequence[OrganFit], alpha: float = LOOK_ALPHA) -> list[OrganFit]:
    """Return the organs that are unusual at a level, all of them together (Šidák)."""
    return [fit for fit in fits if -math.expm1(len(fits) * math.log1p(-min(fit.p, 1 - 1e-12))) < alpha]


def _key(name: str) -> frozenset[str]:
    return frozenset(name.casefold().replace("_", " ").replace("-", " ").split())
