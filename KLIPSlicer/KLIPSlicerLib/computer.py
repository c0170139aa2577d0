"""What belongs to the computer and not to the scene: which Python, a folder of wheels, where runs are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctk
import qt
import slicer

from .dependencies import Choices, Dependencies
from .failures import sentenceOf
from .path_edit import onPathChanged
from .styles import NOTE
from .update_controls import UpdateControls

SETTINGS = "KLIPSlicer/"
"""Prefix of the settings."""


class Computer:
    """The controls under “This computer”.

    Attributes
    ----------
    update : the button that updates packages.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        ui.environmentLabel.setStyleSheet(NOTE)
        kinds = ctk.ctkPathLineEdit
        for edit, kind, key in (
            (ui.pythonPathEdit, kinds.Files | kinds.Dirs, "OtherPython"),
            (ui.wheelsPathEdit, kinds.Dirs, "WheelFolder"),
            (ui.outputPathEdit, kinds.Dirs, "ResultsFolder"),
        ):
            edit.filters = kind
            edit.currentPath = qt.QSettings().value(SETTINGS + key) or ""
            onPathChanged(edit, lambda path, k=key: qt.QSettings().setValue(SETTINGS + k, path))
        ui.checkButton.connect("clicked(bool)", self._onCheck)
        self.update = UpdateControls(ui.updateButton, ui.environmentLabel, self.dependencies)

    def dependencies(self) -> Dependencies:
        """The Python that was chosen."""
        return Dependencies(
            Choices(str(self._ui.pythonPathEdit.currentPath or ""), str(self._ui.wheelsPathEdit.currentPath or ""))
        )

    def outputFolder(self) -> Path:
        """Below which run folders are kept."""
        chosen = str(self._ui.outputPathEdit.currentPath or "")
        return Path(chosen) if chosen else Path(slicer.app.temporaryPath) / "KLIPSlicer"

    def _onCheck(self, *_clicked: Any) -> None:
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            from KLIPCore import __version__

            self._ui.environmentLabel.text = f"KLIPCore {__version__}. {self.dependencies().describe()}"
        except Exception as error:  # whatever a Python says that is asked
            self._ui.environmentLabel.text = sentenceOf(error)
        finally:
            slicer.app.restoreOverrideCursor()
