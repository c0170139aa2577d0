"""Runs inside a fresh process with 3D Slicer's own core (slicer-core): reads what we wrote, says what Slicer sees.

    python in_slicer.py segmentation FILE OUT.npz
    python in_slicer.py model FILE OUT.npz
    python in_slicer.py volume FILE OUT.npz

World coordinates are Slicer's: RAS mm.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy


def matrix(image: vtk.vtkImageData) -> np.ndarray:
    """(4, 4) IJK → RAS of a vtkOrientedImageData."""
    m = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(m)
    return np.array([[m.GetElement(r, c) for c in range(4)] for r in range(4)])


def voxels(image: vtk.vtkImageData) -> tuple[np.ndarray, np.ndarray]:
    """Indices (N, 3) in (i, j, k) order of all voxels, and their values (N,)."""
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    k, j, i = np.mgrid[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1]
    return np.stack([i.ravel(), j.ravel(), k.ravel()], 1), vtk_to_numpy(image.GetPointData().GetScalars())


def read_segmentation(path: str) -> dict[str, np.ndarray]:
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "read")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(path)
    ok = bool(storage.ReadData(node))
    segmentation = node.GetSegmentation()
    out: dict[str, np.ndarray] = {}
    segments = []
    for n in range(segmentation.GetNumberOfSegments()):
        identifier = segmentation.GetNthSegmentID(n)
        segment = segmentation.GetSegment(identifier)
        tags: dict[str, str] = {}
        for tag in ("TerminologyEntry", "KLIP.PeakNats", "KLIP.TotalNats", "KLIP.QValue"):
            text = vtk.reference("")
            if segment.GetTag(tag, text):
                tags[tag] = str(text)
        segments.append(
            {"id": identifier, "name": segment.GetName(), "colour": list(segment.GetColor()), "tags": tags}
        )
        image = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(identifier, image)
        index, values = voxels(image)
        index = index[values > 0]
        out[f"ras_{n}"] = index @ matrix(image)[:3, :3].T + matrix(image)[:3, 3]
    summary = {"ok": ok, "segments": segments, "source": segmentation.GetSourceRepresentationName()}
    return out | {"summary": np.array(json.dumps(summary))}


def read_model(path: str) -> dict[str, np.ndarray]:
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", "read")
    storage = slicer.vtkMRMLModelStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(path)
    summary = {
        "ok": bool(storage.ReadData(node)),
        "space": storage.GetCoordinateSystemAsString(storage.GetCoordinateSystem()),
    }
    return {"summary": np.array(json.dumps(summary)), "ras": vtk_to_numpy(node.GetPolyData().GetPoints().GetData())}


def read_volume(path: str) -> dict[str, np.ndarray]:
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "read")
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(path)
    ok = bool(storage.ReadData(node))
    m = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(m)
    affine = np.array([[m.GetElement(r, c) for c in range(4)] for r in range(4)])
    image = node.GetImageData()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    return {"summary": np.array(json.dumps({"ok": ok})), "ijk_to_ras": affine, "array": array}


if __name__ == "__main__":
    what, source, target = sys.argv[1:]
    np.savez(
        Path(target), **{"segmentation": read_segmentation, "model": read_model, "volume": read_volume}[what](source)
    )
