"""Feature distance: how far a pixel's local jet is from the slice's usual ones.

A plain relative of PaDiM (Defard et al., ICPR 2021) and PatchCore (Roth et al., CVPR 2022) without a
pretrained network: features are the Gaussian jet up to second order at three scales (Koenderink & van Doorn,
Biol. Cybern. 55, 367, 1987), the distance is Mahalanobis', mean and covariance come from the slice's own body
with the most distant tenth left out once.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.baselines.view import SliceView

SCALES_PX = (1.5, 3.0, 6.0)
ORDERS = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))


def jet(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """(F, H, W) scale-normalised Gaussian derivatives."""
    return np.stack(
        [
            s ** sum(order) * ndi.gaussian_filter(np.asarray(image, np.float64), s, order)
            for s in SCALES_PX
            for order in ORDERS
        ]
    )


def mahalanobis(features: NDArray[np.float64], body: NDArray[np.bool_], trim: float = 0.1) -> NDArray[np.float64]:
    """(H, W) squared distance from the body's mean; the ``trim`` most distant pixels do not vote in the
    second round.
    """
    inside = features[:, body]
    kept = np.ones(inside.shape[1], bool)
    distance = np.zeros(features.shape[1:])
    for _ in range(2):
        mean, covariance = inside[:, kept].mean(1), np.cov(inside[:, kept])
        whitener = np.linalg.inv(np.linalg.cholesky(covariance + 1e-12 * np.trace(covariance) * np.eye(len(mean))))
        distance = np.square(np.einsum("fg,ghw->fhw", whitener, features - mean[:, None, None])).sum(0)
        own = distance[body]
        kept = own <= np.quantile(own, 1 - trim)
    return distance


def score(view: SliceView) -> NDArray[np.float32]:
    """(H, W) squared Mahalanobis distance inside the body, 0 outside."""
    return np.asarray(mahalanobis(jet(view.trace.reconstruction), view.body) * view.body, np.float32)
