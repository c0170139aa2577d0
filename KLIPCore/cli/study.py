"""Commands on a study: detect, regions, export; and reconstruct, for measured projections.

Each is a thin reading of its options. What it needs is imported when it runs: `klip --help` loads nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from KLIPCore.cli.options import (
    BLOCK,
    BLOCK_P,
    DEPTH,
    FDR,
    MIN_VOLUME,
    NULL,
    OUT,
    PROGRESS,
    ROI,
    SCORE,
    STUDY,
    WINDOW,
    Preset,
    ProgressStyle,
    given,
    region_options,
    tell_result,
)
from KLIPCore.errors import ConfigError


def detect(
    study: STUDY,
    out: OUT,
    preset: Annotated[Preset, typer.Option(help="How much work a slice gets.")] = Preset.default,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="YAML file of settings; options given here win.")
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(help="DICOM series: its UID, number or place in the listing.", rich_help_panel="What to examine"),
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(help="Python-style range, counted from the feet: 12:17.", rich_help_panel="What to examine"),
    ] = None,
    roi: ROI = None,
    prior: Annotated[
        str | None, typer.Option(help="Shipped prior's name, or a .safetensors file with its card beside it.")
    ] = None,
    geometry: Annotated[str | None, typer.Option(help="parallel or fan.", rich_help_panel="Simulated scan")] = None,
    views: Annotated[int | None, typer.Option(help="Number of projections.", rich_help_panel="Simulated scan")] = None,
    arc: Annotated[
        float | None,
        typer.Option(help="Arc in degrees; less than 180 is a limited-angle scan.", rich_help_panel="Simulated scan"),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Gaussian noise, as a fraction of a body's line integral.", rich_help_panel="Simulated scan"
        ),
    ] = None,
    dose: Annotated[
        float | None,
        typer.Option(help="Photons a ray for Poisson noise instead, e.g. 1e5.", rich_help_panel="Simulated scan"),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Posterior samples a slice.", rich_help_panel="Sampling")] = None,
    steps: Annotated[int | None, typer.Option(help="Noise levels of the chain.", rich_help_panel="Sampling")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", rich_help_panel="Sampling")] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto (all GPUs, or the CPU), cpu, cuda, cuda:1 or cuda:all.", rich_help_panel="Sampling"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Slices worked on at once by each device; measured for long runs.", rich_help_panel="Speed"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of each worker; the same bits for the same number.", rich_help_panel="Speed"),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images that go through the network at once.", rich_help_panel="Speed")
    ] = None,
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
    from KLIPCore.detection.detect import detect as run_detect
    from KLIPCore.detection.detect import wanted_work
    from KLIPCore.detection.detect_measured import detect_scan, is_scan
    from KLIPCore.progress import show_progress
    from KLIPCore.volume.selection import parse_box

    base = Config.load(config_file) if config_file else PRESETS[preset.value]
    changes: dict[str, Any] = given(prior=prior, device=device)
    changes["measurement"] = given(geometry=geometry, n_views=views, arc_deg=arc, noise=noise, photons=dose)
    changes["sampling"] = given(n_samples=samples, n_steps=steps, seed=seed)
    changes["regions"] = region_options(block_size, block_depth, window, fdr, block_p, score, null, min_volume)
    config = base.updated(changes)
    layer = config.regions.chosen.layer
    if layer not in config.record.layers:
        config = config.updated({"record": {"layers": [*config.record.layers, layer]}})
    if is_scan(study):
        with show_progress(progress.value) as tell:
            found = detect_scan(study, out, config, overwrite=overwrite, progress=tell)
        tell_result(found.report.text_table(), list(found.report.warnings), out, progress)
        return
    work = wanted_work(workers, threads, batch)
    with show_progress(progress.value) as tell:
        found = run_detect(
            study,
            out,
            config,
            series=series,
            slices=slices,
            roi=parse_box(roi),
            overwrite=overwrite,
            progress=tell,
            work=work,
        )
    tell_result(found.report.text_table(), list(found.report.warnings), out, progress)


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
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report", help="Write report.html and the DICOM SEG again too; takes some seconds."
        ),
    ] = False,
    progress: PROGRESS = ProgressStyle.none,
) -> None:
    """Map and regions again from the trace, with other settings and without sampling. Removes the report of
    the old regions; --report makes a new one.
    """
    from KLIPCore.config import Config
    from KLIPCore.progress import show_progress
    from KLIPCore.runs.folder import RunFolder
    from KLIPCore.runs.rerun import redo_regions, reopen_study
    from KLIPCore.volume.selection import parse_box

    run = RunFolder(out).run()
    base = Config.from_dict(run["config"])
    config = base.updated(
        {"regions": region_options(block_size, block_depth, window, fdr, block_p, score, null, min_volume)}
    )
    reopen = reopen_study
    if report:  # torch, which a map alone does not wait for
        from KLIPCore.detection.detect_measured import is_scan, reopen_scan

        reopen = reopen_scan if is_scan(Path(run["study"]["path"])) else reopen_study
    with show_progress(progress.value) as tell:
        found = redo_regions(
            out, config.regions, study=study, roi=parse_box(roi), report=report, progress=tell, reopen=reopen
        )
    tell_result(found.report.text_table(), list(found.report.warnings), out, progress)


def export(
    out: Annotated[Path, typer.Argument(help="Folder that klip detect wrote.", show_default=False)],
    folder: Annotated[Path, typer.Option("--to", help="Folder for the exported files.", show_default=False)],
    formats: Annotated[
        str, typer.Option(help="Comma-separated: nifti, nrrd (labels), stl, obj, vtp (surfaces).")
    ] = "nifti,stl",
) -> None:
    """Write the regions of a finished run in other formats."""
    from KLIPCore.cli.jobs import export_regions

    for path in export_regions(out, folder, [kind.strip() for kind in formats.split(",") if kind.strip()]):
        typer.echo(str(path))


def reconstruct(
    sinogram: Annotated[
        Path,
        typer.Argument(
            help="Sinogram .npz with its geometry; or a folder of HTC 2022 discs for a table.", show_default=False
        ),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Image to write: NRRD, NIfTI or MHA.")] = None,
    method: Annotated[str, typer.Option(help="fbp, cg or tv; for a folder several, comma-separated.")] = "fbp",
    views: Annotated[
        str | None, typer.Option(help="Evenly spread views to keep; for a folder several, comma-separated.")
    ] = None,
    size: Annotated[int, typer.Option(help="Image side in pixels.")] = 512,
    pixel: Annotated[
        float | None, typer.Option(help="Pixel edge in mm; fitted to the field of view when not given.")
    ] = None,
) -> None:
    """Reconstruct measured projections: filtered back-projection, conjugate gradients or total variation."""
    from KLIPCore.cli.jobs import reconstruct_file, reconstruct_folder

    try:
        numbers = [int(v) for v in views.split(",")] if views else []
    except ValueError as error:
        raise ConfigError(
            f"'{views}' is no number of views.", "Write --views 60, or for a folder --views 720,60."
        ) from error
    if sinogram.is_dir():
        typer.echo(reconstruct_folder(sinogram, method.split(","), numbers or (720, 60)))
        return
    if out is None:
        raise ConfigError("No output was named.", "Give -o OUT.nrrd.")
    typer.echo(reconstruct_file(sinogram, out, method, numbers[0] if numbers else None, size, pixel))
