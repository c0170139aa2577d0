"""How well a map points at what is known to be there: areas under ROC curves, with intervals.

The paper's image-level figure is one ROC curve per image, blocks inside the body against blocks that hold a
labelled pixel, averaged over images. Slices of one patient resemble each other, so what counts as one is the
patient: figures are given per patient, without an interval, and what stands for all is the mean of the patients'
means. Its interval is a bootstrap over patients, and there is none where they are fewer than :data:`FEWEST`: two
patients say nothing of how a third would fare, however many slices they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from KLIPCore.errors import ConfigError


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the probability that a positive scores higher than a negative, ties counting half (Mann–Whitney).

    Parameters
    ----------
    scores, positive : same shape, any number of dimensions.

    Returns
    -------
    AUROC in [0, 1]; NaN when one class is empty.
    """
    scores, positive = np.asarray(scores, float).ravel(), np.asarray(positive, bool).ravel()
    if scores.shape != positive.shape:
        raise ConfigError("Scores and labels have different sizes.", "Pass arrays over the same blocks.")
    n_positive = int(positive.sum())
    n_negative = positive.size - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


T = TypeVar("T")

FEWEST = 6
"""Fewer patients (or discs, or what else is drawn independently) than this give no interval."""


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval.

    Attributes
    ----------
    mean : mean over what was drawn independently: patients, mostly.
    lo, hi : bounds of the central ``level`` of bootstrap means; NaN where there is no interval.
    n : how many are behind it.
    """

    mean: float
    lo: float
    hi: float
    n: int

    def __str__(self) -> str:
        interval = f" [{self.lo:.3f}, {self.hi:.3f}]" if np.isfinite(self.lo) else ""
        return f"{self.mean:.3f}{interval} (n = {self.n})"

    def rounded(self) -> list[float | None]:
        """Return [mean, lo, hi] with four digits; None for what is not a number (JSON has none)."""
        return [round(x, 4) if np.isfinite(x) else None for x in (self.mean, self.lo, self.hi)]


def bootstrap_mean(
    values: NDArray[np.floating] | list[float], level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the percentile bootstrap of a mean over what was drawn independently.

    Slices of one patient were not; NaN values are left out, and fewer than :data:`FEWEST` give no interval.
    """
    kept = np.asarray(values, float)
    kept = kept[np.isfinite(kept)]
    if kept.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    if kept.size < FEWEST:
        return Interval(float(kept.mean()), float("nan"), float("nan"), int(kept.size))
    rng = np.random.default_rng(seed)
    means = kept[rng.integers(0, kept.size, (n_resamples, kept.size))].mean(1)
    lo, hi = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(kept.mean()), float(lo), float(hi), int(kept.size))


def over_patients(
    items: Sequence[T], patients: Sequence[str], figure: Callable[[list[T]], float], seed: int = 0
) -> Interval:
    """Return the mean over patients of a figure of the items of each.

    Its interval is that of :func:`bootstrap_mean` over patients.

    Parameters
    ----------
    items : slices, scans or their figures.
    patients : whose each of them is.
    figure : of one patient's items; NaN leaves the patient out.
    seed : of the bootstrap.
    """
    names = dict.fromkeys(patients)
    own = [figure([item for item, whose in zip(items, patients, strict=True) if whose == name]) for name in names]
    return bootstrap_mean(own, seed=seed)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of what is a number; NaN of nothing."""
    kept = [value for value in values if np.isfinite(value)]
    return float(np.mean(kept)) if kept else float("nan")
