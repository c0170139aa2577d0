"""A detection's nodes: the right numbers at the right places, named, colored, tagged and filed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import headless
import numpy as np
import pytest
import slicer
import vtk
from inputs import node_of, segment_holds, show_run, to_world, value_at
from KLIPSlicerLib.nodes import gridOfNode, ijkToRas
from KLIPSlicerLib.regions import segmentId
from KLIPSlicerLib.scene_results import SceneResults
from made_run import BALL_RADIUS_MM, MadeRun, made_study, make_run

from KLIPCore.errors import GeometryError, TraceError
from KLIPCore.export.segmentation import TERMINOLOGY
from KLIPCore.runs.live import LiveMap
from KLIPCore.runs.rerun import reconstruction_volume
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.volume import Volume

MOVED = np.array([[0.36, 0.48, -0.8, 40], [-0.8, 0.6, 0, -15], [0.48, 0.64, 0.6, 7], [0, 0, 0, 1]])

PLACES = {
    "straight": ((0, 0, 0), 0.0, None),
    "oblique": ((12, -8, 20), 0.0, None),
    "gantry tilt": ((0, 0, 0), 0.25, None),
    "oblique, tilted and moved": ((-10, 9, 15), -0.2, MOVED),
}


@pytest.fixture(params=PLACES)
def placed(request: pytest.FixtureRequest, scene: Any, tmp_path: Path) -> tuple[MadeRun, SceneResults]:
    """A run on a study that lies as the parameter says, in the scene."""
    rotation, shear, transform = PLACES[request.param]
    run = make_run(tmp_path / "run", made_study(rotation, shear))
    return run, show_run(run, transform)


def test_everything_lies_where_the_input_lies(placed: tuple[MadeRun, SceneResults]) -> None:
    _, results = placed
    for node in (results.mapNode, results.reconstructionNode):
        np.testing.assert_array_equal(ijkToRas(node), ijkToRas(results.inputNode))
        assert node.GetTransformNodeID() == results.inputNode.GetTransformNodeID()
        assert node.GetImageData().GetDimensions() == results.inputNode.GetImageData().GetDimensions()
    assert results.segmentationNode.GetTransformNodeID() == results.inputNode.GetTransformNodeID()
    assert results.mapNode.GetImageData().GetScalarTypeAsString() == "float"


def test_the_map_has_every_number_in_its_place(placed: tuple[MadeRun, SceneResults]) -> None:
    """By Slicer's own transforms, at voxels drawn at random."""
    run, results = placed
    live = LiveMap.open(run.folder)
    expected = live.update(live.settings)
    rng = np.random.default_rng(1)
    index = rng.integers((0, 0, 0), run.study.grid.shape, (200, 3))
    world = to_world(results.inputNode, run.study.grid.to_world(index))
    found = [value_at(results.mapNode, point) for point in world]
    np.testing.assert_array_equal(found, expected.kl_map.array[tuple(index.T)])
    assert np.count_nonzero(found) > 50


def test_segments_are_where_the_nats_are(placed: tuple[MadeRun, SceneResults]) -> None:
    """Both balls, in the world; a ball's surroundings are free."""
    run, results = placed
    assert len(results.regions) == 2
    for i, center in enumerate((run.ball_lps, run.second_lps)):
        world = to_world(results.inputNode, center)
        assert segment_holds(results.segmentationNode, segmentId(results.regions[i]), world)
        assert not segment_holds(results.segmentationNode, segmentId(results.regions[1 - i]), world)
        around = np.eye(3)[:2] @ run.study.grid.directions.T * (2.5 * BALL_RADIUS_MM)
        for offset in [*around, *-around]:
            point = to_world(results.inputNode, center + offset)
            assert not segment_holds(results.segmentationNode, segmentId(results.regions[i]), point)


def test_segments_are_the_regions_voxel_by_voxel(placed: tuple[MadeRun, SceneResults]) -> None:
    _, results = placed
    for region in results.regions:
        array = slicer.util.arrayFromSegmentBinaryLabelmap(
            results.segmentationNode, segmentId(region), results.mapNode
        )
        np.testing.assert_array_equal(array > 0, region.full_mask(results.live.framing.grid.shape))


