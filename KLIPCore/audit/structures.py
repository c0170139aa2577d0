"""Compact structures of an image: what a reader would point at and ask whether it is real.

Where no regions are given, these are audited: extrema of differences of Gaussians at a few widths (Lindeberg 1998),
each divided by the spread of that width's response in the body, the strongest first, none over another.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

WIDTHS_MM = (3.0, 5.0, 8.0)
"""Standard deviations of the Gaussians; a structure measures about three of them across."""
RATIO = 1.6
FLOOR = 0.003
"""Part of the body's median that every spread has at least, so that an even image has no structures."""
LEAST = 1.0
"""Weakest response, in robust standard deviations."""
MAD_TO_STD = 1.4826


def body_of(image: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return (H, W) the object on an image of attenuation: its largest part above a third of the median, filled."""
    positive = image[image > 0]
    if not positive.size:
        return np.zeros(image.shape, bool)
    solid = ndi.binary_opening(image > 0.35 * np.quantile(positive, 0.75), iterations=2)
    labels, n = ndi.label(solid)
    if n == 0:
        return np.zeros(image.shape, bool)
    largest = labels == 1 + int(np.argmax(ndi.sum_labels(solid, labels, np.arange(1, n + 1))))
    return np.asarray(ndi.binary_fill_holes(largest), bool)


def structures(
    image: NDArray[np.floating], pixel_mm: float, within: NDArray[np.bool_], maximum: int = 8
) -> list[NDArray[np.bool_]]:
    """Masks of the strongest compact structures.

    Parameters
    ----------
    image : (H, W) any unit.
    pixel_mm : edge of a pixel.
    within : (H, W) where structures are looked for; their rims keep away from its border.
    maximum : of structures.

    Returns
    -------
    (H, W) bool masks, strongest first.
    """
    level = float(np.median(image[within])) if within.any() else 0.0
    filled = np.where(within, image, level)
    found: list[tuple[float, NDArray[np.bool_]]] = []
    for width_mm in WIDTHS_MM:
        sigma = width_mm / pixel_mm
        if sigma < 0.7:
            continue
        response = ndi.gaussian_filter(filled, sigma) - ndi.gaussian_filter(filled, RATIO * sigma)
        inside = ndi.binary_erosion(within, iterations=max(1, round(2.0 * sigma)))
        if inside.sum() < 25:
            continue
        usual = MAD_TO_STD * np.median(np.abs(response[inside])) + FLOOR * abs(level)
        strength = np.abs(response) / (usual + 1e-12)
        peaks = (strength == ndi.maximum_filter(strength, size=max(3, 2 * round(sigma) + 1))) & inside
        for row, column in np.argwhere(peaks & (strength > LEAST)):
            found.append((float(strength[row, column]), _around(response, (row, column), 2.0 * sigma)))
    found.sort(key=lambda pair: -pair[0])
    kept: list[NDArray[np.bool_]] = []
    taken = np.zeros(image.shape, bool)
    for _, mask in found:
        if len(kept) == maximum:
            break
        if mask.sum() >= 4 and not (ndi.binary_dilation(mask, iterations=2) & taken).any():
            kept.append(mask)
            taken |= mask
    return kept


def _around(response: NDArray[np.floating], peak: tuple[int, int], radius: float) -> NDArray[np.bool_]:
    """Connected pixels around a peak with a third of its response at least, within a radius in pixels."""
    rows, columns = np.indices(response.shape)
    near = (rows - peak[0]) ** 2 + (columns - peak[1]) ** 2 <= radius**2
    labels, _ = ndi.label(near & (response / response[peak] > 0.33))
    return np.asarray(labels == labels[peak], bool)
