"""The command `klip`: every job of the library from a shell, for people and for programs.

Each command is a thin reading of its options; the work is in the modules they name. Errors of the input print what is wrong
and what to do, and exit with the class's code (:mod:`KLIPCore.errors`); Ctrl-C and SIGTERM leave a run that can be continued.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from KLIPCore import __version__
from KLIPCore.errors import Cancelled, ConfigError, KlipError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Where does a CT depart from healthy anatomy? KL maps in nats from diffusion priors.\n\n"
    "[bold]klip detect STUDY -o OUT[/bold] is the main job; [bold]klip demo[/bold] shows it on a synthetic patient.\n\n"
    "[dim]Research software. Not a medical device.[/dim]",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"klip {__version__}")
        raise typer.Exit


@app.callback()
def _common(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")] = False) -> None:
    pass  # its option does the work; the help text is the app's


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


STUDY = Annotated[Path, typer.Argument(help="DICOM folder, NIfTI, NRRD or MHA file.", show_default=False)]
OUT = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results; a stopped run continues in it.", show_default=False)]
PROGRESS = Annotated[ProgressStyle, typer.Option("--progress", help="bar for people, json lines for programs.")]
BLOCK = Annotated[float | None, typer.Option("--block-size", help="Edge of a block in mm.", rich_help_panel="Map and regions")]
DEPTH = Annotated[float | None, typer.Option("--block-depth", help="Extent of a block across slices in mm; 0 is one slice.", rich_help_panel="Map and regions")]
WINDOW = Annotated[str | None, typer.Option("--window", help="σ window LO:HI in intensity units, e.g. 0.08:0.32.", rich_help_panel="Map and regions")]
FDR = Annotated[float | None, typer.Option("--fdr", help="False-discovery rate of flagged regions.", rich_help_panel="Map and regions")]
BLOCK_P = Annotated[float | None, typer.Option("--block-p", help="Touching blocks below this p-value form a region.", rich_help_panel="Map and regions")]
SCORE = Annotated[
    str | None, typer.Option("--score", help="darker, brighter, surprise (both), klip (as published), nats or one-shot.", rich_help_panel="Map and regions")
]
NULL = Annotated[str | None, typer.Option("--null", help="study or twin: what blocks are compared with.", rich_help_panel="Map and regions")]
MIN_VOLUME = Annotated[float | None, typer.Option("--min-volume", help="Smallest region in mm³.", rich_help_panel="Map and regions")]
ROI = Annotated[str | None, typer.Option("--roi", help="Only this box: x0:x1,y0:y1,z0:z1 in LPS mm.", rich_help_panel="What to examine")]


def _window(text: str | None) -> tuple[float, float] | None:
    return _interval(text, "σ window", "--window LO:HI, e.g. 0.08:0.32")


def _interval(text: str | None, what: str, form: str) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        lo, hi = (float(bound) for bound in text.split(":"))
    except ValueError as error:
        raise ConfigError(f"'{text}' is no {what}.", f"Write {form}.") from error
    return lo, hi


def _given(**values: Any) -> dict[str, Any]:
    """Only the options that were given."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value is not None}


