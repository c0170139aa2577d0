"""MRML volume nodes and KLIPCore volumes: the only place where RAS becomes LPS.

Slicer's world is RAS and its arrays are indexed (k, j, i); KLIPCore's world is LPS with the same index order
(docs/conventions.md). So an array is never transposed here, and a matrix changes in exactly two ways: its
index columns turn from (i, j, k) to (k, j, i), and its x and y rows change sign.

A node's matrix is its own: a parent transform moves node and results alike, because results are put under the same
transform. All coordinates that KLIPCore sees are therefore the scanner's, and only jumping needs world coordinates
(:func:`worldFromLps`).

The grid that a run wrote down may list the same voxels in another order than the node: Slicer and KLIPCore may
count a DICOM series' slices from different ends, and Slicer reverses an axis of left-handed images.
:class:`VoxelOrder` finds the exact turn between the two, and refuses anything that would need interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import get_vtk_array_type

from KLIPCore.errors import GeometryError
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Its own inverse."""

TRACE = "KLIP.Trace"
"""Reference role, from each node that a detection put into the scene to the text node that holds it together."""

RESULT = "KLIP.Result"
"""Attribute of those nodes. It stays when the text node is gone: what is left of a detection is no study either."""

SAME_VOXEL = 0.25
"""Voxel centers of two readers' grids that lie nearer than this part of a voxel are the same voxel: readers
differ in how they average slice positions, never by as much."""


def isResult(node: Any) -> bool:
    """Whether a detection put this node into the scene: a map or a reconstruction is no study to examine."""
    return node is not None and bool(node.GetNodeReferenceID(TRACE) or node.GetAttribute(RESULT))


def ijkToRas(node: Any) -> NDArray[np.float64]:
    """(4, 4) index (i, j, k, 1) → RAS mm of a volume node, without its parent transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.asarray(slicer.util.arrayFromVTKMatrix(matrix), np.float64)


def gridOfNode(node: Any) -> Grid:
    """Where a volume node's voxels are, in LPS, without its parent transform.

    Raises
    ------
    GeometryError : the node has no voxels, or an impossible matrix.
    """
    image = node.GetImageData()
    if image is None or min(image.GetDimensions()) < 1:
        raise GeometryError(_("The volume is empty."), _("Load a CT volume first."))
    i, j, k = image.GetDimensions()
    return Grid((k, j, i), RAS_TO_LPS @ ijkToRas(node)[:, [2, 1, 0, 3]])


def volumeFromNode(node: Any) -> Volume:
    """A scalar volume node's numbers and places.

    Raises
    ------
    GeometryError : the node is empty, has several components a voxel, or an impossible matrix.
    IntensityError : voxels are NaN or infinite.
    """
    grid = gridOfNode(node)
    array = slicer.util.arrayFromVolume(node)
    if array.shape != grid.shape:
        raise GeometryError(
            _("The volume has several numbers a voxel (color or a time series)."), _("Choose a plain CT.")
        )
    return Volume(array, grid)


def volumeInSteps(node: Any) -> Generator[float, None, Volume]:
    """:func:`volumeFromNode`, a slice at a time; yields the part that is done. Other numbers than float32 are copied.

    Raises
    ------
    GeometryError, IntensityError : as there.
    """
    grid, array = gridOfNode(node), slicer.util.arrayFromVolume(node)
    if array.shape != grid.shape:
        return volumeFromNode(node)  # which says why not
    plain = array.dtype == np.float32 and array.flags.c_contiguous
    out = array if plain else np.empty(array.shape, np.float32)
    for k, plane in enumerate(array):
        if not plain:
            out[k] = plane
        if not np.isfinite(out[k]).all():
            return Volume(out[k : k + 1], grid.cropped((slice(k, k + 1), slice(None), slice(None))))  # says so
        yield (k + 1) / len(array)
    return Volume.known_finite(out, grid, "HU")


def updateNodeFromVolume(node: Any, volume: Volume) -> None:
    """Give a volume node a volume's numbers and places; the voxel buffer is kept when the shape is the same."""
    matrix = RAS_TO_LPS @ volume.grid.affine[:, [2, 1, 0, 3]]
    wasModifying = node.StartModify()
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    setVoxels(node, volume.array)
    node.EndModify(wasModifying)


