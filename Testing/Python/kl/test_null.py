"""Nulls: known distributions give their known p-values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from KLIPCore.errors import TraceError
from KLIPCore.kl.null import LogNormalNull, twin_p_values


def test_log_normal_nats_give_uniform_p_values() -> None:
    nats = np.exp(np.random.default_rng(0).normal(-1.2, 0.7, 20_000))
    null = LogNormalNull.fit(nats)
    assert null.centre == pytest.approx(-1.2, abs=0.02)
    assert null.width == pytest.approx(0.7, abs=0.02)
    assert kstest(null.p_values(nats), "uniform").pvalue > 1e-3


def test_five_per_cent_of_lesions_hardly_move_the_null() -> None:
    rng = np.random.default_rng(1)
    healthy = np.exp(rng.normal(0, 0.7, 10_000))
    mixed = np.concatenate([healthy[:9_500], np.exp(rng.normal(3, 0.5, 500))])
    assert abs(LogNormalNull.fit(mixed).width - LogNormalNull.fit(healthy).width) < 0.05
    assert (LogNormalNull.fit(mixed).p_values(mixed[-500:]) < 0.01).mean() > 0.9


def test_twin_ranks_are_uniform_for_twins_and_never_zero() -> None:
    rng = np.random.default_rng(2)
    twins = rng.gamma(2.0, size=5_000)
    p = twin_p_values(rng.gamma(2.0, size=5_000), twins)
    assert kstest(p, "uniform").pvalue > 1e-3
    assert twin_p_values(np.array([1e9]), twins)[0] == pytest.approx(1 / 5001)


def test_too_little_or_nothing_to_compare_is_explained() -> None:
    with pytest.raises(TraceError, match="too few"):
        LogNormalNull.fit(np.ones(10))
    with pytest.raises(TraceError, match="same nats"):
        LogNormalNull.fit(np.ones(100))
    with pytest.raises(TraceError, match="too few"):
        twin_p_values(np.ones(3), np.ones(4))
