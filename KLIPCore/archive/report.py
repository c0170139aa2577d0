"""Tables and page of an archive together, and a sentence on how far it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from KLIPCore.archive.overview import Overview
from KLIPCore.archive.plan import ArchiveFolder
from KLIPCore.archive.shards import counts_of
from KLIPCore.archive.tables import write_tables


def write_report(out: Path) -> str:
    """Write tables and page from the states of all shards, and return what a person is told.

    Raises
    ------
    TraceError : there is no archive.
    OutputError : a file cannot be written.
    """
    folder = ArchiveFolder(out)
    folder.plan()
    with _alone(out / "report.lock"):
        overview = Overview()
        files = write_tables(folder, overview.add)
        page = overview.write(folder)
    counts = counts_of(folder)
    words = [f"{counts.total} studies: {counts.done} done, {counts.failed} failed"]
    words += [f"{counts.open + counts.claimed} left"] if counts.open + counts.claimed else []
    words += [f"{counts.duplicates} lines name a study again"] if counts.duplicates else []
    return f"{', '.join(words)}.\nOpen {page}; tables: {', '.join(path.name for path in files)}."


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time, so that the last one to write has read the last outcomes."""
    try:
        import fcntl
    except ImportError:  # Windows: one computer, and shards end one after the other
        yield
        return
    with path.open("wb") as stream:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
