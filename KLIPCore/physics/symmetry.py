"""Views that are mirror images of one another share one matrix.

A square image can be turned by quarter turns and mirrored onto itself: eight ways. A scan with evenly spread
views can be turned and mirrored onto itself too. If a symmetry g carries the lines of view v onto the lines of
view b, then measuring x in view v *is* measuring g·x in view b. So only one view of each family (an orbit)
needs weights; the images g·x become more columns of the same sparse product. For 60 parallel views over half a
turn, 16 views and 4 images do the work of 60: a quarter of the memory, and about a quarter of the time,
because a sparse product on a CPU waits for its matrix, not for its arithmetic. Nothing is approximated: the
symmetry is exact up to the rounding of the angles (checked to 1e-9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.volume.geometry import Array, Geometry

TOLERANCE = 1e-9
"""Largest difference between lines (radians; distances relative to the largest) that counts as none."""


@dataclass(frozen=True)
class Turn:
    """One of the square's eight symmetries: transpose first (if so), then flip rows and columns (if so)."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def apply(self, x: Tensor) -> Tensor:
        """Return g·x for images (H, W, ...)."""
        x = x.transpose(0, 1) if self.transpose else x
        axes = [axis for axis, flip in enumerate((self.flip_rows, self.flip_columns)) if flip]
        return x.flip(axes) if axes else x

    def undo(self, x: Tensor) -> Tensor:
        """Return g⁻¹·x for images (H, W, ...)."""
        axes = [axis for axis, flip in enumerate((self.flip_rows, self.flip_columns)) if flip]
        x = x.flip(axes) if axes else x
        return x.transpose(0, 1) if self.transpose else x

    def normals(self, nx: Array, ny: Array) -> tuple[Array, Array]:
        """Return the lines' unit normals after the same motion of the plane (rows run along y, columns along x)."""
        if self.transpose:
            nx, ny = ny, nx
        return (-nx if self.flip_columns else nx), (-ny if self.flip_rows else ny)


IDENTITY = Turn()
MIRROR_X, MIRROR_Y, MIRROR_XY = Turn(flip_columns=True), Turn(flip_rows=True), Turn(transpose=True)
HALF_TURN = Turn(flip_rows=True, flip_columns=True)
QUARTER, THREE_QUARTERS = Turn(transpose=True, flip_columns=True), Turn(transpose=True, flip_rows=True)
ANTI_TRANSPOSE = Turn(transpose=True, flip_rows=True, flip_columns=True)

CANDIDATES: tuple[tuple[Turn, ...], ...] = (
    (IDENTITY,),
    (IDENTITY, MIRROR_X),
    (IDENTITY, MIRROR_Y),
    (IDENTITY, HALF_TURN),
    (IDENTITY, MIRROR_XY),
    (IDENTITY, ANTI_TRANSPOSE),
    (IDENTITY, MIRROR_X, MIRROR_Y, HALF_TURN),
    (IDENTITY, QUARTER, HALF_TURN, THREE_QUARTERS),
    (IDENTITY, MIRROR_X, MIRROR_XY, QUARTER, MIRROR_Y, HALF_TURN, ANTI_TRANSPOSE, THREE_QUARTERS),
)


