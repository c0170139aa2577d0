"""Commands on a study: detect, regions, export; and reconstruct, for measured projections.

Each is a thin reading of its options. What it needs is imported when it runs: `klip --help` loads nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from KLIPCore.cli.options import (
    OUT,
    PROGRESS,
    ROI,
    RUN,
    STUDY,
    WITHIN,
    BaseSettings,
    Examine,
    Place,
    ProgressStyle,
    RegionSettings,
    RunSettings,
    Speed,
    Telling,
    given_options,
    reading,
    simulation_options,
    tell_result,
)
from KLIPCore.errors import ConfigError, OutputError


@reading
def detect(
    study: STUDY,
    out: OUT,
    base: BaseSettings,
    settings: RunSettings,
    examine: Examine,
    speed: Speed,
    place: Place,
    telling: Telling,
) -> None:
    """Map where a CT study departs from the prior, flag regions, write a report."""
    from KLIPCore.config import Config

    if place.server is not None:
        from KLIPCore.cli.remote import detect_remotely

        chosen = Config.load(base.config_file) if base.config_file else Config.from_preset(base.preset.value)
        detect_remotely(study, out, chosen.updated(settings).with_layer(), examine, speed, place, telling)
        return
    from KLIPCore.io.study import check_there
    from KLIPCore.volume.selection import Part, check_slices, parse_box

    check_there(study)  # before torch is waited for, and before the computer is measured
    check_slices(examine.slices)
    from KLIPCore.detection.affordable_prior import with_affordable_prior
    from KLIPCore.detection.detect import detect as run_detect
    from KLIPCore.detection.detect import wanted_work
    from KLIPCore.detection.detect_measured import is_scan
    from KLIPCore.progress import show_progress
    from KLIPCore.settings import refuse_for_scan

    chosen = Config.load(base.config_file) if base.config_file else Config.from_preset(base.preset.value)
    config = chosen.updated(settings).with_layer()
    if is_scan(study):
        refuse_for_scan([*given_options(examine, speed), *simulation_options(settings)])
    elif "prior" not in settings and base.config_file is None:
        config, note = with_affordable_prior(config, out)
        if note:
            typer.echo(note, err=True)
    work, box = wanted_work(speed.workers, speed.threads, speed.batch), parse_box(examine.roi)
    with show_progress(telling.progress.value) as tell:
        found = run_detect(
            study,
            out,
            config,
            part=Part(examine.series, examine.slices, box, examine.within),
            overwrite=telling.overwrite,
            progress=tell,
            work=work,
        )
    tell_result(found.report.text_table(), list(found.report.warnings), out, telling.progress)


@reading
def regions(
    out: RUN,
    settings: RegionSettings,
    roi: ROI = None,
    within: WITHIN = None,
    study: Annotated[Path | None, typer.Option(help="Where the study is now, if it has moved.")] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report", help="Write report.html and the DICOM results again too; takes some seconds."
        ),
    ] = False,
    progress: PROGRESS = ProgressStyle.none,
) -> None:
    """Map and regions again from the trace, with other settings and without sampling.

    What --within was last is kept; --within all looks everywhere again, --within :LABEL at an organ that is known.
    Removes the report of the old regions; --report makes a new one.
    """
    from KLIPCore.config import Config
    from KLIPCore.progress import show_progress
    from KLIPCore.runs.folder import RunFolder
    from KLIPCore.runs.rerun import redo_regions, reopen_study
    from KLIPCore.volume.selection import parse_box

    run = RunFolder(out).run()
    config = Config.from_dict(run["config"]).updated(settings)
    reopen = reopen_study
    if report:  # torch, which a map alone does not wait for
        from KLIPCore.detection.detect_measured import is_scan, reopen_scan

        reopen = reopen_scan if is_scan(Path(run["study"]["path"])) else reopen_study
    with show_progress(progress.value) as tell:
        found = redo_regions(
            out,
            config.regions,
            study=study,
            roi=parse_box(roi),
            within=within,
            report=report,
            progress=tell,
            reopen=reopen,
        )
    tell_result(found.report.text_table(), list(found.report.warnings), out, progress)


def export(
    out: RUN,
    folder: Annotated[Path, typer.Option("--to", help="Folder for the exported files.", show_default=False)],
    formats: Annotated[
        str,
        typer.Option(
            help="Comma-separated: nifti, nrrd (labels), stl, obj, vtp (surfaces), "
            "dicom (segmentation, parametric map and structured report, for a PACS)."
        ),
    ] = "nifti,stl",
    study: Annotated[
        Path | None,
        typer.Option(help="Where the study is now, if it has moved, or the audited reconstruction; for dicom only."),
    ] = None,
) -> None:
    """Write the regions of a finished run, or of an audit, in other formats."""
    from KLIPCore.cli.jobs import export_regions

    kinds = [kind.strip() for kind in formats.split(",") if kind.strip()]
    for path in export_regions(out, folder, kinds, study):
        typer.echo(str(path))


def _check_new(out: Path | None) -> None:
    if out is not None and out.is_file():
        raise OutputError(f"{out} is there already.", "Choose another name with -o, or remove that file first.")


def reconstruct(
    sinogram: Annotated[
        Path,
        typer.Argument(
            help="Sinogram .npz with its geometry, or a folder: DICOM-CT-PD projections of a scanner, for a volume in "
            "HU; HTC 2022 discs, for a table.",
            show_default=False,
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
    every: Annotated[float, typer.Option(help="Distance of slices of a helical scan in mm.", min=0.1, max=50)] = 3.0,
    centre: Annotated[
        float | None,
        typer.Option(help="Detector column, from 1, of the central ray, where projections say it wrongly."),
    ] = None,
) -> None:
    """Reconstruct measured projections: filtered back-projection, conjugate gradients or total variation."""
    from KLIPCore.cli.jobs import reconstruct_file, reconstruct_folder
    from KLIPCore.cli.jobs_projections import Reconstruction, reconstruct_projections
    from KLIPCore.io.projections import holds_projections

    _check_new(out)
    try:
        numbers = [int(v) for v in views.split(",")] if views else []
    except ValueError as error:
        raise ConfigError(
            f"'{views}' is not a number of views.", "Write --views 60, or for a folder --views 720,60."
        ) from error
    if sinogram.is_dir() and not holds_projections(sinogram):
        typer.echo(reconstruct_folder(sinogram, method.split(","), numbers or (720, 60)))
        return
    if out is None:
        raise ConfigError("No output was named.", "Give -o OUT.nrrd.")
    n_views = numbers[0] if numbers else None
    if sinogram.is_dir():
        wanted = Reconstruction(method, n_views, size, pixel, every, centre)
        typer.echo(reconstruct_projections(sinogram, out, wanted))
        return
    typer.echo(reconstruct_file(sinogram, out, method, n_views, size, pixel))
