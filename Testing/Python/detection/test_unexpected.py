"""The score `unexpected` on a run: a verdict in words, regions with what health would show, and refusals."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detection.conftest import SMALL
from small_study import small_study

from KLIPCore.config import RegionConfig
from KLIPCore.errors import TraceError
from KLIPCore.maps import reference
from KLIPCore.runs.health import judge_study
from KLIPCore.runs.live import LiveMap
from KLIPCore.runs.rerun import Detection, redo_regions
from KLIPCore.volume.framed_study import Framing, frame_study
from KLIPCore.volume.model_card import ModelCard


def test_the_verdict_is_said_in_words(run: Detection, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run.folder.path, out)
    found = redo_regions(out, RegionConfig(score="unexpected", false_regions=10.0))
    stored = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert stored["false_regions"] == 10.0
    assert stored["false_discovery_rate"] is None
    assert "healthy studies of this size" in stored["verdict"]
    shipped = Path(reference.__file__).parents[1] / "priors" / "zoo" / f"{SMALL}.reference.npz"
    assert stored["provenance"]["reference_sha256"] == hashlib.sha256(shipped.read_bytes()).hexdigest()
    for region, told in zip(found.report.regions, stored["regions"], strict=True):
        assert region.expected is not None
        assert 0 < region.expected <= 10.0
        assert told["expected_in_healthy_study"] == pytest.approx(region.expected)
    fewer = redo_regions(out, RegionConfig(score="unexpected", false_regions=0.1))
    assert len(fewer.report.regions) <= len(found.report.regions)


def test_the_block_size_moves_freely(run: Detection) -> None:
    live = LiveMap.open(run.folder.path)
    for block_mm in (5.0, 12.0, 20.0, 40.0):
        view = live.update(RegionConfig(score="unexpected", block_mm=block_mm, false_regions=10.0))
        assert "bulk of this study" not in view.rests_on
        assert all(region.expected is not None for region in view.regions)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"depth_mm": 12.0}, "one slice's depth"),
        ({"window": (0.08, 0.32)}, "own σ window"),
        ({"block_mm": 60.0}, "blocks of 4 to 40 mm"),
    ],
)
def test_what_the_reference_does_not_hold_for_rests_on_the_study(
    run: Detection, changes: dict[str, Any], why: str
) -> None:
    view = LiveMap.open(run.folder.path).update(RegionConfig(score="unexpected", **changes))
    assert why in view.rests_on
    assert "bulk of this study" in view.rests_on
    assert "where disease is everywhere nothing stands out" in view.rests_on
    assert all(region.expected is None for region in view.regions)


def test_a_run_that_recorded_other_noise_levels_is_not_judged_by_it(run: Detection) -> None:
    live = LiveMap.open(run.folder.path)
    pieces = []
    for piece in live.trace.slices:
        assert piece.pushes is not None
        pieces.append(replace(piece, pushes=replace(piece.pushes, sigma=piece.pushes.sigma * 1.3)))
    view = replace(live, trace=replace(live.trace, slices=tuple(pieces))).update(RegionConfig(score="unexpected"))
    assert "noise levels" in view.rests_on


def test_what_is_too_little_or_approximate_is_said(run: Detection, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run.folder.path, out)
    report = redo_regions(out, RegionConfig(score="unexpected")).report
    assert report.fit is None
    said = " ".join(report.warnings)
    assert "4 slices of a body (20 mm) are too little to say whether the study as a whole belongs" in said
    assert "steps 6 (here 3)" in said


def test_a_rate_that_was_widened_is_told_and_why(run: Detection) -> None:
    live = LiveMap.open(run.folder.path)
    plain = live.update(RegionConfig(score="unexpected")).rests_on
    assert "times as many" not in plain
    assert "steps 6 (here 3)" in plain
    assert "steps" not in live.update(RegionConfig(score="unexpected", block_mm=60.0)).rests_on
    said = live.update(RegionConfig(score="unexpected", tissue="all")).rests_on
    assert "1.3 times as many regions that are darker than expected as those that the prior has learned from" in said
    assert "brighter" not in said


def test_a_field_of_view_that_cuts_the_body_is_a_reason_not_to_belong(run: Detection) -> None:
    live, n = LiveMap.open(run.folder.path), 16
    pieces = live.trace.slices
    trace = replace(live.trace, slices=tuple(replace(pieces[k % len(pieces)], index=k) for k in range(n)))
    framed = frame_study(small_study(n), ModelCard.from_dict(live.run["prior"]))
    framing = Framing(framed.grid, framed.orientation, framed.body, framed.frame)
    reasons = []
    for body in (framing.body, np.ones_like(framing.body)):
        fit, unjudged = judge_study(live.run, trace, replace(framing, body=body))
        assert fit is not None
        assert unjudged == ""
        reasons.append(" ".join(fit.reasons))
    assert "field of view" not in reasons[0]
    assert "the field of view cuts the body over 100% of the image's rim" in reasons[1]


def test_a_study_without_a_region_is_told_how_ordinary_it_is(run: Detection) -> None:
    report = replace(run.report, regions=(), significant_mm3=0.0, false_regions=1.0, false_discovery_rate=None)
    assert report.verdict().startswith("63 or more of 100 healthy studies of this size would show a region stronger")
    assert replace(report, false_regions=10.0).verdict().startswith("Most of 100")
    small = replace(report, significant_mm3=50.0)  # what is outlined is too small to be listed, and may be stronger
    assert small.verdict() == "A healthy study of this size shows 1 region at this setting."


def test_a_prior_without_a_reference_says_so(run: Detection) -> None:
    live = LiveMap.open(run.folder.path)
    other = {**live.run, "config": {**live.run["config"], "prior": "discs-128"}}
    view = replace(live, run=other).update(RegionConfig(score="unexpected"))
    assert "no reference of health" in view.rests_on
    assert "false-discovery rate of 0.5" in view.rests_on
    assert replace(live, run=other).fit is None


def test_twins_hold_no_pushes(run: Detection) -> None:
    with pytest.raises(TraceError, match="no twin"):
        LiveMap.open(run.folder.path).update(RegionConfig(score="unexpected", null="twin"))


def test_tissue_and_sign_are_filters(run: Detection) -> None:
    live = LiveMap.open(run.folder.path)
    both = live.update(RegionConfig(score="unexpected", tissue="all"))
    soft = live.update(RegionConfig(score="unexpected"))
    assert not np.array_equal(soft.kl_map.array, both.kl_map.array)
    dark, bright = (live.update(RegionConfig(score="unexpected", sign=sign)) for sign in ("darker", "brighter"))
    np.testing.assert_allclose(
        np.maximum(dark.kl_map.array, bright.kl_map.array).max(), soft.kl_map.array.max(), rtol=1e-5
    )
