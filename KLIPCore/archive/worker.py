"""One worker: claims a study, runs its commands, records the outcome, until nothing is left."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from KLIPCore.archive.child import Left, run_child
from KLIPCore.archive.entries import Entry
from KLIPCore.archive.jobs import Failure, Step, failure, guard_of, result_of, steps_of, unfit, vanished
from KLIPCore.archive.outcome import failure_cells, region_rows, verdict_cells
from KLIPCore.archive.plan import ArchiveFolder, Plan
from KLIPCore.archive.state import DONE, FAILED, Claim, State
from KLIPCore.errors import ResourceError
from KLIPCore.pacs.pace import QuietHours

MOST_TRIES = 3
"""Times that a study is begun which ends its process without a word, or fails for the computer's sake."""

MOST_IN_A_ROW, MOST_VANISHED = 3, 20
"""Studies in a row that may fail for the computer's sake, and paths in a row that may not be there, before the worker
stops: it is the disk, the memory or the storage then, and every further study would be told failed for nothing.
"""

LONGEST_WAIT_S = 1.0
"""Seconds between two looks for a study that others may give back."""


@dataclass
class Worker:
    """A worker's surroundings.

    Attributes
    ----------
    state : the shard's state.
    folder, plan : where the results go, and what is done.
    quiet : hours in which no PACS is asked.
    retry_s : seconds after which a study that failed for the computer's sake is tried again.
    parent : number of the process that this one must not outlive.
    """

    state: State
    folder: ArchiveFolder
    plan: Plan
    quiet: QuietHours = field(default_factory=QuietHours)
    retry_s: float = 30.0
    parent: int = field(default_factory=os.getppid)
    in_a_row: list[Failure] = field(default_factory=list)

    def work(self) -> int:
        """Take studies until none is left, and return how many got an outcome here.

        Raises
        ------
        ResourceError : several studies in a row failed for the computer's sake.
        """
        ended = 0
        while os.getppid() == self.parent:
            claim = self.state.claim()
            if claim is None:
                wait = self.state.next_free()
                if wait is None:
                    break
                time.sleep(min(max(wait, 0.05), LONGEST_WAIT_S))
                continue
            try:
                ended += self._examine(claim)
            except Left:
                self.state.put_back(claim)
            except BaseException:  # Ctrl-C: the study is free at once
                self.state.put_back(claim, uncounted=True)
                raise
        return ended

    def _examine(self, claim: Claim) -> bool:
        """Do what is left to do for a study; whether its outcome was recorded."""
        started, entry = time.monotonic(), claim.entry
        gone = vanished(entry, os.path.exists)
        if gone is not None:
            self._count(gone, MOST_VANISHED)
            return self._record(claim, FAILED, started, gone)
        wait = 0.0 if entry.path else self.quiet.wait_s()
        if wait:
            self.state.put_back(claim, min(wait, 60.0), uncounted=True)
            time.sleep(LONGEST_WAIT_S)
            return False
        log = self.folder.beside(entry.name, ".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        for step in steps_of(entry, self.folder, self.plan):
            if step.name == "detect" and unfit(entry, self.folder):
                break
            found = self._run(step, claim, log)
            if found is not None:
                return self._failed(found, claim, started)
        self.in_a_row.clear()
        log.unlink(missing_ok=True)
        self._forget_incoming(entry)
        return self._record(claim, DONE, started, None)

    def _run(self, step: Step, claim: Claim, log: Path) -> Failure | None:
        """Run one command; None where it ended well."""
        said = log if step.output is None else step.output.with_name(step.output.name + ".part")
        code = run_child(step.command, said, log, lambda: self._wanted(claim), self.state.lease_s / 4)
        if code not in step.good:
            found = failure(step, code, said)
            if said != log:
                said.unlink(missing_ok=True)
            return found
        if step.output is not None:
            said.replace(step.output)
        return None

    def _wanted(self, claim: Claim) -> bool:
        return os.getppid() == self.parent and self.state.renew(claim)

    def _failed(self, found: Failure, claim: Claim, started: float) -> bool:
        """Record a failure, or give the study back where another try may do better."""
        self._forget_incoming(claim.entry)
        if found.stopped:
            self.state.put_back(claim, 1.0, uncounted=True)
            return False
        if "at work in" in found.message:  # what a dead worker had begun is still running
            self.state.put_back(claim, self.retry_s, uncounted=True)
            return False
        if found.of_the_computer and claim.tries < MOST_TRIES:
            self.state.put_back(claim, self.retry_s)
            self._count(found, MOST_IN_A_ROW)
            return False
        if not found.of_the_computer:
            self.in_a_row.clear()
        return self._record(claim, FAILED, started, found)

    def _count(self, found: Failure, most: int) -> None:
        """Stop where studies fail one after the other for the computer's sake.

        Raises
        ------
        ResourceError : too many did; the study is free again.
        """
        self.in_a_row.append(found)
        if sum(one.error == found.error for one in self.in_a_row) >= most:
            raise ResourceError(
                f"{most} studies in a row have failed in a way that points to this computer or its storage, the last "
                f"so: {found.message}",
                f"{found.remedy} The same command then continues.".strip(),
            )

    def _record(self, claim: Claim, status: str, started: float, found: Failure | None) -> bool:
        """Write the outcome into the state."""
        guard = guard_of(claim.entry, self.folder)
        result = result_of(claim.entry, self.folder) if found is None else {}
        cells = verdict_cells(result, guard) if found is None else failure_cells(found, guard)
        rows = region_rows(result)
        return self.state.record(claim, status, time.monotonic() - started, cells | {"tries": claim.tries}, rows)

    def _forget_incoming(self, entry: Entry) -> None:
        """Remove what was fetched of a study."""
        if not entry.path:
            import shutil

            shutil.rmtree(self.folder.incoming(entry.name), ignore_errors=True)
