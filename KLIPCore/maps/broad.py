"""What is unusual over several centimetres: the second statistic of the score ``unexpected``.

At small noise levels a denoiser keeps what is large, so that a lesion of several centimetres is a weak push over many
blocks, no stronger than what blocks of other patients show. At a larger one it is pushed as a whole; but there a liver
is, too, by what it has more or less of contrast medium than others. Centred on the study's own tissue of the same
class, and averaged before anything is squared, the lesion stands out:

    centred      v_σ = g · (u_σ − median of u_σ | c in the study)
    mean push    m_s = Σ_σ G_s v_σ / G_s g        G_s Gaussian of s mm in all directions, over the slices there are
    surprise     u = max over s of −ln P_health(± M_s ≥ ± m_s)

g, c and u_σ are those of :mod:`KLIPCore.maps.unexpected`, σ the last two of its ``LEVELS``, s of :data:`SCALES_MM`.
Regions are counted in health like those of blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.maps.block_laws import QUANTILES, regions_as_strong
from KLIPCore.maps.unexpected import LEVELS, SIGNS, Evidence, own_pushes, pixel_classes, soft_share

SCALES_MM = (6.0, 10.0, 16.0)
"""Standard deviations of the Gaussians: lesions of 3 cm and more."""

ASKED = (1, 2)
"""Noise levels that are asked, by their place in :data:`KLIPCore.maps.unexpected.LEVELS`."""

ACCEPTED = 0.05
"""Part of the acceptable regions that this statistic may show; the rest is the blocks'."""

LEAST_SHARE = 0.3
"""Part of soft tissue under a Gaussian below which its average is drawn towards 0."""

SOFT = 0.5
"""Share of soft tissue from which a cell is asked."""

LEAST_CELLS, LEAST_MM, APART_MM = 500, 40.0, 12.0
"""Cells of soft tissue that the study's own classes need; what a study must show from foot to head, where a slice
counts up to the last of these. In one slice alone means are larger than the laws', which average over neighbours.
"""

TAIL = QUANTILES.index(0.95)


@dataclass(frozen=True, eq=False)
class BroadLaws:
    """What healthy studies show over several centimetres.

    Attributes
    ----------
    quantiles : (signs, scales, quantiles) of ± m, rising.
    strengths : by sign, strengths of the strongest regions in the healthy studies, falling.
    widening : by sign, factor of the rate that makes its promise true on healthy patients outside training.
    litres : body examined in those studies.
    """

    quantiles: NDArray[np.float32]
    strengths: dict[str, NDArray[np.float32]]
    widening: dict[str, float]
    litres: float

    def surprise(self, means: NDArray[np.floating], asked: NDArray[np.bool_], sign: str) -> NDArray[np.float32]:
        """Return u of every cell, (n, h, w), for one sign; 0 where it is not asked.

        Parameters
        ----------
        means, asked : of :func:`mean_pushes_of`.
        sign : one of :data:`KLIPCore.maps.unexpected.SIGNS`.
        """
        return largest_rarity(means, asked, sign, self.quantiles[list(SIGNS).index(sign)])

    def expected(self, strength: NDArray[np.floating], sign: str, litres: float) -> NDArray[np.float64]:
        """Return how many regions of a sign, at least as strong, a healthy study of so many litres would show."""
        rate = regions_as_strong(strength, self.strengths[sign]) * self.widening[sign]
        return np.asarray(rate * litres / self.litres)