@pytest.mark.parametrize(
    ("order", "flips"),
    [((0, 1, 2), (True, False, False)), ((0, 1, 2), (True, True, True)), ((2, 0, 1), (False, True, False))],
)
def test_a_node_that_lists_its_voxels_in_another_order(scene: Any, made: MadeRun, order: tuple, flips: tuple) -> None:
    """Slicer may count a series' slices from the other end than KLIPCore does."""
    array = np.flip(made.study.array.transpose(order), [a for a in range(3) if flips[a]])
    node = node_of(Volume(array, made.study.grid.oriented(order, flips)))
    results = SceneResults.create(node, made.folder)
    assert gridOfNode(results.mapNode).same_as(gridOfNode(node))
    for i, center in enumerate((made.ball_lps, made.second_lps)):
        assert segment_holds(results.segmentationNode, segmentId(results.regions[i]), to_world(node, center))
        assert value_at(results.mapNode, to_world(node, center)) > results.threshold


def test_segments_say_what_they_are(shown: SceneResults) -> None:
    segmentation = shown.segmentationNode.GetSegmentation()
    assert list(segmentation.GetSegmentIDs()) == [segmentId(region) for region in shown.regions]
    for region in shown.regions:
        segment = segmentation.GetSegment(segmentId(region))
        assert segment.GetName() == region.name
        np.testing.assert_allclose(segment.GetColor(), region.colour)
        assert segment.GetTerminology() == TERMINOLOGY
        text = vtk.reference("")
        assert segment.GetTag("KLIP.PeakNats", text)
        assert float(str(text)) == pytest.approx(region.peak_nats, rel=1e-5)
    assert segmentation.GetNumberOfLayers() == 1, "segments share one labelmap"


def test_the_table_has_a_row_a_region(shown: SceneResults) -> None:
    table = shown.tableNode
    assert table.GetNumberOfRows() == len(shown.regions) == 2
    columns = {
        table.GetColumnName(c): slicer.util.arrayFromTableColumn(table, table.GetColumnName(c))
        if c not in (0, 1, *range(7, 13))
        else None
        for c in range(13)
    }
    assert list(columns) == [
        "Region",
        "Slices",
        "Volume [mL]",
        "Peak",
        "Total",
        "p",
        "q",
        "Segment",
        "Reading",
        "Note",
        "Organ",
        "In health",
        "Outline",
    ]
    for i, region in enumerate(shown.regions):
        assert table.GetCellText(i, 0) == region.name
        assert table.GetCellText(i, 1) == f"{region.slices[0]}–{region.slices[1]}"
        assert table.GetCellText(i, 7) == segmentId(region)
        assert table.GetCellText(i, 10) == "unknown"
        assert table.GetCellText(i, 11) == ("" if region.expected is None else f"{region.expected:.4g}")
        assert table.GetCellText(i, 12) == "blocks"
        for title, value in {
            "Volume [mL]": region.volume_ml,
            "Peak": region.peak_nats,
            "Total": region.total_nats,
            "p": region.p_value,
            "q": region.q_value,
        }.items():
            assert columns[title][i] == pytest.approx(value, rel=1e-3)


def test_everything_is_filed_under_the_inputs_study(shown: SceneResults) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(shown.traceNode.GetScene())
    study = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
    of_input = hierarchy.GetItemAncestorAtLevel(hierarchy.GetItemByDataNode(shown.inputNode), study)
    assert of_input
    for node in (shown.mapNode, shown.reconstructionNode, shown.segmentationNode, shown.tableNode, shown.traceNode):
        assert hierarchy.GetItemAncestorAtLevel(hierarchy.GetItemByDataNode(node), study) == of_input
        assert node.GetName().startswith("CT ")


