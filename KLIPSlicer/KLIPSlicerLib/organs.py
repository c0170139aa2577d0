"""Segments of a segmentation node as organs on an examined study's voxels.

Any segmentation will do: TotalSegmentator's, nnInteractive's, one drawn by hand. Each voxel of the study takes the
segment of the labelmap voxel nearest to it, parent transforms of both nodes included. Slices are looked up one at a
time, so that Slicer answers its user in between.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from KLIPCore.runs.search import Search
    from KLIPCore.volume.grid import Grid
    from KLIPCore.volume.organs import OrganMap
    from KLIPCore.volume.selection import Box

EVERYWHERE, ALL_SEGMENTS = "", "*"
"""In place of a segment's identifier: organs are named and nothing is left out; every segment is looked in."""


@dataclass(frozen=True)
class Choice:
    """What is looked within.

    node : a segmentation node, None for none.
    segment : identifier of one of its segments, EVERYWHERE or ALL_SEGMENTS.
    """

    node: Any = None
    segment: str = EVERYWHERE

    @property
    def key(self) -> tuple[Any, ...]:
        """What changes when the choice or its segments do."""
        if self.node is None:
            return ()
        return (self.node.GetID(), self.node.GetSegmentation().GetMTime(), self.segment)


def segmentNames(node: Any) -> dict[str, str]:
    """Identifier → name of each segment of a node, in its order; none of no node."""
    segmentation = node.GetSegmentation() if node is not None else None
    identifiers = list(segmentation.GetSegmentIDs()) if segmentation is not None else []
    return {identifier: str(segmentation.GetSegment(identifier).GetName()) for identifier in identifiers}


def searchWithin(choice: Choice, volumeNode: Any, grid: Grid, roi: Box | None) -> Generator[float, None, Search]:
    """Make the search that a choice means.

    Parameters
    ----------
    volumeNode : a volume of the study; its parent transform places the study in the world.
    grid : the study's voxels, in the run's own order.
    roi : the run's box.

    Yields
    ------
    part of the work that is done; a step takes milliseconds.

    Raises
    ------
    ConfigError : the segment is gone or lies elsewhere.
    GeometryError : the segmentation cannot be placed on the study.
    """
    from KLIPCore.errors import ConfigError, GeometryError
    from KLIPCore.runs.search import Search

    if choice.node is None:
        return Search(roi)
    names = segmentNames(choice.node)
    if choice.segment not in (EVERYWHERE, ALL_SEGMENTS, *names):
        raise ConfigError(_("The segment to look within is gone."), _("Choose another one."))
    organs = yield from segmentsOn(choice.node, names, volumeNode, grid, choice.segment)
    chosen = list(names).index(choice.segment) + 1 if choice.segment in names else None
    present = organs.present
    if not present:
        raise GeometryError(
            _("The segmentation does not overlap with the study."), _("Choose one that was made of this volume.")
        )
    if chosen is not None and chosen not in present:
        raise ConfigError(_("The segment lies outside the study, or is empty."), _("Choose another one."))
    wanted = None if choice.segment == EVERYWHERE else present if chosen is None else (chosen,)
    return Search(roi, organs, wanted)


def segmentsOn(
    node: Any, names: dict[str, str], volumeNode: Any, grid: Grid, onTop: str = EVERYWHERE
) -> Generator[float, None, OrganMap]:
    """Some segments of a node as labels on a grid, numbered from 1 in their order; of overlapping ones the smaller.

    Parameters
    ----------
    names : identifier → name of the segments.
    volumeNode, grid : as of :func:`searchWithin`.
    onTop : identifier of the segment that is kept whole.

    Raises
    ------
    GeometryError : there are too many, one has no labelmap, or they cannot be placed on the study.
    """
    from KLIPCore.errors import GeometryError
    from KLIPCore.volume.organs import MOST_LABELS, OrganMap

    if len(names) > MOST_LABELS:
        raise GeometryError(
            _("The segmentation has {n} segments.").format(n=len(names)),
            _("Choose one of at most {n}.").format(n=MOST_LABELS),
        )
    numbers = {identifier: n for n, identifier in enumerate(names, start=1)}
    layers = list(_layers(node, numbers))
    sizes = yield from _sizes(layers, len(names))
    order = np.argsort(-sizes[1:], kind="stable") + 1  # the largest first: what is painted later lies on top
    if onTop in numbers:
        order = np.append(order[order != numbers[onTop]], numbers[onTop])
    rank = np.zeros(len(names) + 1, np.uint8)
    rank[order] = np.arange(1, len(names) + 1)
    labels = yield from _painted(layers, rank, _toSegmentation(node, volumeNode, grid), grid)
    return OrganMap(labels, {numbers[i]: name for i, name in names.items()}, str(node.GetName()))


