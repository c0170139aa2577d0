"""Average precision: the area under the precision–recall curve, for findings that are rare.

An AUROC asks whether a lesion block outranks a healthy one; with one lesion block among a hundred healthy ones
even .95 leaves five healthy blocks in front of it. Precision counts those. Its chance level is the share of
positives, so the two belong together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError


def average_precision(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return Σ (Rₙ − Rₙ₋₁) Pₙ over falling thresholds, tied scores passing together.

    No interpolation (Davis & Goadrich 2006).

    Parameters
    ----------
    scores, positive : same shape, any number of dimensions.

    Returns
    -------
    average precision in (0, 1]; NaN when one class is empty.
    """
    scores, positive = np.asarray(scores, float).ravel(), np.asarray(positive, bool).ravel()
    if scores.shape != positive.shape:
        raise ConfigError("Scores and labels have different sizes.", "Pass arrays over the same blocks.")
    if positive.all() or not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), scores.size - 1)
    found = hits[last_of_tie]
    precision = found / (last_of_tie + 1)
    recall = found / found[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
