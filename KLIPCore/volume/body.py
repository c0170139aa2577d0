"""Where the patient ends and the couch begins.

The prior was trained on patients in air: no couch, no blankets. The body mask removes those, tells where a
score counts, and fixes the prior's frame (:mod:`KLIPCore.volume.frame`). It works on windowed intensities, because
public training sets are clipped to a window, and on a slice at a time, because a range of slices must give the
same mask as the whole study.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

WORKING_PIXELS = 256
"""Masks are found at about this many pixels across: the radii below are in such pixels."""


def body_mask(intensity: NDArray[np.floating], threshold: float = 0.015) -> NDArray[np.bool_]:
    """Return the patient in one slice: the largest soft-tissue object, holes filled, couch cut off.

    Parameters
    ----------
    intensity : (H, W) windowed intensity in [0, 1], air 0.
    threshold : intensity above which a smoothed pixel is tissue; 0.015 keeps subcutaneous fat in -125..275 HU.

    Returns
    -------
    (H, W) bool; all False when nothing larger than 1 % of the slice is found.
    """
    step = max(1, round(max(intensity.shape) / WORKING_PIXELS))
    small = (
        ndi.uniform_filter(np.asarray(intensity, np.float32), step)[step // 2 :: step, step // 2 :: step]
        if step > 1
        else intensity
    )
    tissue = ndi.gaussian_filter(np.asarray(small, np.float32), 1.0) > threshold
    tissue = ndi.binary_fill_holes(
        ndi.binary_closing(np.pad(tissue, 3), iterations=3)[3:-3, 3:-3]
    )  # a dark fat layer is closed by its skin
    disc = ndi.iterate_structure(ndi.generate_binary_structure(2, 1), 4)
    cores, n_cores = ndi.label(ndi.binary_opening(tissue, disc))  # thin bridges to the couch are cut here
    if n_cores == 0:
        return np.zeros(intensity.shape, bool)
    sizes = np.bincount(cores.ravel())[1:]
    core = cores == 1 + int(np.argmax(sizes))
    if core.sum() < 0.01 * core.size:
        return np.zeros(intensity.shape, bool)
    mask = ndi.binary_fill_holes(ndi.binary_dilation(core, iterations=2) & tissue)
    if step == 1:
        return np.asarray(mask, bool)
    rows = np.minimum(np.arange(intensity.shape[0]) // step, mask.shape[0] - 1)
    columns = np.minimum(np.arange(intensity.shape[1]) // step, mask.shape[1] - 1)
    return np.asarray(mask[np.ix_(rows, columns)], bool)


def body_masks(intensity: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return :func:`body_mask` of every slice of a (D, H, W) intensity array."""
    return np.stack([body_mask(s) for s in intensity]) if len(intensity) else np.zeros(intensity.shape, bool)
