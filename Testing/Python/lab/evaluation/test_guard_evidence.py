"""Wrong inputs are what they say; baselines know their training scans; tables count right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_study import small_study

from KLIPCore.errors import ConfigError
from KLIPCore.io.images import write_image
from KLIPCore.lab.evaluation.guard_baselines import HistogramAndGeometry, Mahalanobis, Plain
from KLIPCore.lab.evaluation.spoiled import KINDS
from KLIPCore.lab.guard_evidence import (
    CONFIG,
    Answer,
    as_is,
    left_out,
    role_lines,
    scan_lines,
    scans,
    seen_by_baselines,
    share_lines,
    table,
)
from KLIPCore.runs.guard import DOES_NOT_FIT, FITS, LOOK_FIRST

STUDY = small_study(24)
BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_severity_is_another_volume(kind: object) -> None:
    made = [kind.make(STUDY, by).array for by in kind.severities if not np.isnan(by)]  # type: ignore[attr-defined]
    assert made
    assert all(np.isfinite(array).all() for array in made)
    assert all(array.shape != STUDY.array.shape or not np.array_equal(array, STUDY.array) for array in made)


def test_some_are_exactly_what_they_say() -> None:
    gap = BY_NAME["gap in the slices"].make(STUDY, 0.25)
    assert np.array_equal(gap.array, np.concatenate([STUDY.array[:9], STUDY.array[15:]]))
    assert gap.grid.spacing == pytest.approx(STUDY.grid.spacing)  # which does not know of it
    assert len(BY_NAME["few slices"].make(STUDY, 8).array) == 8
    assert BY_NAME["cropped"].make(STUDY, 0.5).array.shape == (24, 72, 80)
    assert BY_NAME["contrast agent taken out"].make(STUDY, 1.0).array[12, 68, 52] == 45  # of the liver
    assert BY_NAME["like MR"].make(STUDY, 1).array.min() >= 0


def some(seed: int, brighter: float = 0.0) -> Plain:
    rng = np.random.default_rng(seed)
    histogram = rng.dirichlet(np.full(16, 200.0))
    return Plain(np.roll(histogram, int(4 * brighter)), (350.0, 300.0), rng.normal(brighter, 0.1, 12))


def test_baselines_flag_what_is_far_from_their_training_scans() -> None:
    train = [some(seed) for seed in range(20)]
    for baseline in (HistogramAndGeometry(train), Mahalanobis(train)):
        assert not baseline.flags(train[3])
        assert baseline.flags(Plain(np.eye(16)[3], (350.0, 300.0), np.full(12, 3.0)))
    assert HistogramAndGeometry(train).flags(Plain(train[0].histogram, (150.0, 300.0), train[0].features))


def test_tables_count() -> None:
    fits, look = Answer(FITS, (), False, True), Answer(LOOK_FIRST, ("noise",), True, False)
    refused = Answer(DOES_NOT_FIT, ("IntensityError",), True, True)
    made = [{("stored values", 1): refused, ("noise", 0): fits}, {("stored values", 1): refused, ("noise", 0): look}]
    lines = table(made)
    assert "| stored values |  | 1024 HU: 2 (2) / 2 / 2 of 2 |  |" in lines
    assert "| noise | 20 HU: 1 (0) / 1 / 1 of 2 |  |  |" in lines
    assert lines[-1].startswith("| all | 1 (0) / 1 / 1 of 2 | 2 (2) / 2 / 2 of 2 |")
    assert scan_lines(["a"], ["healthy"], [look])[-1] == "| a | healthy | look first | noise | flagged |  |"


def test_shares_have_intervals_over_scans() -> None:
    """Six scans, of which the guard flags everything in five and half in one; the baseline nothing."""
    flagged, missed = Answer(LOOK_FIRST, ("noise",), False, True), Answer(FITS, (), False, True)
    made = [{("noise", 1): flagged, ("metal", 1): missed if scan == 3 else flagged} for scan in range(6)]
    lines = share_lines(made)
    assert lines[2].startswith("| guard |  | 92% (75% to 100%) |")
    assert lines[4] == "| histogram and geometry |  | 0% (0% to 0%) |  |"
    refused = Answer(DOES_NOT_FIT, ("air",), False, False)
    assert role_lines(["healthy"] * 6 + ["chest"] * 7, [flagged] * 6 + [refused] * 7)[2:] == [
        "| healthy | 0 of 6 | 0% to 46% |",
        "| chest | 7 of 7 | 59% to 100% |",
    ]


def test_left_out_is_what_the_others_alone_give() -> None:
    x = np.random.default_rng(0).normal(size=15)
    z = (x[0] - x.mean()) / x.std(ddof=1)
    others = left_out({"air": z}, 15)
    assert others.z["air"] == pytest.approx((x[0] - x[1:].mean()) / x[1:].std(ddof=1))
    assert others.patients == 14


def test_scans_of_a_folder(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[4]
    with pytest.raises(ConfigError, match="training"):
        scans(root / CONFIG, tmp_path)
    for n in (6, 10, 21):
        write_image(small_study(14, seed=n), tmp_path / f"btcv{n:04d}.nii.gz")
    found = scans(root / CONFIG, tmp_path)
    assert [name for name, _ in found["training"]] == ["btcv0006", "btcv0010", "btcv0021"]
    train = [seen_by_baselines(path) for _, path in found["training"]]
    answer = as_is(found["training"][0][1], (HistogramAndGeometry(train), Mahalanobis(train)))
    assert not answer.histogram
    assert (
        as_is(tmp_path / "nothing.nii.gz", (HistogramAndGeometry(train), Mahalanobis(train))).verdict == DOES_NOT_FIT
    )
