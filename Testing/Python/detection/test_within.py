"""Looking within a segmentation: which regions are found, how many health would show, and whose organ each is in."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_study import LESION_LPS_MM
from typer.testing import CliRunner

from KLIPCore.cli.application import app
from KLIPCore.config import RegionConfig
from KLIPCore.errors import ConfigError, TraceError
from KLIPCore.io.images import write_image
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.live import LiveMap
from KLIPCore.runs.rerun import Detection, read_finished, redo_regions
from KLIPCore.runs.search import ORGANS_FILE, Search
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.organs import FOUND, OrganMap
from KLIPCore.volume.volume import Volume

HEALTH = RegionConfig(score="unexpected", tissue="all", false_regions=10.0, min_volume_mm3=0.0)
BULK = RegionConfig(score="darker", fdr=0.9, min_volume_mm3=0.0)


def liver_and_kidney(grid: Grid) -> np.ndarray:
    """(D, H, W) float32: 1 in the liver of the small study, 2 in its kidney."""
    places = np.indices(grid.shape).reshape(3, -1).T
    x, y, _ = grid.to_world(places).T
    liver = ((x + 70) / 65) ** 2 + ((y + 10) / 75) ** 2 <= 1
    kidney = ((x - 85) / 35) ** 2 + (y / 45) ** 2 <= 1
    return np.where(liver, 1.0, np.where(kidney, 2.0, 0.0)).reshape(grid.shape).astype(np.float32)


@pytest.fixture
def out(run: Detection, tmp_path: Path) -> Path:
    """A run whose organs nobody knows."""
    shutil.copytree(run.folder.path, tmp_path / "run")
    (tmp_path / "run" / ORGANS_FILE).unlink()
    return tmp_path / "run"


@pytest.fixture
def segmentation(run: Detection, tmp_path: Path) -> Path:
    """Labels on a coarser grid than the study's, as another program would have them."""
    grid = run.study.grid
    coarse = Grid((grid.shape[0], 72, 80), grid.affine @ np.diag([1.0, 2.0, 2.0, 1.0]))
    write_image(Volume(liver_and_kidney(coarse), coarse), tmp_path / "organs.nii.gz")
    return tmp_path / "organs.nii.gz"


@pytest.mark.parametrize("settings", [HEALTH, BULK], ids=["health", "bulk"])
def test_regions_lie_within_and_are_named(out: Path, segmentation: Path, settings: RegionConfig) -> None:
    everywhere = redo_regions(out, settings)
    assert all(region.organ is None for region in everywhere.report.regions)
    found = redo_regions(out, settings, within=f"{segmentation}:1")
    assert found.report.regions
    liver = liver_and_kidney(found.study.grid) == 1
    for region in found.report.regions:
        assert region.organ == "label 1"
        inside = liver[region.box][region.mask].mean()
        assert inside > 0.8, "cells of 7 mm may stick out, no more"
    beyond = sum((region.mask & ~liver[region.box]).sum() for region in everywhere.report.regions)
    still = sum((region.mask & ~liver[region.box]).sum() for region in found.report.regions)
    assert beyond >= still
    if settings is BULK:  # which marks places outside the liver, too
        assert beyond > 2 * still, "something is left out"
    assert any("alone (organs.nii.gz)" in warning for warning in found.report.warnings)


def test_the_volume_that_is_looked_at_decides_how_many_health_would_show(out: Path, segmentation: Path) -> None:
    settings = replace(HEALTH, false_regions=1e1, sign="darker")
    everywhere = redo_regions(out, settings)
    within = redo_regions(out, settings, within=f"{segmentation}:1")
    share = within.kl_map.tested.sum() / everywhere.kl_map.tested.sum()
    assert 0.1 < share < 0.6
    peaks = {round(region.peak_nats, 4): region.expected for region in everywhere.report.regions}
    same = [(r.expected, peaks[key]) for r in within.report.regions if (key := round(r.peak_nats, 4)) in peaks]
    assert same, "a region that lies in the liver is as strong as before"
    for inside, before in same:
        assert inside == pytest.approx(share * before, rel=1e-6)
    assert within.report.tested_mm3 is not None
    assert everywhere.report.tested_mm3 is not None
    assert within.report.tested_mm3 < 0.7 * everywhere.report.tested_mm3


def test_organs_are_found_without_being_asked_for(run: Detection, tmp_path: Path) -> None:
    """The network's organs are kept, counted in the result, and can be looked within by name alone."""
    out = tmp_path / "run"
    shutil.copytree(run.folder.path, out)
    organs = Search.kept(out, run.study.grid).organs
    assert organs is not None
    assert organs.origin == FOUND
    named = redo_regions(out, HEALTH)
    assert named.report.fit is None or named.report.fit.belongs, "in a study that does not belong nothing is named"
    assert {row.organ for row in named.report.organs} == {organs.called(label) for label in organs.present}
    for row in named.report.organs:
        assert row.regions == sum(region.organ == row.organ for region in named.report.regions)
    largest = named.report.organs[0].organ
    inside = redo_regions(out, HEALTH, within=largest)
    assert inside.report.provenance["within"]["names"] == [largest]
    assert inside.kl_map.tested.sum() < named.kl_map.tested.sum()
    with pytest.raises(ConfigError, match="neither an organ") as told:
        redo_regions(out, HEALTH, within="lver")
    assert largest in told.value.remedy


