"""Volumes that show one item of a sequence (4-D): the one shown is the one examined, and it is said."""

from __future__ import annotations

from typing import Any

import slicer.util
from slicer.i18n import tr as _


def _browserOf(node: Any) -> Any:
    """What decides which item of a sequence a node shows; None where it belongs to none."""
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode") if node is not None else []
    return next((browser for browser in browsers if browser.IsProxyNodeID(node.GetID())), None)


def isOfSequence(node: Any) -> bool:
    """Whether a node shows an item of a sequence: its contents change when another item is shown."""
    return _browserOf(node) is not None


def sequenceSentence(node: Any) -> str:
    """Which item of a sequence a volume shows, in a sentence; empty where it belongs to none."""
    browser = _browserOf(node)
    if browser is None:
        return ""
    return _("This volume shows item {k} of {n} of a sequence. The item that is shown is examined.").format(
        k=browser.GetSelectedItemNumber() + 1, n=browser.GetNumberOfItems()
    )
