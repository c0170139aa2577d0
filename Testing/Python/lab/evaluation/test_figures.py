"""Figures of slices whose answer is plain, and their summary."""

from __future__ import annotations

import numpy as np
import pytest

from KLIPCore.lab.evaluation.auroc import mean_of, over_patients
from KLIPCore.lab.evaluation.cases import SliceTruth, spread
from KLIPCore.lab.evaluation.figures import FROC_RATES, MapName, image_auroc, measure_slice, summarize
from KLIPCore.lab.evaluation.table import cell


def truth(has_lesion: bool = True, index: int = 0) -> SliceTruth:
    lesion = np.zeros((64, 64), bool)
    positive = np.zeros((16, 16), bool)
    if has_lesion:
        lesion[20:28, 20:28] = True
        positive[4:8, 4:8] = True
    organ = np.zeros((64, 64), bool)
    organ[:, :40] = True
    return SliceTruth(index, has_lesion, lesion, organ, positive, organ[2::4, 2::4], 1.5, 4)


def test_a_perfect_and_a_useless_map() -> None:
    tested = np.ones((16, 16), bool)
    perfect = measure_slice(MapName("m", "c", "A"), truth().positive.astype(float), tested, truth(), 12.0)
    assert (perfect.body, perfect.organ, perfect.body_ap, perfect.organ_ap) == (1, 1, 1, 1)
    flat = measure_slice(MapName("m", "c", "A"), np.ones((16, 16)), tested, truth(), 12.0)
    assert flat.body == 0.5
    assert flat.body_ap == pytest.approx(16 / 256)
    assert flat.organ_ap == pytest.approx(16 / 160)
    assert perfect.lesion_mm2 == pytest.approx(64 * 2.25)


def test_regions_and_p_values_are_counted() -> None:
    labels = np.zeros((16, 16), int)
    labels[5:7, 5:7] = 3
    labels[12, 12] = 9
    p = np.full((16, 16), 0.5)
    p[:2] = 0.01
    tested = np.ones((16, 16), bool)
    tested[:, 8:] = False
    made = measure_slice(MapName("m", "c", "A"), 1 - p, tested, truth(), 12.0, p, labels)
    assert made.regions == 2
    assert made.overlap == pytest.approx(2 * 64 / (64 + 5 * 16))
    assert made.p is not None
    assert made.p.shape == (128,)
    assert (made.p < 0.05).mean() == pytest.approx(1 / 8)
    clean = measure_slice(MapName("m", "c", "A"), 1 - p, tested, truth(False), 12.0, p, labels)
    assert clean.overlap is None
    assert np.isnan(clean.body)


def test_summary_of_two_patients() -> None:
    tested = np.ones((16, 16), bool)
    slices = []
    for patient, good in (("A", 1.0), ("B", 0.0)):
        for index in range(3):
            values = np.random.default_rng(index).uniform(size=(16, 16)) + 5 * good * truth().positive
            slices.append(measure_slice(MapName("m", "c", patient), values, tested, truth(index=index), 12.0))
        values = np.random.default_rng(9).uniform(size=(16, 16))
        slices.append(
            measure_slice(
                MapName("m", "c", patient),
                values,
                tested,
                truth(False),
                12.0,
                np.full((16, 16), 0.04),
                np.zeros((16, 16), int),
            )
        )
    a = summarize("m", "A", [s for s in slices if s.patient == "A"], 10.0)
    assert a["body"] == [1.0, None, None], "slices of one patient give no interval"
    assert a["image_auroc"][0] == 1.0
    assert a["froc"][FROC_RATES.index(1.0)][0] == 1.0
    assert a["clean_fire_rates"]["0.05"][0] == 1.0
    assert a["regions_per_clean_slice"][0] == 0.0
    both = summarize("m", "all", slices, 10.0)
    assert (both["n_slices"], both["n_clean"], both["n_lesions"]) == (6, 2, 6)
    b = summarize("m", "B", [s for s in slices if s.patient == "B"], 10.0)
    for name in ("body", "organ", "body_ap", "image_auroc"):
        assert both[name] == [pytest.approx((a[name][0] + b[name][0]) / 2, abs=1e-4), None, None], "each counts once"
    at = FROC_RATES.index(1.0)
    assert both["froc"][at][0] == pytest.approx((a["froc"][at][0] + b["froc"][at][0]) / 2, abs=1e-4)


def test_a_patient_with_many_slices_counts_once_and_six_have_an_interval() -> None:
    values = [1.0] * 50 + [0.0, 0.2, 0.4, 0.6, 0.8]
    patients = ["A"] * 50 + list("BCDEF")
    six = over_patients(values, patients, mean_of)
    assert (six.mean, six.n) == (pytest.approx(0.5), 6)
    assert six.lo < 0.5 < six.hi
    assert six.hi - six.lo > 0.4, "over patients, not over 55 slices"
    five = over_patients(values[:-1], patients[:-1], mean_of)
    assert (five.n, five.rounded()[1:]) == (5, [None, None])
    assert "[" not in str(five)
    unknown = over_patients([1.0, np.nan], ["A", "B"], mean_of)
    assert (unknown.mean, unknown.n) == (1.0, 1)


def test_image_figure_needs_both_kinds() -> None:
    tested = np.ones((16, 16), bool)
    ill, clean = (
        measure_slice(MapName("m", "c", "A"), value * tested, tested, truth(lesion), 12.0)
        for value, lesion in ((3.0, True), (1.0, False))
    )
    assert image_auroc([ill, ill, clean]) == 1.0
    assert np.isnan(image_auroc([ill, ill]))


def test_a_cell_without_an_interval_is_its_mean() -> None:
    assert cell([0.912, 0.88, 0.94]) == "0.912 [0.880, 0.940]"
    assert cell([0.912, None, None]) == "0.912"
    assert cell([None, None, None]) == cell(None) == "–"


def test_spread_keeps_both_ends() -> None:
    assert spread(np.arange(5, 16), 3) == [5, 10, 15]
    assert spread(np.arange(2), 3) == [0, 1]
    assert spread(np.arange(9), 0) == []
