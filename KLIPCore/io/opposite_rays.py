"""Whether a fan's middle is where the file says: each line of a full turn is measured twice, from either end.

The ray at view θ and fan angle γ lies on the line that the view θ + π − 2γ sees at −γ. Both give one line integral,
but only where the column of the central ray is right: an error of one column blurs every edge, and no reconstruction
tells of it. So the columns are moved until opposite rays agree best.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.io.sinogram_order import noise_variance
from KLIPCore.volume.geometry import FanBeam, Geometry

MOST_COLUMNS, STEP = 3.0, 0.125
"""How far, and how finely, the middle is looked for, in columns."""
FULL_TURN = 0.02
"""Part of a turn that may be missing."""
PLAIN = 0.9
"""By this factor at least must opposite rays agree better than where the file puts the middle."""
LEAST_VIEWS, LEAST_BINS, LEAST_RAYS = 16, 16, 0.02
WIDEST_GAP_RAD = math.radians(12)
"""Between views farther apart than this nothing is interpolated."""
UNLIKE, CLEARLY = 0.2, 4.0
"""Opposite rays differ by more than the former part of what any two do, and by the latter factor more than if the fan
went round the other way.
"""
HARDLY_ALIKE, LEAST_VARIATION, ABOVE_NOISE = 0.3, 1e-3, 50.0
"""Or by more than the first, where the variation over views is more than these parts of the mean square and the noise.
"""

OTHER_DISTANCES, BETTER_BY = (0.7, 0.8, 0.9, 1.1, 1.2, 1.35), 1.5
"""Distances to the detector, as parts of the given one, that are tried, and by how much better opposite rays agree
then. In true scans, simulated and measured, hardly any other fan agrees better than the given one.
"""


def misplaced_columns(sinogram: NDArray[np.floating], geometry: FanBeam) -> float | None:
    """Return by how many columns the fan's middle lies higher than the geometry says.

    Parameters
    ----------
    sinogram : (n_views, n_detectors) line integrals of one turn.
    geometry : its fan.

    Returns
    -------
    columns, 0 where the geometry agrees best within what noise leaves open; None where the scan is no full, evenly
    spread turn, or the best place lies outside of :data:`MOST_COLUMNS`.
    """
    angles = np.unwrap(np.asarray(geometry.angles_rad))
    n = len(angles)
    step = (angles[-1] - angles[0]) / max(n - 1, 1)
    if n < 16 or abs(abs(step) * n / (2 * math.pi) - 1) > FULL_TURN:
        return None
    if np.abs(np.diff(angles) - step).max() > 0.25 * abs(step):
        return None
    data = np.asarray(sinogram, np.float64)
    moves = np.arange(-MOST_COLUMNS, MOST_COLUMNS + STEP / 2, STEP)
    errors = np.array([_disagreement(data, geometry, step, float(move)) for move in moves])
    best = int(errors.argmin())
    if best in (0, len(moves) - 1):
        return None
    if errors[best] > PLAIN * errors[len(moves) // 2]:
        return 0.0
    before, at, after = errors[best - 1 : best + 2]
    return float(moves[best] + 0.5 * STEP * (before - after) / (before - 2 * at + after))


def _disagreement(data: NDArray[np.float64], geometry: FanBeam, step: float, move: float) -> float:
    """Mean square difference of opposite rays where the middle lies ``move`` columns higher."""
    n_views, n_columns = data.shape
    column = np.arange(n_columns)
    gamma = geometry.fan_angles(-move)
    other = np.interp(-gamma, gamma, column, left=-1, right=-1)  # the column that sees the line from the other end
    kept = np.flatnonzero((other >= 0) & (np.abs(gamma) > 0))
    view = (np.arange(n_views)[:, None] + (math.pi - 2 * gamma[kept])[None, :] / step) % n_views
    view0, column0 = np.floor(view).astype(np.intp), np.minimum(np.floor(other[kept]).astype(np.intp), n_columns - 2)
    part_v, part_c = view - view0, (other[kept] - column0)[None, :]
    view0 %= n_views
    view1, column1 = (view0 + 1) % n_views, column0 + 1
    opposite = (1 - part_v) * ((1 - part_c) * data[view0, column0] + part_c * data[view0, column1]) + part_v * (
        (1 - part_c) * data[view1, column0] + part_c * data[view1, column1]
    )
    return float(np.mean((data[:, kept] - opposite) ** 2))


def check_opposite(sinogram: NDArray[np.floating], geometry: Geometry) -> None:
    """Refuse a scan of which opposite rays do not agree, or agree only if the fan went round the other way.

    Nothing is asked of an object that looks alike from everywhere, of noise, and where no line was measured from both
    ends; and an object that is its own mirror image agrees either way.

    Parameters
    ----------
    sinogram : (n_views, n_detectors) line integrals.
    geometry : its scan.

    Raises
    ------
    GeometryError : the views were not taken at those angles, or not by that scanner.
    """
    if len(sinogram) < LEAST_VIEWS or sinogram.shape[1] < LEAST_BINS:
        return
    data = np.asarray(sinogram, np.float64)
    given = _part_unlike(data, geometry)
    if given < UNLIKE:
        return
    if _part_unlike(data[:, ::-1], replace(geometry, offset_mm=-geometry.offset_mm)) < given / CLEARLY:
        raise GeometryError(
            "Rays that run along one line from either end agree only if the fan turned the other way, or the bins ran "
            "the other way.",
            "Give every angle with the other sign, or reverse the order of the bins in all views.",
        )
    if given > HARDLY_ALIKE and _varies(data):
        raise GeometryError(
            "Rays that run along one line from either end do not agree: the views were taken at other angles, or by "
            "another scanner.",
            "Give every view the angle it was taken at, in the order of the rows; check pitch, offset and distances.",
        )


def disagreement(sinogram: NDArray[np.floating], geometry: Geometry) -> float:
    """Return the mean square difference of rays that run along one line from either end.

    It is given as part of that of any two rays, and is 0 where views hardly vary, or by little more than noise, and
    where no line was measured from both ends.

    Parameters
    ----------
    sinogram : (n_views, n_detectors) line integrals.
    geometry : its scan.
    """
    if len(sinogram) < LEAST_VIEWS or sinogram.shape[1] < LEAST_BINS:
        return 0.0
    data = np.asarray(sinogram, np.float64)
    return _part_unlike(data, geometry) if _varies(data) else 0.0


def better_fan(sinogram: NDArray[np.floating], geometry: Geometry) -> tuple[FanBeam, float] | None:
    """Return another fan at which opposite rays agree clearly better, and by which factor.

    A fan's rays are paired by their angles alone, which follow from pitch, distance to the detector and its shape. The
    distance from source to isocentre is no part of it: it makes the picture larger, and as good.

    Parameters
    ----------
    sinogram : (n_views, n_detectors) line integrals.
    geometry : its scan.

    Returns
    -------
    The best of the fans tried, of the other shape or with its distances (mm) scaled; None where none is better by
    :data:`BETTER_BY`, views vary by little more than noise, or no line was measured from both ends.
    """
    given = disagreement(sinogram, geometry)
    if not isinstance(geometry, FanBeam) or given <= 0:
        return None
    data = np.asarray(sinogram, np.float64)
    tried = [(_part_unlike(data, other), at, other) for at, other in enumerate(_other_fans(geometry))]
    least, _, best = min(tried, default=(given, 0, geometry))
    return (best, given / least) if 0 < BETTER_BY * least < given else None


def _other_fans(geometry: FanBeam) -> list[FanBeam]:
    """Fans of the other shape, and of other angles, as far as there are such."""
    changes: list[dict[str, float | bool]] = [{"equiangular": not geometry.equiangular}]
    changes += [
        {
            "source_origin_mm": part * geometry.source_origin_mm,
            "source_detector_mm": part * geometry.source_detector_mm,
        }
        for part in OTHER_DISTANCES
    ]
    found = []
    for change in changes:
        try:
            found.append(replace(geometry, **change))  # type: ignore[arg-type]
        except ConfigError:  # it would open to half a turn
            continue
    return found


def _varies(data: NDArray[np.float64]) -> bool:
    """Whether views differ, and by much more than noise."""
    variation = float(((data - data.mean(0)) ** 2).mean())
    return variation > max(LEAST_VARIATION * float((data**2).mean()), ABOVE_NOISE * noise_variance(data))


def _part_unlike(data: NDArray[np.float64], geometry: Geometry) -> float:
    """Mean square difference of opposite rays as part of that of any two of the same bins; 0 without such rays."""
    turn = 2 * math.pi
    theta = np.mod(np.asarray(geometry.angles_rad, np.float64), turn)
    order = np.argsort(theta, kind="stable")
    theta, data = theta[order], data[order]
    u = geometry.detector_mm()
    gamma = geometry.fan_angles() if isinstance(geometry, FanBeam) else np.zeros(len(u))
    column = np.interp(-u, u, np.arange(len(u)), left=-1, right=-1)
    kept = np.flatnonzero((column >= 0) & (np.abs(u) > 0.25 * np.abs(u).max()))
    if not len(kept):
        return 0.0
    wanted = np.mod(theta[:, None] + math.pi - 2 * gamma[kept], turn)
    after = np.searchsorted(theta, wanted) % len(theta)
    before = after - 1
    span = np.mod(theta[after] - theta[before], turn)
    seen = (span > 0) & (span < WIDEST_GAP_RAD)
    if seen.sum() < LEAST_RAYS * seen.size:
        return 0.0
    part = np.mod(wanted - theta[before], turn) / np.where(span > 0, span, 1)
    low = np.minimum(np.floor(column[kept]).astype(np.intp), len(gamma) - 2)
    shift = column[kept] - low
    rows = [(1 - shift) * data[k, low] + shift * data[k, low + 1] for k in (before, after)]
    opposite = (1 - part) * rows[0] + part * rows[1]
    any_two = data[:, kept].var(0) + data[:, low].var(0) + (data[:, kept].mean(0) - data[:, low].mean(0)) ** 2
    unlike = ((data[:, kept] - opposite) ** 2)[seen].mean()
    usual = np.broadcast_to(any_two, seen.shape)[seen].mean()
    return float(unlike / usual) if usual > 0 else 0.0
