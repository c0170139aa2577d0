"""What the commands of `klip` share: each option once, how options become objects, and the closing lines.

A command takes objects, not thirty words. :func:`reading` shows Typer a command whose parameters are single options,
and calls the function with what they make together:

- a parameter whose type is a dataclass of options gets one of these (:class:`Examine`, :class:`Speed`);
- a parameter of type :data:`RunSettings` or :data:`RegionSettings` gets the settings that were given, by section and
  name. Their options are not written here: flag, help, range and default are those of :mod:`KLIPCore.settings`.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from KLIPCore.config import PRESET_CHANGES, SECTIONS, Config, preset_values
from KLIPCore.declare import Setting, settings_of, shown
from KLIPCore.errors import ConfigError

Preset = StrEnum("Preset", list(PRESET_CHANGES))  # type: ignore[misc]
"""Ready-made settings."""


class ProgressStyle(StrEnum):
    """How progress is told."""

    bar = "bar"
    json = "json"
    none = "none"


STUDY = Annotated[
    Path,
    typer.Argument(help="DICOM folder, NIfTI, NRRD or MHA file; or measured projections, .npz.", show_default=False),
]
RUN = Annotated[Path, typer.Argument(help="Folder that klip detect wrote.", show_default=False)]
OUT = Annotated[
    Path,
    typer.Option("-o", "--out", help="Folder for the results; a stopped run continues in it.", show_default=False),
]
DATA = Annotated[
    Path, typer.Option("--data", help="Folder below which the configuration's files lie.", show_default=False)
]
DEVICE = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]
PROGRESS = Annotated[ProgressStyle, typer.Option("--progress", help="bar for people, json lines for programs.")]
ROI = Annotated[
    str | None,
    typer.Option("--roi", help="Only this box: x0:x1,y0:y1,z0:z1 in LPS mm.", rich_help_panel="What to examine"),
]

WITHIN = Annotated[
    str | None,
    typer.Option(
        "--within",
        help="Look within an organ alone (liver, spleen, …), or a segmentation: FILE or FILE:LABEL (name or number), "
        "of NIfTI, .seg.nrrd, NRRD, MetaImage or DICOM SEG. Acts on a finished run as well.",
        rich_help_panel="What to examine",
    ),
]

PANELS = {"measurement": "Simulated scan", "sampling": "Sampling", "regions": "Map and regions"}
"""Headings of the help, by section."""


@dataclass(frozen=True)
class BaseSettings:
    """What the settings that are given as options change."""

    preset: Annotated[Preset, typer.Option(help=settings_of(Config)["preset"].help)] = Preset["default"]
    config_file: Annotated[
        Path | None, typer.Option("--config", help="YAML file of settings; options given here win.")
    ] = None


@dataclass(frozen=True)
class Examine:
    """Which part of a study is examined."""

    series: Annotated[
        str | None,
        typer.Option(
            help="DICOM series: its UID, number (4; 4/2 is acquisition 2 of it) or place in the listing (#2).",
            rich_help_panel="What to examine",
        ),
    ] = None
    slices: Annotated[
        str | None,
        typer.Option(help="Python-style range, counted from the feet: 12:17.", rich_help_panel="What to examine"),
    ] = None
    roi: ROI = None
    within: WITHIN = None


@dataclass(frozen=True)
class Speed:
    """How the work is dealt out."""

    workers: Annotated[
        int | None,
        typer.Option(help="Slices worked on at once by each device; measured for long runs.", rich_help_panel="Speed"),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of each worker; the same bits for the same number.", rich_help_panel="Speed"),
    ] = None
    batch: Annotated[
        int | None, typer.Option(help="Images that go through the network at once.", rich_help_panel="Speed")
    ] = None


@dataclass(frozen=True)
class Place:
    """Where the work is done."""

    server: Annotated[
        str | None,
        typer.Option(
            help="Let a klip serve do the work: https://HOST:PORT. Its token comes from KLIP_TOKEN or --token-file.",
            rich_help_panel="Where",
        ),
    ] = None
    token_file: Annotated[Path | None, typer.Option(help="File with the server's token.", rich_help_panel="Where")] = (
        None
    )
    server_ca: Annotated[
        Path | None,
        typer.Option(help="Certificate to trust, PEM: the server's own where it made one.", rich_help_panel="Where"),
    ] = None


@dataclass(frozen=True)
class Telling:
    """What happens to an old run, and how progress is told."""

    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run with other settings in OUT.")] = False
    progress: PROGRESS = ProgressStyle.bar


class SettingOptions:
    """Options of the command line for the declared settings of some sections.

    Parameters
    ----------
    sections : names in :data:`KLIPCore.config.SECTIONS`; an empty one is the configuration itself. Or a section
        of its own, which is no part of a run's configuration.
    defaults : whether the help says what holds where nothing is given; False where that is what a run has.
    """

    def __init__(self, *sections: str | type, defaults: bool = True) -> None:
        self.defaults = defaults
        self.settings = {
            known.name: (section if isinstance(section, str) else "", known)
            for section in sections
            for known in settings_of(SECTIONS.get(section, Config) if isinstance(section, str) else section).values()
            if known.option
        }

    def parameters(self) -> list[inspect.Parameter]:
        """Return a keyword per setting, as Typer reads them."""
        made = []
        for name, (section, known) in self.settings.items():
            text = help_of(section, known, defaults=self.defaults)
            option = typer.Option(known.option, help=text, rich_help_panel=PANELS.get(section), show_default=False)
            made.append(_keyword(name, Annotated[_typed(known), option], None))  # type: ignore[valid-type]
        return made

    def gather(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the settings that were given, as :meth:`KLIPCore.config.Config.updated` takes them.

        Raises
        ------
        ConfigError : an interval is no pair of numbers.
        """
        changes: dict[str, Any] = {section: {} for section, _ in self.settings.values() if section}
        for name, value in given.items():
            section, known = self.settings[name]
            if value is not None:
                (changes[section] if section else changes)[name] = _value(known, value)
        return changes


