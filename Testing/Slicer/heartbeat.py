"""The longest pause of Qt's event loop: what a person at the panel feels as a stutter.

A timer beats whenever the loop is free. Between two beats the loop was busy; how long, is counted on the clock and in
processor time of this thread, which other programs on the computer do not lengthen.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtCore


@dataclass
class Heartbeat:
    """What was seen.

    Attributes
    ----------
    beats : how often the loop was free.
    seconds, cpu_seconds : longest pause between two beats, on the clock and of the processor.
    """

    beats: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    _last: tuple[float, float] | None = field(default=None, repr=False)

    def beat(self) -> None:
        """The loop is free."""
        now = (time.perf_counter(), time.thread_time())
        if self._last is not None:
            self.seconds = max(self.seconds, now[0] - self._last[0])
            self.cpu_seconds = max(self.cpu_seconds, now[1] - self._last[1])
        self._last, self.beats = now, self.beats + 1


@contextmanager
def listening() -> Iterator[Heartbeat]:
    """Count pauses inside the block."""
    gc.collect()
    gc.freeze()  # what the tests before have left is not the panel's, and to go through it takes a fifth of a second
    heart = Heartbeat()
    timer: Any = QtCore.QTimer()
    timer.setInterval(0)
    timer.timeout.connect(heart.beat)
    timer.start()
    try:
        yield heart
    finally:
        timer.stop()
        gc.unfreeze()
