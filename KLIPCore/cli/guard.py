"""The commands guard and drift: a verdict about a study before a command runs on it, and charts of many verdicts."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from KLIPCore.errors import ConfigError


class Form(StrEnum):
    """How the verdict is written."""

    text = "text"
    json = "json"


FORM = Annotated[Form, typer.Option("--format", help="text for people, json for programs.")]


def guard(
    study: Annotated[Path, typer.Argument(help="DICOM folder, NIfTI, NRRD or MHA file in HU.", show_default=False)],
    command: Annotated[
        list[str] | None,
        typer.Argument(help="After --: what to run where the study fits, e.g. -- TotalSegmentator -i STUDY -o OUT."),
    ] = None,
    prior: Annotated[
        str | None, typer.Option(help="Shipped name, or .safetensors file, of the prior the study should fit.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="DICOM series: its UID, number or place in the listing (#2).")
    ] = None,
    organs: Annotated[
        Path | None,
        typer.Option(help="Segmentation with names of organs: each is compared with the prior's patients."),
    ] = None,
    form: FORM = Form.text,
    scanner: Annotated[
        str | None, typer.Option(help="Name of the scanner, written into the JSON for klip drift.")
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="Date of the study, such as 2026-02-03, written into the JSON for klip drift.")
    ] = None,
) -> None:
    """Say in seconds whether a study fits; run a command only where it does.

    Exit code 0: fits; 20: look first; 21: does not fit; 2: no study there. Where the command runs, its own.
    """
    from KLIPCore.runs.guard import klip_guard

    given = _for_drift(scanner, date, form)
    program = _found(command[0]) if command else ""
    found = klip_guard(study, prior, series=series, organs=organs)
    text = json.dumps(found.to_dict() | given) if form is Form.json else found.text()
    typer.echo(text, err=bool(command))  # standard output is the command's own
    if not found.fits:
        sys.exit(found.exit_code)
    if command:
        run_instead(program, command)


def drift(
    verdicts: Annotated[
        Path,
        typer.Argument(
            help="File with one verdict per line: klip guard STUDY --format json --scanner NAME --date DAY >> FILE; "
            "or verdicts.csv of klip archive run.",
            show_default=False,
        ),
    ],
    baseline: Annotated[
        int, typer.Option(min=2, help="Number of first studies of a scanner that define what is usual.")
    ] = 20,
    page: Annotated[
        Path | None, typer.Option(help="Draw the charts, too: an HTML file that fetches nothing.", show_default=False)
    ] = None,
    form: FORM = Form.text,
) -> None:
    """Chart the weeks of a scanner over an archive of verdicts: 3 sigma and CUSUM.

    Exit code 0: no alarm in a scanner's last week; 20: there is one.
    """
    from KLIPCore.runs.drift import drift_chart, drift_text, read_verdicts
    from KLIPCore.runs.guard import EXIT_CODES, LOOK_FIRST

    points = drift_chart(read_verdicts(verdicts), baseline)
    if page is not None:
        from KLIPCore.runs.drift_page import write_drift_page

        write_drift_page(points, page)
    if form is Form.json:
        typer.echo(json.dumps([asdict(point) | {"alarm": point.alarm} for point in points]))
    else:
        typer.echo(drift_text(points))
    newest = {point.scanner: point.week for point in sorted(points, key=lambda point: point.week)}
    if any(point.alarm and newest[point.scanner] == point.week for point in points):
        sys.exit(EXIT_CODES[LOOK_FIRST])


def _for_drift(scanner: str | None, date: str | None, form: Form) -> dict[str, str]:
    """What is written beside the verdict; refused where it could not be, or klip drift could not read it."""
    given = {name: value for name, value in (("scanner", scanner), ("date", date)) if value is not None}
    if given and form is not Form.json:
        raise ConfigError("--scanner and --date are written into the JSON alone.", "Add --format json.")
    try:
        datetime.date.fromisoformat(date or "2026-02-03")
    except ValueError as error:
        raise ConfigError(f"'{date}' is not a date.", "Write it as 2026-02-03.") from error
    return given


def _found(name: str) -> str:
    """The program's path; refused before the study is read where there is none."""
    program = shutil.which(name)
    if program is None:
        raise ConfigError(f"There is no program called '{name}' to run.", "Check its name and PATH.")
    return program


def run_instead(program: str, command: list[str]) -> NoReturn:
    """Let a command take this process's place: its exit code and its signals are then its own, Ctrl-C included.

    Parameters
    ----------
    program : its path.
    command : its name and arguments.

    Raises
    ------
    ConfigError : the system cannot run it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        ignored = (signal.SIGPIPE, signal.SIGXFSZ)  # by Python, and what it starts would ignore them, too
        before = [signal.signal(number, signal.SIG_DFL) for number in ignored]
        try:
            os.execv(program, command)
        except OSError as error:
            for number, handler in zip(ignored, before, strict=True):
                signal.signal(number, handler)
            raise ConfigError(
                f"The program '{command[0]}' cannot be run: {error.strerror}.",
                "A script needs a first line like #!/bin/sh.",
            ) from error
    sys.exit(_waited_for([program, *command[1:]]))  # Windows: exec would return to the shell at once


def _waited_for(command: list[str]) -> int:
    """Exit code of a child that gets every Ctrl-C itself."""
    with subprocess.Popen(command) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # the console has told the child, too
                continue
