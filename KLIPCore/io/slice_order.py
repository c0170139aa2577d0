"""Whether slices lie where they belong: no header tells when pixels were exchanged, lost or brought from elsewhere.

Anatomy changes little by little. With d the mean difference of two slices, of soft tissue and coarse pixels,

    odd    min(d(k, k−1), d(k, k+1)) / d(k−1, k+1)        a slice unlike both beside it, which are alike
    jump   d(k, k+1) / median of d around it              where slices are missing, or others begin

In 32 CT of real patients (:mod:`KLIPCore.lab.slice_order`) no slice is odder than .83 (.93 where only every eighth is
read), and no jump is larger than 2.1. Two slices exchanged over five places or more are both odder than 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import IntensityError

RANGE_HU = (-150.0, 250.0)
"""HU outside of these count as their ends: air and bone would outvote the organs."""
COARSE = 24
"""Coarse pixels along a side: finer ones hold noise and vessels."""
LEAST_SLICES = 6
ODD, LEAST_HU = 1.1, 3.0
"""From where a slice is odd, and the least difference that others are divided by: noise alone has that."""
JUMP, AROUND = 2.5, 5
"""From where a jump is told, and slices to either side that it is compared with."""


def check_order(sample: NDArray[np.float32], files: Sequence[str]) -> list[str]:
    """Raise where a slice resembles neither of those beside it; return a note where the anatomy jumps.

    Parameters
    ----------
    sample : (n, h, w) HU, some pixels of every slice, in order.
    files : names of the slices' files, or of one file.

    Raises
    ------
    IntensityError : there is such a slice.
    """
    n = len(sample)
    if n < LEAST_SLICES:
        return []
    coarse = _coarse(sample)
    beside, across = _differences(coarse, 1), _differences(coarse, 2)
    odd = np.minimum(beside[:-1], beside[1:]) / np.maximum(across, LEAST_HU)
    if odd.max() > ODD:
        which = named_slice(int(odd.argmax()) + 1, n, files)
        several = int((odd > ODD).sum())
        others = f", and {several - 1} more" if several > 1 else ""
        raise IntensityError(
            f"{which[0].upper()}{which[1:]} resembles neither of the slices beside it, which resemble each other"
            f"{others}: slices were exchanged, or this one is of another place or patient.",
            "Export the series again, and look through its slices in order.",
        )
    full = coarse.std((1, 2)) > LEAST_HU  # a body may begin after slices of padding
    jumps = [_jump(beside, k) if full[k] and full[k + 1] else 0.0 for k in range(n - 1)]
    at = int(np.argmax(jumps))
    if jumps[at] <= JUMP:
        return []
    return [
        f"Between {named_slice(at, n, files)} and {named_slice(at + 1, n, files)} the anatomy jumps: slices may be "
        "missing or out of order there."
    ]


def named_slice(at: int, n: int, files: Sequence[str]) -> str:
    """Return what a reader calls slice ``at`` of ``n``: its file, where each has one."""
    return Path(files[at]).name if len(files) == n else f"slice {at} in the file's order"


def _coarse(sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, about 24, about 24) means of soft tissue."""
    edge = max(1, min(sample.shape[1:]) // COARSE)
    rows, columns = (size // edge for size in sample.shape[1:])
    cut = np.clip(sample[:, : rows * edge, : columns * edge], *RANGE_HU)
    return np.asarray(cut.reshape(len(cut), rows, edge, columns, edge).mean((2, 4)), np.float32)


def _differences(coarse: NDArray[np.float32], apart: int) -> NDArray[np.float32]:
    """Mean absolute differences of slices so far apart, HU."""
    return np.asarray(np.abs(coarse[apart:] - coarse[:-apart]).mean((1, 2)), np.float32)


def _jump(beside: NDArray[np.float32], k: int) -> float:
    """How much larger a difference is than those around it."""
    around = float(np.median(beside[max(0, k - AROUND) : k + AROUND + 1]))
    return float(beside[k]) / max(around, LEAST_HU)
