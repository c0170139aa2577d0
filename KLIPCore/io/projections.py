"""A folder of DICOM-CT-PD projections → a scan of which slices can be asked.

What a scanner measured, in the format of the Mayo Clinic's library (:mod:`KLIPCore.io.projection_header`), becomes
what :func:`KLIPCore.io.sinogram.read_sinogram` gives, slice by slice: line integrals with the fan beam that measured
them (:mod:`KLIPCore.io.projection_scan`). Headers are all read first; pixels, thousands of files, when a slice asks
for them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import AmbiguousSeriesError, EmptyInputError, GeometryError, UnreadableFileError
from KLIPCore.io.fields import read_header
from KLIPCore.io.projection_header import FIELDS, REBIN, View, is_projection, read_view
from KLIPCore.io.projection_scan import ProjectionScan, fan_of, row_mm

POSITIONS = ("HFS", "HFP", "FFS", "FFP")
ASSUMED_SUPINE = "The projections do not say how the patient lies: head first and supine is assumed."
LEAST_VIEWS = 16
UNEVEN = 0.25
"""Part of the usual step by which angles may miss it."""
LOOKED_AT = 3
"""Files of a folder from which it is told whether it holds projections."""


def holds_projections(folder: Path) -> bool:
    """Return whether a folder holds DICOM-CT-PD projections, as its first files by name say.

    Parameters
    ----------
    folder : any path.
    """
    tags = [FIELDS[name][0] for name in ("DetectorFocalCenterAngularPosition", "DetectorShape")]
    for file in islice(_files(folder), LOOKED_AT):
        try:
            header = read_header(file, tags)  # type: ignore[arg-type]
        except UnreadableFileError:
            continue
        if header is not None:
            return is_projection(header)
    return False


def read_projections(folder: Path) -> ProjectionScan:
    """Return the scan whose projections lie in a folder.

    Parameters
    ----------
    folder : with the projections of one scan, and nothing else; searched with the folders below it.

    Raises
    ------
    EmptyInputError : nothing there.
    UnreadableFileError : a file that is no projection, is damaged, or lacks a field.
    AmbiguousSeriesError : projections of several scans.
    GeometryError : projections are missing, or the operators cannot express how they were measured.
    IntensityError : counts in place of line integrals.
    """
    files = list(_files(Path(folder)))
    if not files:
        raise EmptyInputError(f"There is no projection in {Path(folder).name}.", "Check the path.")
    views = sorted((read_view(file) for file in files), key=lambda view: (view.number, view.file.name))
    _check_one_scan(views)
    for before, after in pairwise(views):
        if after.number == before.number:
            raise AmbiguousSeriesError(
                f"{before.file.name} and {after.file.name} are both projection {after.number}.",
                "Keep one of them; those of another scan belong into another folder.",
            )
        if after.number != before.number + 1:
            raise GeometryError(
                f"Projections {before.number + 1} to {after.number - 1} are missing.", "Copy the whole scan again."
            )
    scanner = views[0].scanner
    if scanner.patient_position not in (*POSITIONS, ""):
        raise GeometryError(
            f"The patient lies in the position {scanner.patient_position[:10]}; supine and prone are read.", REBIN
        )
    fan_of(scanner, np.zeros(1))  # refuses impossible distances and fans
    z = np.array([view.z_mm for view in views])
    phi = _unwrapped(views, z)
    return ProjectionScan(tuple(views), phi, z, () if scanner.patient_position else (ASSUMED_SUPINE,))


def _files(folder: Path) -> Iterator[Path]:
    """Files of a folder and those below it, by name; hidden ones and the DICOMDIR are left out."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(root, name)
            if not name.startswith(".") and name.upper() != "DICOMDIR" and file.is_file():
                yield file


def _check_one_scan(views: Sequence[View]) -> None:
    series = {view.scanner.series_uid for view in views}
    spectra = {view.scanner.spectrum for view in views}
    if len(series) > 1 or len(spectra) > 1:
        what = f"{len(series)} series" if len(series) > 1 else f"{len(spectra)} spectra of one series"
        raise AmbiguousSeriesError(
            f"The folder holds projections of {what}.", "Give each series and spectrum a folder of its own."
        )
    first = views[0]
    for view in views[1:]:
        if not view.scanner.like(first.scanner):
            raise GeometryError(
                f"{view.file.name} was measured by another detector, or at other distances, than {first.file.name}.",
                "Keep the projections of one scan in a folder of their own.",
            )


def _unwrapped(views: Sequence[View], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The views' angles without jumps of a turn.

    Raises
    ------
    GeometryError : steps between them are not those that the header says.
    """
    scanner = views[0].scanner
    if len(views) < LEAST_VIEWS or scanner.views_per_turn < LEAST_VIEWS:
        n = min(len(views), scanner.views_per_turn)
        raise GeometryError(f"{n} projections make no slice.", "Give the whole scan.")
    phi = np.unwrap([view.phi_rad for view in views])
    usual = 2 * math.pi / scanner.views_per_turn
    steps = np.diff(phi)
    within = np.ones(len(steps), bool) if scanner.helical else np.abs(np.diff(z)) <= row_mm(scanner) / 2
    step = math.copysign(usual, float(np.median(steps[within]))) if within.any() else usual
    uneven = np.flatnonzero(within & (np.abs(steps - step) > UNEVEN * usual))
    if uneven.size:
        k = int(uneven[0])
        turned, expected = math.degrees(steps[k]), math.degrees(step)
        raise GeometryError(
            f"From projection {views[k].number} to {views[k + 1].number} the source turns by {turned:.3g}°; at "
            f"{scanner.views_per_turn} a turn, {expected:.3g}° are expected.",
            "Projections are missing between them, or NumberofSourceAngularSteps is wrong: export the scan again.",
        )
    return phi
