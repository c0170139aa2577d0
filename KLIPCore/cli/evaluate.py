"""Commands that judge: evaluate and score, on scans and artifacts with masks; demo, bench and selftest, here."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from KLIPCore.cli.options import DEVICE, OUT, PROGRESS, Preset, ProgressStyle, given_options, reading
from KLIPCore.errors import ConfigError


@dataclass(frozen=True)
class WholeVolumes:
    """How whole volumes are evaluated; a YAML file may say the first two, and must say the others itself."""

    score: Annotated[
        list[str] | None,
        typer.Option(help="Score to measure; may be repeated.", rich_help_panel="Whole volumes"),
    ] = None
    preset: Annotated[
        Preset | None, typer.Option(help="How much work is done per slice.", rich_help_panel="Whole volumes")
    ] = None
    lesion: Annotated[
        list[int] | None,
        typer.Option(
            help="FOLDER: label that is lesion; may be repeated. Every label above 0 when not given.",
            rich_help_panel="Whole volumes",
        ),
    ] = None
    healthy: Annotated[
        bool,
        typer.Option("--healthy", help="FOLDER: scans without a mask are healthy.", rich_help_panel="Whole volumes"),
    ] = False


@reading
def evaluate(
    config: Annotated[
        Path,
        typer.Argument(
            help="YAML file, e.g. configs/eval_lits_dev.yaml; or a folder of whole scans with their masks: "
            "NAME.nii.gz and NAME_label.nii.gz (or _seg, _mask).",
            show_default=False,
        ),
    ],
    out: OUT,
    volumes: WholeVolumes,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder below which the configuration's files lie.")
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(help="Shipped name or .safetensors file instead of the configuration's; several are compared."),
    ] = None,
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Measure localization on scans with masks; continues where it was stopped."""
    from KLIPCore.lab.evaluation.localization import EvaluationConfig, markdown
    from KLIPCore.lab.evaluation.localization import evaluate as run_evaluation
    from KLIPCore.lab.evaluation.measured import evaluate_measured
    from KLIPCore.lab.evaluation.measured_config import MeasuredConfig, is_measured
    from KLIPCore.lab.evaluation.measured_table import measured_markdown
    from KLIPCore.lab.evaluation.volumes.config import is_volumes
    from KLIPCore.progress import show_progress

    if not config.exists():
        raise ConfigError(f"There is nothing at {config}.", "Check the path of the configuration, or of the scans.")
    if is_volumes(config):
        _evaluate_volumes(config, data, out, prior or [], volumes, progress)
        return
    given = given_options(volumes)
    if given:
        raise ConfigError(
            f"{', '.join(given)} says how whole volumes are evaluated, and {config.name} is none of these.",
            "Leave it out, or give a folder or a file of kind: volumes.",
        )
    if data is None:
        raise ConfigError(
            "No data folder was named.", "Give --data FOLDER, below which the configuration's files lie."
        )
    if is_measured(config):
        if prior is not None and len(prior) > 1:
            raise ConfigError("Measured scans are evaluated with one prior at a time.", "Give --prior once.")
        with show_progress(progress.value) as tell:
            measured = evaluate_measured(MeasuredConfig.load(config), data, out, tell, prior[0] if prior else None)
        typer.echo(measured_markdown(measured))
        return
    with show_progress(progress.value) as tell:
        table = run_evaluation(EvaluationConfig.load(config), data, out, tell, tuple(prior or ()))
    typer.echo(markdown(table))


def _evaluate_volumes(
    where: Path, data: Path | None, out: Path, priors: list[str], asked: WholeVolumes, progress: ProgressStyle
) -> None:
    """What :func:`evaluate` does with a folder of scans, or a file of ``kind: volumes``."""
    from KLIPCore.config import Config
    from KLIPCore.lab.evaluation.volumes.command import evaluate_volumes
    from KLIPCore.lab.evaluation.volumes.config import VolumesConfig
    from KLIPCore.lab.evaluation.volumes.folder import folder_config
    from KLIPCore.lab.evaluation.volumes.table import volumes_markdown
    from KLIPCore.progress import show_progress

    if len(priors) > 1:
        raise ConfigError("Whole volumes are evaluated with one prior at a time.", "Give --prior once.")
    if where.is_dir():
        if data is not None:
            raise ConfigError("A folder of scans needs no --data.", "Leave it out.")
        config = folder_config(where, Config(), tuple(asked.score or ()), tuple(asked.lesion or ()), asked.healthy)
    else:
        if asked.lesion or asked.healthy:
            raise ConfigError(
                "--lesion and --healthy are for a folder of scans.", "Write lesion_values and healthy into the file."
            )
        config = VolumesConfig.load(where, data or where.parent)
    config = config.changed(
        tuple(asked.score or ()), asked.preset.value if asked.preset else None, priors[0] if priors else None
    )
    with show_progress(progress.value) as tell:
        table = evaluate_volumes(config, out, tell, f"klip {shlex.join(sys.argv[1:])}")
    typer.echo(volumes_markdown(table))


