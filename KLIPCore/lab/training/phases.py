"""Other contrast phases of the same patients, by their organs' labels.

A dozen patients show a dozen contrast phases. Where organs are labelled, each can be given the HU that it has in
another phase: the organ's own mean is moved to one drawn from the range of that phase, its texture stays. Vessels in
the liver are what is brighter there than the liver is on average; their contrast is scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.volume.units import Window

LIVER, N_LABELS = 5, 9
"""Label of the liver, and number of labels with the background (those of BTCV)."""

PHASES_HU: dict[str, dict[int, tuple[float, float]]] = {
    "unenhanced": {1: (30, 50), 3: (25, 40), 4: (25, 40), 5: (45, 65), 6: (30, 45), 7: (40, 55)},
    "arterial": {1: (220, 350), 3: (110, 190), 4: (110, 190), 5: (55, 85), 6: (85, 125), 7: (90, 150)},
    "portal venous": {1: (120, 180), 3: (150, 210), 4: (150, 210), 5: (90, 130), 6: (75, 110), 7: (100, 140)},
    "delayed": {1: (85, 125), 3: (120, 190), 4: (120, 190), 5: (75, 105), 6: (60, 85), 7: (80, 105)},
}
"""HU of labelled organs by contrast phase (aorta 1, kidneys 3 and 4, liver 5, pancreas 6, spleen 7): the ranges that
textbooks of abdominal CT give at 100 to 120 kV, rounded outwards.
"""

VESSEL_SCALE = (0.5, 2.0)
"""Range by which the contrast of the liver's vessels is multiplied."""

VESSEL_FROM = 0.04
"""Brighter than the liver by this much (intensity) is a vessel; less is noise."""


@dataclass(frozen=True, eq=False)
class LabelledOrgans:
    """Labels of framed slices, and how bright each patient's organs are.

    Attributes
    ----------
    labels : (N, S, S) uint8 labels; all 0 where a slice's patient has none.
    means : (N, 9) mean intensity of each label over the slice's patient; NaN where the patient does not show it.
    window : what intensity 0..1 means.
    """

    labels: Tensor
    means: Tensor
    window: Window


def organ_means(slices: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the (N, 9) means of one patient's framed slices and labels (N, S, S), the same in each row."""
    counts = np.bincount(labels.ravel(), minlength=N_LABELS)[:N_LABELS]
    sums = np.bincount(labels.ravel(), slices.ravel() / 255.0, minlength=N_LABELS)[:N_LABELS]
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return np.tile(means.astype(np.float32), (len(slices), 1))


def other_phase(image: Tensor, labels: Tensor, means: Tensor, window: Window, generator: torch.Generator) -> Tensor:
    """Return an image (H, W) with its labelled organs in another contrast phase.

    Parameters
    ----------
    image : intensity in [0, 1].
    labels : (H, W) uint8.
    means : (9,) the patient's mean intensity by label.
    window : what intensity 0..1 means.
    generator : source of all randomness here.
    """
    low, high = VESSEL_SCALE
    draws = torch.rand(2 + N_LABELS, generator=generator)
    ranges = list(PHASES_HU.values())[int(draws[0] * len(PHASES_HU))]
    draws[2 + 4] = draws[2 + 3]  # one patient's kidneys are in one phase
    wanted = means.clone()
    for label, (lo, hi) in ranges.items():
        wanted[label] = (lo + (hi - lo) * float(draws[2 + label]) - window.lo_hu) / (window.hi_hu - window.lo_hu)
    change = (wanted - means).nan_to_num(0.0)[labels.long()]
    scale = low * (high / low) ** float(draws[1])
    vessels = (_smooth(image) - means[LIVER].nan_to_num(1.0) - VESSEL_FROM).clamp(min=0.0)
    change = change + torch.where(labels == LIVER, (scale - 1.0) * vessels, 0.0)
    return (image + _smooth(change)).clamp(0.0, 1.0)


def _smooth(image: Tensor) -> Tensor:
    """Mean of 3 × 3 pixels: a soft edge, and less noise."""
    return F.avg_pool2d(image[None, None], 3, stride=1, padding=1, count_include_pad=False)[0, 0]
