"""Detector bins joined to coarser ones, with the geometry that belongs to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.volume.geometry import Geometry


def joined_bins(sinogram: NDArray[np.floating], geometry: Geometry, k: int) -> tuple[NDArray[np.float64], Geometry]:
    """Return every ``k`` neighbouring detector bins as one (their mean).

    What is left over at the far end is dropped.

    Parameters
    ----------
    sinogram : array, (..., views, bins)
    geometry : Geometry
    k : int

    Raises
    ------
    ConfigError
        There are fewer bins than ``k``.
    """
    n = geometry.n_detectors // k
    if n < 1:
        raise ConfigError(f"A detector of {geometry.n_detectors} bins cannot be joined by {k}.", "Use smaller pixels.")
    joined = np.asarray(sinogram, np.float64)[..., : n * k].reshape(*sinogram.shape[:-1], n, k).mean(-1)
    middle = float(geometry.detector_mm()[: n * k].mean())
    return joined, replace(geometry, n_detectors=n, pitch_mm=geometry.pitch_mm * k, offset_mm=middle)
