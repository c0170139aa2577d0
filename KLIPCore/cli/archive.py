"""The commands of `klip archive`: an index, a run over it, its report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from KLIPCore.cli.options import PROGRESS, BaseSettings, ProgressStyle, RunSettings, Speed, reading
from KLIPCore.cli.pacs import Security, tls_of
from KLIPCore.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from KLIPCore.archive.plan import Plan

archive_app = typer.Typer(
    no_args_is_help=True,
    help="Many studies: an index, each examined once whatever dies, tables and a page of what was found.",
)

INDEX = Annotated[
    Path,
    typer.Argument(
        help="Index by klip archive index; or a list of paths, or a .csv with a column path.", show_default=False
    ),
]
ARCHIVE = Annotated[Path, typer.Argument(help="Folder that klip archive run wrote.", show_default=False)]


class Job(StrEnum):
    """What is done with a study."""

    detect = "detect"
    guard = "guard"


class Place(StrEnum):
    """Where shards run."""

    here = "here"
    slurm = "slurm"
    ray = "ray"


@dataclass(frozen=True)
class CrewOptions:
    """Who works, and where shards run."""

    processes: Annotated[
        int, typer.Option("--studies", min=1, help="Studies examined at once.", rich_help_panel="Who works")
    ] = 1
    shard: Annotated[
        str, typer.Option(help="3/20: the third of twenty parts of the index.", rich_help_panel="Who works")
    ] = "1/1"
    quiet: Annotated[
        str, typer.Option(help="07:00-19:00: hours in which no PACS is asked.", rich_help_panel="Who works")
    ] = ""
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed studies again.", rich_help_panel="Who works")
    ] = False
    lease: Annotated[
        float,
        typer.Option(min=2, help="Seconds after which a silent worker loses its study.", rich_help_panel="Who works"),
    ] = 60.0

    on: Annotated[Place, typer.Option(help="here, slurm (by submitit) or ray.", rich_help_panel="Many computers")] = (
        Place.here
    )
    shards: Annotated[
        int,
        typer.Option(
            min=1,
            help="Split the index into so many jobs.",
            rich_help_panel="Many computers",
        ),
    ] = 1
    cluster_option: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE for submitit, e.g. slurm_partition=gpu, timeout_min=600; for ray address, num_cpus, "
            "num_gpus. May be given several times.",
            rich_help_panel="Many computers",
        ),
    ] = None


@dataclass(frozen=True)
class PlanOptions:
    """What is done with a study."""

    job: Annotated[
        Job, typer.Option(help="detect; or guard, a verdict in seconds without a network.", rich_help_panel="Job")
    ] = Job.detect
    guarded: Annotated[
        bool,
        typer.Option("--guard", help="Ask the guard first; examine what it does not refuse.", rich_help_panel="Job"),
    ] = False
    pacs: Annotated[
        str,
        typer.Option(
            help="Where studies without a path are, unless their line says so: AE@HOST:PORT or https://….",
            rich_help_panel="Job",
        ),
    ] = ""
    pacs_option: Annotated[
        list[str] | None,
        typer.Option(
            help="Further options of klip pacs fetch, e.g. --rate=20. May be given several times.",
            rich_help_panel="Job",
        ),
    ] = None


@dataclass(frozen=True)
class Query:
    """What a PACS is asked for."""

    accessions: Annotated[
        Path | None, typer.Option(help="File with an accession number or study UID a line, to be found in --pacs.")
    ] = None
    pacs: Annotated[
        list[str] | None,
        typer.Option(
            help="AE@HOST:PORT (C-FIND) or https://… (DICOMweb). May be given several times: each study is taken from "
            "the first that has it, and its line says which."
        ),
    ] = None
    aet: Annotated[str, typer.Option(help="Our AE title.")] = "KLIP"


def _check_place(out: Path) -> None:
    """Raise where an index would replace a file that is none, such as the list that it is made from."""
    if not out.is_file():
        return
    with out.open("rb") as file:
        start = file.read(1)
    if start not in (b"", b"{"):
        raise OutputError(f"{out} is there already, and is not an index.", "Choose another name with -o.")


@archive_app.command("index")
@reading
def index(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders with studies, or NIfTI, NRRD, MHA files.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The index: one study per line.")] = Path("index.jsonl"),
    every_series: Annotated[
        bool, typer.Option("--every-series", help="A line for each CT series; else the one with most images.")
    ] = False,
    least: Annotated[int, typer.Option(min=1, help="Images that a series has at least.")] = 4,
    scanner_and_date: Annotated[
        bool, typer.Option("--scanner-and-date", help="Read them from the headers, for klip drift.")
    ] = False,
    *,
    query: Query,
    security: Security,
) -> None:
    """Write an index of studies, from folders or from a PACS; an index of that name is replaced."""
    _check_place(out)
    if query.accessions is not None:
        from KLIPCore.pacs.resolve import finder, resolve, write_lines

        if folders or not query.pacs:
            raise ConfigError("A list of accession numbers needs --pacs, and no folders.", "Write both, apart.")
        finders = {address: finder(address, query.aet, tls_of(security, address)) for address in query.pacs}
        lines = resolve(query.accessions, finders)
        known = write_lines(lines, out)
        typer.echo(f"{known} of {len(lines)} studies are in the PACS. Written to {out}.")
        return
    from KLIPCore.archive.indexing import Choice, write_index

    if not folders:
        raise ConfigError("No folder was named.", "Write klip archive index FOLDER -o index.jsonl.")
    found = write_index(folders, out, Choice(every_series, least, scanner_and_date))
    typer.echo(f"{found.sentence()} Written to {out}.")


@archive_app.command("run")
@reading
def run(
    index: INDEX,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.", show_default=False)],
    base: BaseSettings,
    settings: RunSettings,
    speed: Speed,
    what: PlanOptions,
    crew: CrewOptions,
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Examine every study of an index once; the same command continues after whatever ended it."""
    from KLIPCore.archive.plan import Plan
    from KLIPCore.config import Config

    chosen = Config.load(base.config_file) if base.config_file else Config.from_preset(base.preset.value)
    config = chosen.updated(settings).with_layer()
    options = [f"--{name}={value}" for name in ("workers", "threads", "batch") if (value := getattr(speed, name))]
    pacs = ("--from", what.pacs, *(what.pacs_option or [])) if what.pacs or what.pacs_option else ()
    plan = Plan(what.job.value, what.guarded, config, tuple(options), tuple(pacs))
    if crew.on is Place.here and crew.shards == 1:
        _run_here(index, out, plan, crew, progress)
    else:
        _run_shards(index, out, plan, crew, progress)
    _tell_report(out)


