"""How well a map ranks the voxels of a whole scan: AUROC, and the areas up to a false-positive rate.

Every figure is an area under a curve over the false-positive rate f (FPR): the part of the voxels outside all lesions
that lie above a threshold.

    AUROC          ∫₀¹ TPR(f) df
    AUROC ≤ F      (1/F) ∫₀ᶠ TPR(f) df            with F = .3
    AUPRO ≤ F      (1/F) ∫₀ᶠ PRO(f) df            PRO(f) = mean over lesions of the part of each above the threshold

The partial areas are divided by F alone, as the MVTec AD benchmark does and with it the published figures that they
are compared with: a map that knows nothing has F/2 = .15, a perfect one 1. This is *not* scikit-learn's
``roc_auc_score(max_fpr=F)``, which standardizes the same area after McClish so that chance is .5.

One sort is enough for all three. A lesion's voxel of value v passes the threshold while f grows from a, the part of
the other voxels above v, to b, the part at or above v (linearly: the trapezoidal rule, ties counting half). So it
adds the area of a ramp, and each figure is a weighted mean over lesion voxels: of equal weights, or with one vote a
lesion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError

FPR_LIMIT = 0.3
"""Up to this false-positive rate partial areas are taken."""


@dataclass(frozen=True)
class VoxelFigures:
    """How a map ranks the voxels of one scan; NaN where there is no lesion, or nothing else.

    Attributes
    ----------
    auroc : area under the ROC curve, in [0, 1].
    auroc_limited : area up to the limit, divided by it.
    aupro : the same of the mean part of each lesion.
    n_lesion, n_other : voxels.
    """

    auroc: float
    auroc_limited: float
    aupro: float
    n_lesion: int
    n_other: int


def voxel_figures(
    scores: NDArray[np.floating], numbers: NDArray[np.integer], inside: NDArray[np.bool_], limit: float = FPR_LIMIT
) -> VoxelFigures:
    """Return AUROC and partial areas of a map.

    Parameters
    ----------
    scores : (D, H, W) map; larger is more abnormal.
    numbers : (D, H, W) which lesion each voxel belongs to, 0 for none.
    inside : (D, H, W) bool: voxels that count.
    limit : false-positive rate up to which partial areas are taken, in (0, 1].

    Raises
    ------
    ConfigError : shapes differ, or the limit is no rate.
    """
    if not scores.shape == numbers.shape == inside.shape:
        raise ConfigError("Map, lesions and body have different shapes.", "Pass arrays over the same voxels.")
    if not 0 < limit <= 1:
        raise ConfigError(f"{limit:g} is not a false-positive rate.", "Take one above 0 and up to 1.")
    lesion = inside & (numbers > 0)
    others = np.sort(scores[inside & (numbers == 0)])
    values, own = scores[lesion], numbers[lesion]
    if not len(values) or not len(others):
        return VoxelFigures(float("nan"), float("nan"), float("nan"), len(values), len(others))
    order = np.argsort(values)
    values, own = values[order], own[order]  # rising queries keep the search in the cache
    first = 1 - np.searchsorted(others, values, side="right") / len(others)
    last = 1 - np.searchsorted(others, values, side="left") / len(others)
    size = np.bincount(own)
    vote = 1.0 / (size[own] * np.count_nonzero(size))
    partial = _ramp(first, last, limit) / limit
    return VoxelFigures(
        float(_ramp(first, last, 1.0).mean()),
        float(partial.mean()),
        float((partial * vote).sum()),
        len(values),
        len(others),
    )


def _ramp(first: NDArray[np.float64], last: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """(n,) ∫₀^limit of a ramp that is 0 up to ``first``, 1 from ``last``, and linear between."""
    begun = np.clip(limit - first, 0.0, None)
    width = last - first
    within = np.minimum(begun, width)  # of the slope
    slope = np.divide(within**2, 2 * width, out=np.zeros_like(width), where=width > 0)
    return np.asarray(slope + begun - within, np.float64)
