"""FROC: of the lesions, how many are marked, against how many false marks a reader must look at.

A mark is a local maximum of the map; its score is the map's value there. A mark within ``reach`` of a lesion
finds it, all others are false; marks on one lesion count once. Lowering the threshold gives more of both: the
free-response curve (Bunch et al. 1977; the figure of merit of LUNA16 and DeepLesion). Counting a *lesion* as
found or not is what a reader does; blocks, as in an AUROC, give a large lesion more votes.

An image is a slice, or a whole scan: there a lesion is one that runs through slices, found when it is marked
in any of them, and false marks of all its slices add up (:func:`whole_scan`). Marks may also be regions, each
at its strongest block (:func:`region_marks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError

Marks = tuple[NDArray[np.intp], NDArray[np.float64]]
"""(n, ndim) places in cells, (n,) scores; strongest first."""


def find_marks(scores: NDArray[np.floating], tested: NDArray[np.bool_], separation: int) -> Marks:
    """Return local maxima of a map: no stronger one within ``separation`` cells.

    Parameters
    ----------
    scores : map over cells, 2-D or 3-D.
    tested : same shape; marks are set only there.
    separation : cells; two marks are further apart than this along some axis.
    """
    values = np.where(tested, np.asarray(scores, np.float64), -np.inf)
    size = 2 * separation + 1
    peak = (values == ndi.maximum_filter(values, size=size, mode="constant", cval=-np.inf)) & np.isfinite(values)
    labels, n = ndi.label(peak, structure=np.ones((3,) * peak.ndim, bool))  # a plateau is one mark
    places = np.array([np.argwhere(labels == k + 1)[0] for k in range(n)], np.intp).reshape(n, peak.ndim)
    found = values[tuple(places.T)]
    order = np.argsort(-found, kind="stable")
    return places[order], found[order]


@dataclass(frozen=True, eq=False)
class ImageMarks:
    """What the marks of one image are worth.

    Attributes
    ----------
    best : (n_lesions,) score of the strongest mark on each lesion, −inf where there is none.
    diameter_mm : (n_lesions,) diameter of the disc (ball) of the lesion's size.
    false : scores of marks on no lesion.
    number : (n_lesions,) which lesion of the scan each is; None where that is not known.
    """

    best: NDArray[np.float64]
    diameter_mm: NDArray[np.float64]
    false: NDArray[np.float64]
    number: NDArray[np.int32] | None = None


def region_marks(scores: NDArray[np.floating], labels: NDArray[np.integer], worth: NDArray[np.floating]) -> Marks:
    """Return regions as marks: each at its strongest block, where a reader would look first.

    Parameters
    ----------
    scores : (h, w) map over cells.
    labels : (h, w) region numbers from 1, 0 outside.
    worth : (n_regions,) what the regions are ranked by, e.g. their mass.
    """
    numbers = np.unique(labels[labels > 0])
    if not len(numbers):
        return np.zeros((0, scores.ndim), np.intp), np.zeros(0)
    places = np.array(ndi.maximum_position(scores, labels, numbers), np.intp).reshape(len(numbers), scores.ndim)
    found = np.asarray(worth, np.float64)[numbers - 1]
    order = np.argsort(-found, kind="stable")
    return places[order], found[order]


def match_marks(
    marks: Marks,
    lesion: NDArray[np.bool_],
    cell: int,
    reach: float,
    pixel_mm: float,
    number: NDArray[np.integer] | None = None,
) -> ImageMarks:
    """Return which marks lie on which lesions.

    Parameters
    ----------
    marks : places in cells of ``cell`` pixels.
    lesion : (H, W) bool in pixels; touching pixels (corners included) are one lesion.
    cell : pixels along a cell.
    reach : a mark finds a lesion when a pixel of it is at most this many pixels from the mark's cell centre
        along each axis.
    pixel_mm : edge of a pixel.
    number : (H, W) which lesion of the scan each pixel belongs to.
    """
    labels, n = ndi.label(lesion, structure=np.ones((3, 3), bool))
    places, scores = marks
    centres = (places + 0.5) * cell - 0.5
    best = np.full(n, -np.inf)
    is_false = np.ones(len(scores), bool)
    for k in range(n):
        pixels = np.argwhere(labels == k + 1)
        gap = np.abs(centres[:, None, :] - pixels[None]).max(-1).min(1) if len(centres) else np.zeros(0)
        on = gap <= reach
        is_false &= ~on
        if on.any():
            best[k] = scores[on].max()
    area = np.bincount(labels.ravel(), minlength=n + 1)[1:] * pixel_mm**2
    of_scan = (
        None
        if number is None
        else np.array([np.bincount(number[labels == k + 1]).argmax() for k in range(n)], np.int32)
    )
    return ImageMarks(best, 2 * np.sqrt(area / np.pi), scores[is_false], of_scan)


def whole_scan(slices: Sequence[ImageMarks]) -> ImageMarks:
    """Return the marks of all slices of one scan.

    A lesion counts once, with its strongest mark and its largest diameter.

    Raises
    ------
    ConfigError : it is not known which lesions are the same.
    """
    if any(s.number is None for s in slices):
        raise ConfigError(
            "The lesions of these slices are not numbered.", "Pass the scan's own numbers to match_marks."
        )
    number = np.concatenate([np.zeros(0, np.int32), *(s.number for s in slices if s.number is not None)])
    best = np.concatenate([np.zeros(0), *(s.best for s in slices)])
    diameter = np.concatenate([np.zeros(0), *(s.diameter_mm for s in slices)])
    each = np.unique(number)
    strongest = np.array([best[number == k].max() for k in each], np.float64)
    widest = np.array([diameter[number == k].max() for k in each], np.float64)
    return ImageMarks(strongest, widest, np.concatenate([np.zeros(0), *(s.false for s in slices)]), each)


@dataclass(frozen=True, eq=False)
class Froc:
    """A free-response curve.

    Attributes
    ----------
    false_per_image : rising.
    sensitivity : part of the lesions that are found there.
    n_lesions, n_images : behind it.
    """

    false_per_image: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    n_lesions: int
    n_images: int

    def at(self, false_per_image: float) -> float:
        """Return the largest sensitivity with at most this many false marks an image; NaN without lesions."""
        if self.n_lesions == 0:
            return float("nan")
        return float(self.sensitivity[self.false_per_image <= false_per_image].max(initial=0.0))


def froc(images: Sequence[ImageMarks], min_diameter_mm: float = 0.0) -> Froc:
    """Return the curve over all thresholds.

    Parameters
    ----------
    images : one an image (or scan).
    min_diameter_mm : smaller lesions are not asked for; marks on them are neither hits nor false.

    Raises
    ------
    ConfigError : no image.
    """
    if not images:
        raise ConfigError("There is no image to make a curve of.", "Evaluate at least one slice.")
    best = np.concatenate([i.best[i.diameter_mm >= min_diameter_mm] for i in images])
    false = np.concatenate([i.false for i in images])
    thresholds = np.unique(np.concatenate([best[np.isfinite(best)], false]))[::-1]
    n_false = len(false) - np.searchsorted(np.sort(false), thresholds, side="left")
    n_found = len(best) - np.searchsorted(np.sort(best), thresholds, side="left")
    sensitivity = n_found / len(best) if len(best) else np.full(len(thresholds), np.nan)
    return Froc(
        np.concatenate([[0.0], n_false / len(images)]),
        np.concatenate([[0.0 if len(best) else np.nan], sensitivity]),
        len(best),
        len(images),
    )
