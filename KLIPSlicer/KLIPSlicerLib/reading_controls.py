"""The controls under the table of regions: what the reader says of the chosen one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

if TYPE_CHECKING:
    from KLIPCore.export.report import Reading


def verdictNames() -> dict[str, str]:
    """What a reader can say of a region, in the order of the list and of the keys 0 to 4."""
    return {
        "": _("not read"),
        "real": _("real"),
        "normal variant": _("normal variant"),
        "artefact": _("artefact"),
        "unsure": _("unsure"),
    }


MARKS = {"": "", "real": "✓", "normal variant": "≈", "artefact": "✗", "unsure": "?"}
"""The verdicts in one character, for a narrow column."""


def shortly(reading: Reading) -> tuple[str, str]:
    """A reading as a mark for the table, and in words for its tooltip."""
    words = [verdictNames()[reading.verdict]] if reading.verdict else []
    words += [reading.note] if reading.note else []
    return MARKS[reading.verdict] or ("…" if reading.note else ""), ": ".join(words)


class ReadingControls:
    """A list of verdicts and a line for a note, of the region whose row is chosen.

    :param onReading: called with a verdict and a note when the reader has changed one of them.
    """

    def __init__(self, ui: Any, onReading: Callable[[str, str], None]) -> None:
        self._verdict, self._note, self._onReading = ui.readingComboBox, ui.noteLineEdit, onReading
        self._showing = False
        for name, text in verdictNames().items():
            self._verdict.addItem(text, name)
        self._verdict.connect("currentIndexChanged(int)", self._changed)
        self._note.connect("editingFinished()", self._changed)
        self.show(None, False)

    def show(self, reading: Reading | None, chosen: bool) -> None:
        """Show what was said of the chosen region.

        :param chosen: whether there is one.
        """
        self._showing = True
        self._verdict.enabled = self._note.enabled = chosen
        self._verdict.currentIndex = max(0, self._verdict.findData(reading.verdict if reading else ""))
        note = reading.note if reading else ""
        if self._note.text != note:
            self._note.text = note
        self._showing = False

    def _changed(self, *_index: Any) -> None:
        if not self._showing:
            self._onReading(str(self._verdict.currentData or ""), str(self._note.text).strip())
