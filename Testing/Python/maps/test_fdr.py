"""q-values against the textbook's step-up procedure, written here a second time and differently."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError, IntensityError
from KLIPCore.maps.fdr import q_values

P_LISTS = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def rejected_by_step_up(p: np.ndarray, rate: float, dependent: bool) -> np.ndarray:
    """Benjamini–Hochberg (1995), procedure (1): reject the k smallest, k = max{i : p(i) ≤ i q / m}."""
    m = len(p)
    rate = rate / sum(1 / i for i in range(1, m + 1)) if dependent else rate
    k = max((i for i in range(1, m + 1) if sorted(p)[i - 1] * m <= i * rate), default=0)
    return p <= (sorted(p)[k - 1] if k else -1.0)


@given(P_LISTS, st.sampled_from([0.01, 0.05, 0.1, 0.5]), st.booleans())
@settings(max_examples=80, deadline=None)
def test_thresholding_q_is_the_step_up_procedure(p: list[float], rate: float, dependent: bool) -> None:
    values = np.array(p)
    q = q_values(values, method="by" if dependent else "bh")
    clear = np.abs(q - rate) > 1e-9  # at equality rounding may go either way
    np.testing.assert_array_equal((q <= rate)[clear], rejected_by_step_up(values, rate, dependent)[clear])


def test_a_worked_example() -> None:
    # p(i)·m/i: .05, .05, .0667, .05 → running minimum from the right
    np.testing.assert_allclose(q_values(np.array([0.0125, 0.025, 0.05, 0.05])), [0.05, 0.05, 0.05, 0.05])
    np.testing.assert_allclose(q_values(np.array([0.001, 0.5, 0.02])), [0.003, 0.5, 0.03])


def test_untested_places_do_not_count_and_get_one() -> None:
    p = np.array([[0.001, 1.0], [0.02, 1.0]])
    tested = np.array([[True, False], [True, False]])
    np.testing.assert_allclose(q_values(p, tested), [[0.002, 1.0], [0.02, 1.0]])
    assert (q_values(p) >= q_values(p, tested)).all()  # counting untested places is conservative


@given(P_LISTS)
@settings(max_examples=30, deadline=None)
def test_a_block_value_spread_over_its_voxels_keeps_its_q(p: list[float]) -> None:
    values = np.array(p)
    np.testing.assert_allclose(q_values(np.repeat(values, 9)), np.repeat(q_values(values), 9), rtol=1e-12)


def test_nothing_tested() -> None:
    np.testing.assert_array_equal(q_values(np.ones((2, 3)), np.zeros((2, 3), bool)), np.ones((2, 3)))


def test_bad_input_is_refused() -> None:
    with pytest.raises(IntensityError, match="between 0 and 1"):
        q_values(np.array([0.1, np.nan]))
    with pytest.raises(ConfigError, match="shape"):
        q_values(np.ones(3), np.ones(4, bool))
    with pytest.raises(ConfigError, match="no false-discovery method"):
        q_values(np.ones(3), method="bonferroni")  # type: ignore[arg-type]
