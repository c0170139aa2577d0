"""The step between slices whose positions were rounded: what their header says, or what all of them fit.

Where the rounding is coarser than the step, neighbours share a position. They are then in the order of their numbers,
if that order is complete and an even grid explains every position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

STEP_TOLERANCE = 0.05
"""How far a slice may lie from its place on the even grid, as part of the step."""
DIFFERENT_STEP = 1e-4
"""Part by which the header's slice spacing differs from the measured one where it matters."""
FITTING = 2.02
"""Positions of an even grid, each rounded by at most one unit, spread around it by twice that."""
NEAR_FIT = np.linspace(0.97, 1.03, 121)
"""Parts of the least-squares step among which those are looked for that explain every position."""
LEAST_FITTED, LEAST_SINGLE = 20, 0.1
"""Slices that fix a step which no header says, and the part of the positions that one slice alone has: two phases that
were numbered in turn share all of theirs.
"""


def rounding_along(normal: NDArray[np.float64], half_units: Sequence[Sequence[float]]) -> float:
    """Return half a unit of the last decimal along the slices' normal, mm.

    Each number of a position counts for itself: a table's height is rounded, and the field of view's corner is not.

    Parameters
    ----------
    normal : (3,) unit vector.
    half_units : of each slice, half a unit of the last decimal of the three numbers of its position, mm.
    """
    return float(np.abs(normal) @ np.min(half_units, axis=0))


def stated_step(stated: Sequence[float | None], heights: NDArray[np.float64], rounding: float) -> float | None:
    """Return the header's slice spacing, where each position, rounded as it is, can be that of an even grid of it.

    Parameters
    ----------
    stated : of each slice, mm; None where its header does not say.
    heights : of the slices in order, mm.
    rounding : half a unit of the last decimal along their normal, mm.
    """
    all_of_them = set(stated)
    by_header = all_of_them.pop() if len(all_of_them) == 1 else None
    if by_header and np.ptp(heights - np.arange(len(heights)) * by_header) <= FITTING * rounding:
        return by_header
    return None


def fitted_step(stated: Sequence[float | None], heights: NDArray[np.float64], rounding: float) -> float | None:
    """Return the step of slices whose rounded positions do not give it to more digits than the header.

    None for others. See :func:`stated_step` for parameters.
    """
    n = len(heights)
    index = np.arange(n)
    step = (heights[-1] - heights[0]) / (n - 1)
    by_header = stated_step(stated, heights, rounding)
    if by_header is not None and abs(by_header - step) > DIFFERENT_STEP * step:
        return by_header
    if np.abs(heights - heights[0] - index * step).max() <= STEP_TOLERANCE * step:
        return None
    return float(np.polyfit(index, heights, 1)[0]) if by_header is None else by_header


def order_by_number(
    stated: Sequence[float | None], heights: NDArray[np.float64], rounding: float, numbered: Sequence[int | None]
) -> tuple[list[int], float] | None:
    """Return the order of slices that share positions because those were rounded to more than their step.

    Parameters
    ----------
    stated, heights, rounding : as for :func:`stated_step`, in any order.
    numbered : instance numbers.

    Returns
    -------
    Indices of the slices with increasing height, and the step in mm; None where no position is shared, a number is
    missing or the positions are not those of one even grid.
    """
    taken = Counter(np.round(heights, 3))
    known = [number for number in numbered if number is not None]
    if len(taken) == len(heights) or len(known) < len(heights) or len(known) < 3:
        return None
    order = np.argsort(known)
    if heights[order[-1]] < heights[order[0]]:
        order = order[::-1]
    if (np.abs(np.diff(np.asarray(known)[order])) != 1).any():
        return None
    along = heights[order]
    step = stated_step([stated[i] for i in order], along, rounding)
    if step is None:
        single = sum(n == 1 for n in taken.values())
        if len(heights) < LEAST_FITTED or single < LEAST_SINGLE * len(taken):
            return None
        index = np.arange(len(along))
        steps = np.polyfit(index, along, 1)[0] * NEAR_FIT
        fits = np.ptp(along - steps[:, None] * index, axis=1) <= FITTING * rounding
        if not fits.any():
            return None
        step = float(steps[fits].mean())
    return ([int(i) for i in order], step) if 0 < step < 2 * rounding else None
