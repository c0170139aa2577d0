"""Regions → closed surfaces in the patient: STL for printing and planning, VTP and OBJ for viewers.

A region's surface is the boundary between its voxels and the rest: discrete flying edges put it halfway between voxel
centres, that is on the voxels' faces, so without smoothing a box of voxels becomes a box of exactly that size
(with corners cut by half a voxel). Smoothing (windowed sinc, Taubin et al. 1996) then takes the stairs off and
nearly keeps the volume; it is done in millimetres, because slices may be six times as thick as pixels.

Coordinates are LPS millimetres, as in DICOM and ITK, and each file says so in the way 3D Slicer writes and reads it:
``SPACE=LPS`` in the STL header and the OBJ comment, a ``SPACE`` field in VTP.

This module alone imports VTK.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import VTK_UNSIGNED_CHAR, vtkFloatArray, vtkStringArray, vtkUnsignedCharArray
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkPolyData
from vtkmodules.vtkCommonExecutionModel import vtkPolyDataAlgorithm
from vtkmodules.vtkCommonMath import vtkMatrix4x4
from vtkmodules.vtkCommonTransforms import vtkTransform
from vtkmodules.vtkFiltersCore import vtkPolyDataNormals, vtkReverseSense, vtkWindowedSincPolyDataFilter
from vtkmodules.vtkFiltersGeneral import vtkDiscreteFlyingEdges3D, vtkTransformPolyDataFilter
from vtkmodules.vtkIOGeometry import vtkOBJWriter, vtkSTLWriter
from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

from KLIPCore.errors import ConfigError, OutputError
from KLIPCore.export.files import REMEDY, written
from KLIPCore.maps.regions import Region
from KLIPCore.volume.grid import Grid

MeshFormat = Literal["stl", "vtp", "obj"]
HEADER = "KLIP region. SPACE=LPS"
SMOOTHING_ROUNDS = 20


def region_surface(region: Region, grid: Grid, smoothing: float = 0.5) -> vtkPolyData:
    """Return the closed surface of a region in LPS mm, normals outwards.

    Parameters
    ----------
    region : found on ``grid``.
    grid : the study's.
    smoothing : 0 for the voxels' own faces to 1 for very smooth; Slicer's scale (pass band 10^(-4·smoothing)).

    Raises
    ------
    ConfigError : smoothing is out of range.
    """
    if not 0 <= smoothing <= 1:
        raise ConfigError(f"A smoothing of {smoothing} is out of range.", "Give a number from 0 (none) to 1 (most).")
    padded = np.pad(region.mask, 1).astype(np.uint8)  # an empty rim closes the surface at the volume's edge
    image = vtkImageData()
    image.SetDimensions(*padded.shape[::-1])
    image.SetOrigin(*(part.start - 1 for part in region.box[::-1]))  # image space is the array's own index (i, j, k)
    image.GetPointData().SetScalars(numpy_to_vtk(padded.ravel(), deep=True, array_type=VTK_UNSIGNED_CHAR))
    edges = vtkDiscreteFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 1)
    edges.ComputeScalarsOff()
    edges.ComputeNormalsOff()
    edges.ComputeGradientsOff()

    place = vtkTransformPolyDataFilter()
    place.SetTransform(_index_to_lps(grid))
    place.SetInputConnection(edges.GetOutputPort())
    last: vtkPolyDataAlgorithm = place
    if (
        np.linalg.det(grid.affine[:3, :3]) > 0
    ):  # (k, j, i) → (i, j, k) is an odd permutation: this grid mirrors triangles
        reverse = vtkReverseSense()
        reverse.SetInputConnection(place.GetOutputPort())
        reverse.ReverseCellsOn()
        last = reverse
    if smoothing > 0:
        smooth = vtkWindowedSincPolyDataFilter()
        smooth.SetInputConnection(last.GetOutputPort())
        smooth.SetNumberOfIterations(SMOOTHING_ROUNDS)
        smooth.SetPassBand(10.0 ** (-4.0 * smoothing))
        smooth.BoundarySmoothingOff()
        smooth.FeatureEdgeSmoothingOff()
        smooth.NonManifoldSmoothingOn()
        smooth.NormalizeCoordinatesOn()
        last = smooth
    normals = vtkPolyDataNormals()
    normals.SetInputConnection(last.GetOutputPort())
    normals.SplittingOff()
    normals.ConsistencyOff()
    normals.Update()
    return normals.GetOutput()


def _index_to_lps(grid: Grid) -> vtkTransform:
    """(i, j, k) → LPS mm as VTK's transform."""
    matrix = vtkMatrix4x4()
    for row in range(3):
        for column in range(3):
            matrix.SetElement(row, column, grid.affine[row, 2 - column])
        matrix.SetElement(row, 3, grid.affine[row, 3])
    transform = vtkTransform()
    transform.SetMatrix(matrix)
    return transform


