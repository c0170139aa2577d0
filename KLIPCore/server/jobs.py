"""Jobs as they lie on the disk, and the rules by which they change.

::

    FOLDER/jobs/<id>/
      job.json          state, files to come, settings, who wants it
      study/            files that have arrived; NAME.part while they do
      settings.yaml     of the run
      out/              the run folder (KLIPCore.runs.folder)
      events.jsonl      what happened, a line an event

Every change of a job is written beside its place and renamed. What a restarted server finds is therefore a job in one
of its states, and one that was running is queued again: the run folder keeps its finished slices.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from KLIPCore.server.claim import Wanted
from KLIPCore.server.refusal import Refusal
from KLIPCore.server.settings import ServerSettings

log = logging.getLogger(__name__)

ARRIVING, QUEUED, RUNNING, DONE, FAILED = "arriving", "queued", "running", "done", "failed"
OPEN = (ARRIVING, QUEUED, RUNNING)

GONE = ".gone-"
"""What a folder's name begins with while it is deleted."""


@dataclass
class Job:
    """One study with one set of settings.

    Attributes
    ----------
    id : hash of both.
    state : arriving, queued, running, done or failed.
    files : (name, size, sha256) of each file.
    entry : name of the file that stands for the study; None where the folder does.
    request : series, slices, roi.
    config : complete settings.
    holders : clients that want it.
    changed, queued : seconds since 1970 of the last change of state or arrival of bytes, and of the queue.
    seconds : that the run took.
    error : of a failed one, as the client raises it.
    """

    id: str
    state: str
    files: list[list[Any]]
    entry: str | None
    request: dict[str, str | None]
    config: dict[str, Any]
    holders: list[str] = field(default_factory=list)
    changed: float = 0.0
    queued: float = 0.0
    seconds: float = 0.0
    error: dict[str, str] | None = None

    @property
    def size(self) -> int:
        """Bytes of its study."""
        return sum(int(file[1]) for file in self.files)


def no_such_job() -> Refusal:
    """Return the answer about a job that is not there, or not there any more."""
    return Refusal(
        404,
        "The server has no such job (any more).",
        "Run the same command again: the study is then sent again.",
        lasting=True,
    )


