"""Run by the tests in a Python of its own: 3D Slicer's own storage nodes read files and say what they found.

Usage: ``python slicer_reader.py JOBS.json OUT.npz``, where JOBS maps names to lists of files; several files
are the slices of one DICOM series, sorted. OUT gets for each name the array (k, j, i) and the IJK-to-RAS
matrix. A process of its own, because importing slicer-core takes seconds and must not meet another VTK.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy


def read(files: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """What a scalar volume node holds after its storage node has read the files."""
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(files[0])
    storage.ResetFileNameList()
    for file in files:
        storage.AddFileName(file)
    storage.SetSingleFile(len(files) == 1)
    if not storage.ReadData(node):
        raise SystemExit(f"Slicer cannot read {files[0]}")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    image = node.GetImageData()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    return array.copy(), np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


if __name__ == "__main__":
    found = {}
    for name, names in json.loads(Path(sys.argv[1]).read_text()).items():
        found[name + " array"], found[name + " matrix"] = read(names)
    np.savez(sys.argv[2], **found)
