"""Work on the main thread in short turns: a generator is taken on between events, a few milliseconds at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from typing import Any

import qt

from .suitability import unexpected

AT_ONCE_SECONDS = 0.02
"""Work of one turn; a step more may be added to it."""


class Steps:
    """Takes one generator at a time to its end.

    :param onDone: called with what the generator returns.
    :param onFailed: called with a sentence for the user where it raises.
    :param onPart: called after each turn with what was yielded last: the part that is done.
    """

    def __init__(
        self,
        onDone: Callable[[Any], None],
        onFailed: Callable[[str], None],
        onPart: Callable[[float], None] = lambda _part: None,
    ) -> None:
        self._onDone, self._onFailed, self._onPart = onDone, onFailed, onPart
        self._steps: Generator[float, None, Any] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._work)

    @property
    def working(self) -> bool:
        """Whether there is something to do."""
        return self._steps is not None

    def start(self, steps: Generator[float, None, Any]) -> None:
        """Begin, in place of what was done before."""
        self.stop()
        self._steps = steps
        self._timer.start()

    def stop(self) -> None:
        """Forget what was to be done."""
        self._timer.stop()
        if self._steps is not None:
            self._steps.close()
        self._steps = None

    def _work(self) -> None:
        from KLIPCore.errors import KlipError

        until, part = time.monotonic() + AT_ONCE_SECONDS, 0.0
        try:
            while self._steps is not None and time.monotonic() < until:
                part = next(self._steps)
        except StopIteration as end:
            self.stop()
            self._onDone(end.value)
            return
        except KlipError as error:
            self.stop()
            self._onFailed(str(error))
            return
        except Exception as error:
            logging.exception("KLIPSlicer: a task between events ended")
            self.stop()
            self._onFailed(unexpected(error))
            return
        self._onPart(part)
