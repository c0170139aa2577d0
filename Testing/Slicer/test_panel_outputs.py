"""Results in nodes that the user chose: what they held is replaced, how they are shown is kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vtk
from inputs import node_of
from KLIPSlicerLib import outputs, result_nodes
from KLIPSlicerLib.detection import Detection, Listener
from KLIPSlicerLib.nodes import isResult
from KLIPSlicerLib.outputs import Outputs
from KLIPSlicerLib.result_nodes import MAP, RECONSTRUCTION, SEGMENTATION, TABLE
from KLIPSlicerLib.scene_results import SceneResults
from KLIPSlicerLib.steps import atOnce
from made_run import MadeRun
from panel_at_work import slicer
from standins import person

from KLIPCore.errors import ConfigError, TraceError


def foreign_nodes() -> dict[str, Any]:
    """Nodes of the scene that somebody has made: of another size and type, with contents and a look of their own."""
    scene = slicer.mrmlScene
    volume = slicer.util.addVolumeFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5), name="Old volume")
    volume.SetOrigin(7.0, 8.0, 9.0)
    volume.CreateDefaultDisplayNodes()
    image = slicer.util.addVolumeFromArray(np.ones((2, 3, 4), np.float32), name="Old image")
    image.CreateDefaultDisplayNodes()
    image.GetDisplayNode().SetAutoWindowLevel(False)
    image.GetDisplayNode().SetWindowLevelMinMax(-10.0, 30.0)
    ball = vtk.vtkSphereSource()
    ball.SetRadius(20.0)
    ball.Update()
    segments = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Old segments")
    segments.CreateDefaultDisplayNodes()
    segments.GetDisplayNode().SetSliceIntersectionThickness(5)
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    segments.GetSegmentation().SetSourceRepresentationName(surface)
    segments.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "Ball", (1.0, 0.0, 0.0))
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Old table")
    table.AddColumn().SetName("Old column")
    return {MAP: volume, RECONSTRUCTION: image, SEGMENTATION: segments, TABLE: table}


def cells(table: Any) -> list[str]:
    """What a table node says."""
    n, m = table.GetNumberOfRows(), table.GetNumberOfColumns()
    return [table.GetColumnName(c) for c in range(m)] + [table.GetCellText(r, c) for r in range(n) for c in range(m)]


def segment_arrays(results: SceneResults) -> list[np.ndarray]:
    """The segments as arrays on the study's voxels."""
    node, like = results.segmentationNode, results.mapNode
    return [
        slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, like)
        for identifier in node.GetSegmentation().GetSegmentIDs()
    ]


@pytest.mark.parametrize("moved", [False, True])
def test_chosen_nodes_hold_what_new_ones_would(scene: Any, made: MadeRun, moved: bool) -> None:
    shift = np.eye(4)
    shift[:3, 3] = (5.0, -3.0, 2.0)
    node = node_of(made.study, transform=shift if moved else None)
    fresh, chosen = SceneResults.create(node, made.folder), foreign_nodes()
    results = SceneResults.create(node, made.folder, chosen)
    for role, old in chosen.items():
        assert results.traceNode.GetNodeReference(role) is old
    for one, other in ((fresh.mapNode, chosen[MAP]), (fresh.reconstructionNode, chosen[RECONSTRUCTION])):
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(one), slicer.util.arrayFromVolume(other))
        matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
        one.GetIJKToRASMatrix(matrices[0])
        other.GetIJKToRASMatrix(matrices[1])
        assert str(slicer.util.arrayFromVTKMatrix(matrices[0])) == str(slicer.util.arrayFromVTKMatrix(matrices[1]))
        assert other.GetTransformNodeID() == node.GetTransformNodeID()
    assert len(results.regions) == 2
    for one, other in zip(segment_arrays(fresh), segment_arrays(results), strict=True):
        assert one.any()
        np.testing.assert_array_equal(one, other)
    assert cells(fresh.tableNode) == cells(chosen[TABLE])
    assert [each.GetName() for each in chosen.values()] == ["Old volume", "Old image", "Old segments", "Old table"]


