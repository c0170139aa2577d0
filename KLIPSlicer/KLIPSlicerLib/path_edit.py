"""Lines that hold a path: what is done when the path changes, also when it is removed.

A ctkPathLineEdit does not consider an empty line a valid path. Emptied, it tells only that its input is not valid any
more; so both signals are listened to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def onPathChanged(edit: Any, slot: Callable[[str], None]) -> None:
    """Call ``slot`` with each new path of a ctkPathLineEdit; with an empty text when it is removed."""

    def onValid(valid: bool) -> None:
        if not valid:
            slot("")

    edit.connect("currentPathChanged(QString)", lambda path: slot(str(path)))
    edit.connect("validInputChanged(bool)", onValid)
