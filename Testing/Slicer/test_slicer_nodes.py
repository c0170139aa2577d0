"""Voxels keep their place between MRML nodes and KLIPCore volumes, whatever the matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import node_of, value_at
from KLIPSlicerLib.nodes import VoxelOrder, gridOfNode, setVoxels, updateNodeFromVolume, volumeFromNode, worldFromLps
from made_run import tilted_affine

from KLIPCore.errors import GeometryError, KlipError
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

ANGLES = st.tuples(*[st.floats(-80, 80)] * 3)


def numbered(
    shape: tuple[int, int, int] = (4, 5, 6),
    angles: tuple[float, float, float] = (0, 0, 0),
    shear: float = 0.0,
    mirrored: bool = False,
) -> Volume:
    """A volume whose voxels all differ."""
    base = np.eye(4)
    base[:3, :3] = [[0, 0, 0.9], [0, 1.1, 0], [5.0, 0, 0]]
    base[:3, 3] = (-20, 30, 100)
    if mirrored:
        base[:3, 0] *= -1
    return Volume(
        np.arange(np.prod(shape), dtype=np.float32).reshape(shape), Grid(shape, tilted_affine(base, angles, shear))
    )


@settings(max_examples=15, deadline=None)
@given(angles=ANGLES, shear=st.floats(-0.5, 0.5), mirrored=st.booleans())
def test_there_and_back(angles: tuple[float, float, float], shear: float, mirrored: bool) -> None:
    volume = numbered(angles=angles, shear=shear, mirrored=mirrored)
    node = slicer.vtkMRMLScalarVolumeNode()
    updateNodeFromVolume(node, volume)
    back = volumeFromNode(node)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.grid.affine, volume.grid.affine, atol=1e-9)
    index = np.array([3, 1, 4])
    assert value_at(node, volume.grid.to_world(index) * (-1, -1, 1)) == volume.array[tuple(index)]


def test_a_parent_transform_moves_the_world_not_the_grid(scene: Any) -> None:
    volume = numbered(angles=(10, 20, 30))
    moved = np.array([[0, -1, 0, 5], [1, 0, 0, -7], [0, 0, 1, 11], [0, 0, 0, 1]], float)
    node = node_of(volume, transform=moved)
    np.testing.assert_allclose(gridOfNode(node).affine, volume.grid.affine, atol=1e-9)
    lps = volume.grid.to_world((1, 2, 3))
    expected = moved[:3, :3] @ (lps * (-1, -1, 1)) + moved[:3, 3]
    np.testing.assert_allclose(worldFromLps(node, lps), expected, atol=1e-9)
    assert value_at(node, expected) == volume.array[1, 2, 3]


def test_voxels_are_overwritten_in_place_with_one_notification(scene: Any) -> None:
    node = node_of(numbered())
    before = slicer.util.arrayFromVolume(node)
    events = []
    tag = node.AddObserver("ModifiedEvent", lambda *_: events.append(1))
    setVoxels(node, np.full(before.shape, 7, np.float32))
    node.RemoveObserver(tag)
    assert (before == 7).all()
    assert len(events) == 1


@settings(max_examples=25, deadline=None)
@given(
    angles=ANGLES,
    shear=st.floats(-0.4, 0.4),
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.booleans()] * 3),
    noise=st.floats(0, 0.05),
)
def test_the_same_voxels_in_another_order(
    angles: tuple, shear: float, order: list[int], flips: tuple, noise: float
) -> None:
    """Whatever order another reader lists them in, and however it rounds: every number finds its place."""
    source = numbered(angles=angles, shear=shear)
    grid = source.grid.oriented(tuple(order), flips)
    target = Grid(grid.shape, grid.affine + np.pad(np.full((3, 1), noise), ((0, 1), (3, 0))))
    found = VoxelOrder.between(source.grid, target).apply(source.array)
    assert found.shape == target.shape
    for index in np.ndindex(*target.shape):
        at = np.rint(source.grid.to_index(grid.to_world(index))).astype(int)
        assert found[index] == source.array[tuple(at)]


@pytest.mark.parametrize("change", ["moved", "resampled", "cropped", "turned"])
def test_other_voxels_are_refused(change: str) -> None:
    source = numbered((6, 6, 6)).grid
    affine, shape = source.affine.copy(), source.shape
    if change == "moved":
        affine[:3, 3] += 0.6
    elif change == "resampled":
        affine[:3, :3] *= 1.2
    elif change == "cropped":
        shape = (5, 6, 6)
    else:
        affine = tilted_affine(affine, (0, 0, 9))
    with pytest.raises(GeometryError, match="does not lie on this volume's voxels"):
        VoxelOrder.between(source, Grid(shape, affine))


def test_what_is_no_volume_says_so(scene: Any) -> None:
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(KlipError, match="empty"):
        volumeFromNode(empty)
    color = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "color")
    slicer.util.updateVolumeFromArray(color, np.zeros((3, 4, 5, 3)))
    with pytest.raises(KlipError, match="several numbers a voxel"):
        volumeFromNode(color)
