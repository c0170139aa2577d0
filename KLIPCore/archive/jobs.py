"""What is done with one study: commands of `klip`, each in a process of its own, and how each of them ends.

A study that fills the memory, hangs a codec or meets a fault of ours ends its own process and nobody else's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KLIPCore.archive.entries import Entry
from KLIPCore.archive.plan import ArchiveFolder, Plan
from KLIPCore.errors import Cancelled, EmptyInputError, OutputError, PriorError, ResourceError
from KLIPCore.volume.untrusted import json_object, read_json

KLIP = (sys.executable, "-m", "KLIPCore.cli")

OF_THE_COMPUTER = frozenset({OutputError.exit_code, ResourceError.exit_code, PriorError.exit_code})
"""Exit codes whose cause is more likely the computer than the study: disk, memory, device, weights."""

GUARD_CODES, DOES_NOT_FIT = frozenset({0, 20, 21}), "does not fit"
"""Those of :mod:`KLIPCore.runs.guard`, which a worker need not load."""

TAIL = 1 << 16
"""Bytes of a log in which a reason is looked for."""


@dataclass(frozen=True)
class Step:
    """One command of a study.

    Attributes
    ----------
    name : ``fetch``, ``guard`` or ``detect``.
    command : program and arguments.
    output : what standard output becomes where the command ends well; the log's when None.
    good : exit codes with which it ends well.
    """

    name: str
    command: tuple[str, ...]
    output: Path | None = None
    good: frozenset[int] = frozenset({0})


@dataclass(frozen=True)
class Failure:
    """Why a study has no result.

    Attributes
    ----------
    error : class of the error, e.g. ``GeometryError``; ``Died`` where a process ended without a word.
    message, remedy : its two sentences.
    code : exit code; negative for a signal.
    """

    error: str
    message: str
    remedy: str
    code: int

    @property
    def of_the_computer(self) -> bool:
        """Whether another try may well do better: the study is not to blame, or nobody knows."""
        return self.code in OF_THE_COMPUTER or self.code < 0

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped the command."""
        return self.code == Cancelled.exit_code


def steps_of(entry: Entry, folder: ArchiveFolder, plan: Plan) -> list[Step]:
    """Return the commands of a study that have not ended well yet, in their order.

    Parameters
    ----------
    entry : the study.
    folder : of the archive.
    plan : what is done.
    """
    verdict = folder.beside(entry.name, ".guard.json")
    study = entry.path or str(folder.incoming(entry.name))
    series = ("--series", entry.series) if entry.series else ()
    steps: list[Step] = []
    if (plan.job == "guard" or plan.guarded) and not verdict.is_file():
        about = [(f"--{name}", value) for name in ("scanner", "date") if (value := getattr(entry, name))]
        command = ("guard", study, "--format", "json", "--prior", plan.config.prior, *series, *sum(about, ()))
        steps.append(Step("guard", (*KLIP, *command), verdict, GUARD_CODES))
    if plan.job == "detect" and not (folder.study(entry.name) / "result.json").is_file():
        out = ("-o", str(folder.study(entry.name)), "--config", str(folder.config_file), "--progress", "json")
        steps.append(Step("detect", (*KLIP, "detect", study, *out, *plan.options, *series)))
    if steps and not entry.path:
        which = ("--study-uid", entry.study_uid) if entry.study_uid else ("--accession", entry.accession)
        part = ("--series-uid", entry.series) if entry.series else ()
        where = ("--from", entry.pacs, *plan.pacs[2:]) if entry.pacs else plan.pacs
        fetch = ("pacs", "fetch", *where, *which, *part, "--to", study, "--progress", "json")
        steps.insert(0, Step("fetch", (*KLIP, *fetch)))
    return steps


def unfit(entry: Entry, folder: ArchiveFolder) -> bool:
    """Return whether the guard has said that a study does not fit."""
    try:
        return read_json(folder.beside(entry.name, ".guard.json")).get("verdict") == DOES_NOT_FIT
    except (OSError, ValueError):
        return False


def vanished(entry: Entry, exists: Callable[[str], bool]) -> Failure | None:
    """Return the failure of a study whose path is not there.

    Parameters
    ----------
    entry : the study.
    exists : says whether a path is there, as :func:`os.path.exists` does.
    """
    if not entry.path or exists(entry.path):
        return None
    return Failure(
        EmptyInputError.__name__,
        "The study's path is not there any more.",
        "See whether it was moved or its storage is not mounted; then run again with --retry-failed.",
        EmptyInputError.exit_code,
    )


def failure(step: Step, code: int, log: Path) -> Failure:
    """Why a command has ended as it has: its own sentence, where it said one.

    Parameters
    ----------
    step : the command.
    code : its exit code; negative for a signal.
    log : what it printed.
    """
    told = _told(log) if code >= 0 else None
    if told is not None:
        return Failure(str(told["error"]), str(told["message"]), str(told.get("remedy", "")), code)
    if code < 0:
        message = f"The process of klip {step.name} was ended by signal {-code}, perhaps for lack of memory."
        return Failure("Died", message, "Run again with --retry-failed and fewer --workers.", code)
    message = f"klip {step.name} ended with code {code} and without a reason."
    return Failure("Unexplained", message, f"Its last lines are in {log.name}; please report them.", code)


def _told(log: Path) -> dict[str, Any] | None:
    """The last error among the lines of JSON in a log."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        if line.startswith("{") and '"stage"' in line:
            try:
                found = json_object(line)
            except ValueError:
                continue
            if found.get("stage") == "error" and {"error", "message"} <= set(found):
                return found
    return None


def result_of(entry: Entry, folder: ArchiveFolder) -> dict[str, Any]:
    """Return ``result.json`` of a finished study; nothing where it cannot be read."""
    try:
        return read_json(folder.study(entry.name) / "result.json")
    except (OSError, ValueError):
        return {}


def guard_of(entry: Entry, folder: ArchiveFolder) -> dict[str, Any]:
    """Return the guard's verdict of a study; nothing where there is none."""
    try:
        return read_json(folder.beside(entry.name, ".guard.json"))
    except (OSError, ValueError):
        return {}
