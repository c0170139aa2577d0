"""How well a map points at what is known to be there: areas under ROC curves, with intervals.

The paper's image-level figure is one ROC curve per image, blocks inside the body against blocks that hold a
labelled pixel, averaged over images. An interval by bootstrap over images says how far that mean may be
chance; slices of one patient resemble each other, so figures are given per patient, and never pooled over them
silently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from KLIPCore.errors import ConfigError


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Probability that a positive scores higher than a negative, ties counting half (Mann–Whitney).

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


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval.

    Attributes
    ----------
    mean : mean over images.
    lo, hi : bounds of the central ``level`` of bootstrap means.
    n : images behind it.
    """

    mean: float
    lo: float
    hi: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.lo:.3f}, {self.hi:.3f}] (n = {self.n})"


def bootstrap_mean(
    values: NDArray[np.floating] | list[float], level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of a mean over images; NaN values (images without one class) are left out."""
    kept = np.asarray(values, float)
    kept = kept[np.isfinite(kept)]
    if kept.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    means = kept[rng.integers(0, kept.size, (n_resamples, kept.size))].mean(1)
    lo, hi = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(kept.mean()), float(lo), float(hi), int(kept.size))
