"""qMRML's two widgets that the panel uses: the one that holds a scene, and the one that selects a node in it."""

from __future__ import annotations

from functools import partial
from typing import Any

import ctk
import qt
import slicer
import slicer.util
from PySide6 import QtCore, QtWidgets

from .ctk_widgets import ctkRangeWidget, ctkSliderWidget

Signal, Property = QtCore.Signal, QtCore.Property

__all__ = ["qMRMLNodeComboBox", "qMRMLRangeWidget", "qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLWidget"]


class qMRMLWidget(qt.QWidget):
    """A widget with a scene, which it passes on to those that the `.ui` file connects."""

    mrmlSceneChanged = Signal(object)
    signatures = frozenset({"mrmlSceneChanged(vtkMRMLScene*)"})

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None
        self.isEntered = True

    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene and say so."""
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene


def _forget(observed: list[tuple[Any, int]], *_: Any) -> None:
    """Stop observing, as Slicer's widgets do when they are destroyed."""
    for scene, tag in observed:
        scene.RemoveObserver(tag)
    observed.clear()


class qMRMLSortFilterProxyModel(qt.QObject):
    """What a selector leaves out."""

    def __init__(self, changed: Any) -> None:
        super().__init__()
        self._hidden: list[str] = []
        self._changed = changed

    def _hide(self, identifiers: Any) -> None:
        self._hidden = list(identifiers)
        self._changed()

    hiddenNodeIDs = Property("QStringList", lambda self: self._hidden, _hide)


class qMRMLNodeComboBox(qt.QWidget):
    """Selects a node of some classes."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    signatures = frozenset(
        {"currentNodeChanged(vtkMRMLNode*)", "currentNodeIDChanged(QString)", "nodeAddedByUser(vtkMRMLNode*)"}
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._settings: dict[str, Any] = {
            "types": [],
            "none": False,
            "add": True,
            "remove": True,
            "rename": False,
            "edit": False,
            "children": True,
            "display": "None",
            "names": {},
        }
        self._scene: Any = None
        self._id: str | None = None
        self._proxy: Any = None
        self._box = QtWidgets.QComboBox(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self._box.activated.connect(self._on_activated)
        self._observed: list[tuple[Any, int]] = []
        self.destroyed.connect(partial(_forget, self._observed))

    def _kept(self, name: str, value: Any) -> None:
        self._settings[name] = value
        self._fill()

    nodeTypes = Property("QStringList", lambda s: s._settings["types"], lambda s, v: s._kept("types", list(v)))
    noneEnabled = Property(bool, lambda s: s._settings["none"], lambda s, v: s._kept("none", v))
    addEnabled = Property(bool, lambda s: s._settings["add"], lambda s, v: s._kept("add", v))
    removeEnabled = Property(bool, lambda s: s._settings["remove"], lambda s, v: s._kept("remove", v))
    renameEnabled = Property(bool, lambda s: s._settings["rename"], lambda s, v: s._kept("rename", v))
    showChildNodeTypes = Property(bool, lambda s: s._settings["children"], lambda s, v: s._kept("children", v))

    editEnabled = Property(bool, lambda s: s._settings["edit"], lambda s, v: s._kept("edit", v))
    noneDisplay = Property(str, lambda s: s._settings["display"], lambda s, v: s._kept("display", v))

    def setBaseName(self, name: str, kind: str = "") -> None:
        """What nodes that are created here are called; Slicer forgets a name that comes before the node types."""
        assert kind or self._settings["types"], "qMRMLNodeComboBox::setBaseName failed: no node types have been set"
        for each in [kind] if kind else self._settings["types"]:
            self._settings["names"][each] = name

    baseName = Property(str, lambda s: s._settings["names"].get((s._settings["types"] or [""])[0], ""), setBaseName)

    def sortFilterProxyModel(self) -> Any:
        """Decides which nodes are offered."""
        if self._proxy is None:
            self._proxy = qMRMLSortFilterProxyModel(self._fill)
        return self._proxy

    def setMRMLScene(self, scene: Any) -> None:
        """Offer this scene's nodes from now on."""
        _forget(self._observed)
        self._scene = scene
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent):
                tag = scene.AddObserver(
                    event, lambda *_: QtCore.QTimer.singleShot(0, self, self._fill)
                )  # not any more once it is destroyed
                self._observed.append((scene, tag))
        self._fill()

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        wanted = self._settings["types"]
        found = [node for kind in wanted for node in slicer.util.getNodesByClass(kind, self._scene)]
        found = [node for node in found if node.GetID() not in self.sortFilterProxyModel().hiddenNodeIDs]
        return [
            n
            for n in found
            if not n.GetHideFromEditors() and (self._settings["children"] or n.GetClassName() in wanted)
        ]

    def _fill(self) -> None:
        self._box.clear()
        nodes = self._nodes()
        if self._settings["none"]:
            self._box.addItem(self._settings["display"], None)
        for node in nodes:
            self._box.addItem(node.GetName(), node.GetID())
        if self._settings["add"]:
            for kind in self._settings["types"]:
                self._box.addItem(f"Create new {kind.removeprefix('vtkMRML').removesuffix('Node')}", "+" + kind)
        ids = [node.GetID() for node in nodes]
        if self._id not in ids:
            self.setCurrentNodeID(ids[0] if ids and not self._settings["none"] else None)
        self._show()

    def _show(self) -> None:
        self._box.setCurrentIndex(self._box.findData(self._id) if self._id else (0 if self._settings["none"] else -1))

    def _on_activated(self, place: int) -> None:
        chosen = self._box.itemData(place)
        if isinstance(chosen, str) and chosen.startswith("+"):
            name = self._settings["names"].get(chosen[1:], "")
            node = self._scene.AddNewNodeByClass(chosen[1:], self._scene.GenerateUniqueName(name) if name else "")
            self._fill()
            self.setCurrentNodeID(node.GetID())
            self.nodeAddedByUser.emit(node)
        else:
            self.setCurrentNodeID(chosen)

    def setCurrentNodeID(self, identifier: str | None) -> None:
        """Select a node by its ID."""
        if identifier == self._id:
            return
        self._id = identifier
        self._show()
        self.currentNodeIDChanged.emit(identifier or "")
        self.currentNodeChanged.emit(self.currentNode())

    def setCurrentNode(self, node: Any) -> None:
        """Select a node."""
        if node is not None and self._box.findData(node.GetID()) < 0:
            self._fill()
        self.setCurrentNodeID(node.GetID() if node is not None else None)

    def currentNode(self) -> Any:
        """The selected node, or None."""
        return self._scene.GetNodeByID(self._id) if self._scene is not None and self._id else None

    currentNodeID = Property(str, lambda s: s._id or "", setCurrentNodeID)


qMRMLSliderWidget = type("qMRMLSliderWidget", (ctkSliderWidget,), {})
qMRMLRangeWidget = type("qMRMLRangeWidget", (ctkRangeWidget,), {})
qMRMLSpinBox = type("qMRMLSpinBox", (ctk.ctkDoubleSpinBox,), {})
