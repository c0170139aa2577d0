"""The command audit: is what a reconstruction shows measured, or did the reconstruction invent it?"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from KLIPCore.cli.options import PROGRESS, ProgressStyle, reading
from KLIPCore.errors import ConfigError
from KLIPCore.progress import show_progress

DOES_NOT_BELONG = 21
"""Exit code where reconstruction and data are not of the same scan; as of a study that does not fit."""


@dataclass(frozen=True)
class AuditScan:
    """Which rays are used, and what law their data are held to."""

    views: Annotated[
        int | None, typer.Option(help="Evenly spread views: of the sinogram those that are used, of a reference 60.")
    ] = None
    photons: Annotated[float | None, typer.Option(help="Photons per ray through air; estimated when left out.")] = None
    model_error: Annotated[float, typer.Option(help="Part of a line integral that the model may be wrong by.")] = 0.005
    fan: Annotated[bool, typer.Option("--fan", help="Project a reference by a fan beam, not a parallel one.")] = False


@reading
def audit(
    recon: Annotated[
        Path, typer.Argument(help="Reconstruction: NRRD, NIfTI, MHA or DICOM; HU, or 1/mm.", show_default=False)
    ],
    against: Annotated[
        Path,
        typer.Option(help="Sinogram (.npz, .mat), or a reference on the same voxels.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for page, record and maps.", show_default=False)],
    scan: AuditScan,
    slice_: Annotated[int | None, typer.Option("--slice", help="Slice, counted from the feet from 0.")] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Segmentation of what to audit; without, compact structures are looked for.")
    ] = None,
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Ask the data what a reconstruction shows: measured, invented or unprovable.

    Exit code 0: it was audited; 21: reconstruction and data do not belong together.
    """
    from KLIPCore.audit.against import NoiseSettings, ScanSettings
    from KLIPCore.audit.audit import AuditSettings
    from KLIPCore.cli.jobs_audit import audit_files
    from KLIPCore.io.study import SCANS

    is_scan = against.suffix.lower() in SCANS
    if is_scan and scan.fan:
        raise ConfigError("A measured sinogram has its own geometry.", "Leave --fan out.")
    settings = AuditSettings(
        noise=NoiseSettings(scan.photons, scan.model_error),
        scan=ScanSettings(60 if scan.views is None or is_scan else scan.views, scan.fan),
    )
    views = scan.views if is_scan else None
    with show_progress(progress.value) as tell:
        found, page = audit_files(recon, against, out, slice_, regions, views, settings, tell)
    if progress is ProgressStyle.json:
        typer.echo(json.dumps({"stage": "result", "fraction": 1.0, "eta_s": 0.0, "detail": str(out / "audit.json")}))
    else:
        for sentence in found.warnings():
            typer.secho(f"Note: {sentence}", fg="yellow", err=True)
        typer.echo(found.summary())
        for region in found.regions:
            typer.echo(f"  {region.name}: {region.removal.sentence()}")
        typer.echo(f"\nResults in {out}; open {page}")
        typer.secho("Research software. Not a medical device.", dim=True)
    if not found.belonging.belongs:
        sys.exit(DOES_NOT_BELONG)
