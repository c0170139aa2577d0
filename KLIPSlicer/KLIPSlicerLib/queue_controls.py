"""Several volumes in a row: a list of what waits, runs and is done, each to be taken out or cancelled by itself.

The queue presses the panel's own button for one volume after another, with the settings that the panel shows then. It
examines nothing itself: the next volume is begun when the one before has ended, however it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

LOOK_MSEC = 50
"""How often is looked whether the next volume can begin."""

WAITING, RUNNING = "waiting", "running"


@dataclass
class Entry:
    """One volume of the queue.

    identifier : of its node.
    name : of its node when it was added.
    state : WAITING, RUNNING, or how it ended, in words.
    """

    identifier: str
    name: str
    state: str = WAITING


class Queue:
    """The list and its buttons.

    Attributes
    ----------
    entries : in order.

    :param current: the volume that the panel shows; None without.
    :param choose: makes the panel show another volume.
    :param start: begins to examine the volume that is shown; its answer says whether it began.
    :param busy: whether the panel cannot begin yet.
    :param cancel: stops what runs.
    """

    def __init__(
        self,
        ui: Any,
        *,
        current: Callable[[], Any],
        choose: Callable[[Any], None],
        start: Callable[[], bool],
        busy: Callable[[], bool],
        cancel: Callable[[], None],
    ) -> None:
        self._list, self._buttons = ui.queueList, (ui.queueAddButton, ui.queueRunButton, ui.queueRemoveButton)
        self._current, self._choose, self._start, self._busy, self._cancel = current, choose, start, busy, cancel
        self.entries: list[Entry] = []
        self._going = False
        self._timer = qt.QTimer()
        self._timer.setInterval(LOOK_MSEC)
        self._timer.connect("timeout()", self._next)
        for button, slot in zip(self._buttons, (self._onAdd, self._onRun, self._onRemove), strict=True):
            button.connect("clicked(bool)", slot)
        self.refresh()

    @property
    def running(self) -> Entry | None:
        """The volume that is examined now; None where the queue does nothing."""
        return next((entry for entry in self.entries if entry.state == RUNNING), None)

    def refresh(self) -> None:
        """Show the entries, and enable what makes sense."""
        words = {WAITING: _("waiting"), RUNNING: _("running")}
        chosen = self._list.currentRow
        while self._list.count > len(self.entries):
            self._list.takeItem(self._list.count - 1)
        for n, entry in enumerate(self.entries):
            text = f"{entry.name}: {words.get(entry.state, entry.state)}"
            if n < self._list.count:
                self._list.item(n).setText(text)
            else:
                self._list.addItem(text)
        self._list.currentRow = min(chosen, len(self.entries) - 1)
        add, run, remove = self._buttons
        add.enabled = self._current() is not None
        run.enabled = not self._going and any(entry.state == WAITING for entry in self.entries)
        remove.enabled = bool(self.entries)

    def told(self, part: float) -> None:
        """Show how far the volume that is examined is."""
        for n, entry in enumerate(self.entries):
            if entry.state == RUNNING:
                self._list.item(n).setText(f"{entry.name}: {100 * part:.0f} %")

    def ended(self, how: str) -> None:
        """What ran has ended; the next volume begins soon."""
        entry = self.running
        if entry is not None:
            entry.state = how
            self.refresh()

    def stop(self) -> None:
        """Forget all that waits: the scene closes, or the module ends."""
        self._timer.stop()
        self._going, self.entries = False, []
        self.refresh()

    def _next(self) -> None:
        """Begin the first volume that waits, when nothing else runs or is looked through."""
        if self.running is not None or self._busy():
            return
        entry = next((entry for entry in self.entries if entry.state == WAITING), None)
        if entry is None:
            self._timer.stop()
            self._going = False
            self.refresh()
            return
        node = slicer.mrmlScene.GetNodeByID(entry.identifier)
        if node is None:
            entry.state = _("no longer in the scene")
        elif self._current() is not node:
            self._choose(node)  # it is looked through first: the next turn begins it
        else:
            entry.state = RUNNING
            if not self._start():
                entry.state = _("refused")
        self.refresh()

    def _onAdd(self, *_clicked: Any) -> None:
        node = self._current()
        if node is not None:
            self.entries.append(Entry(node.GetID(), str(node.GetName())))
            self.refresh()

    def _onRun(self, *_clicked: Any) -> None:
        self._going = True
        self._timer.start()
        self.refresh()

    def _onRemove(self, *_clicked: Any) -> None:
        """Take the chosen entry out, or the last one; what runs is cancelled first."""
        n = self._list.currentRow
        entry = self.entries[n if 0 <= n < len(self.entries) else -1]
        if entry.state == RUNNING:
            self._cancel()
        else:
            self.entries.remove(entry)
            self.refresh()