@dataclass(frozen=True)
class _Layer:
    """A labelmap that some segments share.

    voxels : (k, j, i), not a copy.
    fromLocal : (4, 4) RAS of the segmentation → index (k, j, i).
    numbers : value in the labelmap → number of the segment.
    """

    voxels: NDArray[Any]
    fromLocal: NDArray[np.float64]
    numbers: NDArray[np.uint8]


def _layers(node: Any, numbers: dict[str, int]) -> Generator[_Layer, None, None]:
    """The labelmaps of a segmentation.

    Raises
    ------
    GeometryError : a segment has no labelmap.
    """
    from KLIPCore.errors import GeometryError

    from .regions import voxelsOf

    kind = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation, images = node.GetSegmentation(), {}
    for identifier, number in numbers.items():
        segment = segmentation.GetSegment(identifier)
        image = segment.GetRepresentation(kind)
        if image is None:
            raise GeometryError(
                _("The segmentation has no binary labelmap."),
                _("Create that representation in the Segmentations module."),
            )
        images.setdefault(image.__this__, (image, {}))[1][int(segment.GetLabelValue())] = number
    for image, values in images.values():
        extent = image.GetExtent()
        if extent[1] < extent[0] or image.GetPointData().GetScalars() is None:
            continue  # an empty segment
        matrix = vtk.vtkMatrix4x4()
        image.GetWorldToImageMatrix(matrix)
        toIndex = np.asarray(slicer.util.arrayFromVTKMatrix(matrix), float)
        toIndex[:3, 3] -= (extent[0], extent[2], extent[4])
        table = np.zeros(max(*values, 255) + 1, np.uint8)
        table[list(values)] = list(values.values())
        yield _Layer(voxelsOf(image), toIndex[[2, 1, 0, 3]], table)


def _sizes(layers: list[_Layer], n: int) -> Generator[float, None, NDArray[np.int64]]:
    """Voxels of each segment by its number, the first being of none."""
    out = np.zeros(n + 1, np.int64)
    for layer in layers:
        for plane in layer.voxels:
            out += np.bincount(_numbersIn(layer, plane).ravel(), minlength=n + 1)
            yield 0.0
    return out


def _numbersIn(layer: _Layer, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Segments' numbers of labelmap values; 0 of values that no segment has."""
    return layer.numbers[np.where(values < len(layer.numbers), values, 0)]


def _toSegmentation(node: Any, volumeNode: Any, grid: Grid) -> NDArray[np.float64]:
    """(4, 4) index (k, j, i) of the study → RAS of the segmentation.

    Raises
    ------
    GeometryError : the two are apart by a warp.
    """
    from KLIPCore.errors import GeometryError

    from .nodes import RAS_TO_LPS

    between = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        volumeNode.GetParentTransformNode(), node.GetParentTransformNode(), between
    ):
        raise GeometryError(
            _("The segmentation and the study are apart by a transform that is not linear."),
            _("Harden the transforms of both first."),
        )
    return slicer.util.arrayFromVTKMatrix(between) @ RAS_TO_LPS @ grid.affine


def _painted(
    layers: list[_Layer], rank: NDArray[np.uint8], toLocal: NDArray[np.float64], grid: Grid
) -> Generator[float, None, NDArray[np.uint8]]:
    """Segments' numbers at the study's voxels; of several the one with the highest rank."""
    from scipy import ndimage

    out = np.zeros(grid.shape, np.uint8)
    byRank = np.argsort(rank).astype(np.uint8)
    for k, plane in enumerate(out):
        highest = np.zeros(plane.shape, np.uint8)
        for layer in layers:
            toIndex = layer.fromLocal @ toLocal
            found = ndimage.affine_transform(
                layer.voxels,
                toIndex[:3, :3],
                toIndex[:3, 3] + k * toIndex[:3, 0],
                output_shape=(1, *plane.shape),
                order=0,
                mode="grid-constant",
            )[0]
            np.maximum(highest, rank[_numbersIn(layer, found)], out=highest)
        plane[:] = byRank[highest]
        yield (k + 1) / len(out)
    return out
