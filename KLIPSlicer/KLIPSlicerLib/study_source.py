"""From the chosen volume to a path that `klip` can read.

A volume that was loaded from DICOM, and has not been changed since, is examined from its files: a DICOM SEG then
refers to the original images. Any other volume is written to a temporary file, which is removed when the run has
ended. Which of the two it is, is decided by comparing voxels, not by trusting attributes. All of this happens a slice
at a time, between events.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from .dicom_origin import dicomFiles, holdsWhatFilesHold, reasonAgainstOrigin
from .raw_nrrd import digestOf, writeRawNrrd

if TYPE_CHECKING:
    from KLIPCore.volume.selection import Box
    from KLIPCore.volume.volume import Volume


@dataclass(frozen=True)
class StudySource:
    """What `klip detect` is given.

    path : a temporary file, or one DICOM file of the volume: it stands for its series, and where that holds several
        acquisitions of one place (phases), for its own.
    temporary : whether the file is removed when the run has ended.
    digest : hash of the volume's numbers and places.
    note : what the user should know about it, in a sentence; may be empty.
    """

    path: Path
    temporary: bool
    digest: str
    note: str = ""

    @property
    def arguments(self) -> list[str]:
        """How the command line names the study."""
        return [str(self.path)]

    def remove(self) -> None:
        """Remove the temporary file; DICOM files stay."""
        if self.temporary:
            with contextlib.suppress(OSError):  # Windows does not remove what is still open somewhere
                self.path.unlink(missing_ok=True)


def sourceOf(node: Any, temporaryFolder: Path) -> Generator[float, None, StudySource]:
    """Read a volume node's numbers, and find or write its study; see :func:`findOrWrite`.

    Raises
    ------
    InputError : the volume changed meanwhile, as one of a sequence that is played does; else as there.
    """
    from KLIPCore.errors import InputError

    from .nodes import volumeInSteps

    image = node.GetImageData()
    before = (image, image.GetMTime() if image is not None else 0)
    volume = yield from _share(volumeInSteps(node), 0.0, 0.1)
    source = yield from _share(findOrWrite(node, volume, temporaryFolder), 0.1, 1.0)
    image = node.GetImageData()
    if (image, image.GetMTime() if image is not None else 0) != before:
        source.remove()
        raise InputError(
            _("The volume changed while it was read."), _("Stop the sequence that plays, and press Detect OOD again.")
        )
    return source


def findOrWrite(node: Any, volume: Volume, temporaryFolder: Path) -> Generator[float, None, StudySource]:
    """Find or write the study of a volume node.

    Parameters
    ----------
    node : a volume node.
    volume : its numbers and places.
    temporaryFolder : where a file is written if need be.

    Yields
    ------
    part of the work that is done; after each slice, so a step takes milliseconds.

    Raises
    ------
    KlipError : the volume cannot be examined, or not be written.
    """
    digest = yield from _share(digestOf(volume), 0.0, 0.2)
    note = ""
    if node.GetAttribute("DICOM.instanceUIDs"):
        note = reasonAgainstOrigin(node)
        files = [] if note else dicomFiles(node)
        if files and (yield from _share(holdsWhatFilesHold(volume, files), 0.2, 0.6)):
            return StudySource(files[0], False, digest)
        note = note or _("The volume was changed after it was loaded from DICOM.")
        note += " " + _("It is examined from a temporary file; a DICOM SEG will not be possible.")
    path = temporaryFolder / f"input-{node.GetID()}.nrrd"
    yield from _share(writeRawNrrd(volume, path), 0.6, 1.0)
    return StudySource(path, True, digest, note)


def _share(steps: Generator[float, None, Any], first: float, last: float) -> Generator[float, None, Any]:
    """Steps of one task as a share of a longer one."""
    while True:
        try:
            part = next(steps)
        except StopIteration as end:
            return end.value
        yield first + part * (last - first)


def dicomStudyOf(node: Any, volume: Volume) -> Volume | None:
    """The DICOM series that holds exactly this node's voxels, read by KLIPCore; None where there is none."""
    from KLIPCore.errors import KlipError
    from KLIPCore.io.study import read_study

    from .nodes import VoxelOrder

    if reasonAgainstOrigin(node):
        return None
    first = dicomFiles(node)[0]
    try:
        read = read_study(first)  # its series, and of several acquisitions in that its own
        order = VoxelOrder.between(read.grid, volume.grid)
    except KlipError:
        return None
    return read if np.array_equal(order.apply(read.array), volume.array) else None


def boxOfRoi(roiNode: Any, volumeNode: Any) -> Box:
    """The smallest box along LPS axes, in the volume's own coordinates (mm), around a region-of-interest node.

    Parent transforms of both nodes are respected.
    """
    from .nodes import RAS_TO_LPS

    toWorld = slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToWorldMatrix())
    half = np.array(roiNode.GetSize()) / 2
    corners = np.array([[x, y, z, 1.0] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * [*half, 1.0]
    world = (corners @ toWorld.T)[:, :3]
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, volumeNode.GetParentTransformNode(), transform)
    local = np.array([transform.TransformPoint(point) for point in world.tolist()]) @ RAS_TO_LPS[:3, :3]
    low, high = local.min(0), local.max(0)
    return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))


def numberOfSlices(node: Any) -> int:
    """Slices from the feet to the head; 0 for an empty volume."""
    from KLIPCore.errors import KlipError

    from .nodes import gridOfNode

    try:
        grid = gridOfNode(node)
        return grid.shape[grid.lps_axes()[0][0]]
    except KlipError:
        return 0
