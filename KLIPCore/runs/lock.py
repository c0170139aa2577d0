"""A file that one process at a time holds, and that the system lets go of when the process is killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

MOST_TRIES = 100
"""Times that a lock file is opened before a file system is taken for one without lasting numbers of its files."""


def locked_file(path: Path) -> IO[bytes] | None:
    """Open and lock a file.

    Parameters
    ----------
    path : the file, made where it is missing.

    Returns
    -------
    The open file, whose lock goes when it is closed; None where another process holds it. Where the file system
    knows no locks, the file without one.
    """
    try:
        import fcntl
    except ImportError:  # Windows refuses to remove a file that another process has open
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            return None
        return path.open("wb")
    handle = None
    for _ in range(MOST_TRIES):
        if handle is not None:
            handle.close()  # the one before removed it between our opening and locking: another may have made it anew
        handle = path.open("wb")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        except OSError:  # a network share without locks
            return handle
        try:
            if os.fstat(handle.fileno()).st_ino == path.stat().st_ino:
                return handle
        except FileNotFoundError:
            pass
    return handle  # a file system that numbers its files anew each time: what is locked cannot be compared
