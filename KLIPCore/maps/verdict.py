"""From surprise to regions with the number of regions as strong that a healthy study would show.

    region                    touching blocks of one sign with u ≥ :data:`FORMING`; strength = its largest u
    what is drawn of it       its blocks with u ≥ :data:`DRAWN` · strength, so that no web of weak blocks is outlined

What is darker and what is brighter than expected are judged apart. A contrast phase that the training patients did not
have makes healthy organs and vessels brighter, and litres of them; then nothing can be promised for the bright side.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.config import RegionConfig
from KLIPCore.maps.clusters import Clusters
from KLIPCore.maps.reference import Reference
from KLIPCore.maps.unexpected import SIGNS, Evidence

FORMING = 6.0
"""Blocks with at least this surprise form regions."""

DRAWN = 0.6
"""Part of a region's strength down to which it is drawn."""


def regions_of_sign(
    surprise: NDArray[np.floating], tested: NDArray[np.bool_], places: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return labels (n, h, w) of touching blocks with enough surprise, and each one's strength.

    Parameters
    ----------
    surprise : (n, h, w) of one sign.
    tested : (n, h, w) bool.
    places : (n,) slice numbers; slices that are not neighbours do not touch.
    """
    labels = np.zeros(tested.shape, np.int32)
    cuts = np.flatnonzero(np.diff(places) > 1) + 1
    n = 0
    for start, stop in zip([0, *cuts], [*cuts, len(places)], strict=True):
        own, found = ndi.label((surprise[start:stop] >= FORMING) & tested[start:stop], np.ones((3, 3, 3), bool))
        labels[start:stop] = np.where(own > 0, own + n, 0)
        n += found
    strength = ndi.maximum(surprise, labels, np.arange(1, n + 1)) if n else np.zeros(0)
    return labels, np.asarray(strength, np.float64)


def judge(
    reference: Reference,
    fields: dict[tuple[str, str], NDArray[np.float32]],
    evidence: Evidence,
    tested: NDArray[np.bool_],
    config: RegionConfig,
    rate: float = 1.0,
) -> tuple[NDArray[np.float32], Clusters]:
    """Return the surprise of every block (the larger of the signs asked for) and the regions with their E, p and q.

    Parameters
    ----------
    reference : of the prior.
    fields : its surprise, by kind.
    evidence : of the study.
    tested : (n, h, w) bool.
    config : block size, sign and tissue; a sign that is ``both`` is darker alone where the study is too bright.
    rate : how many more regions than average tissue the tested part shows in health.
    """
    asked = list(SIGNS) if config.sign == "both" else [config.sign]
    litres = rate * litres_of(evidence, tested)
    shown = np.where(tested, np.maximum.reduce([fields[config.tissue, name] for name in asked]), np.float32(0))
    labels, strengths, expected = np.zeros(tested.shape, np.int32), [np.zeros(0)], [np.zeros(0)]
    for name in asked:
        field = fields[config.tissue, name]
        own, strength = regions_of_sign(field, tested, evidence.places)
        first = sum(len(values) for values in strengths)
        drawn = np.concatenate([[np.inf], DRAWN * strength])[own]
        winner = (own > 0) & (field >= drawn) & ((labels == 0) | (field >= shown))
        labels[winner] = own[winner] + first
        strengths.append(strength)
        expected.append(len(asked) * reference.expected(strength, (config.tissue, name), litres, config.block_mm))
    e = np.concatenate(expected)
    order = np.argsort(e)
    q = np.empty_like(e)
    q[order] = np.minimum.accumulate((e[order] / np.arange(1, len(e) + 1))[::-1])[::-1]
    return shown, Clusters(labels, np.concatenate(strengths), -np.expm1(-e), np.minimum(q, 1.0), e)


def litres_of(evidence: Evidence, tested: NDArray[np.bool_]) -> float:
    """Return the volume of the tested blocks' cells."""
    return float(tested.sum() * evidence.cell_mm**2 * evidence.spacing_mm / 1e6)
