"""PythonQt's dialect over PySide6: what makes ``import qt`` in a module feel like Slicer's.

What differs between the two, and matters to module code:

* A Q_PROPERTY is an attribute: ``button.text`` is the text, ``button.text = "…"`` sets it, ``button.text()`` fails.
* ``name`` is ``objectName``; ``className()`` exists.
* ``widget.connect("clicked(bool)", slot)`` must name a signal by its exact signature.
* New attributes on a Qt object are refused, so a misspelt property is an error.
* Constructors take no keywords, static file dialogs return a plain string.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_names: dict[type, frozenset[str]] = {}
_base = QtCore.QObject
_being_read: set[tuple[int, str]] = set()
"""Objects, by identity, and their properties that Qt is working out."""


def property_names(instance: Any) -> frozenset[str]:
    """Names of the Q_PROPERTYs of an object's class."""
    kind = type(instance)
    if kind not in _names:
        meta = _base.metaObject(instance)
        _names[kind] = frozenset(meta.property(i).name() for i in range(meta.propertyCount()))
    return _names[kind]


def signal_signatures(instance: Any) -> set[str]:
    """Normalised signatures of an object's signals."""
    meta = _base.metaObject(instance)
    methods = (meta.method(i) for i in range(meta.methodCount()))
    return {
        bytes(m.methodSignature().data()).decode()
        for m in methods
        if m.methodType() == QtCore.QMetaMethod.MethodType.Signal
    }


@functools.cache
def _is_python_property(kind: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(kind, name, None), QtCore.Property)


def _property(instance: Any, name: str, otherwise: Callable[[str], Any]) -> Any:
    """A property's value. While Qt works it out, PySide6 asks for a method of that name, by this very way."""
    asked = (id(instance), name)
    if asked in _being_read:
        return otherwise(name)
    _being_read.add(asked)
    try:
        return _base.property(instance, name)
    finally:
        _being_read.discard(asked)


class Attributes:
    """Mixed into every Qt class of :func:`module`: properties as attributes, connections by signature."""

    _open = False
    """Whether instances may get new attributes: those of classes written in Python, as in PythonQt."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls._open = cls.__module__ != "qt"

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        if name in ("connect", "disconnect", "className"):  # PySide6 finds its own first, whatever the order of bases
            return types.MethodType(getattr(Attributes, f"_{name}"), self)
        if name == "name":
            return _base.property(self, "objectName")
        if name in property_names(self) and not _is_python_property(type(self), name):
            return _property(self, name, super().__getattribute__)
        value = super().__getattribute__(name)
        return _adopting(value) if type(value).__name__ == "builtin_function_or_method" else value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
            return
        name = "objectName" if name == "name" else name
        if name in property_names(self) and not _is_python_property(type(self), name):
            if not _base.setProperty(self, name, value):
                raise ValueError(f"{type(self).__name__}.{name} does not take {value!r}")
        elif _is_python_property(type(self), name) or type(self)._open:
            super().__setattr__(name, value)
        else:
            raise AttributeError(
                f"{type(self).__name__} has no property '{name}', and Qt objects get no new attributes"
            )

    def _connect(self, signal: str, slot: Any) -> bool:
        """Connect a signal named like ``"clicked(bool)"``."""
        self._signal(signal).connect(slot)
        return True

    def _disconnect(self, signal: str, slot: Any) -> bool:
        """Undo :meth:`_connect`."""
        self._signal(signal).disconnect(slot)
        return True

    def _className(self) -> str:
        """The C++ class's name."""
        return type(self).__name__

    def _signal(self, signal: str) -> Any:
        wanted = bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()
        declared = getattr(type(self), "signatures", {})
        if wanted not in signal_signatures(self) and wanted not in declared:
            raise ValueError(f"{type(self).__name__} has no signal {wanted}")
        return getattr(self, signal.split("(")[0])


class Child:
    """A widget that Qt itself made inside another one (a header, a scroll bar), with properties as attributes."""

    def __init__(self, widget: Any) -> None:
        object.__setattr__(self, "_widget", widget)

    def __getattr__(self, name: str) -> Any:
        return (
            _base.property(self._widget, name) if name in property_names(self._widget) else getattr(self._widget, name)
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in property_names(self._widget) or not _base.setProperty(self._widget, name, value):
            raise AttributeError(f"{type(self._widget).__name__} has no property '{name}' that takes {value!r}")


def _adopting(method: Any) -> Any:
    """A method whose result, when Qt made the widget, is wrapped."""

    def call(*arguments: Any) -> Any:
        result = method(*arguments)
        return (
            Child(result) if isinstance(result, QtWidgets.QWidget) and not isinstance(result, Attributes) else result
        )

    return call


PLAIN = {"QObject", "QCoreApplication", "QGuiApplication", "QApplication", "QSettings"}
"""Classes that are taken as they are."""


def module() -> types.ModuleType:
    """A module ``qt`` with all classes of QtCore, QtGui and QtWidgets in it, flat, as in Slicer."""
    qt = types.ModuleType("qt")
    for library in (QtCore, QtGui, QtWidgets):
        for name in dir(library):
            kind = getattr(library, name)
            if not name.startswith("Q"):
                continue
            if inspect.isclass(kind) and issubclass(kind, QtCore.QObject) and name not in PLAIN:
                with contextlib.suppress(TypeError):  # a class that Qt allows no subclass of
                    kind = type(name, (Attributes, kind), {"__module__": "qt"})
            setattr(qt, name, kind)
    qt.Signal = QtCore.Signal
    qt.QUiLoader = QtUiTools.QUiLoader

    class QFileDialog(qt.QFileDialog):  # type: ignore[name-defined,misc]
        """Static functions return a string (or a list of them), not a pair."""

        @staticmethod
        def getSaveFileName(*arguments: Any) -> str:
            return QtWidgets.QFileDialog.getSaveFileName(*arguments)[0]

        @staticmethod
        def getOpenFileName(*arguments: Any) -> str:
            return QtWidgets.QFileDialog.getOpenFileName(*arguments)[0]

    qt.QFileDialog = QFileDialog
    from . import processes

    qt.QProcess = processes.QProcess
    return qt
