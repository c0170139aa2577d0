"""How much a scan informs at each place: the yardstick that pushes are measured against.

KLIP's own nats, the energy of the guided chain, measure how much the scan *informs*: edges, bowel and bone inform in
every healthy patient. That makes them a poor score and a good yardstick.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.maps.trace import Layer

INFORMATION_BANDS = slice(0, 2)
"""Bands of the path layer whose energy is the yardstick: wavelengths of 2 to 8 pixels, edges and texture,
not lesions.
"""

INFORMATION_REACH = 6.0
"""Standard deviation in pixels over which the yardstick is averaged: some 9 mm."""

LEAST_INFORMATION = 1e-3
"""Share of the slice's mean below which a place counts as if it had that much: air must not divide by nothing."""


def per_information(path: Layer, cell: int, seen: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Return the (h, w) weights w of a slice from its ``path`` layer: mean information over the place's own.

    Parameters
    ----------
    path : nats of the guided chain, all σ bins.
    cell : side of its base cells in pixels.
    seen : (h, w) cells that data correct at all (:mod:`KLIPCore.physics.rotation` leaves the corners of the
        frame alone); all when None. The others are left out of means and averages, and weigh 0: nothing can be
        said of them.
    """
    information = path.energy[:, INFORMATION_BANDS].sum((0, 1), dtype=np.float64)
    reach = INFORMATION_REACH / cell
    if seen is None:
        seen = np.ones(information.shape, bool)
        around = ndi.gaussian_filter(information, reach, mode="nearest")
    else:
        share = ndi.gaussian_filter(seen.astype(float), reach, mode="nearest")
        around = ndi.gaussian_filter(np.where(seen, information, 0.0), reach, mode="nearest") / np.maximum(share, 1e-6)
    mean = float(around[seen].mean())
    if not mean > 0:
        return seen.astype(np.float32)
    return np.where(seen, mean / np.maximum(around, LEAST_INFORMATION * mean), 0.0).astype(np.float32)