@app.command()
def detect(
    study: STUDY,
    out: OUT,
    preset: Annotated[Preset, typer.Option(help="How much work a slice gets.")] = Preset.default,
    config_file: Annotated[Path | None, typer.Option("--config", help="YAML file of settings; options given here win.")] = None,
    series: Annotated[str | None, typer.Option(help="DICOM series: its UID, number or place in the listing.", rich_help_panel="What to examine")] = None,
    slices: Annotated[str | None, typer.Option(help="Python-style range, counted from the feet: 12:17.", rich_help_panel="What to examine")] = None,
    roi: ROI = None,
    prior: Annotated[str | None, typer.Option(help="Shipped prior's name, or a .safetensors file with its card beside it.")] = None,
    geometry: Annotated[str | None, typer.Option(help="parallel or fan.", rich_help_panel="Simulated scan")] = None,
    views: Annotated[int | None, typer.Option(help="Number of projections.", rich_help_panel="Simulated scan")] = None,
    arc: Annotated[float | None, typer.Option(help="Arc in degrees; less than 180 is a limited-angle scan.", rich_help_panel="Simulated scan")] = None,
    noise: Annotated[float | None, typer.Option(help="Gaussian noise, as a fraction of a body's line integral.", rich_help_panel="Simulated scan")] = None,
    dose: Annotated[float | None, typer.Option(help="Photons a ray for Poisson noise instead, e.g. 1e5.", rich_help_panel="Simulated scan")] = None,
    samples: Annotated[int | None, typer.Option(help="Posterior samples a slice.", rich_help_panel="Sampling")] = None,
    steps: Annotated[int | None, typer.Option(help="Noise levels of the chain.", rich_help_panel="Sampling")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", rich_help_panel="Sampling")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.", rich_help_panel="Sampling")] = None,
    block_size: BLOCK = None,
    block_depth: DEPTH = None,
    window: WINDOW = None,
    fdr: FDR = None,
    block_p: BLOCK_P = None,
    score: SCORE = None,
    null: NULL = None,
    min_volume: MIN_VOLUME = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run with other settings in OUT.")] = False,
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Map where a CT study departs from the prior, flag regions, write a report."""
    from KLIPCore.config import PRESETS, Config
    from KLIPCore.pipeline import detect as run_detect
    from KLIPCore.progress import show_progress
    from KLIPCore.selection import parse_box

    base = Config.load(config_file) if config_file else PRESETS[preset.value]
    changes: dict[str, Any] = _given(prior=prior, device=device)
    changes["measurement"] = _given(geometry=geometry, n_views=views, arc_deg=arc, noise=noise, photons=dose)
    changes["sampling"] = _given(n_samples=samples, n_steps=steps, seed=seed)
    changes["regions"] = _region_options(block_size, block_depth, window, fdr, block_p, score, null, min_volume)
    config = base.updated(changes)
    layer = config.regions.chosen.layer
    if layer not in config.record.layers:
        config = config.updated({"record": {"layers": [*config.record.layers, layer]}})
    with show_progress(progress.value) as tell:
        found = run_detect(study, out, config, series=series, slices=slices, roi=parse_box(roi), overwrite=overwrite, progress=tell)
    _tell_result(found.report.text_table(), list(found.report.warnings), out, progress)


@app.command()
def regions(
    out: Annotated[Path, typer.Argument(help="Folder that klip detect wrote.", show_default=False)],
    block_size: BLOCK = None,
    block_depth: DEPTH = None,
    window: WINDOW = None,
    fdr: FDR = None,
    block_p: BLOCK_P = None,
    score: SCORE = None,
    null: NULL = None,
    min_volume: MIN_VOLUME = None,
    roi: ROI = None,
    study: Annotated[Path | None, typer.Option(help="Where the study is now, if it has moved.")] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html and the DICOM SEG again too; takes some seconds.")] = False,
    progress: PROGRESS = ProgressStyle.none,
) -> None:
    """Map and regions again from the trace, with other settings and without sampling. Removes the report of the old regions; --report makes a new one."""
    from KLIPCore.config import Config
    from KLIPCore.io.results import RunFolder
    from KLIPCore.mapping import redo_regions
    from KLIPCore.progress import show_progress
    from KLIPCore.selection import parse_box

    base = Config.from_dict(RunFolder(out).run()["config"])
    config = base.updated({"regions": _region_options(block_size, block_depth, window, fdr, block_p, score, null, min_volume)})
    with show_progress(progress.value) as tell:
        found = redo_regions(out, config.regions, study=study, roi=parse_box(roi), report=report, progress=tell)
    _tell_result(found.report.text_table(), list(found.report.warnings), out, progress)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="Folder that klip detect wrote.", show_default=False)],
    folder: Annotated[Path, typer.Option("--to", help="Folder for the exported files.", show_default=False)],
    formats: Annotated[str, typer.Option(help="Comma-separated: nifti, nrrd (labels), stl, obj, vtp (surfaces).")] = "nifti,stl",
) -> None:
    """Write the regions of a finished run in other formats."""
    from KLIPCore.commands import export_regions

    for path in export_regions(out, folder, [kind.strip() for kind in formats.split(",") if kind.strip()]):
        typer.echo(str(path))


@app.command()
def reconstruct(
    sinogram: Annotated[Path, typer.Argument(help="Sinogram .npz with its geometry; or a folder of HTC 2022 discs for a table.", show_default=False)],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Image to write: NRRD, NIfTI or MHA.")] = None,
    method: Annotated[str, typer.Option(help="fbp, cg or tv; for a folder several, comma-separated.")] = "fbp",
    views: Annotated[str | None, typer.Option(help="Evenly spread views to keep; for a folder several, comma-separated.")] = None,
    size: Annotated[int, typer.Option(help="Image side in pixels.")] = 512,
    pixel: Annotated[float | None, typer.Option(help="Pixel edge in mm; fitted to the field of view when not given.")] = None,
) -> None:
    """Reconstruct measured projections: filtered back-projection, conjugate gradients or total variation."""
    from KLIPCore.commands import reconstruct_file, reconstruct_folder

    try:
        numbers = [int(v) for v in views.split(",")] if views else []
    except ValueError as error:
        raise ConfigError(f"'{views}' is no number of views.", "Write --views 60, or for a folder --views 720,60.") from error
    if sinogram.is_dir():
        typer.echo(reconstruct_folder(sinogram, method.split(","), numbers or (720, 60)))
        return
    if out is None:
        raise ConfigError("No output was named.", "Give -o OUT.nrrd.")
    typer.echo(reconstruct_file(sinogram, out, method, numbers[0] if numbers else None, size, pixel))


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file, e.g. configs/train_abdomen.yaml.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Folder below which the configuration's files lie.", show_default=False)],
    out: OUT,
    init: Annotated[Path | None, typer.Option(help=".safetensors to start from.")] = None,
    backbone: Annotated[str | None, typer.Option(help="patch, whole or ddpm instead of the configuration's.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; of several GPUs each started process gets its own.")] = "auto",
    steps: Annotated[int | None, typer.Option(help="Training steps instead of the configuration's.")] = None,
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Train a prior; continues where a stopped run left off."""
    from KLIPCore.progress import show_progress
    from KLIPCore.selection import choose_device
    from KLIPCore.training.config import TrainingConfig, with_backbone, with_steps
    from KLIPCore.training.devices import is_first_process
    from KLIPCore.training.loop import train as run_training

    chosen = with_steps(with_backbone(TrainingConfig.load(config), backbone), steps)
    with show_progress(progress.value) as tell:
        path = run_training(chosen, data, out, init, lambda step, n, loss: tell("train", step / n, f"step {step}, loss {loss:.4f}"), choose_device(device))
    if is_first_process():
        typer.echo(f"Best weights: {path}")


