"""The one queue: job after job in a process of its own, and what has had its time goes."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from KLIPCore.client.child import Child
from KLIPCore.client.command import detect_command, write_settings
from KLIPCore.client.detector import Request
from KLIPCore.errors import KlipError
from KLIPCore.server.jobs import DONE, FAILED, RUNNING, Job, Jobs
from KLIPCore.server.journal import note
from KLIPCore.server.refusal import Refusal, is_full

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""How often something is looked for whose time is over."""


CANNOT_START = {
    "error": "ResourceError",
    "message": "The server could not start the run.",
    "remedy": "Its log says why; run the same command again when that is mended.",
}


class Worker:
    """Runs queued jobs, one at a time: the device is one.

    Parameters
    ----------
    jobs : the server's.
    priors : weights by name.
    """

    def __init__(self, jobs: Jobs, priors: Mapping[str, Path]) -> None:
        self._jobs, self._priors = jobs, priors
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._running: tuple[Job, Child] | None = None
        self._dropped: Job | None = None
        self._thread = threading.Thread(target=self._work, name="klip-worker", daemon=True)

    def start(self) -> None:
        """Begin with what is queued."""
        self._thread.start()

    def stop(self) -> None:
        """End the run at work, which is queued again, and the worker."""
        self._ending.set()
        self._jobs.arrived.set()
        self._end_run(None)
        if self._thread.is_alive():
            self._thread.join(10)

    def drop(self, job: Job, folder: Path) -> None:
        """End a forgotten job's run with all its processes, when it is the one at work, and delete its folder."""
        if job.state == RUNNING:
            self._dropped = job
            self._end_run(job)
        shutil.rmtree(folder, ignore_errors=True)

    @property
    def child(self) -> int | None:
        """Number of the process at work, and of its group."""
        with self._lock:
            return None if self._running is None else self._running[1].pid

    def _end_run(self, job: Job | None) -> None:
        with self._lock:
            running = self._running
        if running is not None and (job is None or job is running[0]):
            running[1].stop()

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                self._clean()
                job = self._jobs.next()
                if job is None:
                    self._jobs.arrived.wait(LOOK_EVERY_S)
                    continue
                try:
                    self._run(job)
                except Exception as error:
                    if job.state == RUNNING:  # else it has ended with a sentence of its own
                        full = {name: Refusal.of_fault(error).body[name] for name in CANNOT_START}
                        self._jobs.end(job, FAILED, 0.0, full if is_full(error) else CANNOT_START)
                    raise
            except Exception as error:  # the queue outlives whatever a disk does to it
                why = f" ({error.strerror})" if isinstance(error, OSError) else ""
                log.error("The worker met %s%s and goes on.", type(error).__name__, why)
                self._ending.wait(LOOK_EVERY_S)

    def _run(self, job: Job) -> None:
        place, began = self._jobs.place(job.id), time.monotonic()
        log.info("job %s runs: %d files, %.1f MB", job.id[:12], len(job.files), job.size / 1e6)
        problem: KlipError | None = None
        settings = place / "settings.yaml"
        study = place / "study" / job.entry if job.entry else place / "study"
        request = Request(study, place / "out", {}, overwrite=True, **job.request)
        write_settings(job.config | {"prior": str(self._priors[job.config["prior"]])}, settings)
        with (place / "stderr.log").open("wb") as errors:
            child = Child(detect_command(request, settings, f"--device={self._jobs.settings.device}"), errors)
            with self._lock:
                self._running = (job, child)
            if self._ending.is_set() or job is self._dropped:
                child.stop()
            for line in child.lines():
                with suppress(OSError):  # a full disk: the run says so itself; or the job was given up
                    note(place, line)
            problem = child.ended()
            with self._lock:
                self._running = None
        self._end(job, problem, time.monotonic() - began)

    def _end(self, job: Job, problem: KlipError | None, seconds: float) -> None:
        place = self._jobs.place(job.id)
        if job is self._dropped:
            self._dropped = None
            log.info("job %s cancelled after %.1f s", job.id[:12], seconds)
        elif self._ending.is_set() and problem is not None:
            self._jobs.requeue(job)
        elif problem is None:
            self._jobs.end(job, DONE, seconds)
            log.info("job %s done in %.1f s", job.id[:12], seconds)
        else:
            here = str(place / "study")
            told = {"error": type(problem).__name__}
            told |= {"message": problem.message.replace(here, "the study")}
            told |= {"remedy": problem.remedy.replace(here, "the study")}
            self._jobs.end(job, FAILED, seconds, told)
            log.info("job %s failed after %.1f s: %s", job.id[:12], seconds, type(problem).__name__)

    def _clean(self) -> None:
        for job, whole in self._jobs.expired():
            if whole:
                shutil.rmtree(self._jobs.forget(job), ignore_errors=True)
                log.info("job %s: its time is over, all of it was deleted", job.id[:12])
            else:
                shutil.rmtree(self._jobs.place(job.id) / "study", ignore_errors=True)
                log.info("job %s: its study was deleted", job.id[:12])