def test_an_input_without_a_study_is_filed_beside_its_results(scene: Any, made: MadeRun) -> None:
    from KLIPSlicerLib.nodes import updateNodeFromVolume

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "loose")
    updateNodeFromVolume(node, made.study)
    results = SceneResults.create(node, made.folder)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(results.mapNode))
    assert hierarchy.GetItemName(folder) == "KLIP: loose"


def test_the_reconstruction_is_in_hounsfield_units(shown: SceneResults, made: MadeRun) -> None:
    """In the made run it is the study itself within the prior's window, seen through the frame."""
    array = slicer.util.arrayFromVolume(shown.reconstructionNode)
    assert array.min() == pytest.approx(-125, abs=0.1)
    assert array.max() <= 275
    whole = reconstruction_volume(
        LiveMap.open(made.folder).trace, shown.live.framing, ModelCard.from_dict(shown.live.run["prior"])
    )
    np.testing.assert_array_equal(array, whole.array)
    liver = made.study.array[3, 60:75, 45:60]
    assert array[3, 60:75, 45:60].mean() == pytest.approx(liver.mean(), abs=3)


def test_a_slider_changes_map_segments_and_table(shown: SceneResults) -> None:
    before = slicer.util.arrayFromVolume(shown.mapNode).copy()
    shown.show(replace(shown.settings, block_mm=24.0))
    live = shown.live.update(replace(shown.settings, block_mm=24.0))
    after = slicer.util.arrayFromVolume(shown.mapNode)
    np.testing.assert_array_equal(after, live.kl_map.array)
    assert after.max() > 1.5 * before.max(), "larger blocks hold more nats"
    for region in live.regions:
        array = slicer.util.arrayFromSegmentBinaryLabelmap(shown.segmentationNode, segmentId(region), shown.mapNode)
        assert int((array > 0).sum()) == int(region.mask.sum())
        assert shown.tableNode.GetTable().GetValue(0, 3).ToDouble() == pytest.approx(
            live.regions[0].peak_nats, rel=1e-3
        )


def test_segments_come_and_go_with_the_false_discovery_rate(shown: SceneResults) -> None:
    """Without regions the segmentation is empty; the next setting fills it again."""
    assert shown.segmentationNode.GetSegmentation().GetNumberOfSegments() == 2
    shown.show(replace(shown.settings, fdr=1e-9))
    assert shown.segmentationNode.GetSegmentation().GetNumberOfSegments() == 0
    assert shown.tableNode.GetNumberOfRows() == 0
    shown.show(replace(shown.settings, fdr=0.05))
    assert [shown.segmentationNode.GetSegmentation().GetNthSegment(n).GetName() for n in range(2)] == [
        "OOD 1",
        "OOD 2",
    ]


def test_a_setting_that_the_trace_cannot_answer_changes_nothing(shown: SceneResults) -> None:
    before, settings = slicer.util.arrayFromVolume(shown.mapNode).copy(), shown.settings
    with pytest.raises(TraceError):
        shown.show(replace(settings, score="nats"))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown.mapNode), before)
    assert shown.settings == settings


def test_a_hidden_region_stays_hidden_while_sliders_move(shown: SceneResults) -> None:
    shown.setRegionVisible(1, False)
    assert [region.name for region in shown.visibleRegions] == ["OOD 1"]
    hidden = shown.regions[1].peak_lps_mm
    shown.show(replace(shown.settings, block_mm=16.0))
    shown.show(replace(shown.settings, fdr=1e-9))
    shown.show(replace(shown.settings, fdr=0.05, block_mm=12.0))
    states = [
        (np.linalg.norm(np.subtract(r.centroid_lps_mm, hidden)) < 20, shown.isRegionVisible(i))
        for i, r in enumerate(shown.regions)
    ]
    assert sorted(states) == [(False, True), (True, False)]
    shown.setRegionVisible([near for near, _ in states].index(True), True)
    shown.show(replace(shown.settings, block_mm=16.0))
    assert len(shown.visibleRegions) == len(shown.regions)


