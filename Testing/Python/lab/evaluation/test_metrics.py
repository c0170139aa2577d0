"""Every metric against an independent implementation or against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.lab.evaluation.auroc import auroc
from KLIPCore.lab.evaluation.calibration import fire_rates
from KLIPCore.lab.evaluation.froc import ImageMarks, find_marks, froc, match_marks, region_marks, whole_scan
from KLIPCore.lab.evaluation.precision import average_precision
from KLIPCore.lab.evaluation.quality import psnr, ssim


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_ranking_figures_agree_with_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, positive = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    if positive.all() or not positive.any():
        assert np.isnan(average_precision(scores, positive))
        return
    assert average_precision(scores, positive) == pytest.approx(metrics.average_precision_score(positive, scores))
    assert auroc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores))


def test_average_precision_by_hand() -> None:
    """Ranked + − + −: precision 1 at the first hit, 2/3 at the second."""
    assert average_precision(np.array([4.0, 3, 2, 1]), np.array([True, False, True, False])) == pytest.approx(
        (1 + 2 / 3) / 2
    )
    assert average_precision(np.zeros(10), np.arange(10) < 3) == pytest.approx(0.3)  # all tied: the share of positives
    with pytest.raises(ConfigError):
        average_precision(np.zeros(3), np.zeros(4, bool))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 0.3))
def test_image_quality_agrees_with_scikit_image(seed: int, noise: float) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(seed)
    truth = np.clip(np.cumsum(rng.normal(0, 0.05, (40, 48)), 1) + 0.5, 0, 1)
    image = truth + noise * rng.standard_normal(truth.shape)
    assert psnr(image, truth) == pytest.approx(metrics.peak_signal_noise_ratio(truth, image, data_range=1.0))
    _, full = metrics.structural_similarity(
        truth, image, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    mask = np.zeros(truth.shape, bool)
    mask[8:-8, 8:-8] = True
    assert ssim(image, truth, mask) == pytest.approx(full[mask].mean(), abs=1e-9)


def test_image_quality_looks_at_the_mask_only() -> None:
    truth = np.full((32, 32), 0.5)
    image = truth.copy()
    image[:, 24:] += 0.4
    mask = np.zeros(truth.shape, bool)
    mask[:, :12] = True
    assert psnr(image, truth, mask) == float("inf")
    assert ssim(image, truth, mask) == pytest.approx(1.0)
    image[:, :12] += 0.1
    assert psnr(image, truth, mask) == pytest.approx(20.0)
    with pytest.raises(ConfigError, match="empty"):
        psnr(image, truth, np.zeros(truth.shape, bool))


def test_marks_are_the_separated_maxima() -> None:
    scores = np.zeros((20, 20))
    scores[4, 4], scores[4, 6], scores[15, 10], scores[0, 19] = 5, 4, 3, 9
    tested = np.ones(scores.shape, bool)
    tested[0] = False
    places, values = find_marks(
        np.where(scores > 0, scores, -1.0 - np.hypot(*np.indices(scores.shape)) * 1e-3), tested, 3
    )
    kept = values > 0
    assert places[kept].tolist() == [[4, 4], [15, 10]]  # (4, 6) is too near a stronger one, (0, 19) outside
    assert values[kept].tolist() == [5, 3]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_no_two_marks_are_close(seed: int, separation: int) -> None:
    rng = np.random.default_rng(seed)
    places, values = find_marks(rng.normal(size=(24, 24)), rng.uniform(size=(24, 24)) < 0.8, separation)
    gaps = np.abs(places[:, None] - places[None]).max(-1) + 99 * np.eye(len(places), dtype=int)
    assert len(places)
    assert gaps.min() > separation
    assert (np.diff(values) <= 0).all()


def test_marks_find_lesions_once() -> None:
    lesion = np.zeros((64, 64), bool)
    lesion[8:16, 8:16] = True
    lesion[40:44, 40:44] = True
    marks = (np.array([[2, 2], [3, 3], [10, 10], [15, 0]]), np.array([4.0, 3.0, 2.0, 1.0]))
    found = match_marks(marks, lesion, cell=4, reach=4, pixel_mm=1.5)
    assert found.best.tolist() == [4.0, 2.0]
    assert found.false.tolist() == [1.0]
    assert found.diameter_mm == pytest.approx([2 * np.sqrt(64 * 2.25 / np.pi), 2 * np.sqrt(16 * 2.25 / np.pi)])
    nothing = match_marks((np.zeros((0, 2), int), np.zeros(0)), lesion, 4, 4, 1.5)
    assert np.isneginf(nothing.best).all()


def test_curve_by_hand() -> None:
    """Three lesions, one never marked, in two images with three false marks."""
    images = [
        ImageMarks(np.array([5.0, -np.inf]), np.array([20.0, 4.0]), np.array([6.0, 1.0])),
        ImageMarks(np.array([2.0]), np.array([12.0]), np.array([3.0])),
    ]
    curve = froc(images)
    assert (curve.n_lesions, curve.n_images) == (3, 2)
    assert [curve.at(f) for f in (0.0, 0.5, 0.9, 1.0, 9.0)] == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert froc(images, min_diameter_mm=10).at(1.0) == 1.0
    assert np.isnan(froc(images, min_diameter_mm=100).at(1.0))
    with pytest.raises(ConfigError):
        froc([])


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 8), max_size=5), min_size=1, max_size=4),
    st.lists(st.integers(-1, 8), min_size=1, max_size=6),
)
def test_curve_is_what_counting_at_every_threshold_gives(false: list[list[int]], best: list[int]) -> None:
    hits = np.array([b if b >= 0 else -np.inf for b in best])
    images = [
        ImageMarks(hits if n == 0 else np.zeros(0), np.full(len(best) if n == 0 else 0, 10.0), np.array(f, float))
        for n, f in enumerate(false)
    ]
    curve = froc(images)
    for rate in (0.0, 0.4, 1.0, 3.0):
        options = [0.0]
        for threshold in range(10):
            if sum(x >= threshold for f in false for x in f) / len(false) <= rate:
                options.append(float(np.mean(hits >= threshold)))
        assert curve.at(rate) == pytest.approx(max(options))


def test_calibration_of_uniform_p_values() -> None:
    rng = np.random.default_rng(0)
    slices = [rng.uniform(size=2000) for _ in range(20)]
    for level, rate in zip((0.01, 0.05, 0.5), fire_rates(slices, (0.01, 0.05, 0.5)), strict=True):
        assert rate.lo - 0.004 <= level <= rate.hi + 0.004
        assert rate.n == 20
    assert fire_rates([np.zeros(0), np.full(4, 0.01)], (0.05,))[0].mean == 1.0


def test_regions_are_marks_at_their_strongest_block() -> None:
    scores = np.zeros((8, 8))
    labels = np.zeros((8, 8), int)
    labels[1:3, 1:4], scores[2, 3] = 2, 5.0
    labels[6, 5:8], scores[6, 6] = 1, 9.0
    places, worth = region_marks(scores, labels, np.array([3.0, 7.0]))
    assert places.tolist() == [[2, 3], [6, 6]]
    assert worth.tolist() == [7.0, 3.0]
    empty, none = region_marks(scores, np.zeros((8, 8), int), np.zeros(0))
    assert empty.shape == (0, 2)
    assert none.shape == (0,)


def test_a_lesion_of_a_scan_counts_once_however_many_slices_show_it() -> None:
    """Lesion 4 is marked on one of two slices; lesion 7 on none; false marks add up."""
    first = ImageMarks(np.array([2.0, -np.inf]), np.array([8.0, 12.0]), np.array([1.0]), np.array([4, 7], np.int32))
    second = ImageMarks(np.array([-np.inf]), np.array([14.0]), np.array([3.0, 0.5]), np.array([4], np.int32))
    scan = whole_scan([first, second])
    assert scan.best.tolist() == [2.0, -np.inf]
    assert scan.diameter_mm.tolist() == [14.0, 12.0]
    assert sorted(scan.false) == [0.5, 1.0, 3.0]
    curve = froc([scan], 10.0)
    assert (curve.at(0.0), curve.at(1.0), curve.n_images) == (0.0, 0.5, 1)
    with pytest.raises(ConfigError, match="not numbered"):
        whole_scan([ImageMarks(np.zeros(0), np.zeros(0), np.zeros(0))])


def test_marks_know_which_lesion_of_the_scan_they_lie_on() -> None:
    lesion = np.zeros((32, 32), bool)
    lesion[4:8, 4:8] = lesion[20:28, 20:28] = True
    number = np.where(lesion, 9, 0)
    number[20:28, 20:28] = 3
    marks = (np.array([[1, 1]]), np.array([5.0]))
    found = match_marks(marks, lesion, 4, 2.0, 1.0, number)
    assert found.number is not None
    assert found.number.tolist() == [9, 3]
    assert found.best.tolist() == [5.0, -np.inf]
