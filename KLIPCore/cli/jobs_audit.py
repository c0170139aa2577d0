"""What the command audit does with files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from KLIPCore.audit.against import LEAST_VIEWS, Scan
from KLIPCore.audit.audit import Audit, AuditSettings, Progress, audit
from KLIPCore.audit.files import write_audit
from KLIPCore.cli.jobs import _read
from KLIPCore.errors import ConfigError, IntensityError, OutputError
from KLIPCore.io.images import image_format, read_image
from KLIPCore.io.segmentation_files import read_segmentation
from KLIPCore.io.study import SCANS, read_study
from KLIPCore.volume.volume import Volume


def audit_files(
    recon: Path,
    against: Path,
    out: Path,
    index: int | None,
    regions: Path | None,
    views: int | None,
    settings: AuditSettings,
    progress: Progress | None = None,
) -> tuple[Audit, Path]:
    """Read, audit, write.

    Parameters
    ----------
    recon, against : the reconstruction, and a sinogram or a reference.
    out : folder of the results.
    index : slice from the feet.
    regions : label image; None: structures are looked for.
    views : evenly spread views of the sinogram that are used; None: all.
    settings : of the audit.
    progress : called with stage, fraction and detail.

    Returns
    -------
    The audit and its page.

    Raises
    ------
    InputError : a file cannot be read, or the two cannot be compared.
    ConfigError : too few views or more than there are, or a slice or region that is not there.
    OutputError : ``out`` is a file, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out.name} is a file, not a folder.", "Choose another folder.")
    volume = volume_of(recon)
    data = scan_of(against, views) if against.suffix.lower() in SCANS else volume_of(against)
    labels = names = None
    if regions is not None:
        read = read_segmentation(regions)
        labels, names = Volume(read.organs.labels.astype(np.float32), read.grid, unit="label"), read.organs.names
    found = audit(volume, data, index=index, regions=labels, names=names, settings=settings, progress=progress)
    return found, write_audit(found, volume, out)


def volume_of(path: Path) -> Volume:
    """Return a reconstruction in whatever unit its file says; no judgement whether it looks like a patient.

    Raises
    ------
    InputError : it cannot be read.
    """
    if path.is_file() and image_format(path):
        return read_image(path)
    volume = read_study(path)
    if volume.unit != "HU":
        raise IntensityError(f"{path.name} is in {volume.unit}.", "Give a reconstruction in HU.")
    return volume


def scan_of(path: Path, views: int | None) -> Scan:
    """Return a sinogram, thinned to evenly spread views.

    Raises
    ------
    ConfigError : it has fewer.
    """
    sinogram, geometry, _ = _read(path)
    if views is not None:
        if not LEAST_VIEWS <= views <= geometry.n_views:
            raise ConfigError(
                f"{views} views of {geometry.n_views} cannot be audited.",
                f"Ask for {LEAST_VIEWS} to {geometry.n_views}.",
            )
        keep = np.linspace(0, geometry.n_views, views, endpoint=False).round().astype(int)
        sinogram, geometry = sinogram[keep], geometry.views(keep)
    return Scan(sinogram, geometry)