class Jobs:
    """All jobs of a server; every method may be called from any thread.

    Parameters
    ----------
    settings : folder and limits.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.folder = Path(settings.folder) / "jobs"
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.lock = threading.RLock()
        self.arrived = threading.Event()
        """Set when a job has been queued."""
        self._jobs: dict[str, Job] = {}
        self._waited_for: dict[str, set[str]] = {}
        for path in self.folder.glob(f"{GONE}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in sorted(self.folder.iterdir()):
            self._take_up(path / "job.json")

    def _take_up(self, path: Path) -> None:
        """Read a job of an earlier life of this server."""
        try:
            job = Job(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            shutil.rmtree(path.parent, ignore_errors=True)  # of another version, or damaged: its client claims it anew
            return
        self._jobs[job.id] = job
        if job.state == RUNNING:
            self._change(job, QUEUED)
        if job.state == QUEUED:
            self.arrived.set()

    def place(self, job: str) -> Path:
        """Folder of a job."""
        return self.folder / job

    def get(self, job: str) -> Job:
        """Return a job.

        Raises
        ------
        Refusal : there is none of that name.
        """
        with self.lock:
            found = self._jobs.get(job)
        if found is None:
            raise no_such_job()
        return found

    def has(self, job: Job) -> bool:
        """Return whether a job is still one of the server's: not given up, not over, not made anew since."""
        with self.lock:
            return self._jobs.get(job.id) is job

    def claim(self, wanted: Wanted) -> tuple[Job, bool]:
        """Return the job of a claim, made when it is new; and whether it is.

        Raises
        ------
        Refusal : the server is full, or its disk is.
        """
        claim = wanted.claim
        with self.lock:
            job = self._jobs.get(wanted.job)
            new = job is None
            if job is None or job.state == FAILED:
                self._check_room(wanted)
            if job is None:
                job = Job(
                    id=wanted.job,
                    state=ARRIVING,
                    files=[[file.name, file.size, file.sha256] for file in claim.files],
                    entry=claim.entry,
                    request={"series": claim.series, "slices": claim.slices, "roi": claim.roi},
                    config=wanted.config.to_dict(),
                    changed=time.time(),  # or its time would be over before its first bytes are here
                )
                (self.place(job.id) / "study").mkdir(parents=True, exist_ok=True, mode=0o700)
                self._jobs[job.id] = job
            try:
                self._want(job, claim.holder)
            except OSError:
                if new:  # a job without its file would be nobody's after a restart, and its study never deleted
                    shutil.rmtree(self.forget(job), ignore_errors=True)
                raise
            return job, new

    def _want(self, job: Job, holder: str) -> None:
        """Note who wants a job; one that has failed begins anew."""
        if holder not in job.holders:
            job.holders.append(holder)
        if job.state == ARRIVING:
            self.touch(job)
        if job.state == FAILED:
            job.error = None
            self._waited_for.pop(job.id, None)  # its study may have been deleted since
            (self.place(job.id) / "events.jsonl").unlink(missing_ok=True)  # of the run that failed
            self._change(job, ARRIVING)
        else:
            self._write(job)
        self.look(job)

    def _check_room(self, wanted: Wanted) -> None:
        active = [job for job in self._jobs.values() if job.state in OPEN]
        if len(active) >= self.settings.max_jobs:
            raise Refusal(
                503,
                f"The server is full: {len(active)} jobs wait or run.",
                "Run the same command again in some minutes.",
                lasting=True,
            )
        promised = sum(job.size - self._received(job) for job in active if job.state == ARRIVING)
        free = shutil.disk_usage(self.folder).free - promised
        if free < wanted.claim.size + self.settings.min_free_gb * 1e9:
            raise Refusal(
                507,
                "The server's disk has no space for this study.",
                "Tell its administrator, or run the same command again when other jobs have ended.",
                lasting=True,
            )

    def _received(self, job: Job) -> int:
        return job.size - sum(file[1] - self.offset(job, file[0]) for file in job.files)

    def offset(self, job: Job, name: str) -> int:
        """Bytes of a file that have arrived; all of them only when its hash was right."""
        whole = self.place(job.id) / "study" / name
        for path in (whole, whole.with_name(name + ".part")):
            try:
                return path.stat().st_size
            except FileNotFoundError:
                continue
        return 0

    def missing(self, job: Job) -> dict[str, int]:
        """Return what has arrived of the files that are not whole, by name; nothing once the study is not needed."""
        if job.state != ARRIVING:
            return {}
        with self.lock:
            return {name: self.offset(job, name) for name in sorted(self._waits(job))}

    def _waits(self, job: Job) -> set[str]:
        """Names of the files that are not whole; looked up on the disk once."""
        if job.id not in self._waited_for:
            study = self.place(job.id) / "study"
            self._waited_for[job.id] = {file[0] for file in job.files if not (study / file[0]).is_file()}
        return self._waited_for[job.id]

    def look(self, job: Job, arrived: str | None = None) -> None:
        """Queue a job whose study is there, perhaps with a file that has just become whole."""
        with self.lock:
            if not self.has(job):
                return  # it was given up meanwhile: nothing of it is written again
            if arrived is not None:
                self._waits(job).discard(arrived)
            if job.state == ARRIVING and not self._waits(job):
                job.queued = time.time()
                self._change(job, QUEUED)
                self.arrived.set()

    def next(self) -> Job | None:
        """Return the job that has waited longest, as running; None when none waits."""
        with self.lock:
            waiting = sorted((job for job in self._jobs.values() if job.state == QUEUED), key=lambda job: job.queued)
            if not waiting:
                self.arrived.clear()
                return None
            self._change(waiting[0], RUNNING)
            return waiting[0]

    def ahead(self, job: Job) -> int:
        """Number of jobs that run before this one."""
        with self.lock:
            return sum(
                other.state == RUNNING or (other.state == QUEUED and other.queued < job.queued)
                for other in self._jobs.values()
                if other is not job
            )

    def end(self, job: Job, state: str, seconds: float, error: dict[str, str] | None = None) -> None:
        """Note how a run ended."""
        with self.lock:
            if self.has(job):
                job.seconds, job.error = seconds, error
                try:
                    self._change(job, state)
                except OSError as fault:  # its client hears the end all the same; a restarted server runs it again
                    job.state = state
                    log.error("job %s: its end cannot be written (%s)", job.id[:12], fault.strerror)

    def requeue(self, job: Job) -> None:
        """Put back a job whose run was stopped by the server's own end."""
        with self.lock, suppress(OSError):  # a job that is noted as running is queued by the next start, too
            if self.has(job):
                self._change(job, QUEUED)

    def touch(self, job: Job) -> None:
        """Note that bytes have come."""
        job.changed = time.time()

    def release(self, job: str, holder: str) -> tuple[Job, Path | None]:
        """Take a client's wish for a job back; returns the job, and its folder to delete when nobody wants it."""
        with self.lock:
            found = self.get(job)
            if holder in found.holders:
                found.holders.remove(holder)
            if found.holders:
                self._write(found)
                return found, None
            return found, self.forget(found)

    def forget(self, job: Job) -> Path:
        """Drop a job from the list; returns its folder, under another name: the same study may come again at once."""
        with self.lock:
            self._jobs.pop(job.id, None)
            self._waited_for.pop(job.id, None)
            gone = self.folder / f"{GONE}{job.id}-{time.time_ns()}"
            with suppress(OSError):
                self.place(job.id).rename(gone)
            return gone

    def expired(self) -> Iterator[tuple[Job, bool]]:
        """Yield jobs whose time is over, and whether all of them goes or the study alone."""
        now, uploads, results = time.time(), self.settings.keep_uploads_h * 3600, self.settings.keep_results_h * 3600
        with self.lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            age = now - job.changed
            if (job.state == ARRIVING and age > uploads) or (job.state in (DONE, FAILED) and age > results):
                yield job, True
            elif job.state in (DONE, FAILED) and age > uploads and (self.place(job.id) / "study").is_dir():
                yield job, False

    def _change(self, job: Job, state: str) -> None:
        before = job.state, job.changed
        job.state, job.changed = state, time.time()
        try:
            self._write(job)
        except OSError:
            job.state, job.changed = before  # not queued without a note, nor running while nobody runs it
            raise

    def _write(self, job: Job) -> None:
        part = self.place(job.id) / "job.json.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as stream:
            json.dump(asdict(job), stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(part.with_suffix(""))