@app.command()
def evaluate(
    config: Annotated[Path, typer.Argument(help="YAML file, e.g. configs/eval_lits_dev.yaml.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Folder below which the configuration's files lie.", show_default=False)],
    out: OUT,
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Measure localization on scans with masks; continues where it was stopped."""
    from KLIPCore.evaluation.localization import EvaluationConfig, markdown
    from KLIPCore.evaluation.localization import evaluate as run_evaluation
    from KLIPCore.progress import show_progress

    with show_progress(progress.value) as tell:
        table = run_evaluation(EvaluationConfig.load(config), data, out, tell)
    typer.echo(markdown(table))


@app.command()
def score(
    artifacts: Annotated[list[Path], typer.Argument(help="Published artifacts (.npz) of abnormal images.", show_default=False)],
    mask: Annotated[list[Path] | None, typer.Option(help="Mask of what is abnormal (.npy or image); once an artifact, same order.")] = None,
    body: Annotated[list[Path] | None, typer.Option(help="Mask of the body; once an artifact, same order.")] = None,
    normal: Annotated[list[Path] | None, typer.Option(help="Artifact of a normal image; may be repeated.")] = None,
    block: Annotated[int, typer.Option(help="Edge of a block in pixels.")] = 32,
    steps: Annotated[str, typer.Option(help="Recorded steps FIRST:END, as in Python.")] = "65:85",
) -> None:
    """Score artifacts of the published code by its own recipe: largest block, and AUROC against masks."""
    from KLIPCore.reference.report import score_files

    try:
        first, end = (int(bound) for bound in steps.split(":"))
    except ValueError as error:
        raise ConfigError(f"'{steps}' is no range of steps.", "Write --steps FIRST:END, e.g. 65:85.") from error
    typer.echo(score_files(artifacts, block, (first, end), mask or [], body or [], normal or []))


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the synthetic study and the results.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the synthetic patient.")] = 0,
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Make a synthetic patient with known lesions, find them, and say how well that went."""
    from KLIPCore.demo import run_demo
    from KLIPCore.progress import show_progress

    with show_progress(progress.value) as tell:
        text = run_demo(out, tell, seed=seed)
    typer.echo(text)


@app.command()
def bench(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for bench.json, bench.md and plots.")] = Path("out-bench"),
    only: Annotated[str | None, typer.Option(help="Comma-separated: kernels, whole, scaling, schedules.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes and short chains, to see that it works.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Make the tables and plots of docs/performance.md again.")] = False,
    data: Annotated[Path, typer.Option(help="Folder of real CT (lits-dev, crlm-1006-dicom); synthetic patients where it is missing.")] = Path("../shared/data"),
    slices: Annotated[int, typer.Option(help="Lesion slices on which schedules are compared.")] = 1,
    reference_samples: Annotated[int, typer.Option(help="Samples of each published chain.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Measure what everything costs here, beside ASTRA and the published schedules; about ten minutes on two cores."""
    from KLIPCore.bench.command import PARTS, BenchOptions, run_bench
    from KLIPCore.progress import show_progress

    parts = tuple(part.strip() for part in only.split(",")) if only else PARTS
    options = BenchOptions(parts, quick, data, slices, reference_samples, device)
    with show_progress(progress.value) as tell:
        measured = run_bench(options, out, Path("docs") if table else None, tell)
    typer.echo(measured.markdown())


@app.command()
def selftest(
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Check operator laws, Gaussian truth and the shipped prior on this computer."""
    from KLIPCore.selection import choose_device
    from KLIPCore.selftest import run_selftest

    results = run_selftest(choose_device(device))
    for name, passed, detail in results:
        typer.secho(f"{'pass' if passed else 'FAIL'}  {name}: {detail}", fg=None if passed else "red")
    failed = sum(not passed for _, passed, _ in results)
    typer.echo(f"{len(results) - failed} of {len(results)} checks passed.")
    if failed:
        raise typer.Exit(1)


priors_app = typer.Typer(add_completion=False, help="List the shipped priors, or convert a published network into one.")
app.add_typer(priors_app, name="priors")


@priors_app.callback(invoke_without_command=True)
def priors(context: typer.Context) -> None:
    """List the shipped priors and what they were trained for; [bold]convert[/bold] makes one of a published network."""
    if context.invoked_subcommand is not None:
        return
    from KLIPCore.priors.checkpoint import shipped_cards

    for card in shipped_cards():
        typer.echo(f"{card.name}\n  anatomy  {card.anatomy}\n  window   {card.window.lo_hu:g} to {card.window.hi_hu:g} HU")
        typer.echo(f"  licence  {card.licence}\n  sha256   {card.sha256}\n  use      {card.intended_use}")


@priors_app.command("convert")
def priors_convert(
    source: Annotated[Path, typer.Argument(help="EDM or PaDIS .pkl, diffusers UNet2DModel folder, Flax checkpoint.", show_default=False)],
    out: OUT,
    name: Annotated[str, typer.Option(help="Name of the prior.", show_default=False)],
    hu: Annotated[str, typer.Option(help="HU interval that is intensity 0..1, LO:HI, e.g. -160:240.", show_default=False)],
    kind: Annotated[str | None, typer.Option("--format", help="diffusers, edm or flax; found out when not given.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of its images in pixels, where the checkpoint does not say.")] = None,
    anatomy: Annotated[str, typer.Option(help="What it was trained on, for the card.")] = "not stated",
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the card.")] = "that of the checkpoint; not stated",
    sigma: Annotated[str | None, typer.Option(help="Noise levels it was trained on, LO:HI in intensity units.")] = None,
    patch: Annotated[int, typer.Option(help="PaDIS: side of its patches in pixels; 0 shows it whole images.")] = 0,
    pad: Annotated[int, typer.Option(help="PaDIS: margin of zeros around the image in pixels.")] = 0,
    attention_level: Annotated[list[int] | None, typer.Option(help="Flax: a level whose blocks attend, 0 the finest; may be repeated.")] = None,
) -> None:
    """Convert a published network to safetensors with a model card; nothing in the file is run."""
    from KLIPCore.priors.convert.publish import Wanted, convert
    from KLIPCore.volume.units import Window

    bounds, levels = _interval(hu, "HU interval", "--hu=LO:HI, e.g. --hu=-160:240"), _interval(sigma, "noise interval", "--sigma LO:HI, e.g. 0.01:80")
    assert bounds is not None
    wanted = Wanted(name, Window(*bounds), size, anatomy, licence, sigma=levels, patch=patch, pad=pad, attention_levels=tuple(attention_level or ()))
    typer.echo(f"Prior: {convert(source, out, wanted, kind)}")


def _region_options(
    block_size: float | None,
    block_depth: float | None,
    window: str | None,
    fdr: float | None,
    block_p: float | None,
    score: str | None,
    null: str | None,
    min_volume: float | None,
) -> dict[str, Any]:
    return _given(
        block_mm=block_size, depth_mm=block_depth, window=_window(window), fdr=fdr, forming_p=block_p, score=score, null=null, min_volume_mm3=min_volume
    )


def _tell_result(table: str, warnings: list[str], out: Path, style: ProgressStyle) -> None:
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


def _on_terminate(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of `klip`."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    signal.signal(signal.SIGTERM, _on_terminate)  # a program's stop is a person's stop
    try:
        app(standalone_mode=False)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except KlipError as error:
        _tell_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _tell_error(Cancelled("Stopped.", "Run the same command again to continue."))
        sys.exit(Cancelled.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error: an unknown option, a value of the wrong kind
            typer.secho(f"{error.format_message()}", fg="red", err=True)
            typer.echo("Try: klip --help", err=True)
            sys.exit(2)
        raise


def _tell_error(error: KlipError) -> None:
    """What is wrong and what to do; for programs also as a JSON line."""
    if "json" in sys.argv:
        typer.echo(json.dumps({"stage": "error", "error": type(error).__name__, "message": error.message, "remedy": error.remedy}))
    typer.secho(error.message, fg="red", err=True)
    if error.remedy:
        typer.echo(error.remedy, err=True)


if __name__ == "__main__":
    main()
