"""AUROC against the definition, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.lab.evaluation.auroc import auroc, bootstrap_mean


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_probability_of_the_right_order(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([p[0] for p in pairs], float)
    positive = np.array([p[1] for p in pairs])
    if positive.all() or not positive.any():
        assert np.isnan(auroc(scores, positive))
        return
    differences = scores[positive][:, None] - scores[~positive][None]
    expected = ((differences > 0) + 0.5 * (differences == 0)).mean()
    assert auroc(scores, positive) == pytest.approx(expected)


def test_intervals_cover_the_mean() -> None:
    """95 % intervals of means of 30 values cover the truth in about 95 % of 200 trials."""
    rng = np.random.default_rng(0)
    hits = [(i := bootstrap_mean(rng.normal(0.8, 0.1, 30), n_resamples=400)).lo <= 0.8 <= i.hi for _ in range(200)]
    assert 0.88 <= np.mean(hits) <= 0.99


def test_nan_images_are_left_out() -> None:
    interval = bootstrap_mean([0.5, float("nan"), 0.7])
    assert interval.n == 2
    assert interval.mean == pytest.approx(0.6)
    assert np.isnan(bootstrap_mean([float("nan")]).mean)
