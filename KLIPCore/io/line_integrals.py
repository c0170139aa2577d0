"""Whether a sinogram holds line integrals at all, and whether its angles are in the unit that is said.

Neither is written into a file in a way that can be checked. But air, at the detector's ends, is 0 in line integrals
and the largest value in counts; and the centre of mass of an object, seen by a detector that turns around it, moves
along a sinusoid of the true angle.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError, IntensityError
from KLIPCore.volume.geometry import Geometry

MOST_TURNS = 2.0
"""Angles that span more turns than this are degrees, or should have been taken modulo one."""
LEAST_BINS, LEAST_VIEWS = 16, 8
AIR_ABOVE = 0.25
"""By so much of the range do the detector's ends, in air or at the body's rim, lie above its middle in
counts; line integrals are larger in the middle.
"""
STEADY = 0.02
"""Transmission in air is 1, and varies by less than this."""
PLATEAU, MOST_PLATEAU = 0.03, 0.2
"""Air in counts is all alike: this part of all rays at least lies within the former of the largest value."""
EMPTY = 0.02
"""An object's rays at the detector's ends, as part of the largest: less, and it was seen whole."""
OTHER_UNIT = 4.0
"""By this factor is the centre of mass nearer to a sinusoid of the angles in the other unit."""
LEAST_SWAY = 0.5
"""Bins by which the centre of mass must stray from its sinusoid before the angles are doubted."""
CALM, DIPS = 0.05, 5.0
"""Rays through air, at the detector's ends, vary by at most the former part of what is beside them; that lies on one
side of them, farther than on the other by the latter factor.
"""
FLAT, NO_AIR = 0.01, 0.05
"""Rays through air differ by less than the former part of the range, and are nearer to 0 than the latter."""
LOG_REMEDY = (
    "Take -log(I / I0), with I0 the counts of a ray through air; line integrals are 0 in air and grow with what is in "
    "the way."
)


def check_angles(sinogram: NDArray[np.float32], geometry: Geometry) -> None:
    """Refuse angles in degrees: read as radians they turn the scanner round and round.

    Parameters
    ----------
    sinogram : (n_views, n_detectors) line integrals.
    geometry : its scan.

    Raises
    ------
    GeometryError : more than :data:`MOST_TURNS`; whole numbers; or another unit explains the data far better.
    """
    angles = np.asarray(geometry.angles_rad, np.float64)
    first, last = angles.min(), angles.max()
    turns = (last - first) / (2 * math.pi)
    span = f"The view angles run from {first:g} to {last:g}"
    remedy = (
        "Convert them with numpy.deg2rad, or store them as angles_deg; angles of a scanner that turned so often, "
        "modulo 2 pi."
    )
    if turns > MOST_TURNS + 1e-6:
        raise GeometryError(f"{span}: in radians that is {turns:.0f} times round, so they look like degrees.", remedy)
    whole = np.abs(angles - np.rint(angles)).max() < 1e-9 and len(np.unique(np.rint(angles))) > 3
    if whole:
        raise GeometryError(f"{span} in whole numbers: they look like degrees.", remedy)
    if _fits_better(sinogram, angles, np.deg2rad(angles)):
        problem = f"{span}, and the object's centre moves as it does if these are degrees."
        raise GeometryError(problem, remedy)
    if _fits_better(sinogram, angles, np.rad2deg(angles)):
        raise _are_radians(np.rad2deg(angles))


def check_degrees(angles: NDArray[np.float64]) -> None:
    """Refuse radians that are called degrees: the scanner would hardly have moved.

    Parameters
    ----------
    angles : (n_views,) as stored.

    Raises
    ------
    GeometryError : they cover a quarter, half or whole turn in radians.
    """
    n = angles.size
    if n < LEAST_VIEWS or not np.isfinite(angles).all():
        return
    span = float(np.ptp(angles))
    spans = np.array([span, span * n / (n - 1)])
    turns = math.pi * np.array([0.5, 1.0, 2.0])
    if (np.abs(spans[:, None] / turns - 1) < 2e-3).any():
        raise _are_radians(angles)


def _are_radians(angles: NDArray[np.float64]) -> GeometryError:
    return GeometryError(
        f"The view angles run from {angles.min():g} to {angles.max():g} degrees, and look like radians.",
        "Store them as angles_rad, or convert them with numpy.rad2deg.",
    )


def _fits_better(sinogram: NDArray[np.float32], angles: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether the centre of mass moves along a sinusoid of the other angles and not of the given ones.

    Only where the object was seen whole; one in the middle of the scanner, whose centre does not move, says nothing.
    """
    n_views, n_bins = sinogram.shape
    if n_views < LEAST_VIEWS or n_bins < LEAST_BINS:
        return False
    p = sinogram.astype(np.float64)
    ends = np.abs(np.concatenate([p[:, :2], p[:, -2:]], axis=1))
    mass = p.sum(1)
    if ends.mean() > EMPTY * p.max() or (mass <= 0).any():
        return False
    centre = (p * np.arange(n_bins)).sum(1) / mass

    def stray(at: NDArray[np.float64]) -> tuple[float, float]:
        """Root mean square distance from the sinusoid, and its amplitude, in bins."""
        basis = np.stack([np.ones_like(at), np.cos(at), np.sin(at)], axis=1)
        fit, *_ = np.linalg.lstsq(basis, centre, rcond=1e-9)
        return float(np.sqrt(np.mean((basis @ fit - centre) ** 2))), float(np.hypot(fit[1], fit[2]))

    (given, swing), (other, other_swing) = stray(angles), stray(others)
    if swing > n_bins and other_swing < n_bins / 2:  # no object within the field moves so: a small arc fits anything
        return other < LEAST_SWAY and float(np.ptp(centre)) > 4 * LEAST_SWAY
    return given > LEAST_SWAY and given > OTHER_UNIT * other


