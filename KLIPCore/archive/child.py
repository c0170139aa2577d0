"""A command as a process that never outlives the one who waits for it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
LOOK_S = 0.05
"""Seconds between two looks at a process, where the system does not tell of its end."""
GRACE_S = 20.0
"""Seconds that a command has to end by itself before it is killed."""


class Left(Exception):  # noqa: N818  (told, not raised against anybody)
    """The one who waits wants the result no more: its claim is somebody else's, or its own parent is gone."""


def die_with_parent() -> Callable[[], None] | None:
    """Return what a child does before its program starts so that it is killed when its parent dies, however it dies.

    None where the system cannot: there a worker's children are noticed by the lock on their folder.
    """
    if sys.platform != "linux":
        return None
    library, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before it could be asked for
            os._exit(1)

    return ask


def run_child(
    command: Sequence[str], output: Path, log: Path, still_wanted: Callable[[], bool], every_s: float
) -> int:
    """Run a command to its end and return its exit code; negative for a signal.

    Parameters
    ----------
    command : program and arguments.
    output : file for its standard output.
    log : file for its standard error; may be the same.
    still_wanted : asked every ``every_s`` seconds; where it says no, the command is ended.
    every_s : seconds.

    Raises
    ------
    Left : ``still_wanted`` said no.
    """
    with log.open("ab") as said, contextlib.ExitStack() as files:
        written = said if output == log else files.enter_context(output.open("wb"))
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=written, stderr=said, preexec_fn=die_with_parent()
        )
        try:
            while not any_ended([child], every_s):
                if not still_wanted():
                    raise Left
            return child.wait()
        except BaseException:
            end(child)
            raise


def any_ended(children: Sequence[subprocess.Popen[bytes]], seconds: float) -> bool:
    """Return whether one of some processes ends within so many seconds.

    The system is asked to tell, where it can (Linux): :meth:`subprocess.Popen.wait` with a time limit looks twenty
    times a second, which adds up over a night.

    Parameters
    ----------
    children : processes of ours.
    seconds : that are waited at most.
    """
    watched = select.poll() if hasattr(select, "poll") else None
    with contextlib.ExitStack() as open_files:
        try:
            for child in children:
                descriptor = os.pidfd_open(child.pid)
                open_files.callback(os.close, descriptor)
                watched.register(descriptor, select.POLLIN)  # type: ignore[union-attr]
        except (AttributeError, OSError):  # another system, an old kernel, or a process that was waited for already
            watched = None
        if watched is not None:
            return bool(watched.poll(1000 * seconds)) or any(child.poll() is not None for child in children)
    until = time.monotonic() + seconds
    while time.monotonic() < until and all(child.poll() is None for child in children):
        time.sleep(min(LOOK_S, seconds))
    return any(child.poll() is not None for child in children)


def end(child: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """Stop a process as Ctrl-C would, and kill it where it takes too long."""
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
