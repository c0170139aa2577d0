"""The nodes of one detection: made empty, referring to each other, and taken out of the scene together.

The text node is the detection (KLIPSlicerLib.scene_results): it refers to all the others, each of them refers back.
"""

from __future__ import annotations

from typing import Any

import slicer

from KLIPSlicerLib import display, nodes, regions
from KLIPSlicerLib.nodes import TRACE

INPUT, RECONSTRUCTION, MAP = "KLIP.Input", "KLIP.Reconstruction", "KLIP.Map"
SEGMENTATION, TABLE = "KLIP.Segmentation", "KLIP.Table"
"""Reference roles: from the text node to the others, and (``TRACE``) from each of them back."""

ROLES = (RECONSTRUCTION, MAP, SEGMENTATION, TABLE)
SETTINGS, HIDDEN, FOLDER, SEARCH = "KLIP.Settings", "KLIP.Hidden", "KLIP.RunFolder", "KLIP.Search"
"""Attributes of the text node: the sliders' settings and peaks of regions that were unchecked, as JSON; the run
folder; the organs, and where was looked."""


def makeNodes(inputNode: Any) -> Any:
    """The nodes of a detection, empty, referring to each other, beside their input in the subject hierarchy."""
    scene, name = inputNode.GetScene(), inputNode.GetName()
    traceNode = scene.AddNewNodeByClass("vtkMRMLTextNode", f"{name} KLIP trace")
    traceNode.SetEncoding(1)  # VTK_ENCODING_US_ASCII: base64
    # a file of its own beside the scene; not hidden from editors, because Slicer saves no files of hidden nodes
    traceNode.SetForceCreateStorageNode(slicer.vtkMRMLTextNode.CreateStorageNodeAlways)
    made = {
        RECONSTRUCTION: nodes.newVolumeLike(inputNode, f"{name} reconstruction"),
        MAP: nodes.newVolumeLike(inputNode, f"{name} KL map"),
        SEGMENTATION: regions.newSegmentation(inputNode, f"{name} regions"),
        TABLE: regions.newTable(scene, f"{name} region table"),
    }
    traceNode.SetNodeReferenceID(INPUT, inputNode.GetID())
    for role, node in made.items():
        traceNode.SetNodeReferenceID(role, node.GetID())
        node.SetNodeReferenceID(TRACE, traceNode.GetID())
    display.setUpMapDisplay(made[MAP])
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    parent = hierarchy.GetItemParent(itemOf(hierarchy, inputNode)) or hierarchy.GetSceneItemID()
    folder = hierarchy.CreateFolderItem(parent, f"KLIP: {name}")
    for node in [*made.values(), traceNode]:
        hierarchy.SetItemParent(itemOf(hierarchy, node), folder)
    return traceNode


def itemOf(hierarchy: Any, node: Any) -> int:
    """A node's item in the subject hierarchy; made when the application has not done so."""
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def folderLevel() -> str:
    return str(slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyLevelFolder())
