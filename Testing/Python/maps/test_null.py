"""Nulls: known distributions give their known p-values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import kstest

from KLIPCore.errors import TraceError
from KLIPCore.maps import null as nulls
from KLIPCore.maps.null import BulkNull, twin_p_values


def test_log_normal_nats_give_uniform_p_values() -> None:
    nats = np.exp(np.random.default_rng(0).normal(-1.2, 0.7, 20_000))
    null = BulkNull.fit(nats)
    assert np.log(null.centre) == pytest.approx(-1.2, abs=0.02)
    assert null.power == pytest.approx(0, abs=0.05)
    assert null.width == pytest.approx(0.7, abs=0.02)
    assert kstest(null.p_values(nats), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("power", [0.2, 0.5, 1.0])
def test_less_skewed_nats_give_uniform_p_values_too(power: float) -> None:
    z = np.random.default_rng(3).normal(0, 0.25, 40_000)
    nats = 2.0 * np.maximum(1 + power * z, 1e-6) ** (1 / power)
    null = BulkNull.fit(nats)
    assert null.power == pytest.approx(power, abs=0.2)
    assert (null.p_values(nats) < 0.05).mean() == pytest.approx(0.05, abs=0.005)
    for p in (0.01, 0.3):
        assert null.p_values(np.array([null.nats_at(-ndtri(p))]))[0] == pytest.approx(p)


def test_one_sided_squares_are_calibrated_where_the_logarithm_is_not() -> None:
    """Sums of two one-sided squares, many of them almost nothing: the kind of score for which log nats are
    not normal.
    """
    u = np.random.default_rng(4).normal(size=(8, 40_000))
    nats = (np.maximum(u, 0) ** 2).sum(0)
    assert (BulkNull.fit(nats).p_values(nats) < 0.05).mean() == pytest.approx(0.05, abs=0.015)
    logs = np.log(np.maximum(nats, nats[nats > 0].min()))
    z = (logs - np.median(logs)) / (1.4826 * np.median(np.abs(logs - np.median(logs))))
    assert (z > 1.645).mean() < 0.03


def test_five_per_cent_of_lesions_hardly_move_the_null() -> None:
    rng = np.random.default_rng(1)
    healthy = np.exp(rng.normal(0, 0.7, 10_000))
    mixed = np.concatenate([healthy[:9_500], np.exp(rng.normal(3, 0.5, 500))])
    assert abs(BulkNull.fit(mixed).width - BulkNull.fit(healthy).width) < 0.05
    assert (BulkNull.fit(mixed).p_values(mixed[-500:]) < 0.01).mean() > 0.9


def test_twin_ranks_are_uniform_for_twins_and_never_zero() -> None:
    rng = np.random.default_rng(2)
    twins = rng.gamma(2.0, size=5_000)
    p = twin_p_values(rng.gamma(2.0, size=5_000), twins)
    assert kstest(p, "uniform").pvalue > 1e-3
    assert twin_p_values(np.array([1e9]), twins)[0] == pytest.approx(1 / 5001)


def test_too_little_or_nothing_to_compare_is_explained() -> None:
    with pytest.raises(TraceError, match="too few"):
        BulkNull.fit(np.ones(10))
    with pytest.raises(TraceError, match="same nats"):
        BulkNull.fit(np.ones(100))
    with pytest.raises(TraceError, match="too few"):
        twin_p_values(np.ones(3), np.ones(4))


@settings(deadline=None, max_examples=30)
@example(-1.1, 1.1)  # the root is 0, and every power that counts as 0 is one
@given(st.floats(-8, -0.01), st.floats(0.01, 8))
def test_the_symmetric_power_is_the_root(low: float, high: float) -> None:
    from scipy.optimize import brentq

    power = nulls._symmetric_power(low, high)

    def lopsided(p: float) -> float:
        return float(nulls._power(np.array([low, high]), p).sum())

    if nulls.LEAST_POWER < power < nulls.LARGEST_POWER:
        root = brentq(lopsided, nulls.LEAST_POWER, nulls.LARGEST_POWER)
        # powers below SMALL_POWER are one and the same (the logarithm): two searches may end at its two borders
        near_zero = max(abs(power), abs(root)) <= 2 * nulls.SMALL_POWER
        assert power == pytest.approx(root, abs=2.1 * nulls.SMALL_POWER if near_zero else 1e-9)
    else:
        assert lopsided(power) * (1 if power == nulls.LEAST_POWER else -1) >= -1e-12
