"""Made runs and their studies as nodes."""

from __future__ import annotations

from typing import Any

import headless
import numpy as np
import slicer
import vtk
from KLIPSlicerLib.nodes import updateNodeFromVolume
from KLIPSlicerLib.scene_results import SceneResults
from made_run import MadeRun

from KLIPCore.volume.volume import Volume


def node_of(volume: Volume, name: str = "CT", transform: np.ndarray | None = None) -> Any:
    """A volume as a CT node under a patient and study, as the DICOM module places it; under a transform
    where given.
    """
    scene = headless.start()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    updateNodeFromVolume(node, volume)
    headless.show_as_ct(node)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    hierarchy.CreateItem(hierarchy.CreateStudyItem(patient, "Study"), node)
    if transform is not None:
        parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
        parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(transform))
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def second_of_three(node: Any) -> Any:
    """Make a sequence of three items whose volume is ``node``, and return the node that shows its second item."""
    sequence = slicer.mrmlScene.AddNode(slicer.vtkMRMLSequenceNode())
    for value in ("0", "1", "2"):
        sequence.SetDataNodeAtValue(node, value)
    browser = slicer.mrmlScene.AddNode(slicer.vtkMRMLSequenceBrowserNode())
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(node, sequence, False)
    browser.SetSelectedItemNumber(1)
    return browser.GetProxyNode(sequence)


def show_run(run: MadeRun, transform: np.ndarray | None = None) -> SceneResults:
    """A made run and its study in the scene."""
    return SceneResults.create(node_of(run.study, transform=transform), run.folder)


def to_world(node: Any, lps: np.ndarray) -> np.ndarray:
    """World RAS of LPS points (..., 3) in a node's coordinates, by Slicer's own transforms."""
    points = np.asarray(lps, float) * (-1, -1, 1)
    flat = points.reshape(-1, 3)
    out = np.empty_like(flat)
    for n, point in enumerate(flat):
        moved = [0.0, 0.0, 0.0]
        node.TransformPointToWorld(point.tolist(), moved)
        out[n] = moved
    return out.reshape(points.shape)


def value_at(node: Any, world: np.ndarray) -> float:
    """The voxel of a volume node that a world point lies in, by Slicer's own matrices."""
    local = [0.0, 0.0, 0.0]
    node.TransformPointFromWorld([float(v) for v in world], local)
    matrix = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(matrix)
    i, j, k = (round(v) for v in matrix.MultiplyPoint([*local, 1.0])[:3])
    return float(node.GetImageData().GetScalarComponentAsDouble(i, j, k, 0))


def segment_holds(segmentation: Any, identifier: str, world: np.ndarray) -> bool:
    """Whether a world point lies in a segment, by Slicer's own labelmap and matrices."""
    local = [0.0, 0.0, 0.0]
    segmentation.TransformPointFromWorld([float(v) for v in world], local)
    image = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(identifier, image)
    matrix = vtk.vtkMatrix4x4()
    image.GetWorldToImageMatrix(matrix)
    index = [round(v) for v in matrix.MultiplyPoint([*local, 1.0])[:3]]
    extent = image.GetExtent()
    inside = all(extent[2 * a] <= index[a] <= extent[2 * a + 1] for a in range(3))
    return inside and image.GetScalarComponentAsDouble(*index, 0) > 0
