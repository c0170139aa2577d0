"""Looking within a segmentation of the scene: any geometry and transform, real clicks, scenes that are saved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs import node_of, show_run
from KLIPSlicerLib.organs import ALL_SEGMENTS, EVERYWHERE, Choice, searchWithin
from KLIPSlicerLib.scene_results import SceneResults
from made_run import MadeRun, made_study, make_run
from panel_at_work import slicer
from standins import person
from test_slicer_saved import MOVED, save_and_load

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.runs.search import Search
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


def finish(steps: Any) -> Search:
    """What a task returns, done at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def segmentation(masks: dict[str, np.ndarray], like: Any) -> Any:
    """A segmentation node with these segments on a volume node's voxels."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    node.SetReferenceImageGeometryParameterFromVolumeNode(like)
    for name, mask in masks.items():
        identifier = node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, identifier, like)
    return node


def halves(shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """The right and the left half of a scan, and a small box inside the right one."""
    column = np.arange(shape[2]) < shape[2] // 2
    right = np.broadcast_to(column, shape)
    small = np.zeros(shape, bool)
    small[2:5, 60:76, 40:60] = True
    return {"Right half": right, "Left half": ~right, "Box": small}


@pytest.fixture
def organs(results: SceneResults) -> Any:
    """A segmentation of the study that is shown."""
    node = results.inputNode
    return segmentation(halves(slicer.util.arrayFromVolume(node).shape), node)


def test_a_segment_is_chosen_with_clicks_and_lifted_again(widget: Any, results: SceneResults, organs: Any) -> None:
    ui, table = widget.ui, widget.ui.regionTable
    assert table.item(0, 1).text() == "unknown"
    assert table.isColumnHidden(1)  # nothing is known: no room is taken
    assert not ui.segmentComboBox.enabled
    person.events(0.05)
    ui.organsSelector.setCurrentNode(organs)
    person.wait(lambda: table.item(0, 1).text() != "unknown", 10, "the organs are looked up")
    assert {table.item(row, 1).text() for row in (0, 1)} == {"Box", "Left half"}
    assert len(results.regions) == 2  # organs alone leave nothing out
    assert not widget.ui.regionTable.isColumnHidden(1)
    person.choose(ui.segmentComboBox, "Left half")
    person.wait(lambda: len(results.regions) == 1, 10, "the other half is left out")
    assert results.regions[0].organ == "Left half"
    assert "Within Left half alone" in ui.summaryLabel.text
    assert results.tableNode.GetCellText(0, 10) == "Left half"
    person.drag(ui.blockSizeSlider, 0.5)
    person.wait(lambda: results.settings.block_mm > 18, 2, "sliders act within")
    assert {region.organ for region in results.regions} == {"Left half"}
    person.choose(ui.segmentComboBox, "Everywhere")
    person.wait(lambda: len(results.regions) == 2, 10, "everything is back")


def test_own_regions_are_not_offered_as_organs(widget: Any, results: SceneResults, organs: Any) -> None:
    widget.panel.refresh()
    offered = [node.GetName() for node in widget.ui.organsSelector._nodes()]
    assert offered == ["Organs"]


def test_of_overlapping_segments_the_smaller_names_and_the_chosen_one_is_whole(results: SceneResults) -> None:
    node, live = results.inputNode, results.live
    masks = halves(slicer.util.arrayFromVolume(node).shape)
    organs = segmentation(masks, node)
    named = finish(searchWithin(Choice(organs, EVERYWHERE), node, live.framing.grid, None))
    assert named.labels is None
    assert named.organs is not None
    assert dict(named.organs.names) == {1: "Right half", 2: "Left half", 3: "Box"}
    np.testing.assert_array_equal(named.organs.labels == 3, masks["Box"])
    whole = finish(searchWithin(Choice(organs, "Right half"), node, live.framing.grid, None))
    assert whole.organs is not None
    np.testing.assert_array_equal(whole.organs.where(whole.labels), masks["Right half"])
    both = finish(searchWithin(Choice(organs, ALL_SEGMENTS), node, live.framing.grid, None))
    assert both.organs is not None
    assert both.organs.where(both.labels).all()


def test_transforms_and_other_voxels_are_respected(scene: Any, tmp_path: Path) -> None:
    """An oblique, moved study; the segmentation lies on voxels of its own, in the world."""
    run = make_run(tmp_path / "run", made_study((12, -8, 20)))
    results = show_run(run, MOVED)
    grid, flip = results.live.framing.grid, np.diag([-1.0, -1.0, 1.0, 1.0])
    toWorld = flip @ MOVED @ flip @ grid.affine  # LPS
    affine = np.diag([4.0, 3.0, 3.5, 1.0])[:, [2, 1, 0, 3]]
    affine[:3, 3] = (toWorld @ (2.5, 70.0, 80.0, 1.0))[:3] - affine[:3, :3] @ (20.0, 20.0, 20.0)
    other = node_of(Volume(np.zeros((40, 40, 40), np.float32), Grid((40, 40, 40), affine)), "Other")
    ball = np.linalg.norm(np.indices((40, 40, 40)).transpose(1, 2, 3, 0) - 20, axis=-1)
    organs = segmentation({"Ball": ball < 15}, other)
    found = finish(searchWithin(Choice(organs, EVERYWHERE), results.inputNode, grid, None)).organs
    assert found is not None
    places = np.argwhere(np.ones(grid.shape, bool))
    index = np.c_[places, np.ones(len(places))] @ (np.linalg.inv(affine) @ toWorld).T
    nearest = np.floor(index[:, :3] + 0.5).astype(int)
    inside = ((nearest >= 0) & (nearest < ball.shape)).all(1)
    expected = np.zeros(len(places), bool)
    expected[inside] = (ball < 15)[tuple(nearest[inside].T)]
    assert expected.sum() > 500
    assert (found.labels.ravel() > 0).sum() == pytest.approx(expected.sum(), rel=1e-3)
    assert ((found.labels.ravel() > 0) != expected).mean() < 1e-3  # ties at half a voxel


def test_what_cannot_be_looked_within_is_said(widget: Any, results: SceneResults) -> None:
    node = results.inputNode
    grid = results.live.framing.grid
    shape = slicer.util.arrayFromVolume(node).shape
    empty = segmentation({"Nothing": np.zeros(shape, bool)}, node)
    with pytest.raises(GeometryError, match="does not overlap"):
        finish(searchWithin(Choice(empty, ALL_SEGMENTS), node, grid, None))
    with pytest.raises(ConfigError, match="is gone"):
        finish(searchWithin(Choice(empty, "Gone"), node, grid, None))
    before = [region.label for region in results.regions]
    widget.ui.organsSelector.setCurrentNode(empty)
    person.wait(lambda: "does not overlap" in widget.ui.statusLabel.text, 10, "a sentence")
    assert [region.label for region in results.regions] == before


def test_a_saved_scene_looks_where_it_looked(scene: Any, made: MadeRun, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "run")
    results = SceneResults.create(node_of(made.study), tmp_path / "run")
    masks = halves(slicer.util.arrayFromVolume(results.inputNode).shape)
    organs = segmentation(masks, results.inputNode)
    search = finish(searchWithin(Choice(organs, "Left half"), results.inputNode, results.live.framing.grid, None))
    results.look(search)
    shown = [region.to_dict() for region in results.regions]
    assert len(shown) == 1
    shutil.rmtree(tmp_path / "run")
    restored = save_and_load(results, tmp_path / "scene.mrb")
    assert [region.to_dict() for region in restored.regions] == shown
    restored.look(Search(restored.live.roi))
    assert len(restored.regions) == 2


def test_looking_up_is_done_in_short_steps(results: SceneResults) -> None:
    """One step a slice: as many as there are, so that none of them is a person's moment."""
    node = results.inputNode
    organs = segmentation(halves(slicer.util.arrayFromVolume(node).shape), node)
    steps = searchWithin(Choice(organs, ALL_SEGMENTS), node, results.live.framing.grid, None)
    count = sum(1 for _ in steps)
    assert count >= 2 * slicer.util.arrayFromVolume(node).shape[0]


def test_a_grid_elsewhere_finds_nothing(results: SceneResults, organs: Any) -> None:
    grid = results.live.framing.grid
    far = Grid(grid.shape, grid.affine + np.array([[0, 0, 0, 1000.0]] * 3 + [[0, 0, 0, 0]]))
    with pytest.raises(GeometryError, match="does not overlap"):
        finish(searchWithin(Choice(organs, ALL_SEGMENTS), results.inputNode, far, None))
