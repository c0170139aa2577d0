"""One archive in several jobs: each is ``klip archive run INDEX -o OUT --shard i/n`` again, wherever it runs.

Nothing is divided here but the index, and that by a hash: a job that was lost is simply run again. Slurm is reached
through submitit, which also runs jobs on this computer (``cluster=local``); Ray starts a cluster of its own on this
computer where no address is given.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from KLIPCore.archive.child import die_with_parent, end
from KLIPCore.archive.plan import ArchiveFolder, Plan
from KLIPCore.archive.runner import Rate, Tell
from KLIPCore.archive.state import Counts, State
from KLIPCore.errors import Cancelled, ConfigError, ResourceError, optional

LOOK_S = 1.0
"""Seconds between two looks at the jobs."""

Command = list[str]


def shard_commands(index: Path, out: Path, plan: Plan, count: int, words: Sequence[str]) -> list[Command]:
    """Return the command of each shard, after the settings were written where every one of them reads them.

    Parameters
    ----------
    index, out : as for one run; all computers must see them at the same path.
    plan : what is done with each study.
    count : shards.
    words : further options of each.

    Raises
    ------
    OutputError : the folder cannot be written, or holds other results.
    """
    folder = ArchiveFolder(out.absolute())
    folder.open(plan)
    given = ["--config", str(folder.config_file), "--job", plan.job, *plan.options, *words, "--progress", "none"]
    given += ["--guard"] if plan.guarded else []
    if plan.pacs:
        given += ["--pacs", plan.pacs[1], *(f"--pacs-option={word}" for word in plan.pacs[2:])]
    run = [sys.executable, "-m", "KLIPCore.cli", "archive", "run", str(index.absolute()), "-o", str(folder.path)]
    return [[*run, "--shard", f"{i}/{count}", *given] for i in range(1, count + 1)]


def run_shards(commands: list[Command], where: str, out: Path, options: Sequence[str], tell: Tell) -> None:
    """Run the shards and wait for all of them.

    Parameters
    ----------
    commands : of :func:`shard_commands`.
    where : ``here``, ``slurm`` or ``ray``.
    out : the archive's folder; jobs keep their logs in its ``jobs``.
    options : ``NAME=VALUE`` for submitit or Ray.
    tell : hears how far all shards are together.

    Raises
    ------
    ConfigError : an option is none.
    ResourceError : submitit or Ray is not installed, or a shard ended with an error.
    """
    known = _options(options)
    jobs = {"here": here, "slurm": slurm, "ray": ray}[where](commands, out / "jobs", known)
    rate: Rate | None = None
    try:
        while not jobs.ended():
            time.sleep(LOOK_S)
            counts = counts_of(ArchiveFolder(out))
            rate = rate or Rate(counts.ended)
            tell("studies", *rate.progress(counts))
    except BaseException as stop:
        jobs.stop()
        if isinstance(stop, KeyboardInterrupt):
            raise Cancelled("Stopped.", "Run the same command again to continue.") from stop
        raise
    failed = jobs.failed()
    if failed:
        raise ResourceError(
            f"{len(failed)} of {len(commands)} shards ended with an error, the first so: {failed[0]}",
            "The same command then continues with what is left.",
        )


def counts_of(folder: ArchiveFolder) -> Counts:
    """Return how far all shards of an archive are together, as far as they have begun."""
    total = [0] * 5
    for path in folder.states():
        with closing(State(path)) as state:
            found = state.counts()
        parts = (found.open, found.claimed, found.done, found.failed, found.duplicates)
        total = [a + b for a, b in zip(total, parts, strict=True)]
    return Counts(*total)


class Jobs:
    """Jobs that were begun somewhere.

    Parameters
    ----------
    jobs : of the engine.
    has_ended : says of one whether it has.
    reason : says why one failed; empty where it did not.
    cancel : ends all.
    """

    def __init__(
        self,
        jobs: Sequence[Any],
        has_ended: Callable[[Any], bool],
        reason: Callable[[Any], str],
        cancel: Callable[[], None],
    ) -> None:
        self.jobs, self.has_ended, self.reason, self.stop = jobs, has_ended, reason, cancel

    def ended(self) -> bool:
        """Return whether all have ended."""
        return all(self.has_ended(job) for job in self.jobs)

    def failed(self) -> list[str]:
        """Return the reasons of those that failed."""
        return [reason for job in self.jobs if (reason := self.reason(job))]


def here(commands: list[Command], logs: Path, options: dict[str, Any]) -> Jobs:
    """Start all shards as processes of this computer; a processes' own log is ``shard-i.log``."""
    if options:
        raise ConfigError("Options of a cluster were given, and no cluster.", "Write --on slurm or --on ray.")
    logs.mkdir(parents=True, exist_ok=True)
    started: list[tuple[subprocess.Popen[bytes], Path]] = []
    for number, command in enumerate(commands, 1):
        log = logs / f"shard-{number}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, preexec_fn=die_with_parent()
            )
        started.append((process, log))

    def reason(job: tuple[subprocess.Popen[bytes], Path]) -> str:
        return "" if job[0].returncode == 0 else last_words(job[1].read_text(encoding="utf-8", errors="replace"))

    def cancel() -> None:
        for process, _ in started:
            process.terminate()
        for process, _ in started:
            end(process)

    return Jobs(started, lambda job: job[0].poll() is not None, reason, cancel)


