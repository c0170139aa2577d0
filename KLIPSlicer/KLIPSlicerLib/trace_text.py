"""A trace as the text of nodes: of one, or, where it is long, of several that are set one after the other.

Slicer copies a text when it is set; for three hundred slices that takes a while that a person feels. So what is
longer than :data:`LONGEST` goes on in further text nodes, which the detection's own refers to in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import slicer

from KLIPSlicerLib.steps import aside

if TYPE_CHECKING:
    from KLIPSlicerLib.steps import Steps

FURTHER = "KLIP.FurtherTrace"
"""Reference role, from the detection's text node to those that its text goes on in."""

LONGEST = 32_000_000
"""Characters of one node; about thirty slices, and 20 ms of the processor."""


def newTextNode(scene: Any, name: str) -> Any:
    """A text node that is saved with the scene, in a file of its own."""
    node = scene.AddNewNodeByClass("vtkMRMLTextNode", name)
    node.SetEncoding(1)  # VTK_ENCODING_US_ASCII: base64
    # a file of its own beside the scene; not hidden from editors, because Slicer saves no files of hidden nodes
    node.SetForceCreateStorageNode(slicer.vtkMRMLTextNode.CreateStorageNodeAlways)
    return node


def furtherNodes(traceNode: Any) -> list[Any]:
    """The nodes that a detection's text goes on in, as far as they are there."""
    count = traceNode.GetNumberOfNodeReferences(FURTHER)
    found = (traceNode.GetNthNodeReference(FURTHER, n) for n in range(count))
    return [node for node in found if node is not None]


def textOf(traceNode: Any) -> str:
    """The whole text."""
    return "".join(node.GetText() or "" for node in (traceNode, *furtherNodes(traceNode)))


def removeFurther(traceNode: Any) -> None:
    """Take the nodes that the text goes on in out of the scene."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(traceNode.GetScene())
    for node in furtherNodes(traceNode):
        hierarchy.RemoveItem(hierarchy.GetItemByDataNode(node), False, False)
        traceNode.GetScene().RemoveNode(node)
    traceNode.RemoveNodeReferenceIDs(FURTHER)


def settingText(traceNode: Any, made: Callable[[], str]) -> Steps[None]:
    """Keep a text, in steps; each piece is let go of as soon as a node has it, because that takes a while, too.

    :param made: makes the text, in a thread.
    """
    pieces = yield from aside(lambda: _piecesOf(made()))
    removeFurther(traceNode)
    traceNode.SetText(pieces.popleft() if pieces else "")
    scene = traceNode.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(traceNode))
    while pieces:
        yield
        node = newTextNode(scene, f"{traceNode.GetName()} {traceNode.GetNumberOfNodeReferences(FURTHER) + 2}")
        node.SetText(pieces.popleft())
        traceNode.AddNodeReferenceID(FURTHER, node.GetID())
        item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemParent(item, folder)
    yield


def _piecesOf(text: str) -> deque[str]:
    """A text in pieces of :data:`LONGEST`."""
    return deque(text[n : n + LONGEST] for n in range(0, len(text), LONGEST))
