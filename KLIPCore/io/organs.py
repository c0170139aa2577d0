"""A segmentation file on a study's grid: what ``--within FILE[:LABEL]`` means.

Voxels are looked up, not interpolated: each voxel of the study takes the label of the file's voxel nearest to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.io.segmentation_files import SegmentationFile, read_segmentation
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.organs import OrganMap

HOW = "Write --within FILE, or --within FILE:LABEL with the label's name or number."


def parse_within(written: str) -> tuple[Path, str]:
    """Return the file and the label that ``FILE[:LABEL]`` means; the label is empty where none is given.

    Raises
    ------
    ConfigError : there is no such file.
    """
    whole = Path(written)
    if whole.is_file():  # a colon may belong to its name
        return whole, ""
    name, colon, label = written.rpartition(":")
    if colon and name and Path(name).is_file():
        return Path(name), label.strip()
    raise ConfigError(f"There is no segmentation file '{written}'.", HOW)


def read_organs(path: Path, grid: Grid, wanted: str = "") -> tuple[OrganMap, tuple[int, ...]]:
    """Read a segmentation onto a study's grid.

    Parameters
    ----------
    path : NIfTI, NRRD, MetaImage or DICOM SEG.
    grid : the study's own.
    wanted : name or number of one of its labels.

    Returns
    -------
    organs : all of its labels that lie in the study.
    labels : those asked for: the wanted one, or all.

    Raises
    ------
    ConfigError : the label is not in the file, or not in the study.
    GeometryError : the file is of another place, or of another frame of reference.
    UnreadableFileError : damaged, or no segmentation.
    """
    found = read_segmentation(path, wanted)
    asked = () if not wanted else (found.organs.number_of(wanted),)
    if found.grid.frame_uid and grid.frame_uid and found.grid.frame_uid != grid.frame_uid:
        raise GeometryError(
            f"{path.name} belongs to another frame of reference than the study.",
            "Give the segmentation of this very series, or one that was resampled to it, as NIfTI or .seg.nrrd.",
        )
    labels = on_grid(found, grid)
    organs = OrganMap(labels, found.organs.names, path.name)
    present = organs.present
    if not present:
        what = "is empty." if not found.organs.present else "does not overlap with the study."
        raise GeometryError(f"The segmentation {path.name} {what}", "Give one that was made of this study.")
    if asked and asked[0] not in present:
        listed = ", ".join(f"{n} ({organs.called(n)})" for n in present)
        raise ConfigError(f"The label '{wanted}' of {path.name} lies outside this study.", f"Inside it lie: {listed}.")
    return organs, asked or present


def on_grid(found: SegmentationFile, grid: Grid) -> NDArray[np.uint8]:
    """Return the labels of a file at the voxels of another grid, each the nearest one's; 0 beyond the file."""
    if found.grid.same_as(grid):
        return found.organs.labels
    to_file = np.linalg.inv(found.grid.affine) @ grid.affine
    moved = ndi.affine_transform(
        found.organs.labels,
        to_file[:3, :3],
        to_file[:3, 3],
        output_shape=grid.shape,
        order=0,
        mode="grid-constant",  # half a voxel beyond the outermost centres still belongs to them
        cval=0,
    )
    return np.asarray(moved, np.uint8)