def test_how_a_chosen_node_is_shown_is_kept_where_it_makes_sense(scene: Any, made: MadeRun) -> None:
    chosen = foreign_nodes()
    first = SceneResults.create(node_of(made.study), made.folder, chosen)
    assert chosen[SEGMENTATION].GetDisplayNode().GetSliceIntersectionThickness() == 5
    shown = chosen[RECONSTRUCTION].GetDisplayNode()
    assert (shown.GetWindowLevelMin(), shown.GetWindowLevelMax()) == (-10.0, 30.0)
    display = chosen[MAP].GetDisplayNode()
    assert display.GetColorNode().GetName() == "KL map colors"  # gray was of an image, not of a map
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    second = SceneResults.create(first.inputNode, made.folder, chosen)
    assert chosen[MAP].GetDisplayNode().GetColorNode().GetName() == "Rainbow"  # now it was a map's
    assert chosen[MAP].GetNumberOfDisplayNodes() == 2  # colors and one legend
    assert second.threshold == pytest.approx(second.range.threshold)


def test_a_detection_whose_node_is_taken_ends_and_its_other_nodes_stay(scene: Any, made: MadeRun) -> None:
    node = node_of(made.study)
    first = SceneResults.create(node, made.folder)
    kept, trace = first.reconstructionNode, first.traceNode
    second = SceneResults.create(node, made.folder, {MAP: first.mapNode, SEGMENTATION: first.segmentationNode})
    assert scene.IsNodePresent(trace) == 0
    assert scene.IsNodePresent(kept)
    assert isResult(kept)  # and is not offered as a study
    assert SceneResults.allInScene(scene) == [second.traceNode]
    assert not first.whole
    assert second.whole
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    whole = {role: second.traceNode.GetNodeReference(role) for role in result_nodes.ROLES}
    third = SceneResults.create(node, made.folder, whole)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(third.mapNode))
    siblings = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetItemParent(folder), siblings)
    names = [hierarchy.GetItemName(siblings.GetId(n)) for n in range(siblings.GetNumberOfIds())]
    assert names.count(f"KLIP: {node.GetName()}") == 2  # the third's, and what is left of the first
    third.remove()
    assert scene.IsNodePresent(kept)
    assert not any(scene.IsNodePresent(each) for each in whole.values())


def test_too_little_of_a_run_leaves_chosen_nodes_alone(scene: Any, made: MadeRun, tmp_path: Path) -> None:
    node, chosen = node_of(made.study), foreign_nodes()
    empty = made.keep_slices(0, tmp_path / "empty")
    with pytest.raises(TraceError):
        SceneResults.create(node, empty.folder, chosen)
    assert slicer.util.arrayFromVolume(chosen[MAP]).shape == (3, 4, 5)
    assert chosen[SEGMENTATION].GetSegmentation().GetNumberOfSegments() == 1


def entries(selector: Any) -> list[str]:
    """What a selector offers."""
    return [selector._box.itemText(n) for n in range(selector._box.count())]


def test_selectors_offer_what_can_be_replaced(widget: Any, made: MadeRun) -> None:
    ui, parameters = widget.ui, widget._parameterNode
    node = node_of(made.study)
    loaded = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="Loaded from DICOM")
    loaded.SetAttribute("DICOM.instanceUIDs", "1.2 1.3")
    slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="Mine")
    person.wait(lambda: ui.inputSelector.currentNode() is node, 5, "chosen")
    person.events(0.1)
    ui.outputsButton.collapsed = False
    assert entries(ui.outputMapSelector)[0] == "New, each time"
    assert "Mine" in entries(ui.outputMapSelector)
    assert not {node.GetName(), "Loaded from DICOM"} & set(entries(ui.outputMapSelector))
    person.choose(ui.outputMapSelector._box, "Mine")
    assert parameters.outputMap.GetName() == "Mine"
    person.choose(ui.outputRegionsSelector._box, "Create new")
    person.events(0.05)
    assert parameters.outputRegions.GetName() == "Regions"
    person.choose(ui.outputMapSelector._box, "New, each time")
    assert parameters.outputMap is None
    assert widget.panel.detection._outputs == Outputs()


