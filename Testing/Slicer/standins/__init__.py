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
`processes`            ``QProcess`` that dies with its last Python reference
`packaging`            ``slicer.packaging``, which installs nothing in testing mode
`sample_data`          the registering half of the Sample Data module
`application`          ``slicer.app``, the DICOM database's one question
`language`             ``slicer.i18n``, and the language that Slicer speaks
=====================  ==============================================================================================

They are stricter than PySide6 where PythonQt is, and where Slicer's own code checks exact types: what passes
here without being Slicer's dialect is a fault of the stand-in. Nothing is copied from Slicer.

Call :func:`install` before the module is imported. With a checkout of Slicer's source at hand, its own base
classes, parameter node wrapper, translation, packaging and Sample Data module take the place of these, its own
CMake files and schema that of ours (``stub_slicer``, test_extension_acceptance.py), and the test run says so at its
end:

    SLICER_SOURCE=…/Slicer make test ARGS='-k panel'
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import types
from pathlib import Path
from typing import Any

REPLACEABLE = (
    "slicer.i18n",
    "slicer.ScriptedLoadableModule",
    "slicer.parameterNodeWrapper",
    "slicer.packaging",
    "SampleData",
    "CMake/SlicerMacroBuildScriptedModule.cmake",
    "CMake/SlicerMacroPythonTesting.cmake",
    "CMake/SlicerMacroConfigureGenericPythonModuleTests.cmake",
    "Extensions/CMake/SlicerFunctionGenerateExtensionDescription.cmake",
    "Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json",
)
"""Parts that are plain files in Slicer's source: Python modules by their names, others by their paths."""

REAL: list[str] = []
"""Those of them that were taken from there."""


def source() -> Path | None:
    """The checkout of Slicer's source that is at hand, or None."""
    named = os.environ.get("SLICER_SOURCE")
    return Path(named) if named else None


def slicers_own(*paths: str) -> Path:
    """The checkout of Slicer's source, whose files of these paths are used from now on."""
    folder = source()
    assert folder is not None
    missing = [path for path in paths if not (folder / path).is_file()]
    assert not missing, f"SLICER_SOURCE is no checkout of Slicer's source: it has no {missing[0]}"
    REAL.extend(path for path in paths if path not in REAL)
    return folder


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
    from . import application, loader, packaging, parameter_node, qmrml, sample_data, scripted

    for name in qmrml.__all__:
        setattr(slicer, name, getattr(qmrml, name))
    qt.QUiLoader = loader.QUiLoader  # type: ignore[attr-defined]
    application.install(slicer)
    for name, module in (
        ("ScriptedLoadableModule", scripted),
        ("parameterNodeWrapper", parameter_node),
        ("packaging", packaging),
    ):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    sys.modules["SampleData"] = sample_data
    folder = source()
    if folder is not None:
        _take_real_parts(slicer, folder)
    return slicer


def _take_real_parts(slicer: Any, folder: Path) -> None:
    """Put Slicer's own Python files in place of their stand-ins."""
    slicer.__path__.append(str(folder / "Base" / "Python" / "slicer"))
    sys.path.append(str(folder / "Modules" / "Scripted" / "SampleData"))
    for name in (
        *(f"slicer.{part}" for part in ("i18n", "ScriptedLoadableModule", "parameterNodeWrapper", "packaging")),
        "SampleData",
    ):
        del sys.modules[name]
        module = importlib.import_module(name)
        if name.startswith("slicer."):
            setattr(slicer, name.removeprefix("slicer."), module)
        REAL.append(name)


def in_a_sentence() -> str:
    """How many of the parts that Slicer's source has were Slicer's own in this test run."""
    whose = ", ".join(Path(part).name for part in REAL) if REAL else "none (set SLICER_SOURCE to a checkout of Slicer)"
    return (
        f"slicer-core {importlib.metadata.version('slicer-core')}; {len(REAL)} of {len(REPLACEABLE)} replaceable "
        f"parts were Slicer's own: {whose}"
    )