def _run_here(index: Path, out: Path, plan: Plan, crew: CrewOptions, progress: ProgressStyle) -> None:
    """One shard, on this computer."""
    from KLIPCore.archive.runner import Crew, run_archive
    from KLIPCore.archive.work import parse_shard
    from KLIPCore.pacs.pace import QuietHours
    from KLIPCore.progress import show_progress

    QuietHours.parse(crew.quiet)
    who = Crew(crew.processes, parse_shard(crew.shard), crew.quiet, crew.retry_failed, crew.lease)
    with show_progress(progress.value) as tell:
        run_archive(index, out, plan, who, tell)


def _run_shards(index: Path, out: Path, plan: Plan, crew: CrewOptions, progress: ProgressStyle) -> None:
    """All shards, each a job that is this command again."""
    from KLIPCore.archive.shards import run_shards, shard_commands
    from KLIPCore.progress import show_progress

    words = [f"--studies={crew.processes}", f"--lease={crew.lease}"]
    words += [f"--quiet={crew.quiet}"] if crew.quiet else []
    words += ["--retry-failed"] if crew.retry_failed else []
    commands = shard_commands(index, out, plan, crew.shards, words)
    with show_progress(progress.value) as tell:
        run_shards(commands, crew.on.value, out, crew.cluster_option or [], tell)


@archive_app.command("report")
def report(out: ARCHIVE) -> None:
    """Write verdicts.csv, regions.csv and overview.html anew, also while a run goes on."""
    _tell_report(out)


def _tell_report(out: Path) -> None:
    """Write tables and page, and say where they are and how far the archive is."""
    from KLIPCore.archive.report import write_report

    typer.echo(write_report(out))
    typer.secho("Research software. Not a medical device.", dim=True)
