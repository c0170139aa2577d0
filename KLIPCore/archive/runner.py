"""The workers of one shard on one computer: started, started again when they die, and gone when this process is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from KLIPCore.archive.child import any_ended, die_with_parent, end
from KLIPCore.archive.entries import read_entries
from KLIPCore.archive.importing import Shard, import_index
from KLIPCore.archive.plan import ArchiveFolder, Plan
from KLIPCore.archive.state import LEASE_S, Counts, State
from KLIPCore.errors import Cancelled, OutputError, ResourceError

Tell = Callable[[str, float, str], None]
"""Hears (stage, fraction, detail)."""

TELL_S = 1.0
"""Seconds between two words about how far the workers are."""

MOST_DEATHS = 10
"""Deaths of workers in a row between which no study ended."""


@dataclass(frozen=True)
class Crew:
    """Who works.

    Attributes
    ----------
    workers : processes, each with one study at a time.
    shard : which part of the index, ``(i, n)`` counted from 1.
    quiet : hours in which no PACS is asked, ``07:00-19:00``; empty: none.
    retry_failed : whether studies that have failed are tried again.
    lease_s : seconds after which a worker on another computer that was not heard of loses its study.
    """

    workers: int = 1
    shard: Shard = (1, 1)
    quiet: str = ""
    retry_failed: bool = False
    lease_s: float = LEASE_S


def run_archive(index: Path, out: Path, plan: Plan, crew: Crew, tell: Tell) -> Counts:
    """Examine the studies of an index that have no outcome yet, and return how far the shard is then.

    Parameters
    ----------
    index : see :mod:`KLIPCore.archive.entries`.
    out : folder for the results.
    plan : what is done with each study.
    crew : who works.
    tell : hears how far it is.

    Raises
    ------
    EmptyInputError, InputError : the index cannot be read.
    OutputError : the folder cannot be written, or holds other results, or was begun in another number of shards.
    ResourceError : study after study fails for the computer's sake, or workers keep dying.
    """
    next(read_entries(index), None)  # nothing is made for an index that is none
    folder = ArchiveFolder(out)
    folder.open(plan)
    _check_shards(folder, crew.shard)
    tell("index", 0.0, f"reading {index.name}")
    with closing(State(folder.state(crew.shard))) as state:
        import_index(state, index, crew.shard)
        state.remember("stop", "")
        if crew.retry_failed:
            state.open_failed()
        _oversee(state, folder, crew, tell)
        return state.counts()


def _check_shards(folder: ArchiveFolder, shard: Shard) -> None:
    """Keep to one number of shards, in which every study has one place."""
    others = [path.name for path in folder.states() if not path.stem.endswith(f"-of-{shard[1]}")]
    if others:
        begun = others[0].removesuffix(".sqlite").rpartition("-")[2]
        raise OutputError(
            f"{folder.path} was begun in {begun} shards, not in {shard[1]}.",
            f"Write --shard i/{begun}; or remove {folder.path / 'state'}: finished studies are kept.",
        )


def _oversee(state: State, folder: ArchiveFolder, crew: Crew, tell: Tell) -> None:
    """Keep the workers going until each has found nothing left."""
    pace = Rate(state.counts().ended)
    words = (str(folder.path), f"{crew.shard[0]}/{crew.shard[1]}", "--quiet", crew.quiet, "--lease", str(crew.lease_s))
    command = (sys.executable, "-m", "KLIPCore.archive.work", *words)
    ask = die_with_parent()

    def start() -> subprocess.Popen[bytes]:  # in a session of its own: Ctrl-C is told by this process, once
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=ask, start_new_session=True)

    before = state.counts()
    wanted = min(crew.workers, max(1, before.open + before.claimed))
    working = [start() for _ in range(wanted)] if before.open + before.claimed else []
    deaths, ended_before, told = 0, before.ended, 0.0
    try:
        while working:
            any_ended(working, TELL_S)
            for place, worker in enumerate(working):
                if worker.poll() not in (None, 0):
                    _explain(state, worker.returncode)
                    ended = state.counts().ended
                    deaths = deaths + 1 if ended == ended_before else 1
                    ended_before = ended
                    if deaths > MOST_DEATHS:
                        raise ResourceError(
                            f"{deaths} workers died one after the other, the last with code {worker.returncode}.",
                            "Look for what ends them (memory?), and take fewer --workers.",
                        )
                    working[place] = start()
            working = [worker for worker in working if worker.poll() != 0]
            if time.monotonic() - told >= TELL_S or not working:
                told = time.monotonic()
                tell("studies", *pace.progress(state.counts()))
    except KeyboardInterrupt as stop:
        raise Cancelled("Stopped.", "Run the same command again to continue.") from stop
    finally:
        for worker in working:
            worker.terminate()
        for worker in working:
            end(worker)


def _explain(state: State, code: int) -> None:
    """Raise what a worker has left as its last word, if it left one."""
    said = state.meta("stop")
    if said:
        raise ResourceError(*json.loads(said))
    if code == Cancelled.exit_code:
        raise KeyboardInterrupt


class Rate:
    """How fast studies end, and when the last one will.

    Parameters
    ----------
    ended : those that had ended when the run began.
    """

    def __init__(self, ended: int) -> None:
        self.began, self.ended = time.monotonic(), ended

    def progress(self, counts: Counts) -> tuple[float, str]:
        """Return the fraction done and a line for a person."""
        here, passed = counts.ended - self.ended, time.monotonic() - self.began
        words = [f"{counts.ended} of {counts.total}"]
        if counts.failed:
            words.append(f"{counts.failed} failed")
        if here and passed > 0:
            words.append(f"{3600 * here / passed:.0f} an hour")
            words.append(f"{duration((counts.total - counts.ended) * passed / here)} left")
        return counts.ended / max(counts.total, 1), ", ".join(words)


def duration(seconds: float) -> str:
    """Return seconds as a person says them: 40 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"
