"""Numbers of a slice: each aggregate on p-values whose answer is known, and the table of patients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from KLIPCore.lab.evaluation.auroc import auroc
from KLIPCore.lab.evaluation.slice_aggregates import FORMING_P, aggregates, markdown

TESTED = np.ones((1, 8, 8), bool)


def test_the_aggregates_worked_out_by_hand() -> None:
    z = np.zeros((1, 8, 8))
    z[0, 0, :2], z[0, 4, 4], z[0, 7, 7] = 3.0, 4.0, -2.0
    found = {name: float(values[0]) for name, values in aggregates(ndtr(-z), TESTED).items()}
    z0 = -ndtri(FORMING_P)
    assert found["largest"] == pytest.approx(4.0)
    assert found["sum"] == pytest.approx(10.0)
    assert found["cluster mass"] == pytest.approx(max(2 * (3 - z0), 4 - z0))
    assert found["averaged likelihood"] == pytest.approx(np.log((2 * np.exp(4.5) + np.exp(8) + 61) / 64))


def test_what_is_not_tested_does_not_count() -> None:
    p = np.full((2, 8, 8), 0.5)
    p[0, 2, 2] = 1e-6
    tested = np.ones(p.shape, bool)
    tested[0, 2, 2] = tested[1] = False
    assert {name: values.tolist() for name, values in aggregates(p, tested).items()} == {
        "largest": [0, 0], "sum": [0, 0], "cluster mass": [0, 0], "averaged likelihood": [0, 0],
    }  # fmt: skip


def test_one_strong_place_is_found_by_the_largest_and_a_faint_shift_everywhere_by_the_sum() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((60, 12, 12))
    place, faint = z.copy(), z.copy()
    place[:30, 5, 5] += 5
    faint[:30] += 0.4
    tested, ill = np.ones(z.shape, bool), np.arange(60) < 30
    strong, weak = (aggregates(ndtr(-values), tested) for values in (place, faint))
    assert auroc(strong["largest"], ill) > auroc(strong["sum"], ill) + 0.2
    assert auroc(strong["averaged likelihood"], ill) > 0.95
    assert auroc(weak["sum"], ill) > auroc(weak["largest"], ill) + 0.1


def test_patients_count_once() -> None:
    key = ("reference", "largest")
    table = markdown([("A", {key: 0.5}), ("A", {key: 0.7}), ("B", {key: 0.9})])
    assert "| null | aggregate | A | B | mean of patients |" in table
    assert "| reference | largest | 0.600 | 0.900 | 0.750 |" in table
