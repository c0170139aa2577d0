"""Surfaces: the right size, place and side out, in every format, as VTK and Slicer read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from export.asking_slicer import RAS, needs_slicer, read_in_slicer
from export.examples import OBLIQUE, SHAPE, kl_map, two_regions
from hypothesis import given, settings
from maps.grids import grids
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import vtkFeatureEdges
from vtkmodules.vtkIOGeometry import vtkOBJReader, vtkSTLReader
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from KLIPCore.errors import ConfigError, OutputError
from KLIPCore.export.mesh import region_surface, write_meshes
from KLIPCore.maps.regions import Region, find_regions
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


def points(surface: vtkPolyData) -> np.ndarray:
    return vtk_to_numpy(surface.GetPoints().GetData()).astype(float)


def signed_volume(surface: vtkPolyData) -> float:
    """∮ x·n/3 dA: positive when normals point outwards (divergence theorem)."""
    triangles = points(surface)[vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)]
    triangles = triangles - triangles.mean((0, 1))
    return float(np.einsum("ti,ti->", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])) / 6)


def open_edges(surface: vtkPolyData) -> int:
    edges = vtkFeatureEdges()
    edges.SetInputData(surface)
    edges.FeatureEdgesOff()
    edges.Update()
    return edges.GetOutput().GetNumberOfCells()


def a_box(grid: Grid, box: tuple[slice, slice, slice]) -> Region:
    array = np.zeros(grid.shape, np.float32)
    array[box] = 1
    (region,) = find_regions(Volume(array, grid, unit="nats"), array > 0, 1 - array, array)
    return region


@given(grids(SHAPE))
@settings(max_examples=25, deadline=None)
def test_a_box_of_voxels_is_a_box_of_that_size_at_that_place(grid: Grid) -> None:
    surface = region_surface(a_box(grid, (slice(1, 4), slice(0, 9), slice(3, 5))), grid, smoothing=0)
    index = grid.to_index(points(surface))  # back to voxel indices: faces lie at half-integers
    np.testing.assert_allclose(index.min(0), [0.5, -0.5, 2.5], atol=1e-3)
    np.testing.assert_allclose(index.max(0), [3.5, 8.5, 4.5], atol=1e-3)
    assert open_edges(surface) == 0
    volume = 3 * 9 * 2 * grid.voxel_volume_mm3
    assert 0.85 * volume < signed_volume(surface) < volume  # outwards for every handedness; edges are cut


def test_bounds_in_lps_of_an_upright_grid() -> None:
    grid = Grid.from_itk(SHAPE, (0.8, 0.7, 5.0), (-100, -80, 40), np.eye(3))
    surface = region_surface(a_box(grid, (slice(1, 4), slice(2, 6), slice(3, 5))), grid, smoothing=0)
    expected = [-100 + 2.5 * 0.8, -100 + 4.5 * 0.8, -80 + 1.5 * 0.7, -80 + 5.5 * 0.7, 40 + 0.5 * 5, 40 + 3.5 * 5]
    np.testing.assert_allclose(surface.GetBounds(), expected, atol=1e-4)


@pytest.mark.parametrize("smoothing", [0.2, 0.5])
def test_smoothing_keeps_place_and_nearly_the_volume(smoothing: float) -> None:
    shape = (20, 40, 40)
    grid = Grid.from_itk(shape, (1.0, 1.0, 2.0), (5, 6, 7), np.eye(3))
    world = grid.to_world(np.moveaxis(np.indices(shape), 0, -1))
    inside = np.linalg.norm(world - [25, 26, 27], axis=-1) < 14
    kl = Volume(inside.astype(np.float32), grid, unit="nats")
    (ball,) = find_regions(kl, inside, 1.0 - inside, inside * 1.0)
    surface = region_surface(ball, grid, smoothing)
    assert signed_volume(surface) == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.03)
    np.testing.assert_allclose(points(surface).mean(0), [25, 26, 27], atol=0.2)
    radius = np.linalg.norm(points(surface) - [25, 26, 27], axis=1)
    stairs = np.linalg.norm(points(region_surface(ball, grid, 0)) - [25, 26, 27], axis=1)
    assert radius.std() < 0.8 * stairs.std()
    normals = vtk_to_numpy(surface.GetPointData().GetNormals())
    assert (np.einsum("ni,ni->n", normals, points(surface) - [25, 26, 27]) > 0).all()


def test_files_hold_the_same_surface(tmp_path: Path) -> None:
    regions = two_regions(kl_map())
    for file_format, reader in (("stl", vtkSTLReader()), ("obj", vtkOBJReader()), ("vtp", vtkXMLPolyDataReader())):
        paths = write_meshes(regions, OBLIQUE, tmp_path, file_format=file_format)
        assert [p.name for p in paths] == [f"ood-1.{file_format}", f"ood-2.{file_format}"]
        reader.SetFileName(str(paths[0]))
        reader.Update()
        expected = region_surface(regions[0], OBLIQUE)
        np.testing.assert_allclose(reader.GetOutput().GetBounds(), expected.GetBounds(), atol=1e-4)
        assert signed_volume(reader.GetOutput()) == pytest.approx(signed_volume(expected), rel=1e-4)
    assert b"SPACE=LPS" in (tmp_path / "ood-1.stl").read_bytes()[:80]
    assert len(list(tmp_path.iterdir())) == 6


@needs_slicer
@pytest.mark.parametrize("file_format", ["stl", "obj", "vtp"])
def test_slicer_reads_them_as_lps(tmp_path: Path, file_format: str) -> None:
    regions = two_regions(kl_map())
    paths = write_meshes(regions, OBLIQUE, tmp_path, file_format=file_format, smoothing=0)
    seen, arrays = read_in_slicer("model", paths[1], tmp_path)
    assert seen == {"ok": True, "space": "LPS"}
    ours = points(region_surface(regions[1], OBLIQUE, 0)) * RAS
    np.testing.assert_allclose(arrays["ras"].min(0), ours.min(0), atol=1e-4)
    np.testing.assert_allclose(arrays["ras"].max(0), ours.max(0), atol=1e-4)


def test_nothing_and_nonsense(tmp_path: Path) -> None:
    assert write_meshes([], OBLIQUE, tmp_path) == []
    regions = two_regions(kl_map())
    with pytest.raises(ConfigError, match="mesh format"):
        write_meshes(regions, OBLIQUE, tmp_path, file_format="ply")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="smoothing"):
        region_surface(regions[0], OBLIQUE, 1.5)
    (tmp_path / "ood-1.stl").mkdir()
    with pytest.raises(OutputError):
        write_meshes(regions, OBLIQUE, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["ood-1.stl"]