class Shard:
    """A shard's command as submitit and Ray call it. One that is preempted, or out of time, is queued again.

    Parameters
    ----------
    command : program and arguments.
    """

    def __init__(self, command: Command) -> None:
        self.command = command

    def __call__(self) -> str:
        """Run it; what it said where it failed, else nothing."""
        done = subprocess.run(
            self.command, stdin=subprocess.DEVNULL, capture_output=True, text=True, preexec_fn=die_with_parent()
        )
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        return "" if done.returncode == 0 else last_words(done.stderr) or f"code {done.returncode}"

    def checkpoint(self) -> Any:
        """Return what submitit submits again: the same, which continues."""
        return optional("submitit.helpers", "slurm").DelayedSubmission(self)


def slurm(commands: list[Command], logs: Path, options: dict[str, Any]) -> Jobs:
    """Submit all shards as one array of Slurm jobs; ``cluster=local`` runs them on this computer.

    submitit stores each job as a pickle in ``logs`` and unpickles it there: nobody else may be able to write to it.
    """
    submitit = optional("submitit", "slurm")
    cluster = options.pop("cluster", "slurm")
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        executor = submitit.AutoExecutor(folder=str(logs), cluster=cluster)
        executor.update_parameters(**{"name": "klip-archive", "timeout_min": 12 * 60, **options})
        with executor.batch():
            submitted = [executor.submit(Shard(command)) for command in commands]
    except (RuntimeError, ValueError, NameError, TypeError, submitit.core.utils.FailedJobError) as error:
        raise ResourceError(
            f"The shards could not be submitted: {' '.join(str(error).split())[:300]}",
            "Check --cluster-option, and that sbatch works here; cluster=local runs without Slurm.",
        ) from error

    def reason(job: Any) -> str:
        try:
            return str(job.result())
        except Exception as error:
            return " ".join(str(error).split())[-300:] or type(error).__name__

    def cancel() -> None:
        for job in submitted:
            job.cancel(check=False)

    return Jobs(submitted, lambda job: job.done(), reason, cancel)


def ray(commands: list[Command], logs: Path, options: dict[str, Any]) -> Jobs:
    """Run all shards as tasks of Ray, on the cluster at ``address``, or on this computer."""
    engine = optional("ray", "ray")
    address = options.pop("address", None)
    try:
        if not engine.is_initialized():
            engine.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises bare exceptions where a part of it does not start in time
        raise ResourceError(
            f"Ray does not start: {' '.join(str(error).split())[:300]}",
            "Check --cluster-option address=…; on a busy computer set RAY_raylet_start_wait_time_s=300.",
        ) from error
    task = engine.remote(lambda command: Shard(command)()).options(max_retries=3, **options)
    begun = [task.remote(command) for command in commands]

    def reason(job: Any) -> str:
        try:
            return str(engine.get(job))
        except Exception as error:
            return " ".join(str(error).split())[-300:] or type(error).__name__

    def cancel() -> None:
        for job in begun:
            engine.cancel(job, force=True)
        engine.shutdown()

    return Jobs(begun, lambda job: bool(engine.wait([job], timeout=0)[0]), reason, cancel)


def last_words(text: str) -> str:
    """Return the last lines that a command said, as one."""
    return " ".join(line.strip() for line in text.strip().splitlines()[-2:])


def _options(words: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` words as a dictionary, numbers as numbers."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"'{word}' is no option of a cluster.", "Write --cluster-option slurm_partition=gpu.")
        found[name] = int(value) if value.isascii() and value.isdigit() else value
    return found
