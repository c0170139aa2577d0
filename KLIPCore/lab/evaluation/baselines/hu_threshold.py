"""HU threshold inside the organ: how far below its median a smoothed pixel lies.

What a first-year resident would program: liver metastases are darker than a portal-venous liver. It is given
the organ's mask, which no other method here has, and sees nothing outside it.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.baselines.view import SliceView

SMOOTHING_PX = 2.0


def score(view: SliceView) -> NDArray[np.float32]:
    """(H, W) squared depth below the organ's median after smoothing within the organ; 0 outside it."""
    if not view.organ.any():
        return np.zeros(view.organ.shape, np.float32)
    share = ndi.gaussian_filter(view.organ.astype(np.float64), SMOOTHING_PX)
    depth = np.median(view.trace.reconstruction[view.organ]) - view.trace.reconstruction
    smooth = ndi.gaussian_filter(np.where(view.organ, depth, 0.0), SMOOTHING_PX) / np.maximum(share, 1e-6)
    return np.asarray(np.square(np.maximum(smooth, 0.0)) * view.organ, np.float32)