def test_the_threshold_keeps_its_meaning_when_blocks_grow(shown: SceneResults) -> None:
    """A threshold of the user's stays as unusual; the automatic one follows the null; None goes back to it."""

    def share() -> float:
        body = slicer.util.arrayFromVolume(shown.mapNode)
        return float((body > shown.threshold).sum() / (body > 0).sum())

    automatic = shown.threshold
    shown.show(replace(shown.settings, block_mm=20.0))
    assert shown.threshold > 1.5 * automatic
    shown.show(replace(shown.settings, block_mm=12.0))
    assert shown.threshold == pytest.approx(automatic)
    median = float(
        np.median(slicer.util.arrayFromVolume(shown.mapNode)[slicer.util.arrayFromVolume(shown.mapNode) > 0])
    )
    shown.setThreshold(median)
    assert share() == pytest.approx(0.5, abs=0.01)
    shown.show(replace(shown.settings, block_mm=20.0))
    assert share() == pytest.approx(0.5, abs=0.05)
    shown.setThreshold(None)
    shown.show(replace(shown.settings, block_mm=12.0))
    assert shown.threshold == pytest.approx(automatic)


def test_results_show_while_slices_are_still_missing(scene: Any, made: MadeRun, tmp_path: Path) -> None:
    growing = made.keep_slices(2, tmp_path / "growing")
    results = SceneResults.create(node_of(made.study), growing.folder)
    array = slicer.util.arrayFromVolume(results.mapNode)
    assert [bool(a.any()) for a in array] == [True, True, False, False, False, False]
    assert results.traceNode.GetText() == ""
    assert results.addPartial() == 0
    for index in (2, 3, 4, 5):
        made.finish_slice(index, growing.folder)
        assert results.addPartial() == 1
    assert all(bool(a.any()) for a in slicer.util.arrayFromVolume(results.mapNode))
    whole = LiveMap.open(made.folder)
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(results.mapNode), whole.update(whole.settings).kl_map.array
    )
    complete = show_run(made)
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(results.reconstructionNode),
        slicer.util.arrayFromVolume(complete.reconstructionNode),
    )
    assert results.traceNode.GetText() == complete.traceNode.GetText() != ""


def test_results_of_another_volume_are_refused(scene: Any, made: MadeRun) -> None:
    other = node_of(made_study((0, 0, 15)))
    nodes = scene.GetNumberOfNodes()
    with pytest.raises(GeometryError):
        SceneResults.create(other, made.folder)
    assert scene.GetNumberOfNodes() == nodes, "nothing is left behind"


def test_removing_leaves_the_input(scene: Any, made: MadeRun) -> None:
    node = node_of(made.study)
    classes = (
        "vtkMRMLVolumeNode",
        "vtkMRMLSegmentationNode",
        "vtkMRMLTableNode",
        "vtkMRMLTextNode",
        "vtkMRMLColorLegendDisplayNode",
    )
    before = {name: scene.GetNumberOfNodesByClass(name) for name in classes}
    SceneResults.create(node, made.folder).remove()
    assert {name: scene.GetNumberOfNodesByClass(name) for name in classes} == before
    assert scene.IsNodePresent(node)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert not hierarchy.GetItemByName("KLIP: CT")


def test_colors_are_those_of_the_report(shown: SceneResults) -> None:
    from KLIPCore.export.images import kl_colour_map

    node = shown.mapNode.GetDisplayNode().GetColorNode()
    table = [node.GetLookupTable().GetTableValue(n)[:3] for n in range(256)]
    np.testing.assert_allclose(table, kl_colour_map()(range(256))[:, :3], atol=1 / 255)
    lightness = np.array(table) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > -0.004).all(), "more nats are never darker"


def test_one_color_table_serves_all_detections(scene: Any, made: MadeRun) -> None:
    first, second = show_run(made), show_run(made)
    assert first.mapNode.GetDisplayNode().GetColorNodeID() == second.mapNode.GetDisplayNode().GetColorNodeID()
    assert len(SceneResults.allInScene(headless.start())) == 2
