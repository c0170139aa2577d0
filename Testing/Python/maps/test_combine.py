"""Combined verdicts against what is exactly known: uniform p-values stay uniform, normal dependence does not make them
bold, and the worst there is at most doubles them.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq
from scipy.special import log_ndtr
from scipy.stats import kstest

from KLIPCore.errors import TraceError
from KLIPCore.maps.blocks import block_nats
from KLIPCore.maps.clusters import WhiteSpectra, find_clusters
from KLIPCore.maps.combine import LEAST_Z, combine, equivalent_nats, harmonic_mean
from KLIPCore.maps.null import BulkNull

SHAPE = (6, 48, 48)
LOG_P = arrays(np.float64, (3, 5), elements=st.floats(-300, -1e-6))


def log_normal(seed: int, width: float = 0.8) -> np.ndarray:
    """Block nats for which the study null is exact."""
    return np.exp(np.random.default_rng(seed).normal(0, width, SHAPE)).astype(np.float32)


def everywhere() -> np.ndarray:
    return np.ones(SHAPE, bool)


def healthy_blocks(seed: int, shared: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Blocks of one-sided squares of smooth noise in two windows that share this part of their variance;
    nothing is wrong anywhere.
    """
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((*SHAPE[:1], 192, 192))
    rows, columns = np.mgrid[:48, :48]
    tested = np.broadcast_to((rows - 24) ** 2 + (columns - 24) ** 2 < 22**2, SHAPE)
    windows = []
    for width in (2.5, 4.0):
        white = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.standard_normal(common.shape)
        push = ndi.gaussian_filter(white, (0, width, width), mode="wrap")
        cells = (np.maximum(-push, 0) ** 2).reshape(SHAPE[0], 48, 4, 48, 4).sum((2, 4))
        windows.append(block_nats(cells.astype(np.float32), 2.0))
    return windows, tested


