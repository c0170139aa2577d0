"""Long work that nobody feels: done a little at a time between events, one task after the other.

A task is a generator (:mod:`KLIPSlicerLib.steps`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt

from .steps import Steps

AT_ONCE_SECONDS = 0.005
"""Work of one turn; a step more may be added to it."""


@dataclass
class Task:
    """Something to do.

    name : of several that wait under one name, the last one counts.
    begin : makes the steps, when its turn comes.
    onEnd, onError : called with what the steps return, or raise.
    """

    name: str
    begin: Callable[[], Steps[Any]]
    onEnd: Callable[[Any], None]
    onError: Callable[[Exception], None]


class Turns:
    """Does tasks one after the other, between events."""

    def __init__(self) -> None:
        self._waiting: list[Task] = []
        self._task: Task | None = None
        self._steps: Steps[Any] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._work)

    @property
    def working(self) -> bool:
        """Whether something is not done yet."""
        return self._steps is not None or bool(self._waiting)

    def add(self, task: Task) -> None:
        """Do this when its turn comes."""
        self._waiting = [*(each for each in self._waiting if each.name != task.name), task]
        self._timer.start()

    def clear(self) -> None:
        """Forget everything that is not done."""
        self._timer.stop()
        self._waiting = []
        steps, self._steps, self._task = self._steps, None, None
        if steps is not None:
            steps.close()

    def _work(self) -> None:
        until = time.monotonic() + AT_ONCE_SECONDS
        while time.monotonic() < until:
            if not self.working:
                self._timer.stop()
                return
            self._step()

    def _step(self) -> None:
        """One step of the present task, or the first of the next."""
        if self._steps is None:
            self._task = self._waiting.pop(0)
            self._steps = self._task.begin()
        task, steps = self._task, self._steps
        assert task is not None
        try:
            next(steps)
        except StopIteration as end:
            self._task = self._steps = None
            task.onEnd(end.value)
        except Exception as error:
            self._task = self._steps = None
            task.onError(error)
