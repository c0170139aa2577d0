"""Wrong inputs made from good studies, from harmless to hopeless: what a guard must notice.

Each kind is a function of a volume in LPS order and a severity; those that are there or not have one severity, the
middle one. Kinds that only real scans have (chest, head, no contrast agent) are read, not made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi

from KLIPCore.volume.volume import Volume

AIR = -1000.0


class Kind(NamedTuple):
    """One kind of wrong input.

    Attributes
    ----------
    name : of its row.
    make : volume in LPS order and severity to the spoiled volume.
    severities : mild, middle and severe; NaN where there is none.
    unit : what a severity counts.
    """

    name: str
    make: Callable[[Volume, float], Volume]
    severities: tuple[float, float, float]
    unit: str


def _with(volume: Volume, array: np.ndarray) -> Volume:
    return volume.with_array(np.asarray(array, np.float32))


def _flipped(axis: int) -> Callable[[Volume, float], Volume]:
    return lambda volume, _: _with(volume, np.flip(volume.array, axis))


def _unenhanced(volume: Volume, share: float) -> Volume:
    """What is brighter than unenhanced soft tissue, up to bone, loses part of the difference."""
    a = volume.array
    return _with(volume, np.where((a > 45) & (a < 250), 45 + (1 - share) * (a - 45), a))


def _cropped(volume: Volume, kept: float) -> Volume:
    """The middle of the slices."""
    _, height, width = volume.array.shape
    dy, dx = round(height * (1 - kept) / 2), round(width * (1 - kept) / 2)
    whole = slice(0, len(volume.array))
    return volume.cropped((whole, slice(dy, height - dy), slice(dx, width - dx)))


def _thinned(volume: Volume, keep: np.ndarray) -> Volume:
    """Some slices, on a grid that does not know of the gap."""
    first = volume.cropped((slice(0, len(keep)), slice(None), slice(None)))
    return replace(first, array=volume.array[keep])


def _gap(volume: Volume, share: float) -> Volume:
    n = len(volume.array)
    missing = max(1, round(share * n))
    start = (n - missing) // 2
    return _thinned(volume, np.r_[:start, start + missing : n])


def _few(volume: Volume, n: float) -> Volume:
    start = max((len(volume.array) - int(n)) // 2, 0)
    return volume.cropped((slice(start, start + int(n)), slice(None), slice(None)))


def _noisy(volume: Volume, hu: float) -> Volume:
    noise = np.random.default_rng(0).normal(0, hu, volume.array.shape)
    return _with(volume, np.where(volume.array > -900, volume.array + noise, volume.array))


def _metal(volume: Volume, radius_mm: float) -> Volume:
    """Two rods of 4000 HU over 60 mm beside the middle of the body."""
    array = volume.array.copy()
    depth, height, width = array.shape
    dz, dy, dx = volume.grid.spacing
    y, x = np.mgrid[:height, :width]
    half = max(1, round(30 / dz))
    for side in (-1, 1):
        at = ((y - 0.55 * height) * dy) ** 2 + ((x - width / 2) * dx + 60 * side) ** 2 <= radius_mm**2
        array[depth // 2 - half : depth // 2 + half, at] = 4000.0
    return _with(volume, array)


def _moved(volume: Volume, mm: float) -> Volume:
    """Every slice is the mean of two places of the patient, and lies elsewhere than its neighbours."""
    rng = np.random.default_rng(0)
    step = mm / volume.grid.spacing[1:]
    out = []
    for plane in volume.array:
        places = rng.normal(0, 0.7, (2, 2)) * step
        out.append(np.mean([ndi.shift(plane, by, order=1, cval=plane.min()) for by in places], 0))
    return _with(volume, np.stack(out))


def _like_mr(volume: Volume, _: float) -> Volume:
    """Fat bright, air and bone dark, grey values from 0."""
    hu = [-3000, -500, -110, -60, 0, 60, 150, 300, 1500]
    return _with(volume, np.interp(volume.array, hu, [0, 0, 900, 850, 250, 450, 500, 120, 0]))


NAN = float("nan")
KINDS = (
    Kind("left and right exchanged", _flipped(2), (NAN, 1, NAN), ""),
    Kind("front and back exchanged", _flipped(1), (NAN, 1, NAN), ""),
    Kind("head and feet exchanged", _flipped(0), (NAN, 1, NAN), ""),
    Kind("HU multiplied", lambda v, by: _with(v, v.array * by), (0.9, 0.7, 0.4), "factor"),
    Kind("HU shifted", lambda v, by: _with(v, v.array + by), (15, 60, 150), "HU"),
    Kind("stored values", lambda v, by: _with(v, np.maximum(v.array, -1024) + by), (NAN, 1024, NAN), "HU"),
    Kind("contrast agent taken out", _unenhanced, (0.3, 0.7, 1.0), "part"),
    Kind("cropped", _cropped, (0.9, 0.65, 0.45), "width kept"),
    Kind("gap in the slices", _gap, (0.03, 0.2, 0.4), "part"),
    Kind("few slices", _few, (20, 8, 3), "slices"),
    Kind("noise", _noisy, (20, 90, 200), "HU"),
    Kind("metal", _metal, (1, 6, 15), "mm radius"),
    Kind("motion", _moved, (1, 8, 25), "mm"),
    Kind("like MR", _like_mr, (NAN, 1, NAN), ""),
)
