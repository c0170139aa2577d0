"""Whether a fan's middle is where the file says: each line of a full turn is measured twice, from either end.

The ray at view θ and fan angle γ lies on the line that the view θ + π − 2γ sees at −γ. Both give one line integral,
but only where the column of the central ray is right: an error of one column blurs every edge, and no reconstruction
tells of it. So the columns are moved until opposite rays agree best.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from KLIPCore.volume.geometry import FanBeam

MOST_COLUMNS, STEP = 3.0, 0.125
"""How far, and how finely, the middle is looked for, in columns."""
FULL_TURN = 0.02
"""Part of a turn that may be missing."""
PLAIN = 0.9
"""By this factor at least must opposite rays agree better than where the file puts the middle."""


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
