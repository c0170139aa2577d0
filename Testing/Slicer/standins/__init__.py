"""Stand-ins for what of 3D Slicer is on no package index: PythonQt, CTK's and qMRML's widgets, and the
scripted-module base classes.

The scene, the nodes, `slicer.util` and the pixels of the views in these tests are Slicer's own
(`slicer-core`); the widgets are Qt's own (PySide6), with real clicks. In between stand a few small classes:

=====================  ==============================================================================================
`pythonqt`             PythonQt's dialect over PySide6: properties are attributes, ``connect("signal(type)", slot)``
`ctk_widgets`          collapsible button, slider, range, path edit, message box
`qmrml`                widget and node selector of qMRML
`loader`               the `.ui` loader: its widgets are these classes, its MRML connections are wired
`scripted`             ``ScriptedLoadableModule``, ``…Widget``, ``…Logic``, ``…Test``
`parameter_node`       the part of ``slicer.parameterNodeWrapper`` that the module uses
`application`          ``slicer.app``, settings, translation, the DICOM database's one question
=====================  ==============================================================================================

They are stricter than PySide6 where PythonQt is, and where Slicer's own code checks exact types: what passes
here without being Slicer's dialect is a fault of the stand-in. Nothing is copied from Slicer.

Call :func:`install` before the module is imported. With a checkout of Slicer's source at hand, its own base
classes, parameter node wrapper and translation take the place of these (no difference is known):

    SLICER_SOURCE=…/Slicer make test ARGS='-k panel'
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any


def install() -> Any:
    """Make ``import qt, ctk, slicer`` work as in Slicer, as far as the module needs; returns the package
    ``slicer``.
    """
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    import slicer

    if getattr(slicer, "app", None) is not None:
        return slicer
    import headless

    headless.start()
    from . import pythonqt

    qt = sys.modules["qt"] = pythonqt.module()
    ctk = sys.modules["ctk"] = types.ModuleType("ctk")
    from . import ctk_widgets

    for name in ctk_widgets.__all__:
        setattr(ctk, name, getattr(ctk_widgets, name))
    from . import application, loader, parameter_node, qmrml, scripted

    for name in qmrml.__all__:
        setattr(slicer, name, getattr(qmrml, name))
    qt.QUiLoader = loader.QUiLoader  # type: ignore[attr-defined]
    application.install(slicer)
    source = os.environ.get("SLICER_SOURCE")
    if source:
        slicer.__path__.append(str(Path(source) / "Base" / "Python" / "slicer"))
        del sys.modules["slicer.i18n"]
        for name in ("i18n", "ScriptedLoadableModule", "parameterNodeWrapper"):
            setattr(slicer, name, importlib.import_module(f"slicer.{name}"))
        return slicer
    for name, module in (("ScriptedLoadableModule", scripted), ("parameterNodeWrapper", parameter_node)):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    return slicer