def test_two_independent_tests_have_their_closed_form() -> None:
    for p in (0.5, 0.05, 1e-3, 1e-8):
        s = 2 / p
        together = harmonic_mean(np.log([[p], [p]]))  # harmonic mean p
        assert np.exp(together[0]) == pytest.approx(2 / s + 2 * np.log(s - 1) / s**2, rel=2e-5)
    assert harmonic_mean(np.array([[-5000.0], [-3.0]]))[0] == pytest.approx(
        -5000 + np.log(2), abs=1e-6
    )  # far below what a float holds


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_independent_uniform_p_values_stay_uniform(n: int) -> None:
    p = np.random.default_rng(n).random((n, 100_000))
    assert kstest(np.exp(harmonic_mean(np.log(p))), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("level", [0.1, 0.05, 0.01, 1e-3])
def test_the_worst_dependence_of_two_at_most_doubles_the_claims(level: float) -> None:
    """sup P(1/p₁ + 1/p₂ ≥ t) = min over x of P(1/p ≥ x) + P(1/p ≥ t − x) = 4/t (Rüschendorf 1982), and p₂ = 4/t − p₁
    below 4/t attains it: .092 for a combined p of .05.
    """
    t = brentq(lambda t: 2 / t + 2 * np.log(t - 1) / t**2 - level, 2.5, 1e9)  # where the combined p is the level
    x = np.linspace(1, t - 1, 100_001)
    bound = float((1 / x + 1 / (t - x)).min())
    assert bound == pytest.approx(4 / t, rel=1e-6)
    assert bound < 2 * level
    p = (np.arange(400_000) + 0.5) / 400_000
    other = np.where(p < bound, bound - p, p)  # again uniform
    np.testing.assert_allclose(np.sort(other), p, atol=5e-6)
    claimed = (np.exp(harmonic_mean(np.log([p, np.maximum(other, 1e-12)]))) <= level * (1 + 1e-4)).mean()
    assert claimed == pytest.approx(bound, rel=0.02)
    if level == 0.05:
        assert claimed == pytest.approx(0.092, abs=5e-4)


@pytest.mark.parametrize("correlation", [-0.9, -0.4, 0.3, 0.8, 1.0])
def test_normal_dependence_does_not_make_it_bold(correlation: float) -> None:
    rng = np.random.default_rng(7)
    one, other = rng.standard_normal((2, 400_000))
    other = correlation * one + np.sqrt(1 - correlation**2) * other
    p = np.exp(harmonic_mean(log_ndtr(-np.array([one, other]))))
    for level in (0.1, 0.05, 0.01, 0.001):
        allowance = 4 * np.sqrt(level / p.size)
        assert (p < level).mean() < level + allowance
        assert (p < level).mean() > 0.6 * level  # nor timid


@settings(max_examples=50, deadline=None)
@given(LOG_P, st.permutations(range(3)))
def test_it_lies_between_the_smallest_and_that_times_their_number(log_p: np.ndarray, order: list[int]) -> None:
    found, least = harmonic_mean(log_p), log_p.min(0)
    assert (found <= 0).all()
    assert (found >= least - 1e-6).all()
    assert (found <= np.minimum(least + np.log(3) + 0.8, 1e-12)).all()  # the exact tail is at most this much above 3 p
    np.testing.assert_allclose(harmonic_mean(log_p[order]), found, rtol=1e-9, atol=1e-12)
    smaller = log_p.copy()
    smaller[0] -= 1.0
    assert (harmonic_mean(smaller) <= found + 1e-9).all()


@pytest.mark.parametrize("shared", [0.0, 0.6, 1.0])
def test_healthy_blocks_fire_as_often_as_they_say(shared: float) -> None:
    rates, claims = [], 0
    for seed in range(6):
        windows, tested = healthy_blocks(seed, shared)
        made = combine(windows, tested)
        rates.append([(made.p[tested] < level).mean() for level in (0.05, 0.01)])
        claims += int(
            find_clusters(made.z, made.judged, 0.01, np.arange(SHAPE[0]), WhiteSpectra(seed)).q.min(initial=1.0) <= 0.2
        )
    five, one = np.mean(rates, axis=0)
    assert 0.035 < five < 0.055
    assert 0.005 < one < 0.012
    assert claims <= 4  # 6 studies at a rate of 0.2: five claims have a chance of 2 in 1000


def test_one_window_is_the_study_null_and_keeps_its_nats() -> None:
    nats = log_normal(0)
    made, null = combine([nats], everywhere()), BulkNull.fit(nats)
    np.testing.assert_allclose(made.p, null.p_values(nats), rtol=1e-9)
    np.testing.assert_allclose(made.nats, nats, rtol=1e-4)
    assert made.width == null.width


def test_each_window_finds_its_own_lesion_and_the_map_ranks_as_p_does() -> None:
    small, large = log_normal(1), log_normal(2) * 1e-3  # another currency
    small[2, 10, 10] *= 60
    large[4, 30, 30] *= 60
    made = combine([small, large], everywhere())
    for place in ((2, 10, 10), (4, 30, 30)):
        assert made.p[place] < 1e-4
        assert (made.nats > made.nats[place]).sum() <= 1
    assert combine([small], everywhere()).p[4, 30, 30] > 0.01
    order = np.argsort(made.p, axis=None)
    assert (np.diff(made.nats.ravel()[order].astype(float)) <= 1e-6 * made.nats.max()).all()
    assert made.nats[2, 10, 10] == pytest.approx(
        small[2, 10, 10], rel=0.5
    )  # where the first window speaks, nearly its own nats


def test_blocks_without_nats_are_not_judged_and_change_nothing() -> None:
    windows, tested = [log_normal(3), log_normal(4)], everywhere()
    tested[:, :20] = False
    before = combine(windows, tested)
    silent = [np.where(tested, nats, 0).astype(np.float32) for nats in windows]
    after = combine(silent, everywhere())
    np.testing.assert_array_equal(after.judged, tested)
    np.testing.assert_array_equal(after.p[tested], before.p[tested])
    assert (after.p[~tested] == 1).all()
    assert (after.nats[~tested] == 0).all()
    assert (after.z[~tested] == LEAST_Z).all()
    nowhere = np.zeros(SHAPE, np.float32)
    np.testing.assert_array_equal(
        combine([windows[0], nowhere], tested).p, combine([windows[0]], tested).p
    )  # a window without nats is not asked


def test_twins_give_p_values_and_leave_the_nats() -> None:
    windows, twins = [log_normal(5), log_normal(6)], [log_normal(7), log_normal(8)]
    windows[1][1, 5, 5] *= 200
    made = combine(windows, everywhere(), twins)
    np.testing.assert_array_equal(made.nats, combine(windows, everywhere()).nats)
    assert (made.p < 0.05).mean() == pytest.approx(0.05, abs=0.01)
    assert made.p[1, 5, 5] == pytest.approx(2 / (1 + twins[1].size), rel=0.05)


@pytest.mark.parametrize("power", [-0.25, -0.1, 0.0, 0.2, 1.0])
def test_equivalent_nats_undo_the_null_and_stay_finite(power: float) -> None:
    null = BulkNull(2.0, power, 0.7, 100)
    z = np.linspace(-1.2, 4.5, 200)
    np.testing.assert_allclose(null.z(equivalent_nats(null, z).astype(float)), z, atol=1e-4)
    far = equivalent_nats(null, np.linspace(-8, 300, 2000)).astype(float)
    assert np.isfinite(far).all()
    assert (np.diff(far) >= 0).all()


def test_too_little_is_explained() -> None:
    with pytest.raises(TraceError):
        combine([], everywhere())
    few = np.zeros(SHAPE, bool)
    few[0, :3, :3] = True
    with pytest.raises(TraceError, match="blocks"):
        combine([log_normal(9)], few)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_mean_is_that_of_all_windows_at_once(n: int) -> None:
    """To the bit, whether windows come as one array or one by one."""
    log_p = np.log(np.random.default_rng(n).random((n, 1000)) ** 3)
    at_once = np.logaddexp.reduce(-log_p, axis=0)
    one_by_one = -log_p[0]
    for own in log_p[1:]:
        one_by_one = np.logaddexp(one_by_one, -own)
    np.testing.assert_array_equal(at_once, one_by_one)
    np.testing.assert_array_equal(harmonic_mean(log_p), harmonic_mean(list(log_p)))
