"""The button that updates packages, and what is shown when an old KLIPCore hides the module's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer.util
from slicer.i18n import tr as _

from . import updates
from .dependencies import REQUESTER, Dependencies
from .failures import sentenceOf
from .updates import Updates


class UpdateControls:
    """Finds newer packages, asks, installs them and offers a restart.

    :param button: is pressed for it.
    :param label: shows a sentence.
    :param dependencies: the user's choices of Python and wheels, as they are now.
    """

    def __init__(self, button: Any, label: Any, dependencies: Callable[[], Dependencies]) -> None:
        self._button, self._label, self._dependencies = button, label, dependencies
        self.busy: Callable[[], bool] = lambda: False  # whether something runs that an update would break
        button.connect("clicked(bool)", self.onUpdate)

    def onUpdate(self, *_clicked: Any) -> None:
        """From the question of what is newer to the restart; every end is a sentence."""
        if self.busy():
            self._label.text = _("A detection is running. Cancel it first, or wait.")
            return
        self._button.enabled = False
        self._label.text = _("Looking what is newer…")
        try:
            self._label.text = self._update()
        except Exception as error:  # pip and what is around it raise what they like
            self._label.text = sentenceOf(error)
        finally:
            self._button.enabled = True

    def _update(self) -> str:
        """Update; what to say then."""
        new = Updates(self._dependencies())
        changes = new.find()
        if not changes:
            return _("Nothing is newer. PyTorch is updated by the PyTorch extension.")
        question = _(
            "These packages will be downloaded and installed into Slicer's Python:\n\n{list}\n\n"
            "Slicer's own packages and PyTorch are not changed. Continue?"
        ).format(list="\n".join(map(str, changes)))
        if self.busy() or not slicer.util.confirmOkCancelDisplay(question, REQUESTER):
            return _("Nothing was changed.")
        new.install(changes)
        done = _("Updated: {list}.").format(list=", ".join(map(str, changes)))
        return f"{done} {updates.offerRestart()}"


class OldKlipCore:
    """Says that an old KLIPCore hides the module's own, and mends it.

    :param layout: where that is shown.
    :param reason: the sentence.
    """

    def __init__(self, layout: Any, reason: str) -> None:
        self.label, self.button = qt.QLabel(reason), qt.QPushButton(_("Take it out and restart"))
        self.label.setWordWrap(True)
        self.label.setObjectName("reasonLabel")
        self.button.setObjectName("oldKlipCoreButton")
        self.button.toolTip = _(
            "Takes the old KLIPCore out of Slicer's Python, after a question. Nothing is downloaded."
        )
        self.button.connect("clicked(bool)", self.onClicked)
        for widget in (self.label, self.button):
            layout.addWidget(widget)
        layout.addStretch(1)

    def onClicked(self, *_clicked: Any) -> None:
        """Mend it; every end is a sentence."""
        try:
            updates.removeOldKlipCore()
        except Exception as error:
            self.label.text = sentenceOf(error)
            return
        self.button.enabled = False
        self.label.text = updates.offerRestart()
