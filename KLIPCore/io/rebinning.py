"""Projections of many detector rows → fan-beam projections of single slices.

A source on a helix measures no slice of the patient: its rays run obliquely through many. Single-slice rebinning
replaces the ray that a fan beam in the plane z would have by the measured ray above or below it that crosses the plane
half-way, at the point of the ray nearest to the isocentre. Seen from a source Δz below the plane, that point lies
R cos γ away, so the ray climbs by

    t = Δz / (R cos γ)    per mm along its shadow,

and meets the detector at the height

    v = t D   (rows on a cylinder)     v = D arctan t   (on a sphere)     v = t √(u² + D²)   (on a plane).

What it measured is longer than its shadow by √(1 + t²), and is divided by that. In a plane through the source nothing
is replaced; where the object does not change along z nothing is lost; elsewhere the error grows with t, which in
clinical scans stays below 0.03.

References
----------
Noo F., Defrise M., Clackdoyle R., Phys. Med. Biol. 44, 561 (1999), equations 1 and 2 (flat detector).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from KLIPCore.io.projection_header import Scanner

Array = NDArray[np.float64]


def fan_angles(scanner: Scanner) -> Array:
    """Return the (columns,) angle γ of each column's rays to the central one, in radians."""
    u = _across(scanner)
    gamma: Array = u / scanner.source_detector_mm
    return np.arctan(gamma) if scanner.shape == "FLAT" else gamma


def rows_of(scanner: Scanner, dz_mm: float) -> tuple[Array, Array]:
    """Return which detector rows see a plane, and how much longer their rays are than a fan's.

    Parameters
    ----------
    scanner : the geometry.
    dz_mm : the plane's z less the source's.

    Returns
    -------
    rows : (columns,) fractional row, from 0. Row 0 is the farthest along z.
    stretch : (columns,) length of the ray over that of its shadow, at least 1.
    """
    slope = dz_mm / (scanner.source_origin_mm * np.cos(fan_angles(scanner)))
    distance = scanner.source_detector_mm
    if scanner.shape == "SPHERICAL":
        height = distance * np.arctan(slope)
    elif scanner.shape == "FLAT":
        height = slope * np.hypot(_across(scanner), distance)
    else:
        height = slope * distance
    return scanner.centre[1] - 1 - height / scanner.row_mm, np.sqrt(1 + slope * slope)


def seen(scanner: Scanner, dz_mm: float) -> bool:
    """Return whether the detector is tall enough for a plane so far from the source."""
    rows, _ = rows_of(scanner, dz_mm)
    return bool(rows.min() >= -0.5 - 1e-6 and rows.max() <= scanner.rows - 0.5 + 1e-6)


def fan_view(scanner: Scanner, picture: NDArray[np.floating], dz_mm: float) -> NDArray[np.float32]:
    """Return the (columns,) fan-beam projection of a plane out of a (rows, columns) one.

    Parameters
    ----------
    scanner : the geometry.
    picture : line integrals.
    dz_mm : the plane's z less the source's.
    """
    rows, stretch = rows_of(scanner, dz_mm)
    rows = np.clip(rows, 0, scanner.rows - 1)  # the outermost half rows
    lower = np.minimum(rows.astype(np.intp), max(scanner.rows - 2, 0))
    upper, column = np.minimum(lower + 1, scanner.rows - 1), np.arange(scanner.columns)
    part = rows - lower
    value = picture[lower, column] * (1 - part) + picture[upper, column] * part
    return np.asarray(value / stretch, np.float32)


def _across(scanner: Scanner) -> Array:
    """(columns,) coordinate u of the columns' centres on the detector, in mm, 0 where the central ray meets it."""
    column = np.arange(1, scanner.columns + 1, dtype=np.float64)
    return (column - scanner.centre[0]) * scanner.column_mm
