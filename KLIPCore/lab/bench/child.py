"""A command in a process of its own: how long it takes from start to end, and the most memory it ever held.

Memory of the process that measures says little: it holds whatever was measured before. A child begins with
nothing, and tells its own peak when it ends: the high-water mark of its resident set. (What the system reports
of a finished child, ``ru_maxrss``, is no use here: Linux carries it over from the parent through fork and exec.)
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from KLIPCore.errors import ResourceError

PROGRAM = "import sys; from KLIPCore.lab.bench.child import run_and_tell; run_and_tell(sys.argv[1], sys.argv[2:])"


@dataclass(frozen=True)
class ChildRun:
    """A command that has ended.

    Attributes
    ----------
    seconds : from its start to its end, imports included.
    peak_bytes : the most memory it held; None where the system does not say.
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
    scratch : folder for what it prints and tells.
    threads : of its arithmetic; as many as it takes by itself when None.

    Raises
    ------
    ResourceError : it failed; the message ends with what it said.
    """
    environment = {**os.environ, "COLUMNS": "200"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    said, told = scratch / "child.txt", scratch / "child.peak"
    told.unlink(missing_ok=True)
    with said.open("wb") as stream:
        started = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(told), *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            code = child.wait()
        except BaseException:  # it is ended with us
            child.terminate()
            child.wait()
            raise
        seconds = time.perf_counter() - started
    output = said.read_text(encoding="utf-8", errors="replace")
    if code != 0:
        raise ResourceError(
            f"klip {arguments[0]} ended with {code}: {output.strip()[-400:]}", "Run it by hand, and mend what it says."
        )
    peak = told.read_text(encoding="utf-8") if told.is_file() else ""
    return ChildRun(seconds, int(peak) if peak else None, output)


def run_and_tell(told: str, arguments: Sequence[str]) -> None:
    """Run ``klip`` in the child, and leave its peak of memory behind."""
    sys.argv = ["klip", *arguments]
    try:
        runpy.run_module(
            "KLIPCore.cli", run_name="__main__"
        )  # the command is above this package, and is run, not imported
    finally:
        peak = peak_bytes()
        Path(told).write_text("" if peak is None else str(peak), encoding="utf-8")


def peak_bytes() -> int | None:
    """Return the most memory this process ever held; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
