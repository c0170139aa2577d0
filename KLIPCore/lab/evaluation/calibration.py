"""Do null p-values mean what they say? On healthy slices a level of 5 % must fire on about 5 % of the blocks.

Blocks of one slice overlap and resemble each other, so the rate's uncertainty is taken over slices, never over blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.auroc import Interval, bootstrap_mean

LEVELS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Levels at which a null is checked."""


def fire_rates(p_values: Sequence[NDArray[np.floating]], levels: Sequence[float] = LEVELS) -> list[Interval]:
    """Return the part of the blocks with p below each level.

    Mean over slices, and an interval that takes them for independent.

    Parameters
    ----------
    p_values : tested blocks of healthy slices, one array a slice; empty ones are left out.
    levels : in (0, 1).
    """
    kept = [np.asarray(p, float).ravel() for p in p_values if np.size(p)]
    return [bootstrap_mean([float(np.mean(p < level)) for p in kept]) for level in levels]
