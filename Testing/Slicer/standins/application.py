"""``slicer.app`` and the small modules beside it: translation, the DICOM database's one question."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

from . import language


def own_settings() -> None:
    """Let Qt's own settings lie in a folder of this process: never the user's."""
    folder = tempfile.mkdtemp(prefix="klip-slicer-settings-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    kept = QtCore.QSettings
    kept.setDefaultFormat(kept.Format.IniFormat)
    for scope in (kept.Scope.UserScope, kept.Scope.SystemScope):
        kept.setPath(kept.Format.IniFormat, scope, folder)
    QtCore.QCoreApplication.setOrganizationName("KLIPSlicer tests")
    QtCore.QCoreApplication.setApplicationName("Slicer")


class ModuleManager(QtCore.QObject):
    """Knows which modules are there."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def connect(self, signal: str, slot: Any) -> None:
        """Connect by signature."""
        getattr(self, signal.split("(")[0]).connect(slot)

    def disconnect(self, signal: str, slot: Any) -> None:
        """Undo :meth:`connect`."""
        getattr(self, signal.split("(")[0]).disconnect(slot)


class Application(QtCore.QObject):
    """What module code asks of ``slicer.app``."""

    startupCompleted = QtCore.Signal()
    aboutToQuit = QtCore.Signal()
    applicationName = "Slicer"
    applicationVersion = "5.12.4"
    majorVersion, minorVersion = 5, 12

    def __init__(self) -> None:
        super().__init__()
        self.testing = True
        self.restarts = 0
        self.connected: list[tuple[str, Any]] = []
        self.temporaryPath = tempfile.mkdtemp(prefix="klip-slicer-test-")
        atexit.register(shutil.rmtree, self.temporaryPath, ignore_errors=True)
        self._modules = ModuleManager()

    def connect(self, signal: str, slot: Any) -> None:
        """Connect by signature."""
        self.connected.append((signal, slot))
        getattr(self, signal.split("(")[0]).connect(slot)

    def disconnect(self, signal: str, slot: Any) -> None:
        """Undo :meth:`connect`."""
        self.connected.remove((signal, slot))
        getattr(self, signal.split("(")[0]).disconnect(slot)

    def moduleManager(self) -> ModuleManager:
        """The modules."""
        return self._modules

    def translate(self, context: str, text: str) -> str:
        """A text in the language that :mod:`standins.language` speaks."""
        return language.translate(context, text)

    def userSettings(self) -> QtCore.QSettings:
        """The user's settings."""
        return QtCore.QSettings()

    def settings(self) -> QtCore.QSettings:
        """This revision's settings."""
        return QtCore.QSettings()

    def testingEnabled(self) -> bool:
        """Message boxes answer themselves in tests, and nothing is installed, in Slicer as here."""
        return self.testing

    def commandOptions(self) -> Any:
        """How the application was started."""
        return types.SimpleNamespace(testingEnabled=self.testing, noMainWindow=True)

    def restart(self) -> None:
        """Count it; Slicer would quit and start again, without a question."""
        self.restarts += 1

    def processEvents(self) -> None:
        """Let Qt work."""
        QtWidgets.QApplication.processEvents()

    def setOverrideCursor(self, cursor: Any) -> None:
        """Show another cursor."""
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        """Show the former cursor."""
        QtWidgets.QApplication.restoreOverrideCursor()

    def clipboard(self) -> Any:
        """What was copied last."""
        return QtWidgets.QApplication.clipboard()

    def topLevelWidgets(self) -> list[Any]:
        """All windows; there is no main window among them."""
        return QtWidgets.QApplication.topLevelWidgets()

    def layoutManager(self) -> None:
        """There are no views in a layout."""

    def startupEnvironment(self) -> Any:
        """The environment before Slicer's launcher changed it: here nothing has."""
        return QtCore.QProcessEnvironment.systemEnvironment()


class DicomDatabase:
    """Answers where a DICOM instance's file is, from the files that a test gives it."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    isOpen = True

    def add(self, folder: Path) -> None:
        """Index the files of a folder."""
        import pydicom

        for path in sorted(folder.iterdir()):
            self.files[str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = str(path)

    def fileForInstance(self, uid: str) -> str:
        """Its path, or nothing."""
        return self.files.get(uid, "")


def install(package: Any) -> None:
    """Complete the package ``slicer``."""
    package.qApplication = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer"])
    package.app = Application()
    package.dicomDatabase = DicomDatabase()
    own_settings()
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = language.tr, language.translate  # type: ignore[attr-defined]
    package.i18n = sys.modules["slicer.i18n"] = i18n
    checkout = Path(__file__).resolve().parents[3]
    package.modules.klipslicer = types.SimpleNamespace(path=str(checkout / "KLIPSlicer" / "KLIPSlicer.py"))
    sys.path.insert(0, str(checkout / "KLIPSlicer"))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