def check_unit(sinogram: NDArray[np.float32]) -> None:
    """Refuse counts, transmission, and logarithms without their sign or without the counts in air.

    Parameters
    ----------
    sinogram : (n_views, n_detectors).

    Raises
    ------
    IntensityError : air, at the detector's ends, is the largest value and not the smallest; or far from 0.
    """
    if sinogram.shape[1] < LEAST_BINS:  # too few to tell the ends from the middle
        return
    low, high = np.quantile(sinogram, (0.02, 0.98))
    extent = high - low
    if extent <= 0:
        return
    if high < 0:  # also where the detector sees no air
        raise IntensityError(
            f"Nearly all values are negative, down to {low:.4g}: the logarithm lacks its minus sign, or the counts in "
            "air.",
            LOG_REMEDY,
        )
    _check_dips(sinogram)
    _check_air(sinogram, float(extent))
    third = sinogram.shape[1] // 3
    middle = float(np.median(sinogram[:, third:-third]))
    top = float(sinogram.max())
    sides = [sinogram[:, :2], sinogram[:, -2:]]
    left, right = (float(np.median(side)) for side in sides)
    # one end in air, and which one the values alone do not say
    if abs(left - right) > AIR_ABOVE * extent and min(left, right) <= middle:
        brighter = max(sides, key=lambda side: float(np.median(side)))
        if top < 1 + 2 * STEADY and np.abs(np.median(brighter) - 1) < STEADY and brighter.std() < STEADY:
            raise _no_line_integrals(max(left, right), min(left, right))
        return
    ends = float(np.median(np.concatenate(sides, axis=1)))
    if ends - middle > AIR_ABOVE * extent:
        negative = high <= 0 or (low < 0 and -low > high)
        raise _no_line_integrals(ends, middle, "logarithms without their minus sign" if negative else "")
    if ends < -AIR_ABOVE * extent and middle > ends:
        raise IntensityError(
            f"Rays through air have the value {ends:g}: the logarithm was taken of counts, not of their part of the "
            "counts in air.",
            LOG_REMEDY,
        )
    alike = sinogram > top - PLATEAU * extent
    outside = [alike[:, :third].mean(), alike[:, -third:].mean()]
    if low >= 0 and min(outside) > MOST_PLATEAU and top - middle > AIR_ABOVE * extent:
        raise _no_line_integrals(top, middle)


def _check_dips(sinogram: NDArray[np.float32]) -> None:
    """Raise where an object, wherever it lies, makes dips below what rays through air have."""
    ends = np.concatenate([sinogram[:, :2], sinogram[:, -2:]], axis=1).astype(np.float64)
    air = float(np.median(ends))
    spread = 1.4826 * float(np.median(np.abs(ends - air)))
    low, high = (float(value) for value in np.quantile(sinogram, (0.005, 0.995)))
    down, up = air - low, high - air
    if down > DIPS * max(up, 0.0) and spread < CALM * down:
        raise _no_line_integrals(air, low, "logarithms without their minus sign" if abs(air) < CALM * down else "")


def _check_air(sinogram: NDArray[np.float32], extent: float) -> None:
    """Raise where rays through air, one value on both sides of the object in all views, are not near 0.

    What is wider than the detector has no such plateau: its shadow still falls there.
    """
    width = max(sinogram.shape[1] // 20, 3)
    ends = np.concatenate([sinogram[:, :width], sinogram[:, -width:]], axis=1).astype(np.float64)
    air = float(np.median(ends))
    alike = float(np.quantile(np.abs(ends - 1), 0.9)) < 3 * STEADY
    if alike and sinogram.min() > 1 - 5 * STEADY and sinogram.max() > AIR_ABOVE + 1:
        raise IntensityError("Rays through air have the value 1, the smallest: these look like I0 / I.", LOG_REMEDY)
    flat = np.abs(np.median(ends, axis=0) - air).max() < FLAT * extent
    steady = float(np.quantile(np.abs(ends - air), 0.9)) < 3 * FLAT * extent
    if flat and steady and abs(air) > NO_AIR * extent:
        raise IntensityError(
            f"Rays through air have the value {air:.4g} in all views, and not 0: something was added to the line "
            "integrals.",
            LOG_REMEDY,
        )


def _no_line_integrals(air: float, middle: float, kind: str = "") -> IntensityError:
    return IntensityError(
        f"Rays through air have the largest values ({air:g}, others {middle:g}): these are "
        f"{kind or 'counts or transmission'}, not line integrals.",
        LOG_REMEDY,
    )
