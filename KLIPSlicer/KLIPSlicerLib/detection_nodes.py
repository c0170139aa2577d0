"""The nodes of one detection, found again from its text node, and taken out of the scene together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

from KLIPSlicerLib import display, result_nodes
from KLIPSlicerLib.nodes import TRACE
from KLIPSlicerLib.result_nodes import FOLDER, INPUT, MAP, RECONSTRUCTION, ROLES, SEGMENTATION, TABLE
from KLIPSlicerLib.trace_text import removeFurther


class DetectionNodes:
    """What a detection's text node refers to.

    Attributes
    ----------
    traceNode : the text node.
    """

    def __init__(self, traceNode: Any) -> None:
        self.traceNode = traceNode

    @staticmethod
    def allInScene(scene: Any) -> list[Any]:
        """The text nodes of all detections in a scene, for :meth:`restore`; the last one made comes last."""
        return [
            n for n in slicer.util.getNodesByClass("vtkMRMLTextNode", scene) if n.GetNodeReference(MAP) is not None
        ]

    @property
    def inputNode(self) -> Any:
        """The CT, or None when it was deleted."""
        return self.traceNode.GetNodeReference(INPUT)

    @property
    def reconstructionNode(self) -> Any:
        """Posterior mean in HU."""
        return self.traceNode.GetNodeReference(RECONSTRUCTION)

    @property
    def mapNode(self) -> Any:
        """Nats of the block centered at each voxel."""
        return self.traceNode.GetNodeReference(MAP)

    @property
    def segmentationNode(self) -> Any:
        """One segment a region."""
        return self.traceNode.GetNodeReference(SEGMENTATION)

    @property
    def tableNode(self) -> Any:
        """One row a region."""
        return self.traceNode.GetNodeReference(TABLE)

    @property
    def runFolder(self) -> str:
        """Where the run was written; it may be gone."""
        return self.traceNode.GetAttribute(FOLDER) or ""

    @property
    def whole(self) -> bool:
        """Whether all its nodes are still in the scene."""
        scene = self.traceNode.GetScene()
        there = scene is not None and scene.GetNodeByID(self.traceNode.GetID()) is self.traceNode
        return there and all(scene.GetNodeByID(self.traceNode.GetNodeReferenceID(role) or "") for role in ROLES)

    def remove(self, kept: Sequence[Any] = ()) -> None:
        """Take everything of this detection out of the scene; the input stays.

        :param kept: nodes that stay, as nodes of no detection.
        """
        for node in kept:
            if node.GetNodeReference(TRACE) is self.traceNode:
                node.SetNodeReferenceID(TRACE, None)
        scene = self.traceNode.GetScene()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(self.traceNode))
        found = {role: self.traceNode.GetNodeReference(role) for role in ROLES}
        drops = {role: node for role, node in found.items() if node is not None and node not in kept}
        removeFurther(self.traceNode)
        legend = display.legendOf(drops[MAP]) if MAP in drops else None
        for node in [legend, *drops.values(), self.traceNode]:
            if node is not None:
                hierarchy.RemoveItem(hierarchy.GetItemByDataNode(node), False, False)
                scene.RemoveNode(node)
        result_nodes.removeEmptyFolder(hierarchy, folder)
