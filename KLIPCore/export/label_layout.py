"""Names beside what they name, none over another.

Placing names without overlap is an old problem of maps (Christensen, Marks & Shieber 1995, *An empirical study
of algorithms for point-feature label placement*). A slice holds a dozen regions at most, so the plain way is
good enough: the strongest region chooses first, among all positions of a fine lattice, the nearest to its
outline that covers neither another name nor, if it can be helped, an outline. A name that had to move away
gets a leader line. Where there is no room at all a name is left out: half a name would be read as another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COVERING = 12.0
"""Cost of a name that lies wholly on outlined regions, in heights of the name: so much farther away it may
go instead.
"""


@dataclass(frozen=True)
class Box:
    """An upright rectangle, x0 < x1 and y0 < y1; whichever way y points."""

    x0: float
    y0: float
    x1: float
    y1: float

    def meets(self, other: Box) -> bool:
        """Return whether the two share any area."""
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of this box nearest to (x, y)."""
        return min(max(x, self.x0), self.x1), min(max(y, self.y0), self.y1)


def place_names(
    sizes: Sequence[tuple[float, float]],
    masks: Sequence[NDArray[np.bool_]],
    pixel: tuple[float, float],
    taken: Sequence[Box] = (),
) -> list[Box | None]:
    """Return where names go on a picture.

    Parameters
    ----------
    sizes : width and height of each name, margin included, the most important first; in mm, like everything here.
    masks : (H, W) what each names; all of one shape, the picture's.
    pixel : height and width of a pixel; the picture's corner is the origin, x runs with columns and y with rows.
    taken : where something is written already.

    Returns
    -------
    A box for each name inside the picture, no two sharing area; None where there is no room.
    """
    covered = np.zeros((1, 1)) if not masks else np.any(masks, axis=0)
    total = np.pad(
        covered.cumsum(0).cumsum(1), ((1, 0), (1, 0))
    )  # summed-area table: how much a box covers, in four look-ups
    placed: list[Box | None] = []
    for (width, height), mask in zip(sizes, masks, strict=True):
        placed.append(_nearest_free(width, height, mask, total, pixel, [*taken, *(box for box in placed if box)]))
    return placed


def _nearest_free(
    width: float,
    height: float,
    mask: NDArray[np.bool_],
    total: NDArray[np.float64],
    pixel: tuple[float, float],
    taken: Sequence[Box],
) -> Box | None:
    """The cheapest free position of one name."""
    dy, dx = pixel
    n_rows, n_columns = mask.shape
    step = height / 4
    x, y = np.meshgrid(np.arange(0, n_columns * dx - width, step), np.arange(0, n_rows * dy - height, step))
    free = np.ones(x.shape, bool)
    for box in taken:
        free &= (x >= box.x1) | (x + width <= box.x0) | (y >= box.y1) | (y + height <= box.y0)
    if not free.any() or not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, right, top, bottom = columns[0] * dx, (columns[-1] + 1) * dx, rows[0] * dy, (rows[-1] + 1) * dy
    gap_x, gap_y = (
        np.maximum(np.maximum(left - x - width, x - right), 0),
        np.maximum(np.maximum(top - y - height, y - bottom), 0),
    )
    aside = abs(x + width / 2 - (left + right) / 2)
    below = y > top
    r0, r1 = (np.clip(np.round(v / dy).astype(int), 0, n_rows) for v in (y, y + height))
    c0, c1 = (np.clip(np.round(v / dx).astype(int), 0, n_columns) for v in (x, x + width))
    share = (total[r1, c1] - total[r0, c1] - total[r1, c0] + total[r0, c0]) / np.maximum((r1 - r0) * (c1 - c0), 1)
    cost = (
        np.hypot(gap_x, gap_y) + 0.1 * aside + height * (COVERING * share + 0.2 * below)
    )  # above and centred, all else being equal
    best = np.argmin(np.where(free, cost, np.inf))
    corner = float(x.flat[best]), float(y.flat[best])
    return Box(corner[0], corner[1], corner[0] + width, corner[1] + height)


def leader(
    box: Box, mask: NDArray[np.bool_], pixel: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return ends of a line from a name to what it names.

    None where they are within half a name's height of each other.
    """
    rows, columns = np.nonzero(mask)
    y, x = (rows + 0.5) * pixel[0], (columns + 0.5) * pixel[1]
    distance = np.hypot(x - np.clip(x, box.x0, box.x1), y - np.clip(y, box.y0, box.y1))
    nearest = int(np.argmin(distance))
    if distance[nearest] <= (box.y1 - box.y0) / 2:
        return None
    end = float(x[nearest]), float(y[nearest])
    return box.nearest(*end), end