def test_a_node_for_results_is_no_study(widget: Any, made: MadeRun) -> None:
    ui = widget.ui
    person.choose(ui.outputMapSelector._box, "Create new")  # before any CT is there
    person.events(0.1)
    target = widget._parameterNode.outputMap
    assert target is not None
    node = node_of(made.study)
    ui.inputSelector.setCurrentNode(node)
    person.wait(lambda: ui.detectButton.enabled, 5, ui.detectButton.toolTip)
    person.events(0.05)
    assert target.GetName() not in entries(ui.inputSelector)


def test_what_cannot_be_replaced_is_refused_in_a_sentence(widget: Any, made: MadeRun) -> None:
    """Selectors do not offer it; a script can ask for it all the same."""
    ui, parameters, scene = widget.ui, widget._parameterNode, slicer.mrmlScene
    node = node_of(made.study)
    person.wait(lambda: ui.detectButton.enabled, 5, ui.detectButton.toolTip)
    organs = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    loaded = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Loaded")
    loaded.SetAttribute("DICOM.instanceUIDs", "1.2")
    mine = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Mine")
    parameters.organs = organs
    for name, choice, sentence in (
        ("outputMap", node, "cannot go into the CT that is examined"),
        ("outputRegions", organs, "the segmentation that organs are read from"),
        ("outputReconstruction", loaded, "was loaded from DICOM and would be lost"),
    ):
        setattr(parameters, name, choice)
        assert sentence in ui.detectButton.toolTip
        assert not ui.detectButton.enabled
        with pytest.raises(ConfigError, match=sentence):
            outputs.checkOutputs(parameters)
        setattr(parameters, name, None)
        assert ui.detectButton.enabled
    parameters.outputMap = parameters.outputReconstruction = mine
    assert "cannot go into the same volume" in ui.detectButton.toolTip


def test_a_label_image_holds_no_nats(scene: Any, made: MadeRun) -> None:
    """The panel's selector does not know it; without the panel nothing else would refuse it."""
    import KLIPSlicer

    parameters = KLIPSlicer.KLIPSlicerLogic().getParameterNode()
    parameters.inputVolume = node_of(made.study)
    parameters.outputMap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    with pytest.raises(ConfigError, match="of another kind"):
        outputs.checkOutputs(parameters)


class Growing:
    """A detection that reads a run folder, without a process: what `klip` would finish is copied into it."""

    def __init__(self, made: MadeRun, folder: Path, parameters: Any) -> None:
        self.made, self.folder = made, made.keep_slices(3, folder).folder
        self.logged: list[str] = []
        self.detection = Detection(Listener(onLog=self.logged.append))
        self.detection.runFolder, self.detection._parameters = self.folder, parameters
        self.detection._input = parameters.inputVolume.GetID()
        self.detection._outputs = Outputs.chosenIn(parameters)

    def read(self) -> SceneResults:
        """What is finished, as after a line of the process."""
        atOnce(self.detection._reading())
        assert self.detection.results is not None
        return self.detection.results


def test_a_node_that_is_deleted_before_results_come_is_replaced(widget: Any, made: MadeRun, tmp_path: Path) -> None:
    parameters = widget._parameterNode
    node = node_of(made.study)
    parameters.inputVolume = node
    chosen = foreign_nodes()
    parameters.outputMap, parameters.outputTable = chosen[MAP], chosen[TABLE]
    growing = Growing(made, tmp_path / "run", parameters)
    slicer.mrmlScene.RemoveNode(chosen[MAP])
    assert parameters.outputMap is None
    results = growing.read()
    assert results.mapNode.GetName() == "CT KL map"
    assert results.tableNode is chosen[TABLE]


