"""Whether slices lie where they belong: no header tells when pixels were exchanged, lost or brought from elsewhere.

Anatomy changes little by little. With d the mean difference of two slices, of soft tissue and coarse pixels,

    odd    min(d(k, k−1), d(k, k+1)) / d(k−1, k+1)        a slice unlike both beside it, which are alike
    jump   d(k, k+1) / median of d around it              where slices are missing, or others begin

In 32 CT of real patients (:mod:`KLIPCore.lab.slice_order`) no slice is odder than .83 (.93 where only every eighth is
read), and no jump is larger than 2.1. Two slices exchanged over five places or more are both odder than 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
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
FEW_VALUES, MOST_REPEATED = 100, 0.25
"""A slice of a patient has more values; where more slices repeat others, they were made thinner on purpose."""


def check_order(sample: NDArray[np.float32], files: Sequence[str]) -> list[str]:
    """Raise where a slice resembles neither of those beside it; return notes where the anatomy jumps or halts.

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
        return _repeated(sample, files)
    coarse = _coarse(sample)
    beside, across = _differences(coarse, 1), _differences(coarse, 2)
    odd = np.minimum(beside[:-1], beside[1:]) / np.maximum(across, LEAST_HU)
    if odd.max() > ODD:
        which = named_slice(int(odd.argmax()) + 1, n, files)
        several = int((odd > ODD).sum())
        others = f", and {several - 1} more" if several > 1 else ""
        raise IntensityError(
            f"In this study {which} resembles neither of the slices beside it, which resemble each other"
            f"{others}: slices were exchanged, or this one is of another place or patient.",
            "Export the series again, and look through its slices in order.",
        )
    full = coarse.std((1, 2)) > LEAST_HU  # a body may begin after slices of padding
    asked = full[:-1] & full[1:] & (beside > JUMP * LEAST_HU)
    jumps = [_jump(beside, k) if asked[k] else 0.0 for k in range(n - 1)]
    at = int(np.argmax(jumps))
    repeated = _repeated(sample, files)
    if jumps[at] <= JUMP:
        return repeated
    return [
        *repeated,
        f"Between {named_slice(at, n, files)} and {named_slice(at + 1, n, files)} the anatomy jumps: slices may be "
        "missing or out of order there.",
    ]


def _repeated(sample: NDArray[np.float32], files: Sequence[str]) -> list[str]:
    """A note where neighbouring slices hold the same pixels, which noise forbids."""
    alike = [k for k, (one, other) in enumerate(pairwise(sample)) if np.array_equal(one, other)]
    held = [k for k in alike if len(np.unique(sample[k])) > FEW_VALUES]  # drawings and air have no noise
    if not held or len(alike) > MOST_REPEATED * len(sample):
        return []
    n, several = len(sample), f", and {len(held) - 1} more pairs do" if len(held) > 1 else ""
    return [
        f"In this study {named_slice(held[0], n, files)} and {named_slice(held[0] + 1, n, files)} hold the same "
        f"pixels{several}: a "
        "slice was repeated, perhaps in place of another."
    ]


def named_slice(at: int, n: int, files: Sequence[str]) -> str:
    """Return what a reader calls slice ``at`` of ``n``: its file, where each has one."""
    return Path(files[at]).name if len(files) == n else f"slice {at} in the file's order"


def _coarse(sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, about 24, about 24) means of soft tissue."""
    edge = max(1, min(sample.shape[1:]) // COARSE)
    rows, columns = (size // edge for size in sample.shape[1:])
    cut = np.clip(sample[:, : rows * edge, : columns * edge], *RANGE_HU)
    parts = [cut[:, i::edge, j::edge] for i in range(edge) for j in range(edge)]  # faster than a mean over two axes
    return np.asarray(np.sum(parts, 0) / edge**2, np.float32)


def _differences(coarse: NDArray[np.float32], apart: int) -> NDArray[np.float32]:
    """Mean absolute differences of slices so far apart, HU."""
    return np.asarray(np.abs(coarse[apart:] - coarse[:-apart]).mean((1, 2)), np.float32)


def _jump(beside: NDArray[np.float32], k: int) -> float:
    """How much larger a difference is than those around it."""
    around = float(np.median(beside[max(0, k - AROUND) : k + AROUND + 1]))
    return float(beside[k]) / max(around, LEAST_HU)
