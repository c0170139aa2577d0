"""Regions as nodes: a segmentation with one segment each, and a table with one row each.

All segments share one labelmap of the study's full extent, as Slicer keeps segments that do not overlap. So a
slider's new answer is one copy into that labelmap's voxels and one notification, whatever the number of
regions; segments are only added or removed when their number changes.

Segments are drawn as outlines: the map's colors show inside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from KLIPCore.export.report import UNKNOWN, RegionRow
from KLIPCore.export.segmentation import segment_tags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from KLIPCore.export.report import Reading
    from KLIPCore.maps.regions import Region
    from KLIPCore.volume.grid import Grid
    from KLIPSlicerLib.nodes import VoxelOrder

OUTLINE_PIXELS = 2
"""Thickness of outlines in slice views."""

DIGITS = 4
"""Significant digits of numbers in the table."""

COLUMNS = (
    *("Region", "Slices", "Volume [mL]", "Peak", "Total", "p", "q"),
    *("Segment", "Reading", "Note", "Organ", "In health", "Outline"),
)
"""Of the table. Peak and total are in the score's units, which are nats of some scores only. Slices are counted from
the feet, starting at 0; Segment is the segment's identifier; Reading and Note are what the reader says; Organ is
"unknown" where no segmentation was chosen; In health is how many regions as strong a healthy study shows, empty where
no reference of health judged; Outline is "rough" of what was found over several centimeters, else "blocks"."""


def segmentId(region: Region) -> str:
    """Identifier of a region's segment; the same in exported ``.seg.nrrd`` files."""
    return f"KLIP_{region.label}"


def contains(region: Region, grid: Grid, pointLps: Sequence[float]) -> bool:
    """Whether an LPS point lies in a voxel of the region, which was found on ``grid``."""
    index = np.rint(grid.to_index(pointLps)).astype(int)
    inBox = all(part.start <= n < part.stop for part, n in zip(region.box, index, strict=True))
    return inBox and bool(region.mask[tuple(n - part.start for part, n in zip(region.box, index, strict=True))])


# ---- segmentation