def test_a_node_that_is_deleted_while_it_grows_is_made_again(widget: Any, made: MadeRun, tmp_path: Path) -> None:
    parameters = widget._parameterNode
    parameters.inputVolume = node_of(made.study)
    growing = Growing(made, tmp_path / "run", parameters)
    slicer.mrmlScene.RemoveNode(growing.read().segmentationNode)
    for index in range(3, 6):
        made.finish_slice(index, growing.folder)
    results = growing.read()
    assert results.whole
    assert len(results.live.trace.indices) == 6
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1


def test_the_same_run_again_keeps_the_nodes_it_was_told_to_use(widget: Any, made: MadeRun, tmp_path: Path) -> None:
    parameters = widget._parameterNode
    parameters.inputVolume = node_of(made.study)
    first = Growing(made, tmp_path / "run", parameters).read()
    parameters.outputMap, parameters.outputRegions = first.mapNode, first.segmentationNode
    shutil.rmtree(tmp_path / "run")
    second = Growing(made, tmp_path / "run", parameters).read()
    assert (second.mapNode, second.segmentationNode) == (parameters.outputMap, parameters.outputRegions)
    assert second.whole
    assert len(SceneResults.allInScene(slicer.mrmlScene)) == 1
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == 1


@pytest.mark.parametrize("role", result_nodes.ROLES)
def test_deleting_a_part_of_the_results_is_told(widget: Any, results: SceneResults, role: str) -> None:
    slicer.mrmlScene.RemoveNode(results.traceNode.GetNodeReference(role))
    person.events(0.05)
    assert widget.panel.results is None
    assert widget.ui.regionTable.rowCount == 0
    assert not widget.ui.exportButton.enabled
    assert "was deleted from the scene" in widget.ui.statusLabel.text
    person.drag(widget.ui.blockSizeSlider, 0.5)  # and nothing breaks
    person.events(0.1)
    with pytest.raises(TraceError, match="was deleted"):
        results.show(results.settings)


def test_choices_are_saved_with_the_scene_and_forgotten_with_it(widget: Any, made: MadeRun, tmp_path: Path) -> None:
    scene = slicer.mrmlScene
    node_of(made.study)
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "My table")
    person.events(0.05)
    person.choose(widget.ui.outputTableSelector._box, "My table")
    assert widget._parameterNode.outputTable is table
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    person.events(0.1)
    assert widget._parameterNode.outputTable is None
    assert widget.ui.outputTableSelector.currentNode() is None
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    person.events(0.2)
    assert widget._parameterNode.outputTable.GetName() == "My table"
    assert widget.ui.outputTableSelector.currentNode().GetName() == "My table"


def test_several_volumes_in_a_row_get_new_nodes(widget: Any, made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chosen nodes the next one would replace what was found in the one before."""
    node_of(made.study)
    person.wait(lambda: widget.ui.detectButton.enabled, 5, widget.ui.detectButton.toolTip)
    widget._parameterNode.outputMap = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Mine")
    used: list[Any] = []
    start = widget.panel.detection.start

    def begin(*arguments: Any) -> None:
        start(*arguments)
        used.append(dict(widget.panel.detection._outputs.identifiers))
        widget.panel.detection.cancel()

    monkeypatch.setattr(widget.panel.detection, "start", begin)
    person.click(widget.ui.detectButton)
    widget.ui.queueButton.collapsed = False
    person.events(0.05)
    person.click(widget.ui.queueAddButton)
    person.click(widget.ui.queueRunButton)
    person.wait(lambda: len(used) == 2, 5, "the queue has begun")
    assert used == [{MAP: widget._parameterNode.outputMap.GetID()}, {}]
