"""Nulls: known distributions give their known p-values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import kstest

from KLIPCore.errors import TraceError
from KLIPCore.maps import null as nulls
from KLIPCore.maps.blocks import block_nats
from KLIPCore.maps.null import BulkNull, twin_p_values


def test_log_normal_nats_give_uniform_p_values() -> None:
    nats = np.exp(np.random.default_rng(0).normal(-1.2, 0.7, 20_000))
    null = BulkNull.fit(nats)
    assert np.log(null.centre) == pytest.approx(-1.2, abs=0.02)
    for z in (0.0, 0.5, 1.5, 2.5):  # power and width make up for each other; what they say of nats is what counts
        assert np.log(null.nats_at(z)) == pytest.approx(-1.2 + 0.7 * z, abs=0.15)
    assert (null.p_values(nats) < 0.2).mean() == pytest.approx(0.2, abs=0.005)


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


def squares_of_noise(seed: int, smoothing: float, block: float, one_sided: bool, scales: float = 0.0) -> np.ndarray:
    """Block nats of an ideal push: smooth noise, squared and added up, with nothing wrong anywhere; its strength
    varies from place to place by a log-normal factor of this width.
    """
    rng = np.random.default_rng(seed)
    push = ndi.gaussian_filter(rng.standard_normal((6, 192, 192)), (0, smoothing, smoothing), mode="wrap")
    if one_sided:
        push = np.maximum(-push, 0)
    cells = (push**2).reshape(6, 48, 4, 48, 4).sum((2, 4)).astype(np.float32)
    strength = np.exp(scales * np.repeat(rng.standard_normal(216), 64))
    return block_nats(cells, block).ravel().astype(float) * strength


HEALTHY: dict[str, Callable[[int], np.ndarray]] = {
    "one-sided, cells": lambda seed: squares_of_noise(seed, 2.5, 2.0, True),
    "one-sided, blocks": lambda seed: squares_of_noise(seed, 2.5, 4.5, True),
    "one-sided, smooth, cells": lambda seed: squares_of_noise(seed, 4.0, 2.0, True),
    "one-sided, smooth, blocks": lambda seed: squares_of_noise(seed, 4.0, 4.5, True),
    "two-sided": lambda seed: squares_of_noise(seed, 2.5, 4.5, False),
    "two-sided, rough": lambda seed: squares_of_noise(seed, 1.0, 4.5, False),
    "one-sided, of varying strength": lambda seed: squares_of_noise(seed, 2.5, 4.5, True, 0.6),
    "gamma": lambda seed: np.random.default_rng(seed).gamma(2.0, size=14_000),
    "log-normal": lambda seed: np.exp(np.random.default_rng(seed).normal(0, 0.7, 14_000)),
}


@pytest.mark.parametrize("kind", HEALTHY)
def test_the_tail_is_that_of_healthy_blocks(kind: str) -> None:
    """All tails of the map, not only its bulk. A power that makes the .1 and .9 quantiles symmetric fires on 3.9 to
    6.2 / .4 to 1.8 / .01 to .3 % of these.
    """
    rates = []
    for seed in range(6):
        nats = HEALTHY[kind](seed)
        p = BulkNull.fit(nats).p_values(nats)
        rates.append([(p < level).mean() for level in (0.05, 0.01, 0.001)])
    five, one, tenth = np.mean(rates, axis=0)
    assert 0.046 < five < 0.053
    assert 0.0065 < one < 0.0125
    assert 0.0001 < tenth < 0.0022


@pytest.mark.parametrize("kind", HEALTHY)
def test_lesions_make_it_cautious_never_bold(kind: str) -> None:
    """5 % of the blocks hold some seven times the usual nats; what healthy blocks do is counted."""
    rates = []
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        nats = HEALTHY[kind](seed)
        lesion = rng.random(nats.size) < 0.05
        mixed = np.where(lesion, np.median(nats) * np.exp(rng.normal(2, 0.5, nats.size)), nats)
        p = BulkNull.fit(mixed).p_values(nats)
        rates.append([(p < level).mean() for level in (0.05, 0.01, 0.001)])
    five, one, tenth = np.mean(rates, axis=0)
    assert 0.012 < five < 0.053
    assert one < 0.0125
    assert tenth < 0.0022


def test_five_per_cent_of_lesions_hardly_move_the_null() -> None:
    rng = np.random.default_rng(1)
    healthy = np.exp(rng.normal(0, 0.7, 10_000))
    mixed = np.concatenate([healthy[:9_500], np.exp(rng.normal(3, 0.5, 500))])
    assert abs(BulkNull.fit(mixed).width - BulkNull.fit(healthy).width) < 0.05
    assert (BulkNull.fit(mixed).p_values(mixed[-500:]) < 0.01).mean() > 0.9


def test_a_bulk_without_an_upper_half_is_no_lesion() -> None:
    """Two heaps of blocks: neither is left out as if it were a few per cent of the other, and the fit ends."""
    rng = np.random.default_rng(6)
    nats = np.concatenate([rng.normal(1, 0.01, 700), rng.normal(9, 0.01, 700)])
    null = BulkNull.fit(nats)
    assert null.n_blocks == 1400
    assert np.isfinite(null.z(nats)).all()


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


@pytest.mark.parametrize("n", [60, 150_001])
def test_short_numbers_are_fitted_as_long_ones(n: int) -> None:
    """To the bit, with zeros and negative ones among them."""
    nats = np.random.default_rng(n).lognormal(size=n).astype(np.float32)
    nats[::7], nats[3] = 0, -0.1
    assert BulkNull.fit(nats) == BulkNull.fit(nats.astype(np.float64))


@settings(deadline=None, max_examples=30)
@example(0.35, 0.35 * float(ndtri(0.9) / ndtri(0.65)))  # the root is 0, and every power that counts as 0 is one
@given(st.floats(0.01, 4), st.floats(1.0, 8))
def test_the_power_is_the_root(near: float, times: float) -> None:
    from scipy.optimize import brentq

    far = near * times
    power = nulls._normal_power(near, far)
    of_normal = float(ndtri(nulls.SHAPE_QUANTILES[1]) / ndtri(nulls.SHAPE_QUANTILES[0]))

    def too_far(p: float) -> float:
        one, other = nulls._power(np.array([near, far]), p)
        return float(other - of_normal * one)

    if nulls.LEAST_POWER < power < nulls.LARGEST_POWER:
        root = brentq(too_far, nulls.LEAST_POWER, nulls.LARGEST_POWER)
        # powers below SMALL_POWER are one and the same (the logarithm): two searches may end at its two borders
        near_zero = max(abs(power), abs(root)) <= 2 * nulls.SMALL_POWER
        assert power == pytest.approx(root, abs=2.1 * nulls.SMALL_POWER if near_zero else 1e-9)
    else:
        assert too_far(power) * (1 if power == nulls.LEAST_POWER else -1) >= -1e-12
