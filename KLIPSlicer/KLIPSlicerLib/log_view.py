"""The log in the panel: what `klip` and the module say, to be read and copied when something is wrong."""

from __future__ import annotations

import time
from typing import Any

import slicer

LONGEST = 2000
"""Lines that are kept."""


class LogView:
    """A list of lines with the time of day, and two buttons."""

    def __init__(self, ui: Any) -> None:
        self._text = ui.logText
        self._text.maximumBlockCount = LONGEST
        ui.copyLogButton.connect("clicked(bool)", self._copy)
        ui.clearLogButton.connect("clicked(bool)", lambda *_clicked: self._text.clear())

    def add(self, line: str) -> None:
        """Write a line."""
        self._text.appendPlainText(f"{time.strftime('%H:%M:%S')}  {line}")

    def _copy(self, *_clicked: Any) -> None:
        slicer.app.clipboard().setText(self._text.plainText)
