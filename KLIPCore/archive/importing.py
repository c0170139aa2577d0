"""An index into a state: its studies once, its duplicates noted, and nothing again where it has not changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from KLIPCore.archive.entries import Entry, read_entries
from KLIPCore.archive.state import State
from KLIPCore.errors import InputError

BATCH = 20_000
"""Lines in memory at once."""

Shard = tuple[int, int]
"""Number of a shard, counted from 1, and how many there are."""


def import_index(state: State, index: Path, shard: Shard = (1, 1)) -> None:
    """Take up the studies of an index; those that are there already stay as they are.

    An index that has grown since brings its new lines; one whose size and time are the same is not read again.

    Raises
    ------
    EmptyInputError, InputError : as of :func:`KLIPCore.archive.entries.read_entries`; or no line is a study.
    OutputError : the state cannot be written.
    """
    mark = _mark(index, shard)
    if mark and state.meta("index") == mark:
        return
    lines = iter(read_entries(index))
    found = False
    while batch := list(islice(lines, BATCH)):
        found = True
        _add(state, [(n, entry) for n, entry in batch if entry.in_shard(shard)])
    if not found:
        raise InputError(f"The index {index.name} holds no study.", "Make one with: klip archive index FOLDER.")
    state.remember("index", mark)


def _mark(index: Path, shard: Shard) -> str:
    """What changes when the index does; empty where it is not there."""
    try:
        stat = index.stat()
    except OSError:
        return ""
    return json.dumps([str(index.absolute()), stat.st_size, stat.st_mtime_ns, *shard])


def _add(state: State, batch: list[tuple[int, Entry]]) -> None:
    """Insert new studies; a line whose study another line has becomes a duplicate."""
    rows = [(entry.name, number, entry.line()) for number, entry in batch]
    with state.transaction() as base:
        done = base.executemany("INSERT OR IGNORE INTO study (name, line, entry) VALUES (?, ?, ?)", rows)
        if done.rowcount < len(rows):  # some were there already: of this line, or of another
            for name, number, text in rows:
                (first,) = base.execute("SELECT line FROM study WHERE name = ?", (name,)).fetchone()
                if first != number:
                    base.execute("INSERT OR REPLACE INTO duplicate VALUES (?, ?, ?)", (number, text, name))


def duplicates(state: State) -> Iterator[tuple[int, Entry, int, str]]:
    """Yield (line, entry, line of the study that it names again, that study's folder name)."""
    query = "SELECT d.line, d.entry, s.line, s.name FROM duplicate d JOIN study s ON s.name = d.name ORDER BY d.line"
    for line, text, first, name in state.base.execute(query):
        yield line, Entry(**json.loads(text)), first, name
