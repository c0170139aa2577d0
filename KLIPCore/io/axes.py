"""The axes that NRRD and MetaImage headers give, as they are written.

ITK takes 1 mm where none are given, keeps the lengths of sheared ones alone, and multiplies a spacing by the lengths
of a matrix's columns. None of this can be noticed afterwards.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError

ROUNDED = 0.025
"""Deviation of direction cosines from right angles that two decimals leave."""
SAME = 0.01
"""Part by which two spacings may differ and still be one, rounded."""
OTHER_UNITS = re.compile(r"(deci|centi|micro|nano)?met(er|re)s?|c?m|dm|[uµμn]m|microns?|in|inch(es)?", re.IGNORECASE)
"""Units of length that are no mm."""
RESAVE = "Save the volume again with its spacing (in 3D Slicer: Volumes, Image Spacing), or give the DICOM series."


def check_axes(path: Path, directions: str, spacings: str) -> None:
    """Refuse axes of an NRRD header that are missing, given twice, or not at right angles.

    Parameters
    ----------
    path : what to call the volume in the message.
    directions : "(0.7,0,0) (0,0.8,0) (0,0,2.5)", empty where the header has none.
    spacings : "0.7 0.8 2.5", or empty.

    Raises
    ------
    GeometryError : they are.
    """
    if directions and re.search(r"\d", spacings):
        raise GeometryError(f"{path.name} gives two spacings: space directions and spacings.", RESAVE)
    if not directions:
        if sum(_numbers(word) is not None for word in spacings.split()) < min(3, max(len(spacings.split()), 1)):
            raise no_spacing(path)
        return
    found = [_vector(inside) for inside in re.findall(r"\(([^)]*)\)", directions)]
    vectors = [vector for vector in found if vector is not None and len(vector) == 3]
    few = "none" in directions.lower() and len(found) < 3  # ITK would take 1 mm
    if not found or few or any(vector is None for vector in found):
        raise no_spacing(path)
    if len(vectors) == 3 and len(found) == 3:
        check_right_angles(path, np.array(vectors).T)


def check_matrix(path: Path, fields: Mapping[str, str]) -> list[str]:
    """Refuse axes of a MetaImage header that are missing, contradict each other, or are not at right angles.

    Parameters
    ----------
    path : what to call the volume in the message.
    fields : of the header.

    Returns
    -------
    what was decided, one sentence each.

    Raises
    ------
    GeometryError : they are.
    """
    spacing, size = _numbers(fields.get("ElementSpacing", "")), _numbers(fields.get("ElementSize", ""))
    if spacing is None and size is None:
        raise no_spacing(path)
    steps = size if spacing is None else spacing
    if steps is None:
        return []
    if (steps < 0).any():
        raise GeometryError(f"{path.name} gives a negative spacing.", RESAVE)
    for names in (("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Position", "Origin")):
        given = {tuple(found) for name in names if (found := _numbers(fields.get(name, ""))) is not None}
        if len(given) > 1:
            problem = f"{path.name} gives its {'axes' if 'Rotation' in names else 'place'} twice, and not alike."
            raise GeometryError(problem, RESAVE)
    matrix = next((m for m in map(fields.get, ("TransformMatrix", "Rotation", "Orientation")) if m), "")
    cosines = _numbers(matrix)
    if cosines is not None and cosines.size == 9 and steps.size == 3:
        lengths = check_right_angles(path, cosines.reshape(3, 3).T)
        if np.abs(lengths - 1).max() > SAME and not _alike(steps, np.ones(3)):
            problem = f"{path.name} gives two spacings: {_mm(steps)} and axes of the lengths {_mm(lengths)}."
            raise GeometryError(problem, RESAVE)
    if spacing is not None and size is not None and not _alike(spacing, size):
        both = f"{path.name} gives two spacings: {_mm(spacing)} and elements of {_mm(size)}"
        if _alike(spacing, np.ones(spacing.size)):
            raise GeometryError(f"{both}.", RESAVE)
        return [] if _alike(size, np.ones(size.size)) else [f"{both}. The former is taken."]
    return []


def check_units(path: Path, written: str) -> None:
    """Refuse lengths that a header gives in another unit than mm: ITK reads the number and not the unit.

    Parameters
    ----------
    path : what to call the volume in the message.
    written : the units, as ``"cm" "cm" "cm"`` or ``um``; empty where the header has none.

    Raises
    ------
    GeometryError : they are lengths of another unit.
    """
    for word in re.findall(r"[^\W\d_]+", written):
        if OTHER_UNITS.fullmatch(word):
            raise GeometryError(f"{path.name} says that its spacing is in {word}, not in mm.", RESAVE)


def check_right_angles(path: Path, axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lengths of the axes, the columns, where they are at right angles.

    Raises
    ------
    GeometryError : they are not.
    """
    lengths = np.linalg.norm(axes, axis=0)
    if (lengths <= 0).any():
        raise no_spacing(path)
    cosines = axes / lengths
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > ROUNDED:
        problem = f"{path.name} has sheared or scaled axes that are no voxel grid."
        raise GeometryError(problem, "Resample the volume to a regular grid and save it again.")
    return lengths


def no_spacing(path: Path) -> GeometryError:
    """Return the error for a volume whose voxels have no size."""
    return GeometryError(f"{path.name} gives no spacing between its voxels.", RESAVE)


def _numbers(written: str) -> NDArray[np.float64] | None:
    """Finite numbers between blanks; None where there are none, or others."""
    try:
        values = [float(word) for word in written.split()]
    except ValueError:
        return None
    return np.array(values) if values and all(map(math.isfinite, values)) else None


def _vector(inside: str) -> NDArray[np.float64] | None:
    return _numbers(inside.replace(",", " "))


def _alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return one.shape == other.shape and bool((np.abs(one - other) <= SAME * np.abs(other)).all())


def _mm(steps: NDArray[np.float64]) -> str:
    return " × ".join(f"{step:.4g}" for step in steps) + " mm"
