"""What the commands of `klip` share: options with their help texts, how they become settings, and the
closing lines.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from KLIPCore.errors import ConfigError
from KLIPCore.scores import SCORES


class Preset(StrEnum):
    """Ready-made settings."""

    quick = "quick"
    default = "default"
    full = "full"


class ProgressStyle(StrEnum):
    """How progress is told."""

    bar = "bar"
    json = "json"
    none = "none"


STUDY = Annotated[
    Path,
    typer.Argument(help="DICOM folder, NIfTI, NRRD or MHA file; or measured projections, .npz.", show_default=False),
]
OUT = Annotated[
    Path,
    typer.Option("-o", "--out", help="Folder for the results; a stopped run continues in it.", show_default=False),
]
PROGRESS = Annotated[ProgressStyle, typer.Option("--progress", help="bar for people, json lines for programs.")]
BLOCK = Annotated[
    float | None, typer.Option("--block-size", help="Edge of a block in mm.", rich_help_panel="Map and regions")
]
DEPTH = Annotated[
    float | None,
    typer.Option(
        "--block-depth",
        help="Extent of a block across slices in mm; 0 is one slice.",
        rich_help_panel="Map and regions",
    ),
]
WINDOW = Annotated[
    str | None,
    typer.Option(
        "--window", help="σ window LO:HI in intensity units, e.g. 0.08:0.32.", rich_help_panel="Map and regions"
    ),
]
FDR = Annotated[
    float | None,
    typer.Option(
        "--fdr",
        help="False-discovery rate of flagged regions; the score's own if not given.",
        rich_help_panel="Map and regions",
    ),
]
BLOCK_P = Annotated[
    float | None,
    typer.Option(
        "--block-p", help="Touching blocks below this p-value form a region.", rich_help_panel="Map and regions"
    ),
]
SCORE = Annotated[
    str | None,
    typer.Option(
        "--score",
        help=f"What counts as a departure: {', '.join(SCORES)}. The first is the default; klip is as published.",
        rich_help_panel="Map and regions",
    ),
]
NULL = Annotated[
    str | None,
    typer.Option("--null", help="study or twin: what blocks are compared with.", rich_help_panel="Map and regions"),
]
MIN_VOLUME = Annotated[
    float | None, typer.Option("--min-volume", help="Smallest region in mm³.", rich_help_panel="Map and regions")
]
ROI = Annotated[
    str | None,
    typer.Option("--roi", help="Only this box: x0:x1,y0:y1,z0:z1 in LPS mm.", rich_help_panel="What to examine"),
]


def window_of(text: str | None) -> tuple[float, float] | None:
    """``LO:HI`` of ``--window`` as a σ interval (intensity units); None where the option was not given.

    Raises
    ------
    ConfigError : it is no pair of numbers.
    """
    return interval(text, "σ window", "--window LO:HI, e.g. 0.08:0.32")


def interval(text: str | None, what: str, form: str) -> tuple[float, float] | None:
    """``LO:HI`` as two numbers; None where there is no text.

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
        raise ConfigError(f"'{text}' is no {what}.", f"Write {form}.") from error
    return lo, hi


def given(**values: Any) -> dict[str, Any]:
    """Only the options that were given."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value is not None
    }


def region_options(
    block_size: float | None,
    block_depth: float | None,
    window: str | None,
    fdr: float | None,
    block_p: float | None,
    score: str | None,
    null: str | None,
    min_volume: float | None,
) -> dict[str, Any]:
    """The options of map and regions by the names of :class:`KLIPCore.config.RegionConfig`'s fields, those
    only that were given (mm, mm³).

    Raises
    ------
    ConfigError : the window is no pair of numbers.
    """
    return given(
        block_mm=block_size,
        depth_mm=block_depth,
        window=window_of(window),
        fdr=fdr,
        forming_p=block_p,
        score=score,
        null=null,
        min_volume_mm3=min_volume,
    )


def tell_result(table: str, warnings: list[str], out: Path, style: ProgressStyle) -> None:
    """The closing lines: for programs one JSON line, for people the table and where to look."""
    if style is ProgressStyle.json:
        typer.echo(json.dumps({"stage": "result", "fraction": 1.0, "eta_s": 0.0, "detail": str(out / "result.json")}))
        return
    for warning in warnings:
        typer.secho(f"Note: {warning}", fg="yellow", err=True)
    typer.echo(table)
    page = out / "report.html"
    typer.echo(f"\nResults in {out}" + (f"; open {page}" if page.is_file() else ""))
    typer.secho("Research software. Not a medical device.", dim=True)