def test_chance_has_less_room_within(out: Path, segmentation: Path) -> None:
    """The bulk null stays the whole study's; random fields are counted in the part alone."""
    everywhere = redo_regions(out, BULK).kl_map
    within = redo_regions(out, BULK, within=f"{segmentation}:1").kl_map
    np.testing.assert_array_equal(within.p, everywhere.p)
    assert len(within.clusters.mass) < len(everywhere.clusters.mass)


def test_what_was_chosen_is_kept_until_it_is_lifted(out: Path, segmentation: Path) -> None:
    named = redo_regions(out, HEALTH, within=f"{segmentation}:2")
    segmentation.unlink()
    stored = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert stored["provenance"]["within"] == {"file": "organs.nii.gz", "labels": [2], "names": ["label 2"]}
    assert "organs.npz" in stored["files"]
    again, finished = redo_regions(out, HEALTH), read_finished(out)
    for other in (again.report, finished.report):
        assert [r.to_dict() for r in other.regions] == [r.to_dict() for r in named.report.regions]
    other_organ = redo_regions(out, HEALTH, within=":1")
    assert {region.organ for region in other_organ.report.regions} == {"label 1"}
    lifted = redo_regions(out, BULK, within="all")
    assert "within" not in lifted.report.provenance
    assert {"label 1", "outside"} <= {region.organ for region in lifted.report.regions}
    with pytest.raises(ConfigError, match="no label '7'"):
        redo_regions(out, HEALTH, within=":7")


def test_a_panel_sees_the_same_and_carries_it_along(out: Path, segmentation: Path) -> None:
    plain = LiveMap.open(out)
    before = plain.update(HEALTH)
    search = Search(plain.roi).changed(f"{segmentation}:1", plain.framing.grid)
    looking = plain.looking(search)
    shown, written = looking.update(HEALTH), redo_regions(out, HEALTH, within=f"{segmentation}:1")
    assert [r.to_dict() for r in shown.regions] == [r.to_dict() for r in written.report.regions]
    carried = LiveMap.from_bytes(looking.to_bytes()).update(HEALTH)
    assert [r.to_dict() for r in carried.regions] == [r.to_dict() for r in shown.regions]
    after = plain.update(HEALTH)
    assert [r.to_dict() for r in after.regions] == [r.to_dict() for r in before.regions]
    back = looking.looking(Search(plain.roi)).update(HEALTH)
    assert [r.to_dict() for r in back.regions] == [r.to_dict() for r in before.regions]


def test_what_cannot_be_looked_within_is_refused_and_leaves_the_run(out: Path, tmp_path: Path) -> None:
    before = (out / "result.json").read_bytes()
    grid = LiveMap.open(out).framing.grid
    speck = np.zeros(grid.shape, np.float32)
    speck[0, 0, 0] = 1
    write_image(Volume(speck, grid), tmp_path / "speck.nrrd")
    with pytest.raises(ConfigError, match="Nothing of what was examined"):
        redo_regions(out, HEALTH, within=str(tmp_path / "speck.nrrd"))
    with pytest.raises(ConfigError, match="knows no organs"):
        redo_regions(out, HEALTH, within=":liver")
    assert (out / "result.json").read_bytes() == before
    assert not (out / "organs.npz").exists()


def test_damaged_organs_are_no_riddle(out: Path, segmentation: Path) -> None:
    redo_regions(out, HEALTH, within=str(segmentation))
    (out / "organs.npz").write_bytes(b"PK\x03\x04 and nothing")
    with pytest.raises(TraceError, match="damaged or of another study"):
        redo_regions(out, HEALTH)
    with pytest.raises(TraceError, match="belong to another study"):
        Search(None, OrganMap(np.ones((2, 3, 4), np.uint8)), (1,)).within(RunFolder(out).read_framing())


def test_the_command_line_shows_the_organ_and_refuses_in_a_sentence(out: Path, segmentation: Path) -> None:
    runner = CliRunner()
    settings = ["--score", "unexpected", "--tissue", "all", "--false-regions", "10"]
    plain = runner.invoke(app, ["regions", str(out), *settings])
    assert "unknown" in plain.stdout
    made = runner.invoke(app, ["regions", str(out), *settings, "--within", f"{segmentation}:1"])
    assert made.exit_code == 0, made.output
    assert "Organ" in made.stdout
    assert "label 1" in made.stdout
    bad = runner.invoke(app, ["regions", str(out), "--within", f"{segmentation}:liver"])
    assert isinstance(bad.exception, ConfigError)
    assert "1, 2" in bad.exception.remedy


def test_the_lesion_is_in_the_organ_it_was_put_in(out: Path, segmentation: Path) -> None:
    found = redo_regions(out, HEALTH, within=str(segmentation))
    k, j, i = np.round(found.study.grid.to_index(LESION_LPS_MM)).astype(int)
    organs = Search.kept(out, found.study.grid).organs
    assert organs is not None
    assert organs.called(int(organs.labels[k, j, i])) == "label 1"
