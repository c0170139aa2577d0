"""Volumes that show one item of a sequence (4-D): the one shown is the one examined, and it is said."""

from __future__ import annotations

from typing import Any

import slicer.util
from slicer.i18n import tr as _


def sequenceSentence(node: Any) -> str:
    """Which item of a sequence a volume shows, in a sentence; empty where it belongs to none."""
    if node is None:
        return ""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        if browser.IsProxyNodeID(node.GetID()):
            return _("This volume shows item {k} of {n} of a sequence. The item that is shown is examined.").format(
                k=browser.GetSelectedItemNumber() + 1, n=browser.GetNumberOfItems()
            )
    return ""
