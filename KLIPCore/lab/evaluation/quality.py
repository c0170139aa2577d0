"""How good a reconstruction is: PSNR and SSIM against the image that was measured.

Both are taken over the body only: the air around it is the easy half of the picture and would flatter every
method. Intensities are windowed to 0..1, so the data range is 1.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError

SSIM_SIGMA = 1.5
"""Width of the Gaussian window in pixels, truncated at 3.5 σ: the 11 × 11 window of the paper."""


def _checked(
    image: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_] | None
) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
    a, b = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    inside = np.ones(a.shape, bool) if mask is None else np.asarray(mask, bool)
    if not a.shape == b.shape == inside.shape:
        raise ConfigError(
            f"Images of shape {a.shape} and {b.shape} cannot be compared.", "Bring them and the mask to one grid."
        )
    if not inside.any():
        raise ConfigError("The mask is empty.", "Compare inside a body.")
    return a, b, inside


def psnr(image: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> float:
    """Return −10 log₁₀ of the mean squared error inside ``mask`` (data range 1), in dB; infinite for equal images."""
    a, b, inside = _checked(image, truth, mask)
    error = float(np.mean((a - b)[inside] ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def ssim(image: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> float:
    """Return the mean structural similarity inside ``mask``.

    Wang et al., IEEE Trans. Image Process. 13, 600, 2004; K₁ = .01, K₂ = .03, data range 1.

    Parameters
    ----------
    image, truth : (H, W), intensities 0..1.
    mask : (H, W) bool; the whole image when None.
    """
    a, b, inside = _checked(image, truth, mask)

    def local(x: NDArray) -> NDArray[np.float64]:
        return np.asarray(ndi.gaussian_filter(x, SSIM_SIGMA, truncate=3.5, mode="reflect"), np.float64)

    mean_a, mean_b = local(a), local(b)
    var_a, var_b, cov = local(a * a) - mean_a**2, local(b * b) - mean_b**2, local(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    values = ((2 * mean_a * mean_b + c1) * (2 * cov + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(values[inside].mean())
