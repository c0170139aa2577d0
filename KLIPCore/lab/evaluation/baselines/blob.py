"""Blobs: the multi-scale Laplacian of Gaussian, the textbook detector of round things.

Lindeberg, "Feature detection with automatic scale selection" (Int. J. Comput. Vis. 30, 79, 1998): max over s
of |s² ∇²G_s * x|; a disc of radius r answers most at s = r/√2. It knows nothing of anatomy: kidneys, vertebrae
and bowel are blobs, too.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.baselines.view import SliceView

RADII_MM = (3.0, 5.0, 8.0, 12.0, 20.0)
"""Radii that are looked for."""


def responses(image: NDArray[np.floating], pixel_mm: float) -> NDArray[np.float64]:
    """(len(RADII_MM), H, W) scale-normalised Laplacians; positive where a blob is dark."""
    scales = [r / pixel_mm / np.sqrt(2) for r in RADII_MM]
    return np.stack([s**2 * ndi.gaussian_laplace(np.asarray(image, np.float64), s) for s in scales])


def score(view: SliceView) -> NDArray[np.float32]:
    """(H, W) square of the largest absolute response over scales, inside the body."""
    return np.asarray(
        np.square(np.abs(responses(view.trace.reconstruction, view.pixel_mm)).max(0)) * view.body, np.float32
    )
