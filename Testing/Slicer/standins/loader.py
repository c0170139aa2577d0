"""The `.ui` loader: makes widgets of the stand-ins' classes, and wires the MRML connections written in the file.

Slicer's parameter-node connectors ask for a widget's exact type, so a subclass or a wrapper will not do. A
widget class that is not known is an error here; Slicer would silently show an empty widget.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from PySide6 import QtCore, QtUiTools, QtWidgets

from . import language


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a `.ui` file as Slicer does."""

    def createWidget(self, kind: str, parent: Any = None, name: str = "") -> Any:
        made = next((getattr(library, kind) for library in (qt, ctk, slicer) if hasattr(library, kind)), None)
        if made is None:
            raise RuntimeError(f"There is no widget class {kind}.")
        widget = made(parent) if parent is not None else made()
        QtCore.QObject.setObjectName(widget, name)
        return widget

    def createLayout(self, kind: str, parent: Any = None, name: str = "") -> Any:
        layout = getattr(qt, kind)(parent) if isinstance(parent, QtWidgets.QWidget) else getattr(qt, kind)()
        QtCore.QObject.setObjectName(layout, name)
        return layout

    def load(self, file: Any, parent: Any = None) -> Any:
        root = ElementTree.parse(Path(QtCore.QFile.fileName(file))).getroot()
        ours = []
        for connections in root.iter("connections"):
            for connection in list(connections):
                parts = [str(connection.findtext(part)) for part in ("sender", "signal", "receiver", "slot")]
                if "vtk" in parts[1]:  # Qt knows the others itself
                    ours.append(parts)
                    connections.remove(connection)
        language.translate_ui(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        named = {
            QtCore.QObject.objectName(o): o for o in [widget, *QtCore.QObject.findChildren(widget, QtCore.QObject)]
        }
        for sender, signal, receiver, slot in ours:
            getattr(named[sender], signal.split("(")[0]).connect(getattr(named[receiver], slot.split("(")[0]))
        return widget
