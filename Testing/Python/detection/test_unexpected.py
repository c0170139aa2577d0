"""The score `unexpected` on a run: a verdict in words, regions with what health would show, and refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from KLIPCore.config import RegionConfig
from KLIPCore.errors import TraceError
from KLIPCore.runs.live import LiveMap
from KLIPCore.runs.rerun import Detection, redo_regions


def test_the_verdict_is_said_in_words(run: Detection, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run.folder.path, out)
    found = redo_regions(out, RegionConfig(score="unexpected", false_regions=10.0))
    stored = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert stored["false_regions"] == 10.0
    assert stored["false_discovery_rate"] is None
    assert "healthy studies of this size" in stored["verdict"]
    for region, told in zip(found.report.regions, stored["regions"], strict=True):
        assert region.expected is not None
        assert 0 < region.expected <= 10.0
        assert told["expected_in_healthy_study"] == pytest.approx(region.expected)
    fewer = redo_regions(out, RegionConfig(score="unexpected", false_regions=0.1))
    assert len(fewer.report.regions) <= len(found.report.regions)


def test_other_blocks_are_refused(run: Detection) -> None:
    live = LiveMap.open(run.folder.path)
    live.update(RegionConfig(score="unexpected"))
    with pytest.raises(TraceError, match="12 mm"):
        live.update(RegionConfig(score="unexpected", block_mm=20.0))


def test_a_prior_without_a_reference_says_so(run: Detection) -> None:
    live = LiveMap.open(run.folder.path)
    other = {**live.run, "config": {**live.run["config"], "prior": "discs-128"}}
    with pytest.raises(TraceError, match="no reference of health"):
        replace(live, run=other).update(RegionConfig(score="unexpected"))