def newSegmentation(inputNode: Any, name: str) -> Any:
    """An empty segmentation on the input's voxels, under the same parent transform."""
    return emptied(inputNode.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", name), inputNode)


def emptied(node: Any, inputNode: Any) -> Any:
    """Make a segmentation empty and lay it on the input's voxels; how it is shown stays, where that is known."""
    segmentation = node.GetSegmentation()
    segmentation.RemoveAllSegments()
    segmentation.SetSourceRepresentationName(_binaryLabelmap())
    # the transform first: the geometry is taken relative to it, and segments would be saved on moved voxels otherwise
    node.SetAndObserveTransformNodeID(inputNode.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(inputNode)
    if node.GetDisplayNode() is not None:
        return node
    node.CreateDefaultDisplayNodes()
    shown = node.GetDisplayNode()
    shown.SetVisibility2DFill(False)
    shown.SetVisibility2DOutline(True)
    shown.SetSliceIntersectionThickness(OUTLINE_PIXELS)
    return node


def updateSegmentation(node: Any, geometryNode: Any, order: VoxelOrder, found: Sequence[Region]) -> None:
    """Make a segmentation show these regions.

    Parameters
    ----------
    node : the segmentation; what it held is replaced.
    geometryNode : a volume node whose voxels the segments get.
    order : from the grid that the regions were found on to those voxels.
    found : the regions.
    """
    image = labelmapFor(node, geometryNode, found)
    paint(order.sourceView(voxelsOf(image)), found)
    describeSegments(node, image, found)


def labelmapFor(node: Any, geometryNode: Any, found: Sequence[Region]) -> Any:
    """The labelmap that a segmentation's segments share, or will share, with room for these regions."""
    highest = max((region.label for region in found), default=1)
    dtype = np.dtype(np.uint8 if highest < 256 else np.uint16)
    return _sharedLabelmap(node.GetSegmentation(), geometryNode, dtype)


def describeSegments(node: Any, image: Any, found: Sequence[Region]) -> None:
    """Make a segmentation's segments these regions, which are painted in a labelmap already; one notification."""
    segmentation = node.GetSegmentation()
    shows3D = segmentation.ContainsRepresentation(_closedSurface())
    wasModifying = node.StartModify()
    if shows3D:
        segmentation.RemoveRepresentation(_closedSurface())
    wanted = {segmentId(region): region for region in found}
    for identifier in list(segmentation.GetSegmentIDs()):
        if identifier not in wanted:
            _removeSegment(segmentation, identifier)
    for identifier, region in wanted.items():
        segment = segmentation.GetSegment(identifier)
        isNew = segment is None
        if isNew:
            segment = slicer.vtkSegment()
        _describe(segment, region)
        if segment.GetRepresentation(_binaryLabelmap()) is not image:
            segment.AddRepresentation(_binaryLabelmap(), image)
        segment.SetLabelValue(region.label)
        if isNew:
            segmentation.AddSegment(segment, identifier)
    image.GetPointData().GetScalars().Modified()
    image.Modified()
    if shows3D:
        node.CreateClosedSurfaceRepresentation()
    node.EndModify(wasModifying)


def copyOfSegments(node: Any, identifiers: Sequence[str], name: str) -> Any:
    """A segmentation of its own with copies of some segments, which no slider touches."""
    copy = node.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    geometry = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    copy.GetSegmentation().SetConversionParameter(geometry, node.GetSegmentation().GetConversionParameter(geometry))
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    copy.SetNodeReferenceID(role, node.GetNodeReferenceID(role))
    copy.CreateDefaultDisplayNodes()
    for identifier in identifiers:
        copy.GetSegmentation().CopySegmentFromSegmentation(node.GetSegmentation(), identifier)
    return copy


def setShow3D(node: Any, shown: bool) -> None:
    """Show or hide surfaces; hidden ones are not computed when a slider moves."""
    if shown:
        node.CreateClosedSurfaceRepresentation()
    else:
        node.RemoveClosedSurfaceRepresentation()
    node.GetDisplayNode().SetVisibility3D(shown)


def _binaryLabelmap() -> str:
    return str(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName())


def _closedSurface() -> str:
    return str(slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName())


def _sharedLabelmap(segmentation: Any, geometryNode: Any, dtype: np.dtype) -> Any:
    """The labelmap that the segments share; a new one where there is none of that type, extent and place."""
    extent = geometryNode.GetImageData().GetExtent()
    matrix = vtk.vtkMatrix4x4()
    geometryNode.GetIJKToRASMatrix(matrix)
    vtkType = vtk.VTK_UNSIGNED_CHAR if dtype == np.uint8 else vtk.VTK_UNSIGNED_SHORT
    if segmentation.GetNumberOfSegments():
        image = segmentation.GetNthSegment(0).GetRepresentation(_binaryLabelmap())
        if image is not None and image.GetExtent() == extent and image.GetScalarType() == vtkType:
            present = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(present)
            apart = slicer.util.arrayFromVTKMatrix(present) - slicer.util.arrayFromVTKMatrix(matrix)
            if np.abs(apart).max() < 1e-9:
                return image
    image = slicer.vtkOrientedImageData()
    image.SetExtent(extent)
    image.SetImageToWorldMatrix(matrix)
    image.AllocateScalars(vtkType, 1)
    return image


def _removeSegment(segmentation: Any, identifier: str) -> None:
    """Take a segment out. It lets go of the shared labelmap first, which Slicer would otherwise copy for it."""
    segment = segmentation.GetSegment(identifier)
    segment.AddRepresentation(_binaryLabelmap(), slicer.vtkOrientedImageData())
    segmentation.RemoveSegment(identifier)


def voxelsOf(image: Any) -> NDArray[Any]:
    """(k, j, i) voxels of an image, not a copy."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def paint(labels: NDArray[np.unsignedinteger], found: Sequence[Region]) -> None:
    """Each region's label inside it, 0 elsewhere, in place."""
    labels.fill(0)
    for region in found:
        labels[region.box][region.mask] = region.label


def _describe(segment: Any, region: Region) -> None:
    """Name, color, terminology and numbers."""
    segment.SetName(region.name)
    segment.SetColor(*region.colour)
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    for key, value in segment_tags(region).items():
        segment.SetTag(key, value)


# ---- table


def newTable(scene: Any, name: str) -> Any:
    """A table without rows."""
    return withoutRows(scene.AddNewNodeByClass("vtkMRMLTableNode", name))


def withoutRows(node: Any) -> Any:
    """Give a table the columns of regions and no rows; what it held is lost."""
    node.SetUseColumnTitleAsColumnHeader(True)
    updateTable(node, ())
    return node


def updateTable(node: Any, found: Sequence[Region], said: Mapping[int, Reading] | None = None) -> None:
    """Make a table show these regions, one row each.

    :param said: label of a region → what the reader said of it.
    """
    said = said or {}
    rows = [RegionRow.of(region) for region in found]
    numbers = {
        "Volume [mL]": [row.volume_ml for row in rows],
        "Peak": [row.peak_nats for row in rows],
        "Total": [row.total_nats for row in rows],
        "p": [row.p_value for row in rows],
        "q": [row.q_value for row in rows],
    }
    texts = {
        "Region": [row.name for row in rows],
        "Slices": [row.slices for row in rows],
        "Reading": [said[region.label].verdict if region.label in said else "" for region in found],
        "Note": [said[region.label].note if region.label in said else "" for region in found],
        "Segment": [segmentId(region) for region in found],
        "Organ": [row.organ or UNKNOWN for row in rows],
        "In health": ["" if row.expected is None else f"{row.expected:.{DIGITS}g}" for row in rows],
        "Outline": ["rough" if row.broad else "blocks" for row in rows],
    }
    wasModifying = node.StartModify()
    node.RemoveAllColumns()
    for title in COLUMNS:
        column = vtk.vtkStringArray() if title in texts else vtk.vtkDoubleArray()
        column.SetName(title)
        for value in texts[title] if title in texts else numbers[title]:
            column.InsertNextValue(value if title in texts else float(f"{value:.{DIGITS}g}"))
        node.AddColumn(column)
    node.EndModify(wasModifying)
