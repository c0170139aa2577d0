"""What an average over a neighbourhood sees and blocks do not: two averages that the score ``unexpected`` asks.

Blocks add up squares of pushes, mostly of a small noise level. At a larger one a lesion is pushed as a whole, and an
average with its sign, taken before anything is squared, is the matched filter of something of its size. But at such a
level a liver is pushed, too, by what it has more or less of contrast medium than others. So pushes are centred on the
study's own tissue of the same class:

    centred      v_σ = g · (u_σ − median of u_σ | c in the study)
    mean push    m_s = Σ_σ G_s v_σ / G_s g        G_s Gaussian of s mm in all directions, over the slices there are;
                                                  times √w, w the blocks' weight, where it is weighed
    surprise     u = max over s of −ln P_health(± M_s ≥ ± m_s)

g, c and u_σ are those of :mod:`KLIPCore.maps.unexpected`. :data:`FOCAL` looks for lesions of one to two centimetres,
at σ = .239 alone, and is weighed by what the scan informs, by the root of it, for nothing is squared. Its surprise is
added to that of the block at the place (:mod:`KLIPCore.maps.verdict`). :data:`BROAD` looks for lesions of several
centimetres, which a denoiser keeps at small noise levels; its regions are counted in health by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.maps.block_laws import QUANTILES, regions_as_strong
from KLIPCore.maps.unexpected import LEVELS, SIGNS, Evidence, own_pushes, pixel_classes, soft_share


@dataclass(frozen=True)
class Average:
    """One statistic.

    Attributes
    ----------
    name : of it, in files, too.
    levels : noise levels that are asked, by their place in :data:`KLIPCore.maps.unexpected.LEVELS`.
    scales_mm : standard deviations of the Gaussians.
    weighed : means are weighed by the root of how little the scan informs.
    apart_mm : slices that are farther apart are averaged less than those of the laws, and are not asked.
    words : what it sees, for a person.
    """

    name: str
    levels: tuple[int, ...]
    scales_mm: tuple[float, ...]
    weighed: bool
    apart_mm: float
    words: str


FOCAL = Average("focal", (1,), (4.0,), weighed=True, apart_mm=6.0, words="over one to two centimetres")
BROAD = Average("broad", (1, 2), (6.0, 10.0, 16.0), weighed=False, apart_mm=np.inf, words="over several centimetres")
AVERAGES = (FOCAL, BROAD)

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
class AverageLaws:
    """What healthy studies show of an average.

    Attributes
    ----------
    quantiles : (signs, scales, quantiles) of ± m, rising.
    strengths : by sign, strengths of the strongest regions in the healthy studies, falling; none for an average whose
        surprise is added to that of blocks.
    widening : by sign, factor of the rate that makes its promise true on healthy patients outside training; likewise.
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
        means, asked : of :func:`means_of`.
        sign : one of :data:`KLIPCore.maps.unexpected.SIGNS`.
        """
        return largest_rarity(means, asked, sign, self.quantiles[list(SIGNS).index(sign)])

    def expected(self, strength: NDArray[np.floating], sign: str, litres: float) -> NDArray[np.float64]:
        """Return how many regions of a sign, at least as strong, a healthy study of so many litres would show."""
        rate = regions_as_strong(strength, self.strengths[sign]) * self.widening[sign]
        return np.asarray(rate * litres / self.litres)

    def factors(self) -> str:
        """Return how far each sign's rate was widened, for a person."""
        return ", ".join(f"{sign} widened by {factor:.2f}" for sign, factor in self.widening.items())


def means_of(average: Average, evidence: Evidence) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Return m of every base cell at each scale, and which cells are soft tissue.

    Parameters
    ----------
    average : which one.
    evidence : of the study.

    Returns
    -------
    means : (scales, n, h, w), intensity.
    asked : (n, h, w) bool.
    None where the run recorded no large noise level and it is asked, or the study shows too little soft tissue, or too
    few slices, or those are too far apart.
    """
    n_cells = evidence.weight.shape[-1]
    share = np.where(evidence.body, soft_share(evidence.images, evidence.window), np.float32(0))
    soft = _on_cells(share, n_cells)
    asked = soft > SOFT
    gaps = np.diff(evidence.places, append=evidence.places[-1] + 1) * evidence.spacing_mm
    recorded = evidence.has_large or max(average.levels) < len(LEVELS) - 1
    if (
        not recorded
        or np.median(gaps) > average.apart_mm
        or asked.sum() < LEAST_CELLS
        or np.minimum(gaps, APART_MM).sum() < LEAST_MM
    ):
        return None
    classes, median = pixel_classes(evidence.expectation), own_pushes(evidence, len(LEVELS))
    centred = sum(share * (evidence.pushes[:, k] - median[k][classes]) for k in average.levels)
    cells = _on_cells(np.asarray(centred), n_cells)
    weight = np.sqrt(evidence.weight) if average.weighed else np.float32(1)
    out = np.empty((len(average.scales_mm), *asked.shape), np.float32)
    for place, scale in enumerate(average.scales_mm):
        around = np.maximum(_averaged(soft, evidence, scale), LEAST_SHARE)
        out[place] = weight * _averaged(cells, evidence, scale) / around
    return out, asked


def not_looked_for(laws: Mapping[str, AverageLaws], asked: Mapping[str, object]) -> str:
    """Return the sentence that a map needs in which an average is not looked at; empty where all are.

    Parameters
    ----------
    laws : of the reference, by name.
    asked : by name, those that are looked at in the study.
    """
    why: dict[str, list[str]] = {}
    for own in (each for each in AVERAGES if each.name not in asked):
        apart = f", or its slices are more than {own.apart_mm:g} mm apart" if np.isfinite(own.apart_mm) else ""
        of_laws = "the prior's reference of health has no laws of it"
        reason = f"too little was recorded or examined{apart}" if own.name in laws else of_laws
        why.setdefault(reason, []).append(own.words)
    return " ".join(f"What is unusual {' or '.join(of)} is not looked for: {reason}." for reason, of in why.items())


def largest_rarity(
    means: NDArray[np.floating], asked: NDArray[np.bool_], sign: str, quantiles: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return max over scales of −ln P_health(± M ≥ ± m), (n, h, w); beyond the last quantile the tail's slope goes on.

    Parameters
    ----------
    means, asked : of :func:`means_of`.
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
    studies : what :func:`means_of` gives for each.
    """
    n_scales = len(studies[0][0])
    out = np.empty((len(SIGNS), n_scales, len(QUANTILES)), np.float32)
    for place in range(n_scales):
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
