"""What the panel says: the sentence under the button, progress with the time left, and warnings about the volume."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .styles import PLAIN, WARNING


def stageNames() -> dict[str, str]:
    """What the run's stages are called."""
    return {
        "compare": _("Looking through the volume"),
        "start": _("Starting"),
        "upload": _("Sending the study to the server"),
        "queue": _("Waiting for the server"),
        "read": _("Reading the study"),
        "frame": _("Finding the body"),
        "sample": _("Examining"),
        "map": _("Adding up nats"),
        "audit": _("Auditing"),
        "export": _("Writing results"),
        "download": _("Bringing the results"),
        "done": _("Done"),
        "result": _("Done"),
    }


def timeLeft(seconds: float | None) -> str:
    """How long it will take, as people say it."""
    if seconds is None:
        return ""
    if seconds < 10:
        return _("a few seconds left")
    if seconds < 90:
        return _("about {n} s left").format(n=round(seconds / 10) * 10)
    if seconds < 5400:
        return _("about {n} min left").format(n=round(seconds / 60))
    return _("about {n} h left").format(n=f"{seconds / 3600:.1f}")


def sayError(error: Exception, otherwise: str, say: Callable[..., None]) -> None:
    """Say what went wrong with results: in the error's own words, or else in others and in the application's log."""
    from KLIPCore.errors import KlipError

    if not isinstance(error, KlipError):
        logging.error("KLIPSlicer: %s", type(error).__name__, exc_info=error)
    say(str(error) if isinstance(error, KlipError) else otherwise, WARNING)


class Status:
    """The labels and the bar that say how things stand."""

    def __init__(self, ui: Any) -> None:
        self._label, self._bar, self._warning = ui.statusLabel, ui.progressBar, ui.warningLabel
        self._warnings: list[str] = []
        self._note = ""
        self._bar.setVisible(False)
        self._bar.setFixedHeight(8)
        self._label.setVisible(False)
        self._warning.setVisible(False)

    def say(self, text: str, style: str = PLAIN) -> None:
        """Show a sentence under the button; none when empty."""
        self._label.setStyleSheet(style)
        self._label.text = text
        self._label.setVisible(bool(text))

    def warn(self, warnings: list[str]) -> None:
        """Show what about the volume does not suit the prior."""
        self._warnings, self._note = warnings, ""
        self._showWarnings()

    def note(self, sentence: str) -> None:
        """Show with the warnings what else the user should know of this volume, until the next run."""
        self._note = sentence
        self._showWarnings()

    def _showWarnings(self) -> None:
        shown = [*self._warnings, *([self._note] if self._note else [])]
        self._warning.setStyleSheet(WARNING)
        self._warning.text = "\n".join(f"• {w}" if len(shown) > 1 else w for w in shown)
        self._warning.setVisible(bool(shown))

    def begin(self) -> None:
        """A run has started."""
        self.note("")
        self._bar.value = 0
        self._bar.setVisible(True)
        self.say(_("Starting…"))

    def progress(self, stage: str, fraction: float, detail: str, seconds: float | None) -> None:
        """How far a run is, and what it does."""
        self._bar.value = round(1000 * fraction)
        parts = [stageNames().get(stage, stage)]
        if stage == "compare":
            parts.append(detail)
        if stage == "sample":
            parts[0] += " " + detail
            parts.append(timeLeft(seconds))
        self.say(" · ".join(part for part in parts if part))

    def end(self) -> None:
        """The run is over."""
        self._bar.setVisible(False)
