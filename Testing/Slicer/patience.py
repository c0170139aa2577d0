"""How long a test waits for `klip`: as long as it works, measured in what this machine needs.

The unit is the processor time of one start of a Python that imports what `klip detect` imports, taken once a
session. A run may use so many units of processor time (a loaded machine takes longer by the clock, not by the
processor), and may do nothing at all for so many units of the clock; then it hangs, and the test fails at once
instead of after minutes.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import psutil
from panel_at_work import klip_processes
from PySide6 import QtWidgets

IMPORTS = "import KLIPCore.cli, KLIPCore.detection.detect, torch, monai"
MOST_WORK, LONGEST_SILENCE = 60.0, 20.0
"""Units of processor time for everything that a test waits for at once, and of the clock without any."""


@cache
def unit() -> tuple[float, float]:
    """Seconds of the processor, and by the clock, of one start."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - started


def _work() -> float:
    """Processor seconds that the processes behind the panel have used so far."""
    used = 0.0
    for process in klip_processes():
        try:
            used += sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
    return used


def wait(condition: Callable[[], Any], what: str, status: Callable[[], str], running: Callable[[], bool]) -> Any:
    """Let Qt work until something is so, as long as there is work to wait for.

    Parameters
    ----------
    condition : what is waited for.
    status : what the panel says, for the message.
    running : whether the panel believes that something runs.
    """
    processor, clock = unit()
    looked, worked = time.monotonic(), _work()
    first = worked
    while True:
        QtWidgets.QApplication.processEvents()
        found = condition()
        if found:
            return found
        if not running():
            raise AssertionError(f"It ended without: {what}. The panel says: {status()}")
        now = _work()
        if now - first > MOST_WORK * processor:
            raise AssertionError(
                f"{now - first:.0f} s of the processor and still not: {what}. The panel says: {status()}"
            )
        if now > worked + 0.01 or now < worked:  # less: a process has ended
            looked, worked = time.monotonic(), now
        elif time.monotonic() - looked > LONGEST_SILENCE * clock:
            raise AssertionError(f"Nothing happens, and still not: {what}. The panel says: {status()}")
        time.sleep(0.02)


def wait_for_panel(widget: Any, condition: Callable[[], Any], what: str) -> Any:
    """:func:`wait` for a run behind the panel."""
    return wait(condition, what, lambda: widget.ui.statusLabel.text, lambda: widget.panel.detection.running)
