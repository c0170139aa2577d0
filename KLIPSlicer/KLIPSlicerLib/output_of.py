"""What a short command prints, asked while Slicer goes on answering its user."""

from __future__ import annotations

import subprocess
import sys
import time

import slicer

from . import platforms

PROBE_SECONDS = 60.0
"""A command that takes longer is ended."""


def outputOf(command: list[str], environment: dict[str, str], seconds: float = PROBE_SECONDS) -> str:
    """What a command prints, while Slicer goes on answering its user.

    :raises OSError: it cannot be started.
    :raises subprocess.SubprocessError: it fails, or takes longer than so many seconds.
    """
    until = time.monotonic() + seconds
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env=environment,
        creationflags=platforms.creationFlags(sys.platform),
    ) as process:
        while True:
            try:
                told, _nothing = process.communicate(timeout=0.01)
            except subprocess.TimeoutExpired:
                if time.monotonic() > until:
                    process.kill()
                    raise
                slicer.app.processEvents()
                continue
            if process.returncode:
                raise subprocess.CalledProcessError(process.returncode, command)
            return told
