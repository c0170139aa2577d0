"""How busy this machine is, for tests whose subject is a time: others may be at work on it, the other tests first."""

from __future__ import annotations

import os
import time

WORK_SECONDS = 0.02
"""Of the processor, for one look; several turns of the system's scheduler pass where programs compete."""
QUIET, SPARE = 1.2, 3.0
"""A machine is quiet below this slowness; on a busy one, what a test waits for may get less of it than the look."""


def slowness() -> float:
    """Seconds by the clock for a second's work of a single thread: 1 on a quiet machine, more on a busy one.

    What a look of some milliseconds finds now, or the last minute's load of a core, whichever is more.
    """
    clock, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < WORK_SECONDS:
        pass
    now = (time.monotonic() - clock) / (time.thread_time() - used)
    load = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 1.0
    return max(1.0, now, load)


def longest(seconds: float) -> float:
    """Return how long may take here, just now, what takes so many seconds at most on a quiet machine."""
    slow = slowness()
    return seconds * (1.0 if slow < QUIET else SPARE * slow)


def in_vain(began: float, seconds: float) -> bool:
    """Whether something has been waited for since ``began`` (monotonic) for longer than it may take on this machine.

    The machine is looked at only where a quiet one would have been done.
    """
    waited = time.monotonic() - began
    return waited > seconds and waited > longest(seconds)