@dataclass(frozen=True, eq=False)
class ViewOrbits:
    """How the views of a scan follow from a few base views.

    Attributes
    ----------
    base : (n_base,) indices of the views whose weights are kept.
    turns : the image symmetries used, the identity first.
    slot : (n_views,) index ``base_position · len(turns) + turn_position`` that holds each view's measurement.
    reverse : (n_views,) whether the detector then runs backwards.
    """

    base: NDArray[np.int64]
    turns: tuple[Turn, ...]
    slot: NDArray[np.int64]
    reverse: NDArray[np.bool_]

    @classmethod
    def none(cls, n_views: int) -> ViewOrbits:
        """Return every view for itself."""
        return cls(np.arange(n_views), (IDENTITY,), np.arange(n_views), np.zeros(n_views, bool))

    @classmethod
    def find(cls, geometry: Geometry, square: bool) -> ViewOrbits:
        """Return the cheapest description of a scan's views; :meth:`none` when nothing is gained.

        Parameters
        ----------
        geometry : the scan.
        square : whether the image has as many rows as columns (only then may it be transposed).
        """
        phi, s = geometry.lines()
        nx, ny = np.cos(phi), np.sin(phi)
        scale = max(1.0, float(np.abs(s).max()))
        candidates = [c for c in CANDIDATES if square or not any(t.transpose for t in c)]
        found = [_orbits(nx, ny, s / scale, turns) for turns in candidates]
        # a product costs about (matrix traffic) + (arithmetic): per base view 2 + number of images, in units
        # of half a view
        return min(found, key=lambda o: len(o.base) * (2 + len(o.turns)))

    @cached_property
    def unused(self) -> list[tuple[int, int]]:
        """(base, turn) for which the scan has no view: a turned image is measured there, the scanner did not."""
        n = len(self.turns)
        return [divmod(slot, n) for slot in range(len(self.base) * n) if slot not in set(self.slot.tolist())]

    def images(self, x: Tensor) -> Tensor:
        """Return the (H, W, B) → (H·W, turns·B): each image in every orientation, as columns."""
        height, width, n = x.shape
        if n == 1 or len(self.turns) == 1:
            return torch.stack([t.apply(x) for t in self.turns], dim=2).reshape(height * width, -1)
        # rows of several numbers are gathered in half the time in which turned copies are made and interleaved
        order = _pixel_order(self.turns, height, width, x.device)
        return torch.index_select(x.reshape(height * width, n), 0, order).reshape(height * width, -1)

    def fold(self, z: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the transpose of :meth:`images`: (H·W, turns·B) → (H, W, B)."""
        z = z.reshape(*shape, len(self.turns), -1)
        total = z[:, :, 0]  # the identity
        for e, turn in enumerate(self.turns[1:], start=1):
            total = total + turn.undo(z[:, :, e])
        return total


@lru_cache(maxsize=16)
def _pixel_order(turns: tuple[Turn, ...], height: int, width: int, device: torch.device) -> Tensor:
    """(H·W·turns,) int32: which pixel of an image lies at each pixel of each of its orientations."""
    pixels = torch.arange(height * width, dtype=torch.int32).reshape(height, width)
    return torch.stack([t.apply(pixels) for t in turns], dim=2).reshape(-1).to(device)


def _features(nx: Array, ny: Array, s: Array) -> Array:
    """(n, 4·bins) numbers that agree if and only if two lines do: (φ, s) and (φ + π, −s) are the same line."""
    return np.concatenate([nx * nx - ny * ny, 2 * nx * ny, s * nx, s * ny], axis=1)


def _orbits(nx: Array, ny: Array, s: Array, turns: Sequence[Turn]) -> ViewOrbits:
    """Greedy families of views under ``turns``."""
    n_views, n_bins = s.shape
    ends = [0, n_bins // 2, n_bins - 1]  # three lines find a view, all its lines then confirm it
    every = _features(nx, ny, s)
    still = _features(nx[:, ends], ny[:, ends], s[:, ends])
    owner = np.full(n_views, -1)
    turn_of = np.zeros(n_views, np.int64)
    reverse = np.zeros(n_views, bool)
    base: list[int] = []
    used: set[int] = {0}
    moved = []
    for turn in turns:
        mx, my = turn.normals(nx, ny)
        moved.append(
            (
                mx,
                my,
                _features(mx[:, ends], my[:, ends], s[:, ends]),
                _features(mx[:, ends[::-1]], my[:, ends[::-1]], s[:, ends[::-1]]),
            )
        )
    # of each family keep the view whose rays run most nearly along image rows: they meet pixels in the order of memory
    for b in np.argsort(-np.abs(ny).mean(1).round(6), kind="stable"):
        if owner[b] >= 0:
            continue
        base.append(int(b))
        owner[b] = b
        # which views does each symmetry carry onto b? equivalently: which moved views coincide with b
        for e, (mx, my, forward, backward) in enumerate(moved):
            for is_reversed, features in ((False, forward), (True, backward)):
                near = np.flatnonzero((np.abs(features - still[b]).max(1) < TOLERANCE) & (owner < 0))
                for v in near:
                    order = slice(None, None, -1) if is_reversed else slice(None)
                    confirmed = _features(mx[v : v + 1, order], my[v : v + 1, order], s[v : v + 1, order])
                    if np.abs(confirmed - every[b]).max() < TOLERANCE:
                        owner[v], turn_of[v], reverse[v] = b, e, is_reversed
                        used.add(e)
    kept = sorted(used)
    position = {b: i for i, b in enumerate(base)}
    slot = np.array(
        [position[int(o)] * len(kept) + kept.index(int(t)) for o, t in zip(owner, turn_of, strict=True)], np.int64
    )
    return ViewOrbits(np.array(base, np.int64), tuple(turns[e] for e in kept), slot, reverse)