def score(
    artifacts: Annotated[
        list[Path], typer.Argument(help="Published artifacts (.npz) of abnormal images.", show_default=False)
    ],
    mask: Annotated[
        list[Path] | None,
        typer.Option(help="Mask of what is abnormal (.npy or image); one per artifact, in the same order."),
    ] = None,
    body: Annotated[
        list[Path] | None, typer.Option(help="Mask of the body; one per artifact, in the same order.")
    ] = None,
    normal: Annotated[list[Path] | None, typer.Option(help="Artifact of a normal image; may be repeated.")] = None,
    block: Annotated[int, typer.Option(help="Edge of a block in pixels.")] = 32,
    steps: Annotated[str, typer.Option(help="Recorded steps FIRST:END, as in Python.")] = "65:85",
) -> None:
    """Score artifacts of the published code by its own recipe: largest block, and AUROC against masks."""
    from KLIPCore.lab.published.report import score_files

    try:
        first, end = (int(bound) for bound in steps.split(":"))
    except ValueError as error:
        raise ConfigError(f"'{steps}' is not a range of steps.", "Write --steps FIRST:END, e.g. 65:85.") from error
    typer.echo(score_files(artifacts, block, (first, end), mask or [], body or [], normal or []))


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the synthetic study and the results.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the synthetic patient.")] = 0,
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Make a synthetic patient with known lesions, find them, and say how well that went."""
    from KLIPCore.lab.demo.demo import run_demo
    from KLIPCore.progress import show_progress

    with show_progress(progress.value) as tell:
        text = run_demo(out, tell, seed=seed)
    typer.echo(text)


@dataclass(frozen=True)
class Benchmarks:
    """What is measured, and on what."""

    only: Annotated[
        str | None, typer.Option(help="Comma-separated: kernels, cheaper, whole, memory, scaling, schedules.")
    ] = None
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes and short chains, to see that it works.")] = False
    table: Annotated[bool, typer.Option("--table", help="Make the tables and plots of docs/performance.md again.")] = (
        False
    )
    data: Annotated[
        Path,
        typer.Option(help="Folder of real CT (lits-dev, crlm-1006-dicom); synthetic patients where it is missing."),
    ] = Path("../shared/data")
    slices: Annotated[int, typer.Option(help="Lesion slices on which schedules are compared.")] = 1
    reference_samples: Annotated[int, typer.Option(help="Samples of each published chain.")] = 1
    device: DEVICE = "auto"


@reading
def bench(
    chosen: Benchmarks,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for bench.json, bench.md and plots.")] = Path(
        "out-bench"
    ),
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Measure what everything costs here, beside ASTRA and published schedules; about twenty minutes on two cores."""
    from KLIPCore.lab.bench.command import PARTS, BenchOptions, run_bench
    from KLIPCore.progress import show_progress

    parts = tuple(part.strip() for part in chosen.only.split(",")) if chosen.only else PARTS
    options = BenchOptions(parts, chosen.quick, chosen.data, chosen.slices, chosen.reference_samples, chosen.device)
    with show_progress(progress.value) as tell:
        measured = run_bench(options, out, Path("docs") if chosen.table else None, tell)
    typer.echo(measured.markdown())


def selftest(device: DEVICE = "auto") -> None:
    """Check operator laws, Gaussian truth and the shipped prior on this computer."""
    from KLIPCore.detection.devices import choose_device, configure_process
    from KLIPCore.lab.selftest import run_selftest

    configure_process()
    results = run_selftest(choose_device(device))
    for name, passed, detail in results:
        typer.secho(f"{'pass' if passed else 'FAIL'}  {name}: {detail}", fg=None if passed else "red")
    failed = sum(not passed for _, passed, _ in results)
    typer.echo(f"{len(results) - failed} of {len(results)} checks passed.")
    if failed:
        raise typer.Exit(1)
