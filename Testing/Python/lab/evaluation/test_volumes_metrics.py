"""Figures on whole volumes against truths worked out by hand, thresholds tried one by one, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.lab.evaluation.auroc import auroc
from KLIPCore.lab.evaluation.cases import block_truth
from KLIPCore.lab.evaluation.volumes.blocks import BlockFigures
from KLIPCore.lab.evaluation.volumes.lesions import Lesions, Touch, point_figures, touches
from KLIPCore.lab.evaluation.volumes.metrics import voxel_figures
from KLIPCore.lab.evaluation.volumes.scoring import ScanFigures
from KLIPCore.lab.evaluation.volumes.summary import ALL, froc_curve, summarize
from KLIPCore.maps.regions import Region
from KLIPCore.volume.grid import Grid


def row(values: list[float]) -> np.ndarray:
    """A volume of one row."""
    return np.array(values, np.float32)[None, None]


def test_the_areas_worked_out_by_hand() -> None:
    """Ten healthy voxels 0 … 9. Lesion 1 has voxels of 9.5 (above all: enters at FPR 0) and 4.5 (above half: at .5),
    lesion 2 one of 7.5 (at .2). Up to FPR .3 they are above the threshold for .3, 0 and .1.
    """
    scores = row([*range(10), 9.5, 4.5, 7.5])
    numbers = row([0] * 10 + [1, 1, 2]).astype(int)
    found = voxel_figures(scores, numbers, np.ones(scores.shape, bool))
    assert found.auroc == pytest.approx((1.0 + 0.5 + 0.8) / 3)
    assert found.auroc_limited == pytest.approx((0.3 + 0.0 + 0.1) / 3 / 0.3)
    assert found.aupro == pytest.approx(((0.3 + 0.0) / 2 + 0.1) / 2 / 0.3)  # each lesion has one vote
    assert (found.n_lesion, found.n_other) == (3, 10)


def test_blocks_that_hold_a_pixel_of_the_lesion_are_positive() -> None:
    lesion, organ = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
    lesion[14, 18], organ[8:24, 8:32] = True, True
    positive, inside = block_truth(lesion, organ, 9, 4)  # blocks of 9 pixels about the middles of cells of 4
    rows, columns = np.ogrid[2:32:4, 2:32:4]
    np.testing.assert_array_equal(positive, (abs(rows - 14) <= 4) & (abs(columns - 18) <= 4))
    np.testing.assert_array_equal(inside, organ[2::4, 2::4])


def test_what_lies_outside_the_body_is_not_counted() -> None:
    scores = row([0, 1, 2, 3, 99, -99])
    numbers = row([0, 0, 0, 1, 0, 2]).astype(int)
    inside = np.array([[[True, True, True, True, False, False]]])
    found = voxel_figures(scores, numbers, inside)
    assert (found.auroc, found.auroc_limited, found.aupro) == (1.0, pytest.approx(1.0), pytest.approx(1.0))
    assert (found.n_lesion, found.n_other) == (1, 3)


def test_a_map_that_knows_nothing_has_half_of_each_rate() -> None:
    """All voxels alike: the curve is the diagonal, whose area up to F is F²/2."""
    scores = np.zeros((2, 5, 5), np.float32)
    numbers = np.zeros(scores.shape, int)
    numbers[0, :2, :2], numbers[1, 4, 4] = 1, 2
    found = voxel_figures(scores, numbers, np.ones(scores.shape, bool))
    assert found.auroc == pytest.approx(0.5)
    assert found.auroc_limited == pytest.approx(0.15)
    assert found.aupro == pytest.approx(0.15)


def test_without_a_lesion_there_is_no_figure() -> None:
    found = voxel_figures(row([1, 2]), row([0, 0]).astype(int), np.ones((1, 1, 2), bool))
    assert np.isnan([found.auroc, found.auroc_limited, found.aupro]).all()


def test_impossible_questions_are_refused() -> None:
    volume = row([1, 2])
    with pytest.raises(ConfigError, match="different shapes"):
        voxel_figures(volume, np.zeros((1, 2), int), volume > 0)
    with pytest.raises(ConfigError, match="not a false-positive rate"):
        voxel_figures(volume, np.zeros(volume.shape, int), volume > 0, 1.5)


def by_thresholds(scores: np.ndarray, numbers: np.ndarray, limit: float) -> tuple[float, float]:
    """AUROC and AUPRO up to a limit, by the definition: every threshold, and trapezoids between them."""
    names = [k for k in np.unique(numbers) if k]
    rates, roc, pro = [0.0], [0.0], [0.0]
    for threshold in np.unique(scores)[::-1]:
        above = scores >= threshold
        rates.append(above[numbers == 0].mean())
        roc.append(above[numbers > 0].mean())
        pro.append(np.mean([above[numbers == k].mean() for k in names]))
    return area(rates, roc, limit), area(rates, pro, limit)


def area(x: list[float], y: list[float], limit: float) -> float:
    """Area under a curve up to x = limit, divided by it; vertical steps stay vertical."""
    total = 0.0
    for x0, y0, x1, y1 in zip(x, y, x[1:], y[1:], strict=False):
        if x0 >= limit or x1 == x0:
            continue
        end = min(x1, limit)
        total += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return total / limit


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([0.05, 0.3, 1.0]))
def test_the_areas_are_those_under_the_curves(seed: int, levels: int, limit: float) -> None:
    """Few levels make many ties, which the trapezoidal rule shares."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-2, 4, 80).clip(0)
    numbers[:2] = 0, 1
    scores = (rng.integers(0, levels, 80) + (numbers > 0)).astype(np.float32)
    found = voxel_figures(scores[None, None], numbers[None, None], np.ones((1, 1, 80), bool), limit)
    roc, pro = by_thresholds(scores, numbers, limit)
    assert found.auroc_limited == pytest.approx(roc)
    assert found.aupro == pytest.approx(pro)
    assert found.auroc == pytest.approx(auroc(scores, numbers > 0))


