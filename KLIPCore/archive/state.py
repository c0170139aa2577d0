"""Which study is whose: a SQLite file that survives the death of everybody who writes to it.

A worker claims a study in one transaction, for the time of a lease, which it renews while it works. Whoever dies loses
the study when the lease ends, at once where the death is seen on the same computer. An outcome is recorded in one
transaction, by the one who still holds the lease; nobody else's counts. So each study has one outcome.

Write-ahead logging needs memory that all processes share, so on network file systems the older rollback journal is
taken. Every shard has a file of its own: computers never write to the same one.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from KLIPCore.archive.entries import Entry
from KLIPCore.archive.owner import is_gone, own_name
from KLIPCore.errors import OutputError

OPEN, CLAIMED, DONE, FAILED = "open", "claimed", "done", "failed"

LEASE_S = 60.0
"""Seconds for which a claim holds without being renewed."""

PATIENCE_S = 60.0
"""Seconds that a process waits for another's transaction."""

SHARED_DISKS = ("nfs", "nfs4", "cifs", "smb", "smbfs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "fuse", "9p", "afs")
"""Kinds of file systems on which processes of several computers may meet."""

TABLES = """
CREATE TABLE IF NOT EXISTS study (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, line INTEGER NOT NULL, entry TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'open', owner TEXT NOT NULL DEFAULT '', until REAL NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0, seconds REAL, cells TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS by_status ON study (status, id);
CREATE TABLE IF NOT EXISTS region (study INTEGER NOT NULL, cells TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_study ON region (study);
CREATE TABLE IF NOT EXISTS duplicate (line INTEGER PRIMARY KEY, entry TEXT NOT NULL, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Claim:
    """A study that this process may work on.

    Attributes
    ----------
    id : its row.
    entry : the study.
    tries : how often it was begun, this time included.
    """

    id: int
    entry: Entry
    tries: int


@dataclass(frozen=True)
class Counts:
    """How far a state is: studies by status, and lines that name a study again."""

    open: int
    claimed: int
    done: int
    failed: int
    duplicates: int

    @property
    def total(self) -> int:
        """All studies, each once."""
        return self.open + self.claimed + self.done + self.failed

    @property
    def ended(self) -> int:
        """Those with an outcome."""
        return self.done + self.failed


class State:
    """One shard's file.

    Parameters
    ----------
    path : the file; made where it is missing.
    owner : who claims; this process when empty.
    lease_s : seconds for which a claim holds without :meth:`renew`.

    Raises
    ------
    OutputError : it cannot be made, or is no such file.
    """

    def __init__(self, path: Path, *, owner: str = "", lease_s: float = LEASE_S) -> None:
        self.path, self.owner, self.lease_s = path, owner or own_name(), lease_s
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.base = sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None)
            self.base.execute(f"PRAGMA journal_mode = {journal_mode(path)}")
            self.base.execute("PRAGMA synchronous = NORMAL")
            self.base.executescript(TABLES)

    def close(self) -> None:
        """Let go of the file."""
        self.base.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make changes all or nothing, with nobody else in between."""
        with _told(self.path):
            self.base.execute("BEGIN IMMEDIATE")
            try:
                yield self.base
            except BaseException:
                self.base.execute("ROLLBACK")
                raise
            self.base.execute("COMMIT")

    def meta(self, key: str) -> str:
        """Return a remembered text; empty where there is none."""
        with _told(self.path):
            found = self.base.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(found[0]) if found else ""

    def remember(self, key: str, value: str) -> None:
        """Keep a text by name."""
        with self.transaction() as base:
            base.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def claim(self) -> Claim | None:
        """Return the next study that nobody holds, held by this process from now on; None where there is none now."""
        now = time.time()
        with self.transaction() as base:
            self._release_the_dead(base, now)
            found = base.execute(
                "SELECT id, entry, tries FROM study WHERE status = 'open' AND until <= ? ORDER BY id LIMIT 1", (now,)
            ).fetchone()
            if found is None:
                return None
            base.execute(
                "UPDATE study SET status = 'claimed', owner = ?, until = ?, tries = tries + 1 WHERE id = ?",
                (self.owner, now + self.lease_s, found[0]),
            )
        return Claim(found[0], Entry(**json.loads(found[1])), found[2] + 1)

    def _release_the_dead(self, base: sqlite3.Connection, now: float) -> None:
        """Open again what those hold who are gone, or have not renewed their lease."""
        held = base.execute("SELECT id, owner, until FROM study WHERE status = 'claimed'").fetchall()
        lost = [(row,) for row, owner, until in held if until < now or (owner != self.owner and is_gone(owner))]
        base.executemany("UPDATE study SET status = 'open', owner = '', until = 0 WHERE id = ?", lost)

    def renew(self, claim: Claim) -> bool:
        """Hold a study for another lease; False where it is somebody else's by now."""
        return self._mine("until = ?", (time.time() + self.lease_s,), claim)

    def put_back(self, claim: Claim, wait_s: float = 0.0, *, uncounted: bool = False) -> bool:
        """Give a study back without an outcome.

        Parameters
        ----------
        claim : the study.
        wait_s : seconds for which nobody claims it.
        uncounted : whether this try shall not count.
        """
        changes = "status = 'open', owner = '', until = ?, tries = tries - ?"
        return self._mine(changes, (time.time() + wait_s, int(uncounted)), claim)

    def record(
        self, claim: Claim, status: str, seconds: float, cells: dict[str, Any], regions: list[dict[str, Any]]
    ) -> bool:
        """Record a study's outcome; False, and nothing is recorded, where the study is somebody else's by now.

        Parameters
        ----------
        claim : the study.
        status : :data:`DONE` or :data:`FAILED`.
        seconds : the time it took.
        cells : its row of the table of verdicts.
        regions : its rows of the table of regions.
        """
        with self.transaction() as base:
            if not self._mine("status = ?, seconds = ?, cells = ?", (status, seconds, _json(cells)), claim, base):
                return False
            base.execute("DELETE FROM region WHERE study = ?", (claim.id,))
            base.executemany("INSERT INTO region VALUES (?, ?)", [(claim.id, _json(row)) for row in regions])
        return True

    def _mine(
        self, changes: str, values: tuple[Any, ...], claim: Claim, base: sqlite3.Connection | None = None
    ) -> bool:
        """Change a row that this process holds."""
        where = "WHERE id = ? AND status = 'claimed' AND owner = ? AND tries = ?"
        with _told(self.path):
            done = (base or self.base).execute(
                f"UPDATE study SET {changes} {where}", (*values, claim.id, self.owner, claim.tries)
            )
        return done.rowcount == 1

    def open_failed(self) -> int:
        """Open failed studies again, and return how many."""
        with self.transaction() as base:
            return base.execute(
                "UPDATE study SET status = 'open', until = 0, tries = 0, cells = '{}' WHERE status = 'failed'"
            ).rowcount

    def counts(self) -> Counts:
        """Return how far the work is."""
        with _told(self.path):
            found = dict(self.base.execute("SELECT status, COUNT(*) FROM study GROUP BY status"))
            (again,) = self.base.execute("SELECT COUNT(*) FROM duplicate").fetchone()
        opened, claimed, done, failed = (found.get(status, 0) for status in (OPEN, CLAIMED, DONE, FAILED))
        return Counts(opened, claimed, done, failed, again)

    def next_free(self) -> float | None:
        """Return seconds until a study may become free; None where none ever will."""
        with _told(self.path):
            (until,) = self.base.execute("SELECT MIN(until) FROM study WHERE status IN ('open', 'claimed')").fetchone()
        return None if until is None else max(0.0, until - time.time())


def journal_mode(path: Path) -> str:
    """Return WAL, or DELETE where the file lies on a file system that computers share."""
    kinds = {Path(part.mountpoint): part.fstype.lower() for part in psutil.disk_partitions(all=True)}
    for folder in path.absolute().parents:
        if folder in kinds:
            return "DELETE" if kinds[folder].split(".")[0] in SHARED_DISKS else "WAL"
    return "WAL"


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """SQLite's refusals as sentences of ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise OutputError(
            f"The state of the archive, {path.name}, cannot be used ({error}).",
            "Check the folder's permissions and free space; a damaged file may be deleted: finished studies are kept.",
        ) from error
