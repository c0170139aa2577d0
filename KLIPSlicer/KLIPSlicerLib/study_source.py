"""From the chosen volume to a path that `klip` can read.

A volume that was loaded from DICOM, and has not been changed since, is examined from its files: a DICOM SEG then
refers to the original images. Any other volume is written to a temporary file, which is removed when the run has
ended. Which of the two it is, is decided by comparing voxels, not by trusting attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util
import vtk

if TYPE_CHECKING:
    from KLIPCore.volume.selection import Box
    from KLIPCore.volume.volume import Volume


@dataclass
class StudySource:
    """What `klip detect` is given.

    path : a DICOM folder, or a temporary file.
    series : UID of the series in that folder; None for a file.
    volume : what will be read there.
    """

    path: Path
    series: str | None
    volume: Volume

    @classmethod
    def of(cls, node: Any, temporaryFolder: Path) -> StudySource:
        """Find or write the study of a volume node.

        :raises KlipError: the volume cannot be examined, or not be written.
        """
        from KLIPCore.io.images import write_image

        from .nodes import volumeFromNode

        volume = volumeFromNode(node)
        dicom = dicomOf(node, volume)
        if dicom is not None:
            return dicom
        temporaryFolder.mkdir(parents=True, exist_ok=True)
        path = temporaryFolder / f"input-{node.GetID()}.nrrd"
        write_image(volume, path)
        return cls(path, None, volume)

    @property
    def arguments(self) -> list[str]:
        """How the command line names the study."""
        return [str(self.path), *(["--series", self.series] if self.series else [])]

    def remove(self) -> None:
        """Remove the temporary file; DICOM files stay."""
        if self.series is None:
            self.path.unlink(missing_ok=True)


def dicomOf(node: Any, volume: Volume) -> StudySource | None:
    """The DICOM files that hold exactly this node's voxels; None where there are none."""
    from KLIPCore.errors import KlipError
    from KLIPCore.io.study import read_study

    from .nodes import VoxelOrder

    files = dicomFiles(node)
    folders = {path.parent for path in files}
    if len(folders) != 1 or not all(path.is_file() for path in files):
        return None
    try:
        series = seriesOf(files[0])
        read = read_study(folders.pop(), series)
        order = VoxelOrder.between(read.grid, volume.grid)
    except KlipError:
        return None
    return (
        StudySource(files[0].parent, series, read) if np.array_equal(order.apply(read.array), volume.array) else None
    )


def dicomFiles(node: Any) -> list[Path]:
    """The files that a volume node was loaded from, if these are DICOM instances in Slicer's database."""
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None:
        return []
    names = [database.fileForInstance(uid) for uid in uids]
    return [Path(name) for name in names] if all(names) else []


def seriesOf(path: Path) -> str:
    """Series instance UID of a DICOM file."""
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"], force=True)
    return str(header.get("SeriesInstanceUID", ""))


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
