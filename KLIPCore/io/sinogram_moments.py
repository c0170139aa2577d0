"""Which way the rows of a sinogram run, and whether its angles are those at which the views were taken.

Seen by parallel rays, an object's centre of mass moves along a sinusoid of the angle, and its second moment along
one of twice the angle: the conditions of Helgason and Ludwig of order 1 and 2. Neighbouring views differ little. So
moments that run smoothly from view to view, and yet not as those angles make them, were taken at other angles.

References
----------
D. Ludwig, "The Radon transform on Euclidean space", Comm. Pure Appl. Math. 19, 49 (1966).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError, IntensityError
from KLIPCore.volume.geometry import Geometry, ParallelBeam

LEAST_VIEWS, LEAST_BINS = 24, 16
EMPTY = 0.02
"""Rays at the detector's ends as part of the largest: less, and the object was seen whole; a view: it sees nothing."""
SMOOTH = 0.1
"""Half the mean square difference of neighbouring views as part of the variance: less, and a moment runs smoothly."""
LEAST_SWAY = 0.01
"""Standard deviation of a moment over views, as part of the object's size: less says nothing."""
UNEXPLAINED = 0.5
"""Part of a moment's variance that the angles leave: more, and they are others."""
LEAST_STRAY, BETTER = 0.005, 4.0
"""Distance from the sinusoids, as part of the object's size, from which on another unit of the angles is asked about,
and how many times nearer it must come.
"""
ABOVE_NOISE, ALL_NOISE = 2.0, 1.25
"""Or how far the given angles stray beyond the noise between neighbouring views, and how near to it others come."""
UNITS = {
    0.9: "gon",
    2 * math.pi: "turns",
    360.0: "turns",
    math.pi: "half turns",
    180.0: "half turns",
    2.0: "half of the true angles",
    0.5: "twice the true angles",
}
"""What the angles may be instead, by the factor that makes them right."""
BRIGHT = 0.25
"""Beside a dead view or bin, rays reach this part of the largest."""


def check_views(sinogram: NDArray[np.float32], geometry: Geometry) -> None:
    """Refuse rows that are detector bins, lost views and dead bins, and angles at which the views were not taken.

    Parameters
    ----------
    sinogram : (n_views, n_detectors) line integrals.
    geometry : its scan.

    Raises
    ------
    GeometryError : rows and columns are exchanged, or the angles are in another unit or order.
    IntensityError : a view or a bin holds one value between others that do not.
    """
    n_views, n_bins = sinogram.shape
    if n_views < LEAST_VIEWS or n_bins < LEAST_BINS:
        return
    _check_rows(sinogram)
    _check_dead(sinogram, "View")
    _check_dead(sinogram.T, "Detector bin")
    if isinstance(geometry, ParallelBeam):
        with np.errstate(all="ignore"):
            _check_angles(sinogram.astype(np.float64), geometry)


def _check_rows(sinogram: NDArray[np.float32]) -> None:
    seen = np.abs(sinogram).mean(1)
    if seen[[0, 1, -2, -1]].max() < EMPTY * seen.max():
        raise GeometryError(
            "The first views and the last see nothing: rows and columns of the sinogram seem to be exchanged.",
            "Rows are views, columns are detector bins: transpose it, or leave out views without rays.",
        )


def _check_dead(sinogram: NDArray[np.float32], what: str) -> None:
    """Raise where a row holds one value although both of its neighbours see the object."""
    alike = np.ptp(sinogram, axis=1) == 0
    bright = ~alike & (np.median(np.abs(sinogram), axis=1) > BRIGHT * np.median(np.abs(sinogram).max(1)))
    if what == "View":
        bright = ~alike
    inner = alike[1:-1] & bright[:-2] & bright[2:]
    ends = np.array([alike[0] & bright[1], alike[-1] & bright[-2]]) if what == "View" else np.zeros(2, bool)
    dead = [*(np.flatnonzero(inner) + 1), *np.array([0, len(sinogram) - 1])[ends]]
    if dead:
        several = f", and so do {len(dead) - 1} more" if len(dead) > 1 else ""
        raise IntensityError(
            f"{what} {dead[0]} (counted from 0) holds nothing but the value {sinogram[dead[0], 0]:g}{several}: it was "
            "lost.",
            "Leave lost views out, with their angles; fill dead bins from their neighbours before the logarithm.",
        )


def _moments(p: NDArray[np.float64], geometry: ParallelBeam) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """First and second moment of each view, in units of the object's size; None where it was not seen whole."""
    ends = np.abs(np.concatenate([p[:, :2], p[:, -2:]], axis=1))
    mass = p.sum(1)
    if not ends.mean() <= EMPTY * p.max() or (mass <= 0).any():
        return None
    u = np.arange(p.shape[1]) - (p.shape[1] - 1) / 2 + geometry.offset_mm / geometry.pitch_mm
    first, second = p @ u / mass, p @ u**2 / mass
    spread = float(np.median(second - first**2))
    return (first / math.sqrt(spread), second / spread) if spread > 0 else None


def _strays(
    first: NDArray[np.float64], second: NDArray[np.float64], angles: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the angles leave of either moment. A detector that is set off by a little adds to both."""
    one = np.ones_like(angles)
    found = []
    for moment, basis in (
        (first, [one, np.cos(angles), np.sin(angles)]),
        (second, [one, np.cos(2 * angles), np.sin(2 * angles), first]),
    ):
        columns = np.stack(basis, axis=1)
        fit, *_ = np.linalg.lstsq(columns, moment, rcond=1e-9)
        found.append(moment - columns @ fit)
    return found[0], found[1]


def _units(angles: NDArray[np.float64]) -> list[tuple[float, str]]:
    """What the angles may be instead, and the factors that make them right."""
    found = list(UNITS.items())
    even = float(np.ptp(angles)) * len(angles) / (len(angles) - 1)
    if even > 0:
        found += [
            (math.pi / even, "spread evenly over half a turn"),
            (2 * math.pi / even, "spread evenly over a turn"),
        ]
    return found


def _check_angles(p: NDArray[np.float64], geometry: ParallelBeam) -> None:
    moments = _moments(p, geometry)
    if moments is None:
        return
    angles = np.asarray(geometry.angles_rad, np.float64)
    given = _strays(*moments, angles)
    stray = math.sqrt(sum(float(np.mean(left**2)) for left in given))
    if stray > LEAST_STRAY:
        noise = math.sqrt(sum(float(np.mean(np.diff(left) ** 2)) / 2 for left in given))
        for factor, unit in _units(angles):
            other = math.sqrt(sum(float(np.mean(left**2)) for left in _strays(*moments, factor * angles)))
            if stray > BETTER * other or (stray > ABOVE_NOISE * noise and other < ALL_NOISE * noise):
                raise GeometryError(
                    f"The view angles run over {np.degrees(np.ptp(angles)):.4g} degrees, and the object moves as it "
                    f"does if they are {unit}.",
                    "Store the angles of the views as angles_rad, in radians, or as angles_deg, in degrees.",
                )
    for moment, left in zip(moments, given, strict=True):
        variance = float(moment.var())
        smooth = float(np.mean(np.diff(moment) ** 2)) / 2 < SMOOTH * variance
        if smooth and variance > LEAST_SWAY**2 and float(left.var()) > UNEXPLAINED * variance:
            raise GeometryError(
                "The object moves from view to view as it does at other angles than those of the file.",
                "Give every view the angle it was taken at, in the order of the rows.",
            )
