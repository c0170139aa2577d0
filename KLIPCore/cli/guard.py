"""The command guard: a verdict about a study, and a command that is run only where the study fits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from enum import StrEnum
from typing import Annotated, NoReturn

import typer

from KLIPCore.cli.options import STUDY
from KLIPCore.errors import ConfigError


class Form(StrEnum):
    """How the verdict is written."""

    text = "text"
    json = "json"


def guard(
    study: STUDY,
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
    form: Annotated[Form, typer.Option("--format", help="text for people, json for programs.")] = Form.text,
) -> None:
    """Say in seconds whether a study fits; run a command only where it does.

    Exit code 0: fits; 20: look first; 21: does not fit; 2: no study there. Where the command runs, its own.
    """
    from KLIPCore.runs.guard import klip_guard

    program = _found(command[0]) if command else ""
    found = klip_guard(study, prior, series=series)
    text = json.dumps(found.to_dict()) if form is Form.json else found.text()
    typer.echo(text, err=bool(command))  # standard output is the command's own
    if not found.fits:
        sys.exit(found.exit_code)
    if command:
        run_instead(program, command)


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
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execv(program, command)
    sys.exit(_waited_for([program, *command[1:]]))  # Windows: exec would return to the shell at once


def _waited_for(command: list[str]) -> int:
    """Exit code of a child that gets every Ctrl-C itself."""
    with subprocess.Popen(command) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # the console has told the child, too
                continue
