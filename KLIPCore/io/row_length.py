"""Whether rows are as long as the header says: a wrong one shears every slice, and no other number shows it.

The rows of a slice, one after the other, are most alike a row's length apart. With a(l) the correlation of these
pixels with themselves, l pixels on,

    length = argmax a(l)

and told where two of three slices agree on one that is not the header's: all three where it is one pixel off, which a
broad patient who lies aslant may make of it, too (:mod:`KLIPCore.lab.row_length`).
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
MOST_ASPECT = 2.0
"""Where pixels are longer than wide by this factor, what lies aslant moves by more than a pixel from row to row."""


def check_rows(volume: Volume) -> None:
    """Raise where the rows of a volume have another length than it says.

    Parameters
    ----------
    volume : as it was stored.

    Raises
    ------
    GeometryError : they do.
    """
    n, height, width = volume.array.shape
    _, row_mm, column_mm = volume.grid.spacing
    aspect = float(row_mm / column_mm)
    if min(height, width) < LEAST_PIXELS or not 1 / MOST_ASPECT < aspect < MOST_ASPECT:
        return
    found = Counter(row_length(volume.array[int(place * n)]) for place in PLACES)
    length, agree = found.most_common(1)[0]
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
