"""One door for every study: a DICOM folder, one slice of it, or a volume file.

Whether the numbers can be Hounsfield units is asked separately, by :func:`KLIPCore.io.judgement.check_ct`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.uid import MediaStorageDirectoryStorage

from KLIPCore.errors import ConfigError, EmptyInputError, GeometryError, NotCTError, UnreadableFileError
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.fields import AGAIN, read_header, text
from KLIPCore.io.images import READ_FORMATS, image_format, read_image
from KLIPCore.io.judgement import check_ct
from KLIPCore.io.listing import CT_CLASSES, is_archive, is_index, sop_class_of
from KLIPCore.io.projections import holds_projections
from KLIPCore.volume.volume import Volume

__all__ = ["check_ct", "read_study"]

THINNEST_MM, THICKEST_MM = 0.1, 30.0
"""Steps between voxels, or slices, of a CT of a body."""
SMALLEST_MM, LEAST_PIXELS = 100.0, 100
"""A scan with so many pixels along a side covers more than the former."""
ROUNDED = 1e-4
SCANS = (".npz", ".mat")
"""Endings of sinogram files."""

UNKNOWN_SPACING = "The spacing of 1 × 1 × 1 mm may stand for an unknown one: sizes and volumes depend on it."


@np.errstate(over="ignore", invalid="ignore")  # headers with 1e308 in them: what comes of it is refused as not finite
def read_study(path: Path, series: str | None = None) -> Volume:
    """Return the CT volume that a path means.

    Parameters
    ----------
    path : a folder of DICOM files, or its DICOMDIR; one DICOM file, which stands for its whole series in that
        folder (of Enhanced CT: for itself); or a volume file.
    series : which DICOM series, where there are several; see :func:`KLIPCore.io.listing.choose_series`.

    Raises
    ------
    EmptyInputError : nothing there.
    ConfigError : a series is asked of a volume file, which has none.
    UnreadableFileError : a file of no accepted format; other errors as in ``read_dicom`` and ``read_image``.
    """
    volume = _read(Path(path), series)
    steps = volume.grid.spacing
    if steps.min() < THINNEST_MM or steps.max() > THICKEST_MM:
        raise GeometryError(
            f"The voxels are {' × '.join(f'{step:.3g}' for step in steps[::-1])} mm in size, which those of a CT of a "
            "body cannot be: the spacing is perhaps in another unit.",
            "Save the volume again with its spacing in mm (in 3D Slicer: Volumes, Image Spacing), or give the DICOM "
            "series.",
        )
    added = []
    if not volume.source.series_uid and np.abs(steps - 1.0).max() <= ROUNDED:
        added.append(UNKNOWN_SPACING)
    sides = steps * volume.array.shape
    narrow = np.sum((sides < SMALLEST_MM) & (np.array(volume.array.shape) >= LEAST_PIXELS)) > 1  # however long it is
    if narrow or (sides.max() < SMALLEST_MM and max(volume.array.shape) >= LEAST_PIXELS):
        added.append(
            f"The whole volume is {' × '.join(f'{side:.0f}' for side in sides[::-1])} mm in size: check that its "
            "spacing is in mm."
        )
    notes = tuple(dict.fromkeys((*volume.source.notes, *added)))
    return volume if notes == volume.source.notes else replace(volume, source=replace(volume.source, notes=notes))


def check_there(path: Path) -> None:
    """Refuse a path at which there is nothing.

    Raises
    ------
    EmptyInputError : there is neither a file nor a folder.
    """
    if not path.exists():
        raise EmptyInputError(f"There is nothing at {path}.", "Check the path.")


def _read(path: Path, series: str | None) -> Volume:
    if path.is_dir():
        if holds_projections(path):
            raise NotCTError(
                f"{path.name} holds the projections of a scan, not its slices.",
                "Reconstruct them first: klip reconstruct FOLDER -o scan.nrrd.",
            )
        return read_dicom(path, series)
    check_there(path)
    if not path.is_file():  # a pipe would be waited for, a device has no end
        raise EmptyInputError(f"{path.name} is not a file.", "Give a DICOM folder, or a file on a disk.")
    if image_format(path, READ_FORMATS):
        if series:
            raise ConfigError(f"{path.name} is one volume and has no series to choose from.", "Leave --series out.")
        return read_image(path, fill_outside=True)
    if is_index(path):  # DICOMDIR: the index of a medium stands for what lies beside and below it
        return read_dicom(path.parent, series)
    if path.stat().st_size == 0:
        raise EmptyInputError(f"{path.name} is empty.", AGAIN)
    if path.suffix.lower() in SCANS:
        raise NotCTError(
            f"{path.name} holds numbers such as a sinogram's, not the slices of a CT.",
            "Give the CT itself; klip detect and klip reconstruct read sinograms.",
        )
    if is_archive(path):
        remedy = f"Unpack {path.name} first, and give the folder or file that comes out of it."
        raise UnreadableFileError(f"{path.name} is an archive, not a study.", remedy)
    header = read_header(path, ("SOPClassUID", "Modality", "Rows"))
    sop_class = "" if header is None else sop_class_of(header)
    if sop_class == MediaStorageDirectoryStorage:  # an index under another name
        return read_dicom(path.parent, series)
    if header is None or not sop_class:
        remedy = f"Give a DICOM folder, one DICOM slice, or a file ending in {', '.join(READ_FORMATS)}."
        raise UnreadableFileError(f"{path.name} is neither a DICOM file nor a volume file.", remedy)
    if sop_class not in CT_CLASSES and series is None:
        problem = f"{path.name} is not a CT image ({text(header, 'Modality') or 'unknown modality'})."
        raise NotCTError(problem, "Give a CT slice or the folder that holds them.")
    return read_dicom(path.parent, series, path)
