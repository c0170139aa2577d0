"""The keyboard in the table of regions. Arrows are the table's own; the rest is here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


class TableKeys(qt.QObject):
    """Space hides and shows, Enter jumps, digits say what the region is.

    A filter of events and not shortcuts, because these keys mean something else wherever the table has no focus; and
    not the table's own signals, because Enter means "edit" to a table on macOS.
    """

    def __init__(
        self, onSpace: Callable[[], None], onEnter: Callable[[], None], onDigit: Callable[[int], None]
    ) -> None:
        qt.QObject.__init__(self)
        self._onSpace, self._onEnter, self._onDigit = onSpace, onEnter, onDigit

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Whether an event was ours. Called by Qt."""
        if event.type() != qt.QEvent.KeyPress or event.modifiers() & OTHERS:
            return False
        key = event.key()
        if key == qt.Qt.Key_Space:
            self._onSpace()
        elif key in (qt.Qt.Key_Return, qt.Qt.Key_Enter):
            self._onEnter()
        elif key in DIGITS:
            self._onDigit(DIGITS.index(key))
        else:
            return False
        return True


OTHERS = qt.Qt.ControlModifier | qt.Qt.AltModifier | qt.Qt.MetaModifier
"""Keys that make another key mean something else."""

DIGITS = [qt.Qt.Key_0, qt.Qt.Key_1, qt.Qt.Key_2, qt.Qt.Key_3, qt.Qt.Key_4]
