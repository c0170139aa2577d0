"""``qt.QProcess`` as PythonQt has it: the process object dies with the last Python reference to it.

PySide6 keeps a sender alive while its signal is delivered. PythonQt does not: a QProcess without a parent is
deleted the moment the last reference goes, also inside its own signal, and Qt then works on freed memory. Here
that is no crash of the test run but an entry in :data:`crashes`, which every test must leave empty (conftest.py).
"""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore

from . import pythonqt

crashes: list[str] = []
"""What would have crashed Slicer, in a sentence each."""

_graveyard: list[Any] = []
"""Processes that died inside their own signal; kept, so that the tests themselves survive."""


class _Delivery:
    """How many signals of one process are being delivered."""

    depth = 0
    signal = ""


class QProcess:
    """A handle that owns a process; nothing else keeps the process alive."""

    def __init__(self, *parents: Any) -> None:
        self._real, self._delivery = QtCore.QProcess(*parents), _Delivery()

    def connect(self, signal: str, slot: Any) -> bool:
        """Connect a signal named like ``"finished(int,QProcess::ExitStatus)"``."""
        wanted = bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()
        if wanted not in pythonqt.signal_signatures(self._real):
            raise ValueError(f"QProcess has no signal {wanted}")
        delivery = self._delivery  # the handle itself must not be kept by its own connection

        def deliver(*arguments: Any) -> None:
            delivery.depth, delivery.signal = delivery.depth + 1, wanted
            try:
                slot(*arguments)
            finally:
                delivery.depth -= 1

        getattr(self._real, wanted.split("(")[0]).connect(deliver)
        return True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._real, name)

    def __del__(self) -> None:
        if self._delivery.depth:
            crashes.append(f"A QProcess was deleted inside its own signal {self._delivery.signal}.")
            _graveyard.append(self._real)

    execute = staticmethod(QtCore.QProcess.execute)


for _kind in (QtCore.QProcess.ProcessError, QtCore.QProcess.ExitStatus, QtCore.QProcess.ProcessState):
    for _value in _kind:
        setattr(QProcess, _value.name, _value)
