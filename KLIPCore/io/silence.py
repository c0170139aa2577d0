"""Keep C libraries off the user's screen: ITK, niftilib and MetaIO print what they think of a file and
cannot be asked not to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def silenced() -> Iterator[None]:
    """Let nothing that is written to the process's own output and error files inside the block be seen.

    Python's streams are emptied before and after. For short calls into one library: what other threads write
    meanwhile is lost, too.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
    for stream in streams:
        with suppress(OSError, ValueError):
            stream.flush()
    kept: list[tuple[int, int]] = []
    try:
        for number in (1, 2):
            with suppress(OSError):  # a program without a screen has none of them
                kept.append((number, os.dup(number)))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number, _ in kept:
            os.dup2(nowhere, number)
        os.close(nowhere)
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
