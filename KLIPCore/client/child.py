"""A running `klip detect`: its progress lines, its error, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, Any

from KLIPCore import errors
from KLIPCore.client.command import child_environment
from KLIPCore.errors import KlipError, ResourceError

GRACE_S = 1.0
"""Between asking a run to stop, which keeps its finished slices, and ending it with all that it started."""


class Child:
    """A detection in a process group of its own.

    Parameters
    ----------
    command : from :func:`KLIPCore.client.command.detect_command`.
    log : where its standard error goes.
    """

    def __init__(self, command: Sequence[str], log: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self.error: KlipError | None = None
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,  # closed by our end, whatever ends us
            stdout=subprocess.PIPE,
            stderr=log,
            env=child_environment(),
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Number of the process, and of its group."""
        return self._process.pid

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield progress lines to the end of the process; its error is kept in :attr:`error`."""
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            try:
                line = json.loads(raw)
            except ValueError:
                continue  # a library that talks
            if not isinstance(line, dict):
                continue
            if line.get("stage") == "error":
                self.error = told_error(line)
            elif line.get("stage") != "result":
                yield line

    def ended(self) -> KlipError | None:
        """Wait for the end; returns what went wrong, None when nothing did."""
        code = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        if code == 0:
            return None
        return self.error or ResourceError(
            f"The detection ended unexpectedly (exit code {code}).",
            "Run it again; finished slices are kept. Less memory is used with fewer workers and a smaller batch.",
        )

    def stop(self) -> None:
        """Ask the group to stop, and end it when it has not within :data:`GRACE_S`."""
        if os.name != "posix":
            self._process.terminate()
        else:
            for number, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience)
        self._process.wait()


def told_error(values: dict[str, Any]) -> KlipError:
    """Return the error that a line of JSON names, of :mod:`KLIPCore.errors` where it has such a class."""
    kind = getattr(errors, str(values.get("error")), KlipError)
    if not (isinstance(kind, type) and issubclass(kind, KlipError)):
        kind = KlipError
    return kind(str(values.get("message", "Unknown.")), str(values.get("remedy", "")))
