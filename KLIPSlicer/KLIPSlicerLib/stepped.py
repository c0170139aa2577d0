"""Work in short steps between events, so that Slicer stays responsive."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import qt

AT_ONCE_SECONDS = 0.02
"""Work of one turn, below what a user notices; a step more may be added to it."""


class Stepped:
    """Goes through one generator at a time, some steps a turn; the last one wins."""

    def __init__(self, onEnd: Callable[[Any], None], onError: Callable[[Exception], None]) -> None:
        """:param onEnd: called with what the generator returned. :param onError: called with what it raised."""
        self._onEnd, self._onError = onEnd, onError
        self._steps: Generator[Any, None, Any] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._work)

    @property
    def working(self) -> bool:
        """Whether there are steps left."""
        return self._steps is not None

    def start(self, steps: Generator[Any, None, Any]) -> None:
        """Go through these, and forget any others."""
        self.stop()
        self._steps = steps
        self._timer.start()

    def stop(self) -> None:
        """Forget the steps that are left."""
        self._timer.stop()
        if self._steps is not None:
            self._steps.close()
        self._steps = None

    def _work(self) -> None:
        until = time.monotonic() + AT_ONCE_SECONDS
        try:
            while self._steps is not None and time.monotonic() < until:
                next(self._steps)
        except StopIteration as end:
            self.stop()
            self._onEnd(end.value)
        except Exception as error:  # whatever it is, the timer must not ask again and again
            self.stop()
            self._onError(error)