def mean_pushes_of(evidence: Evidence) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Return m of every base cell at each scale, and which cells are soft tissue.

    Parameters
    ----------
    evidence : of the study.

    Returns
    -------
    means : (scales, n, h, w), intensity.
    asked : (n, h, w) bool.
    None where the run recorded no large noise level, or the study shows too little soft tissue, or too few slices.
    """
    n_cells = evidence.weight.shape[-1]
    share = np.where(evidence.body, soft_share(evidence.images, evidence.window), np.float32(0))
    soft = _on_cells(share, n_cells)
    asked = soft > SOFT
    gaps = np.diff(evidence.places, append=evidence.places[-1] + 1) * evidence.spacing_mm
    if not evidence.has_large or asked.sum() < LEAST_CELLS or np.minimum(gaps, APART_MM).sum() < LEAST_MM:
        return None
    classes, median = pixel_classes(evidence.expectation), own_pushes(evidence, len(LEVELS))
    centred = sum(share * (evidence.pushes[:, k] - median[k][classes]) for k in ASKED)
    cells = _on_cells(np.asarray(centred), n_cells)
    out = np.empty((len(SCALES_MM), *asked.shape), np.float32)
    for place, scale in enumerate(SCALES_MM):
        out[place] = _averaged(cells, evidence, scale) / np.maximum(_averaged(soft, evidence, scale), LEAST_SHARE)
    return out, asked


def not_looked_for(laws: BroadLaws | None, means: object | None) -> str:
    """Return the sentence that a map needs in which nothing over several centimetres is looked for; empty where it is.

    Parameters
    ----------
    laws : of the reference.
    means : what :func:`mean_pushes_of` gives for the study.
    """
    if laws is not None and means is not None:
        return ""
    of_laws, of_study = "the prior's reference of health has no laws of it", "too little was recorded or examined"
    why = of_laws if laws is None else of_study
    return f"What is unusual over several centimetres is not looked for: {why}."


def largest_rarity(
    means: NDArray[np.floating], asked: NDArray[np.bool_], sign: str, quantiles: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return max over scales of −ln P_health(± M ≥ ± m), (n, h, w); beyond the last quantile the tail's slope goes on.

    Parameters
    ----------
    means, asked : of :func:`mean_pushes_of`.
    sign : one of :data:`KLIPCore.maps.unexpected.SIGNS`.
    quantiles : (scales, quantiles) of ± m in health, rising.
    """
    rises, out = -np.log(1 - np.array(QUANTILES)), np.zeros(asked.shape, np.float32)
    for own, law in zip(means, quantiles, strict=True):
        values, at = SIGNS[sign] * own[asked], np.asarray(law, np.float64) + np.arange(len(QUANTILES)) * 1e-9
        made = np.interp(values, at, rises)
        slope = (rises[-1] - rises[TAIL]) / max(float(at[-1] - at[TAIL]), 1e-6)
        made[values > at[-1]] = rises[-1] + slope * (values[values > at[-1]] - at[-1])
        out[asked] = np.maximum(out[asked], made)
    return out


def quantiles_of(studies: Sequence[tuple[NDArray[np.floating], NDArray[np.bool_]]]) -> NDArray[np.float32]:
    """Return (signs, scales, quantiles) of ± m over some healthy studies.

    Parameters
    ----------
    studies : what :func:`mean_pushes_of` gives for each.
    """
    out = np.empty((len(SIGNS), len(SCALES_MM), len(QUANTILES)), np.float32)
    for place in range(len(SCALES_MM)):
        values = np.concatenate([means[place][asked] for means, asked in studies])
        for number, factor in enumerate(SIGNS.values()):
            out[number, place] = np.quantile(factor * values, QUANTILES)
    return out


def _averaged(values: NDArray[np.float32], evidence: Evidence, scale_mm: float) -> NDArray[np.float32]:
    """Gaussian of cells in all directions over the slices that are there, (n, h, w)."""
    places = evidence.places - evidence.places[0]
    dense, present = np.zeros((int(places[-1]) + 1, *values.shape[1:]), np.float32), np.zeros(int(places[-1]) + 1)
    dense[places], present[places] = values, 1.0
    depth, across = scale_mm / evidence.spacing_mm, scale_mm / evidence.cell_mm
    near = ndi.gaussian_filter1d(present, depth, mode="constant")[places]
    made = ndi.gaussian_filter(dense, (depth, across, across), mode="constant")[places]
    return np.asarray(made / near[:, None, None], np.float32)


def _on_cells(images: NDArray[np.floating], n_cells: int) -> NDArray[np.float32]:
    """(n, H, W) → (n, n_cells, n_cells) means."""
    step = images.shape[-1] // n_cells
    return np.asarray(images.reshape(len(images), n_cells, step, n_cells, step).mean((2, 4)), np.float32)
