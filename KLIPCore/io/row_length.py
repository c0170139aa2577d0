"""Whether rows are as long as the header says and begin where it says; no other number shows it.

A wrong length shears every slice. The rows of a slice, one after the other, are most alike a row's length apart. With
a(l) the correlation of these pixels with themselves, l pixels on,

    length = argmax a(l)

and told where two of three slices agree on one that is not the header's: all three where it is one pixel off, which a
broad patient who lies aslant may make of it, too (:mod:`KLIPCore.lab.row_length`).

Where pixels are read from a wrong place on, as of a header of another size, a slice goes on at its other edge: the
body lies on both, and goes on from one to the other as it does inside, while somewhere in between there is air alone.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from KLIPCore.errors import GeometryError
from KLIPCore.volume.volume import Volume

RANGE_HU = (-1000.0, 400.0)
"""HU outside of these count as their ends."""
PLACES = (0.25, 0.5, 0.75)
"""Slices that are looked at, as parts of the stack."""
LEAST_PIXELS, MOST_ROWS = 32, 128
"""Edge of the smallest slice that is asked, and rows in the middle that are: more tell no more."""
LEAST_GAIN = 1e-3
"""By which the correlation is higher at another length."""
BODY_HU, LEAST_ON_EDGE, ALIKE_ON_EDGE = -500.0, 0.1, 0.5
"""HU above which there is body; parts of an edge, and of the body on either edge, that lie on both at least."""
AIR_HU, MOST_IN_AIR, MOST_STEP = -930.0, 0.05, 2.5
"""HU up to which a column is air and no lung (nothing is asked of slices whose values are cut off above it); part of a
column of air that may be body (a table); how far values may step over the edge, as a multiple of steps inside.
"""
MOST_ASPECT = 2.0
"""Where pixels are longer than wide by this factor, what lies aslant moves by more than a pixel from row to row."""


def check_rows(volume: Volume) -> None:
    """Raise where the rows of a volume have another length than it says, or begin elsewhere.

    Parameters
    ----------
    volume : as it was stored.

    Raises
    ------
    GeometryError : they do, or begin at another pixel.
    """
    n, height, width = volume.array.shape
    _, row_mm, column_mm = volume.grid.spacing
    aspect = float(row_mm / column_mm)
    if min(height, width) < LEAST_PIXELS or not 1 / MOST_ASPECT < aspect < MOST_ASPECT:
        return
    found = Counter(row_length(volume.array[int(place * n)]) for place in PLACES)
    length, agree = found.most_common(1)[0]
    if all(begins_inside(volume.array[int(place * n)]) for place in PLACES):
        raise GeometryError(
            "The body goes on from one edge of a slice to the opposite one: it was read from a wrong pixel on.",
            "Export the study again, or correct where the pixels begin in the file (the size of its header).",
        )
    if length != width and agree >= (len(PLACES) if abs(length - width) == 1 else 2):
        raise GeometryError(
            f"Rows hold {width} pixels by the header, and {length} by what they show: the slices are sheared.",
            "Export the study again, or correct the number of columns (and rows) in the header.",
        )


def row_length(image: NDArray[np.floating]) -> int:
    """Return how many pixels apart the pixels of a slice are most alike, from half to twice the width.

    The width, where that is hardly better or where nothing varies.

    Parameters
    ----------
    image : (h, w) HU.
    """
    height, width = image.shape
    first = max(0, (height - MOST_ROWS) // 2)
    pixels = image[first : first + MOST_ROWS].astype(np.float32).clip(*RANGE_HU).ravel()
    pixels -= pixels.mean()
    size = next_fast_len(2 * pixels.size, real=True)
    spectrum = rfft(pixels, size)
    longest = min(2 * width, pixels.size // 2)
    alike = irfft(spectrum.real**2 + spectrum.imag**2, size)[:longest]
    if not alike[0] > 0:
        return width
    alike *= pixels.size / (alike[0] * (pixels.size - np.arange(longest)))
    best = width // 2 + int(alike[width // 2 :].argmax())
    return best if alike[best] > alike[width] + LEAST_GAIN else width


def begins_inside(image: NDArray[np.floating]) -> bool:
    """Return whether a slice seems to begin inside the body, and to go on at its opposite edge.

    Parameters
    ----------
    image : (h, w) HU.
    """
    return _goes_round(image) or _goes_round(image.T)


def _goes_round(image: NDArray[np.floating]) -> bool:
    """Whether the last column goes on in the first, with air alone somewhere in between."""
    hu = image.astype(np.float32).clip(*RANGE_HU)
    body = hu > BODY_HU
    both = body[:, 0] & body[:, -1]
    if both.sum() < max(LEAST_ON_EDGE * len(body), ALIKE_ON_EDGE * (body[:, 0] | body[:, -1]).sum()):
        return False
    across = body.mean(0)
    if across.min() > MOST_IN_AIR or hu[:, across.argmin()].mean() > AIR_HU:
        return False
    inside = body[:, :-1] & body[:, 1:]
    steps = np.abs(np.diff(hu, axis=1))
    if np.abs(hu[:, 0] - hu[:, -1])[both].mean() > MOST_STEP * steps[inside].mean():
        return False
    return _smooth(body.argmax(0)) or _smooth(body[::-1].argmax(0))


def _smooth(outline: NDArray[np.intp]) -> bool:
    """Whether an outline, a row for each column, goes on over the edge as it came; that of two legs is mirrored."""
    near = max(2, len(outline) // 16)
    before, after = outline[-1] - outline[-1 - near], outline[near] - outline[0]
    return bool(abs(after - before) <= 0.5 * (abs(before) + abs(after)) + 3)
