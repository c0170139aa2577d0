"""The DICOM files behind a volume node: which they are, and whether the node still shows what they hold.

Slicer's DICOM database knows the file of each instance, so no folder is searched. Files are read one slice at a time,
between events: Slicer stays responsive however many slices there are.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from .platforms import longPath

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from KLIPCore.volume.grid import Grid
    from KLIPCore.volume.volume import Volume

SAME_HU = 0.02
"""Readers round slope · value + intercept differently, by less than this; an edit changes more."""


def dicomFiles(node: Any) -> list[Path]:
    """The files that a volume node was loaded from, if these are DICOM instances in Slicer's database."""
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None:
        return []
    names = [database.fileForInstance(uid) for uid in uids]
    return [Path(longPath(str(name), sys.platform)) for name in names] if all(names) else []


def reasonAgainstOrigin(node: Any) -> str:
    """Why a volume cannot be examined from DICOM files, in a sentence; empty when its files are there."""
    if node is None:
        return _("The examined volume is no longer in the scene.")
    if not node.GetAttribute("DICOM.instanceUIDs"):
        return _("The volume was not loaded from DICOM.")
    files = dicomFiles(node)
    if not files or not all(path.is_file() for path in files):
        return _("The DICOM files of this volume are no longer where Slicer's database has them.")
    if len({path.parent for path in files}) != 1:
        return _("The DICOM files of this volume lie in several folders.")
    return ""


def seriesOf(path: Path) -> str:
    """Series instance UID of a DICOM file."""
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"], force=True)
    return str(header.get("SeriesInstanceUID", ""))


def holdsWhatFilesHold(volume: Volume, files: list[Path]) -> Generator[float, None, bool]:
    """Compare a volume with DICOM files, slice by slice.

    Yields
    ------
    part of the work that is done, after each slice.

    Returns
    -------
    whether each slice of the volume is the picture in one of the files, at the same place.
    """
    shown: list[tuple[int, int]] = []
    for number, path in enumerate(files):
        try:
            for header, pixels in _pictures(path):
                found = sliceShowing(volume, header)
                if found is None or not _same(found[1], pixels(), header):
                    return False
                shown.append(found[0])
                yield (number + 1) / len(files)
        except Exception as error:  # decoders of several projects raise what they like on a damaged file
            logging.info("KLIPSlicer: %s cannot be compared (%s).", path.name, type(error).__name__)
            return False
    axes = {axis for axis, _index in shown}
    return len(axes) == 1 and len(set(shown)) == len(shown) == volume.grid.shape[axes.pop()]


def _pictures(path: Path) -> Iterator[tuple[Any, Callable[[], NDArray[Any]]]]:
    """Header of each picture in a file, and what decodes it: one of a classic file, each frame of an enhanced one."""
    import pydicom
    from pydicom.pixels import pixel_array

    from KLIPCore.io.dicom import frame_headers

    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        yield dataset, lambda: pixel_array(path)
        return
    for frame, header in enumerate(frame_headers(dataset)):
        yield header, lambda frame=frame: pixel_array(path, index=frame)


def sliceShowing(volume: Volume, header: Any) -> tuple[tuple[int, int], NDArray[np.float32]] | None:
    """The slice of a volume that lies where a DICOM picture does.

    Returns
    -------
    (axis, index) of the slice and its numbers in the picture's order of rows and columns; None where there is none.
    """
    from KLIPCore.io.stack import Plane

    from .nodes import SAME_VOXEL

    plane = Plane.of_header(header, "a slice")
    rows, columns = plane.shape
    down, right = plane.along_column * plane.spacing[0], plane.along_row * plane.spacing[1]
    ends = np.array([plane.position, plane.position + (rows - 1) * down, plane.position + (columns - 1) * right])
    index = volume.grid.to_index(ends)
    whole = np.rint(index).astype(int)
    if min(rows, columns) < 2 or np.abs(index - whole).max() > SAME_VOXEL or not _inside(whole, volume.grid):
        return None
    steps = whole[1:] - whole[0]
    axes = [np.flatnonzero(step) for step in steps]
    if any(len(axis) != 1 for axis in axes) or axes[0][0] == axes[1][0]:
        return None
    rowAxis, columnAxis = int(axes[0][0]), int(axes[1][0])
    if (volume.grid.shape[rowAxis], volume.grid.shape[columnAxis]) != (rows, columns):
        return None
    across = 3 - rowAxis - columnAxis
    picture = np.moveaxis(volume.array, (across, rowAxis, columnAxis), (0, 1, 2))[int(whole[0][across])]
    picture = picture[:: int(np.sign(steps[0][rowAxis])), :: int(np.sign(steps[1][columnAxis]))]
    return (across, int(whole[0][across])), picture


def _inside(index: NDArray[np.int_], grid: Grid) -> bool:
    return bool((index >= 0).all() and (index < np.array(grid.shape)).all())


def _same(shown: NDArray[np.float32], stored: NDArray[Any], header: Any) -> bool:
    """Whether a slice shows stored values after their rescale."""
    values = stored.astype(np.float32) * np.float32(header.RescaleSlope) + np.float32(header.RescaleIntercept)
    return values.shape == shown.shape and bool(np.abs(values - shown).max() <= SAME_HU)