def newVolumeLike(inputNode: Any, name: str, dtype: Any = np.float32) -> Any:
    """A volume node on another's voxels, under the same parent transform; what its voxels hold is not said."""
    return laidLike(inputNode.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", name), inputNode, dtype)


def laidLike(node: Any, inputNode: Any, dtype: Any = np.float32) -> Any:
    """Lay a volume node on another's voxels, under the same parent transform; what it held is lost.

    Its voxels hold anything: filling some hundred megabytes takes a while that a person would feel here.
    """
    node.CopyOrientation(inputNode)
    node.SetAndObserveTransformNodeID(inputNode.GetTransformNodeID())
    if node.GetDisplayNode() is None:  # before there are voxels, of which it would make a histogram
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAutoWindowLevel(False)
    image = vtk.vtkImageData()
    image.SetDimensions(inputNode.GetImageData().GetDimensions())
    image.AllocateScalars(get_vtk_array_type(np.dtype(dtype)), 1)
    node.SetAndObserveImageData(image)
    return node


def setVoxels(node: Any, array: NDArray[Any]) -> None:
    """Put (k, j, i) numbers into a volume node: in place where shape and type allow, with one notification."""
    image = node.GetImageData()
    fits = image is not None and image.GetPointData().GetScalars() is not None
    if fits:
        present = slicer.util.arrayFromVolume(node)
        fits = present.shape == array.shape and present.dtype == array.dtype
    if not fits:
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
        return
    np.copyto(present, array)
    voxelsModified(node)


def voxelsLike(node: Any, array: NDArray[Any]) -> NDArray[Any]:
    """A volume node's voxels (k, j, i), not a copy, of an array's shape and type.

    Raises
    ------
    GeometryError : it has others.
    """
    present = slicer.util.arrayFromVolume(node) if node.GetImageData() is not None else None
    if present is None or present.dtype != array.dtype or present.shape != array.shape:
        raise GeometryError(_("The map was changed by another module."), _("Run the detection again."))
    return present


def voxelsModified(node: Any) -> None:
    """Say once that a volume node's voxels were changed in place, as ``slicer.util.updateVolumeFromArray`` does."""
    node.GetImageData().GetPointData().GetScalars().Modified()
    node.StorableModified()
    node.Modified()
    node.InvokeEvent(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, node)


def worldFromLps(node: Any, pointLps: Any) -> NDArray[np.float64]:
    """World RAS of a point in a node's own LPS coordinates: its parent transform is applied."""
    ras = (RAS_TO_LPS[:3, :3] @ np.asarray(pointLps, np.float64)).tolist()
    world = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(ras, world)
    return np.array(world)


@dataclass(frozen=True)
class VoxelOrder:
    """How one reader's array becomes another's: axes exchanged and reversed, nothing else.

    Attributes
    ----------
    order : source axis of each target axis.
    reversedAxes : target axes that run the other way.
    """

    order: tuple[int, int, int]
    reversedAxes: tuple[int, ...]

    @classmethod
    def between(cls, source: Grid, target: Grid) -> VoxelOrder:
        """The turn from arrays on ``source`` to arrays on ``target``.

        Raises
        ------
        GeometryError : the grids are not the same voxels.
        """
        toSource = np.linalg.solve(source.affine, target.affine)  # index in target → index in source
        turn = np.rint(toSource[:3, :3])
        axes = np.abs(turn).argmax(axis=0)
        wrong = GeometryError(
            _("The result does not lie on this volume's voxels."),
            _("Choose the very volume that was examined, or run the detection again."),
        )
        if sorted(axes) != [0, 1, 2] or (np.abs(turn).sum(axis=0) != 1).any():
            raise wrong
        order = (int(axes[0]), int(axes[1]), int(axes[2]))
        if tuple(source.shape[a] for a in order) != target.shape:
            raise wrong
        made = cls(order, tuple(t for t, a in enumerate(order) if turn[a, t] < 0))
        corners = np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * (np.array(target.shape) - 1)
        apart = source.to_index(target.to_world(corners)) - made.sourceIndex(corners, source.shape)
        if np.abs(apart).max() > SAME_VOXEL:
            raise wrong
        return made

    def sourceIndex(self, index: Any, sourceShape: tuple[int, int, int]) -> NDArray[np.int_]:
        """Index (..., 3) in the source of target indices (..., 3)."""
        index = np.asarray(index)
        out = np.empty_like(index)
        for axis, a in enumerate(self.order):
            out[..., a] = sourceShape[a] - 1 - index[..., axis] if axis in self.reversedAxes else index[..., axis]
        return out

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Source array → target array; a view, nothing is copied."""
        return (
            np.flip(array.transpose(self.order), self.reversedAxes)
            if self.reversedAxes
            else array.transpose(self.order)
        )

    def sourceView(self, array: NDArray[Any]) -> NDArray[Any]:
        """Target array → the same memory in the source's order: what is written there, is written into ``array``."""
        turned = np.flip(array, self.reversedAxes) if self.reversedAxes else array
        return turned.transpose(np.argsort(self.order))