def write_meshes(
    regions: Sequence[Region], grid: Grid, folder: Path, *, file_format: MeshFormat = "stl", smoothing: float = 0.5
) -> list[Path]:
    """Write one surface file a region, named after it (``ood-1.stl``), each whole or not at all.

    Returns
    -------
    The files, in the order of the regions; none without regions.

    Raises
    ------
    ConfigError : unknown format, or smoothing out of range.
    OutputError : a file cannot be written.
    """
    if file_format not in ("stl", "vtp", "obj"):
        raise ConfigError(f"There is no mesh format {file_format!r}.", "Use stl, vtp or obj.")
    names = [
        re.sub(r"[^a-z0-9]+", "-", region.name.lower()).strip("-") or f"region-{region.label}" for region in regions
    ]
    if len(set(names)) < len(names):
        names = [f"{name}-{region.label}" for name, region in zip(names, regions, strict=True)]
    paths = []
    for region, name in zip(regions, names, strict=True):
        path = folder / f"{name}.{file_format}"
        surface = region_surface(region, grid, smoothing)
        with written(path) as part:
            _WRITE[file_format](surface, region, part)
        paths.append(path)
    return paths


def _write_stl(surface: vtkPolyData, region: Region, path: Path) -> None:
    writer = vtkSTLWriter()
    header = vtkUnsignedCharArray()
    for byte in HEADER.encode("ascii").ljust(80, b" "):
        header.InsertNextValue(byte)
    writer.SetFileTypeToBinary()
    writer.SetBinaryHeader(header)
    writer.SetInputData(surface)
    _write(writer, path)


def _write_obj(surface: vtkPolyData, region: Region, path: Path) -> None:
    bare = vtkPolyData()
    bare.SetPoints(surface.GetPoints())
    bare.SetPolys(surface.GetPolys())
    writer = vtkOBJWriter()
    writer.SetInputData(bare)
    _write(writer, path)
    text = path.read_text(encoding="ascii")
    path.write_text(f"# {HEADER}\n{text}", encoding="ascii")


def _write_vtp(surface: vtkPolyData, region: Region, path: Path) -> None:
    space = vtkStringArray()
    space.SetName("SPACE")
    space.InsertNextValue("LPS")
    name = vtkStringArray()
    name.SetName("Name")
    name.InsertNextValue(region.name)
    nats = vtkFloatArray()
    nats.SetName("TotalNats")
    nats.InsertNextValue(region.total_nats)
    labelled = vtkPolyData()
    labelled.ShallowCopy(surface)
    for field in (space, name, nats):
        labelled.GetFieldData().AddArray(field)
    writer = vtkXMLPolyDataWriter()
    writer.SetInputData(labelled)
    _write(writer, path)


_WRITE = {"stl": _write_stl, "obj": _write_obj, "vtp": _write_vtp}


def _write(writer: vtkSTLWriter | vtkOBJWriter | vtkXMLPolyDataWriter, path: Path) -> None:
    writer.SetFileName(str(path))
    if not writer.Write() or writer.GetErrorCode():
        raise OutputError(f"{path.name.removesuffix('.part')} cannot be written.", REMEDY)