@pytest.mark.parametrize("ties", [False, True])
def test_scikit_learn_agrees_after_its_standardization_is_undone(ties: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    truth = rng.random(4000) < 0.1
    scores = (rng.normal(size=4000) + truth).astype(np.float32)
    if ties:
        scores = np.round(scores)
    found = voxel_figures(scores[None, None], truth[None, None].astype(int), np.ones((1, 1, 4000), bool))
    assert found.auroc == pytest.approx(metrics.roc_auc_score(truth, scores))
    least = 0.3**2 / 2
    standardized = metrics.roc_auc_score(truth, scores, max_fpr=0.3)  # McClish: ½ (1 + (A − least) / (.3 − least))
    partial = (2 * standardized - 1) * (0.3 - least) + least
    assert found.auroc_limited == pytest.approx(partial / 0.3)
    assert found.aupro == pytest.approx(found.auroc_limited)  # one lesion: every voxel has the same vote
    assert abs(standardized - found.auroc_limited) > 0.05  # another figure than the one that is reported


GRID = Grid((6, 12, 12), np.diag([5.0, 2.0, 2.0, 1.0]))  # voxels of 20 mm³


def region(box: tuple[slice, slice, slice], rank: float, health: bool = True) -> Region:
    """A region that fills a box."""
    mask = np.ones([part.stop - part.start for part in box], bool)
    nowhere = (0.0, 0.0, 0.0)
    return Region(
        1, "OOD 1", box, mask, nowhere, 1.0, nowhere, 1.0, nowhere, 1.0, 0.5, 0.5 if health else rank, (0, 0), 0,
        nowhere, rank if health else None,
    )  # fmt: skip


@pytest.fixture
def lesions() -> Lesions:
    """One of 64 voxels that hang together by a corner, 13.5 mm; one of a single voxel, 3.4 mm."""
    mask = np.zeros(GRID.shape, bool)
    mask[1:3, 2:6, 2:6] = True
    mask[3:5, 6:10, 6:10] = True
    mask[5, 11, 0] = True
    return Lesions.of(mask, GRID)


def test_lesions_are_components_with_the_diameter_of_their_ball(lesions: Lesions) -> None:
    assert lesions.diameter_mm == pytest.approx([np.cbrt(6 * 64 * 20 / np.pi), np.cbrt(6 * 20 / np.pi)])
    assert lesions.large(10.0).tolist() == [1]


def test_found_lesions_false_regions_and_overlap(lesions: Lesions) -> None:
    on_large = region((slice(1, 3), slice(0, 4), slice(2, 6)), 0.2)  # 32 voxels, 16 of them lesion
    on_small = region((slice(5, 6), slice(11, 12), slice(0, 2)), 0.5)  # 2 voxels, 1 of them lesion
    beside = region((slice(0, 1), slice(0, 5), slice(0, 2)), 0.9)  # 10 voxels
    found = touches([on_large, on_small, beside], lesions)
    assert [t.lesions for t in found] == [(1,), (2,), ()]
    point = point_figures("all", found, lesions, 10.0)
    assert (point.found, point.found_large, point.regions, point.false) == (2, 1, 3, 1)
    assert point.dice == pytest.approx(2 * 17 / (65 + 44))
    nothing = point_figures("none", [], lesions, 10.0)
    assert (nothing.found_large, nothing.false, nothing.dice) == (0, 0, 0.0)


def test_in_a_healthy_study_every_region_is_false() -> None:
    healthy = Lesions.of(np.zeros(GRID.shape, bool), GRID)
    found = touches([region((slice(0, 1), slice(0, 2), slice(0, 2)), 0.3, health=False)], healthy)
    point = point_figures("default", found, healthy, 10.0)
    assert (found[0].rank, point.regions, point.false) == (0.3, 1, 1)
    assert np.isnan(point.dice)


def scan(name: str, patient: str, healthy: bool, ranks: list[tuple[float, tuple[int, ...]]]) -> ScanFigures:
    """A scan with two lesions, of 12 and 5 mm, and regions of given ranks on given lesions."""
    diameters = () if healthy else (12.0, 5.0)
    numbers = np.arange(1 + len(diameters), dtype=np.int32)[None, None]
    own = Lesions(numbers, np.array(diameters))
    found = [Touch(rank, on, 1, len(on)) for rank, on in ranks]
    auc = voxel_figures(row([0, 1, 2][: numbers.size]), numbers, np.ones(numbers.shape, bool))
    points = [
        point_figures(label, [t for t in found if t.rank <= at], own, 10.0)
        for label, at in (("default", 1), ("≤ 4", 4))
    ]
    return ScanFigures(
        name, patient, healthy, "unexpected", "false regions", auc, len(diameters), len(own.large(10.0)), diameters,
        tuple(points), tuple(found), {}, (), 0.0, float("nan") if healthy else 0.75, (0.05, 0.01, 0.001),
        BlockFigures(float("nan") if healthy else 0.9, float("nan") if healthy else 0.8, int(not healthy)),
    )  # fmt: skip


def test_a_patient_counts_once_however_many_scans_it_has() -> None:
    """Patient A: three scans, found in one, one false region in all. B: one scan, found, two false regions."""
    figures = [
        scan("a1", "A", False, [(0.5, (1,))]),
        scan("a2", "A", False, [(0.5, (2,)), (0.7, ())]),
        scan("a3", "A", False, [(3.0, (1, 2))]),
        scan("b", "B", False, [(0.1, (1,)), (0.2, ()), (0.9, ())]),
        scan("h", "H", True, [(0.3, ()), (2.0, ())]),
    ]
    entries = {(e["patient"], e["healthy"]): e for e in summarize(figures)}
    assert set(entries) == {("A", False), ("B", False), (ALL, False), ("H", True), (ALL, True)}
    a, mean, well = entries["A", False], entries[ALL, False], entries[ALL, True]
    assert (a["n_scans"], a["n_large"], a["points"]["default"]["found"]) == (3, 3, 1)
    assert a["points"]["default"]["found_part"] == pytest.approx(1 / 3)
    assert a["points"]["default"]["false_a_study"] == pytest.approx(1 / 3)
    assert mean["points"]["default"]["found_part"] == pytest.approx((1 / 3 + 1) / 2)
    assert mean["points"]["default"]["false_a_study"] == pytest.approx((1 / 3 + 2) / 2)
    assert mean["points"]["≤ 4"]["found"] == 3
    assert well["points"]["default"]["regions_a_study"] == 1.0
    assert well["points"]["≤ 4"]["regions_a_study"] == 2.0
    assert np.isnan(well["points"]["default"]["found_part"])
    assert (mean["blocks_body"], mean["blocks_organ"]) == pytest.approx((0.9, 0.8))
    assert (mean["slices_auroc"], well["below"]) == (0.75, [0.05, 0.01, 0.001])
    assert np.isnan(well["slices_auroc"])

    curve = froc_curve(figures, 10.0)
    at = curve["rank"].index(0.9)
    assert curve["found"][at] == pytest.approx((1 / 3 + 1) / 2)
    assert curve["false"][at] == pytest.approx((1 / 3 + 2) / 2)
    assert curve["healthy"][at] == 1.0
    assert curve["found"][-1] == pytest.approx((2 / 3 + 1) / 2)