RunSettings = Annotated[dict[str, Any], SettingOptions("", "measurement", "sampling", "regions")]
"""Settings of a run, given as options."""

RegionSettings = Annotated[dict[str, Any], SettingOptions("regions", defaults=False)]
"""Settings of map and regions, given as options that change a finished run."""


def reading(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with single options for parameters, where it takes objects made of several."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    groups = {p.name: group for p in own if (group := _group(p.annotation)) is not None}
    single = {name: group.parameters() for name, group in groups.items()}
    shown_to_typer = [q for p in own for q in single.get(p.name, [p.replace(kind=inspect.Parameter.KEYWORD_ONLY)])]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group.gather({p.name: given.pop(p.name) for p in single[name]}) for name, group in groups.items()
        }
        command(**given, **made)

    run.__signature__ = inspect.Signature(shown_to_typer)  # type: ignore[attr-defined]
    return run


def help_of(section: str, known: Setting, *, defaults: bool = True) -> str:
    """Return what the command line says of a setting: what it is, its range, and its default in each preset."""
    default = f"default {known.default_text}" if defaults else ""
    if defaults:
        default += "".join(
            f", {shown(value)} in preset {preset}" for preset, value in preset_values(section, known).items()
        )
    remark = "; ".join(part for part in (known.range_text or known.unit, default) if part)
    return f"{known.help.removesuffix('.')} ({remark})." if remark else known.help


def given_options(*groups: Any) -> list[str]:
    """Return the flags of those options of some dataclasses that were given."""
    return [f"--{f.name}" for group in groups for f in fields(group) if getattr(group, f.name) != f.default]


def simulation_options(changes: dict[str, Any]) -> list[str]:
    """Return the flags of the given settings that only a simulated scan has."""
    known = settings_of(SECTIONS["measurement"])
    return [known[name].option for name in changes["measurement"] if known[name].simulated]


def interval(text: str | None, what: str, form: str) -> tuple[float, float] | None:
    """Return ``LO:HI`` as two numbers; None where there is no text.

    Parameters
    ----------
    text : what was written.
    what, form : what it should be and how to write it, for the message.

    Raises
    ------
    ConfigError : it is no pair of numbers.
    """
    if text is None:
        return None
    try:
        lo, hi = (float(bound) for bound in text.split(":"))
    except ValueError as error:
        raise ConfigError(f"'{text}' is not {what}.", f"Write {form}.") from error
    return lo, hi


def tell_result(table: str, warnings: list[str], out: Path, style: ProgressStyle) -> None:
    """Print the closing lines: one JSON line for programs, the table and where to look for people."""
    if style is ProgressStyle.json:
        typer.echo(json.dumps({"stage": "result", "fraction": 1.0, "eta_s": 0.0, "detail": str(out / "result.json")}))
        return
    for warning in warnings:
        typer.secho(f"Note: {warning}", fg="yellow", err=True)
    typer.echo(table)
    page = out / "report.html"
    typer.echo(f"\nResults in {out}" + (f"; open {page}" if page.is_file() else ""))
    typer.secho("Research software. Not a medical device.", dim=True)


class _DataclassOptions:
    """Options of the command line for the fields of a dataclass."""

    def __init__(self, kind: type) -> None:
        self.gather: Callable[[dict[str, Any]], Any] = lambda given: kind(**given)
        self.kind = kind

    def parameters(self) -> list[inspect.Parameter]:
        """Return a keyword per field, as Typer reads them."""
        hints = get_type_hints(self.kind, include_extras=True)
        return [
            _keyword(f.name, hints[f.name], inspect.Parameter.empty if f.default is MISSING else f.default)
            for f in fields(self.kind)
        ]


def _group(annotation: Any) -> Any:
    """What reads a parameter that several options make together; None of a single one."""
    if is_dataclass(annotation) and isinstance(annotation, type):
        return _DataclassOptions(annotation)
    extra = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((found for found in extra if isinstance(found, SettingOptions)), None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _typed(known: Setting) -> Any:
    """What Typer reads a setting as: numbers as such, words and intervals as text that the declaration checks."""
    return next((kind for kind in (int, float) if kind in (known.kind, *get_args(known.kind))), str) | None


def _value(known: Setting, value: Any) -> Any:
    """An option's value as a configuration holds it."""
    lo_hi = known.instance
    if isinstance(lo_hi, tuple) and isinstance(value, str):
        return list(interval(value, known.title, f"{known.option} LO:HI, e.g. {lo_hi[0]:g}:{lo_hi[1]:g}") or ())
    return value
