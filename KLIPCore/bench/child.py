"""A command in a process of its own: how long it takes from start to end, and the most memory it ever held.

Memory of the process that measures says little: it holds whatever was measured before. A child begins with nothing, and the system keeps
its largest resident set (``ru_maxrss``), so no sampling can miss a peak.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from KLIPCore.errors import ResourceError


@dataclass(frozen=True)
class ChildRun:
    """A command that has ended.

    Attributes
    ----------
    seconds : from its start to its end, imports included.
    peak_bytes : its largest resident set; None where the system does not say.
    output : what it printed.
    """

    seconds: float
    peak_bytes: int | None
    output: str


def run_klip(arguments: Sequence[str], scratch: Path, threads: int | None = None) -> ChildRun:
    """Run ``klip`` with these arguments.

    Parameters
    ----------
    arguments : after the command's name.
    scratch : folder for what it prints.
    threads : of its arithmetic; as many as it takes by itself when None.

    Raises
    ------
    ResourceError : it failed; the message ends with what it said.
    """
    environment = {**os.environ, "COLUMNS": "200"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    said = scratch / "child.txt"
    with said.open("w+b") as stream:
        started = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-m", "KLIPCore.cli", *arguments], stdout=stream, stderr=subprocess.STDOUT, env=environment)
        code, peak = _wait(child)
        seconds = time.perf_counter() - started
    output = said.read_text(encoding="utf-8", errors="replace")
    if code != 0:
        raise ResourceError(f"klip {arguments[0]} ended with {code}: {output.strip()[-400:]}", "Run it by hand, and mend what it says.")
    return ChildRun(seconds, peak, output)


def _wait(child: subprocess.Popen[bytes]) -> tuple[int, int | None]:
    """Exit code and peak resident set of a child; it is ended with us."""
    try:
        if not hasattr(os, "wait4"):  # Windows
            return child.wait(), None
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        return child.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except BaseException:
        child.terminate()
        raise
