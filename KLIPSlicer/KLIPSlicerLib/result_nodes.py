"""The nodes of one detection: made empty, referring to each other, and taken out of the scene together.

The text node is the detection (KLIPSlicerLib.scene_results): it refers to all the others, each of them refers back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer

from KLIPSlicerLib import display, nodes, regions
from KLIPSlicerLib.nodes import RESULT, TRACE
from KLIPSlicerLib.trace_text import newTextNode, removeFurther

INPUT, RECONSTRUCTION, MAP = "KLIP.Input", "KLIP.Reconstruction", "KLIP.Map"
SEGMENTATION, TABLE = "KLIP.Segmentation", "KLIP.Table"
"""Reference roles: from the text node to the others, and (``TRACE``) from each of them back."""

ROLES = (RECONSTRUCTION, MAP, SEGMENTATION, TABLE)
SETTINGS, HIDDEN, FOLDER, SEARCH = "KLIP.Settings", "KLIP.Hidden", "KLIP.RunFolder", "KLIP.Search"
"""Attributes of the text node: the sliders' settings and peaks of regions that were unchecked, as JSON; the run
folder; the organs, and where was looked."""


def makeNodes(inputNode: Any, chosen: Mapping[str, Any] | None = None) -> Any:
    """The nodes of a detection, referring to each other, beside their input in the subject hierarchy.

    Nothing is in segmentation and table; what the volumes' voxels hold is not said.

    :param chosen: role → a node of the scene that is emptied and used; the other roles get new nodes.
    """
    scene, name = inputNode.GetScene(), inputNode.GetName()
    chosen = chosen or {}
    for node in chosen.values():
        release(node)
    traceNode = newTextNode(scene, f"{name} KLIP trace")
    made = {
        RECONSTRUCTION: (
            nodes.laidLike(chosen[RECONSTRUCTION], inputNode)
            if RECONSTRUCTION in chosen
            else nodes.newVolumeLike(inputNode, f"{name} reconstruction")
        ),
        MAP: (
            nodes.laidLike(chosen[MAP], inputNode)
            if MAP in chosen
            else nodes.newVolumeLike(inputNode, f"{name} KL map")
        ),
        SEGMENTATION: (
            regions.emptied(chosen[SEGMENTATION], inputNode)
            if SEGMENTATION in chosen
            else regions.newSegmentation(inputNode, f"{name} regions")
        ),
        TABLE: (
            regions.withoutRows(chosen[TABLE]) if TABLE in chosen else regions.newTable(scene, f"{name} region table")
        ),
    }
    traceNode.SetNodeReferenceID(INPUT, inputNode.GetID())
    for role, node in made.items():
        traceNode.SetNodeReferenceID(role, node.GetID())
        node.SetNodeReferenceID(TRACE, traceNode.GetID())
        node.SetAttribute(RESULT, "1")
    if display.legendOf(made[MAP]) is None:  # it was no map before
        display.setUpMapDisplay(made[MAP])
    intoFolder(inputNode, f"KLIP: {name}", [*made.values(), traceNode])
    return traceNode


def intoFolder(inputNode: Any, name: str, made: Sequence[Any]) -> None:
    """Put nodes into a new folder beside their input in the subject hierarchy; a folder left empty goes."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(inputNode.GetScene())
    parent = hierarchy.GetItemParent(itemOf(hierarchy, inputNode)) or hierarchy.GetSceneItemID()
    folder = hierarchy.CreateFolderItem(parent, name)
    for node in made:
        left = hierarchy.GetItemParent(itemOf(hierarchy, node))
        hierarchy.SetItemParent(itemOf(hierarchy, node), folder)
        removeEmptyFolder(hierarchy, left)


def release(node: Any) -> None:
    """End the detection that a node belongs to, if any: its sliders cannot work without it. Its other nodes stay."""
    traceNode = node.GetNodeReference(TRACE)
    node.SetNodeReferenceID(TRACE, None)
    if traceNode is not None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
        removeFurther(traceNode)
        hierarchy.RemoveItem(hierarchy.GetItemByDataNode(traceNode), False, False)
        node.GetScene().RemoveNode(traceNode)


def removeEmptyFolder(hierarchy: Any, item: int) -> None:
    """Take a folder out of the subject hierarchy when nothing is left in it; other items stay."""
    isFolder = item and hierarchy.IsItemLevel(item, folderLevel())
    if isFolder and not hierarchy.GetNumberOfItemChildren(item):
        hierarchy.RemoveItem(item)


def itemOf(hierarchy: Any, node: Any) -> int:
    """A node's item in the subject hierarchy; made when the application has not done so."""
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def folderLevel() -> str:
    return str(slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyLevelFolder())
