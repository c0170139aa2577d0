"""Two plain guards to compare with: histogram and geometry, and a Mahalanobis distance of simple features.

Both learn from the same training studies as the prior, and flag what is farther from them than any training study
is from the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.maps.typicality import body_box_slices
from KLIPCore.volume.framed_study import FramedStudy

BINS = np.linspace(0.0, 1.0, 17)
MARGIN = 1.1
"""A body's width may be this much beyond the training studies'."""
SHRINKAGE = 0.1
"""Part of the covariance that is replaced by its diagonal: there are about as many studies as features."""


@dataclass(frozen=True)
class Plain:
    """What the baselines see of a study.

    Attributes
    ----------
    histogram : (16,) parts of the body by intensity.
    geometry : body's width in mm and height of the stack in mm.
    features : (12,) quantiles of intensity in the body, mean of its four quarters, share of air and of bone, the
        box's height over its width, and roughness.
    """

    histogram: NDArray[np.float64]
    geometry: tuple[float, float]
    features: NDArray[np.float64]


def plain(framed: FramedStudy, images: NDArray[np.float32], inside: NDArray[np.bool_]) -> Plain:
    """Return what the baselines see of a framed study.

    Parameters
    ----------
    framed : the study.
    images, inside : (D, n, n) intensity and masks at half the frame's resolution.
    """
    values = images[inside]
    histogram = np.histogram(values, BINS)[0] / max(values.size, 1)
    boxes = body_box_slices(images, inside)
    mean = boxes.mean(0) if len(boxes) else np.zeros((16, 16))
    quarters = [mean[:8, :8].mean(), mean[:8, 8:].mean(), mean[8:, :8].mean(), mean[8:, 8:].mean()]
    rows, columns = inside.any((0, 2)).sum(), max(inside.any((0, 1)).sum(), 1)
    rough = np.abs(np.diff(images, axis=2))[inside[:, :, 1:]].mean()
    shape = [(values < 0.02).mean(), (values > 0.98).mean(), rows / columns, rough]
    across = framed.frame.pixel_mm * framed.frame.size
    height = float(framed.lps_grid.spacing[0] * len(images))
    return Plain(
        histogram, (across, height), np.array([*np.quantile(values, (0.1, 0.4, 0.7, 0.95)), *quarters, *shape])
    )


class HistogramAndGeometry:
    """L1 distance to the nearest training histogram, width of the body, and height of the stack."""

    def __init__(self, train: list[Plain]) -> None:
        self.train = train
        self.bound = max(self._nearest(one, [other for other in train if other is not one]) for one in train)
        self.widths = [one.geometry[0] for one in train]

    @staticmethod
    def _nearest(one: Plain, others: list[Plain]) -> float:
        return min(float(np.abs(one.histogram - other.histogram).sum()) for other in others)

    def flags(self, study: Plain) -> bool:
        """Return whether the study is unlike the training studies."""
        width, height = study.geometry
        usual = min(self.widths) / MARGIN < width < max(self.widths) * MARGIN
        return not usual or height < 60 or self._nearest(study, self.train) > self.bound


class Mahalanobis:
    """Distance of the features from the training studies' mean under their shrunken covariance."""

    def __init__(self, train: list[Plain]) -> None:
        self.x = np.array([one.features for one in train])
        each = range(len(train))
        self.bound = max(self._distance(self.x[k], np.delete(self.x, k, 0)) for k in each)

    @staticmethod
    def _distance(one: NDArray[np.float64], others: NDArray[np.float64]) -> float:
        covariance = np.cov(others.T)
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))
        off = one - others.mean(0)
        return float(off @ np.linalg.solve(covariance + 1e-8 * np.eye(len(off)), off))

    def flags(self, study: Plain) -> bool:
        """Return whether the study is unlike the training studies."""
        return self._distance(study.features, self.x) > self.bound
