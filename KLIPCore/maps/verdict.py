"""From surprise to regions with the number of regions as strong that a healthy study would show.

    region                    touching blocks of one sign with u ≥ :data:`FORMING`; strength = its largest u
    what is drawn of it       its blocks with u ≥ :data:`DRAWN` · strength, so that no web of weak blocks is outlined

Besides blocks, averages are asked (:mod:`KLIPCore.maps.averages`), each with its part of the acceptable regions; a
place that several find is told once (:func:`drawn`).

What is darker and what is brighter than expected are judged apart. A contrast phase that the training patients did not
have makes healthy organs and vessels brighter, and litres of them; then nothing can be promised for the bright side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.config import RegionConfig
from KLIPCore.maps.averages import AVERAGES, BROAD
from KLIPCore.maps.clusters import Clusters
from KLIPCore.maps.reference import Reference
from KLIPCore.maps.unexpected import SIGNS, Evidence

FORMING = 6.0
"""Blocks with at least this surprise form regions."""

FAINT = 1.01 * FORMING
"""Surprise that is shown, at most, of a region of an average that healthy studies often have."""

BLOCKS = "blocks"
"""The statistic that is no average."""

DRAWN = 0.6
"""Part of a region's strength down to which it is drawn."""


SHARP, COVERED = 1.0, (0.5, 0.25)
"""Regions in health up to which sharp ones are drawn first; part of a sharp region, and of a broad one, that may lie
on others of its sign.
"""


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


@dataclass(frozen=True, eq=False)
class Candidate:
    """A region that one statistic finds, before those of all are brought together.

    Attributes
    ----------
    sign : of it.
    cells : flat indices of the cells that are drawn of it.
    strength : its largest u.
    expected : regions as strong, by any statistic asked, that a healthy study like this one would show.
    statistic : that finds it: blocks, or the name of an average.
    """

    sign: str
    cells: NDArray[np.intp]
    strength: float
    expected: float
    statistic: str = BLOCKS


def judge(
    reference: Reference,
    fields: dict[tuple[str, str], NDArray[np.float32]],
    evidence: Evidence,
    tested: NDArray[np.bool_],
    config: RegionConfig,
    rate: float = 1.0,
    averages: dict[str, dict[str, NDArray[np.float32]]] | None = None,
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
    averages : by name, surprise of the averages that are asked, too, by sign (:mod:`KLIPCore.maps.averages`).
    """
    asked = signs_of(config)
    litres = rate * litres_of(evidence, tested)
    shown = np.where(tested, np.maximum.reduce([fields[config.tissue, name] for name in asked]), np.float32(0))
    asked_too = [(own, averages[own.name]) for own in AVERAGES if averages and own.name in averages]
    rest = math.prod(own.rest for own, _ in asked_too)
    found: list[Candidate] = []
    for name in asked:
        blocks = partial(reference.expected, kind=(config.tissue, name), litres=litres, block_mm=config.block_mm)
        found += candidates(fields[config.tissue, name], tested, evidence.places, name, blocks, len(asked) / rest)
        for own, surprise in asked_too:
            means = partial(reference.averages[own.name].expected, sign=name, litres=litres)
            made = candidates(surprise[name], tested, evidence.places, name, means, len(asked) / own.accepted)
            found += [replace(each, statistic=own.name) for each in made]
    labels, kept = drawn(found, tested.shape)
    for own, surprise in asked_too:
        largest = np.maximum.reduce([surprise[name] for name in asked])
        # u of one statistic is not as rare as another's: what health often shows is coloured as faintly as it forms
        most = [0.0, *((np.inf if e.expected <= SHARP else FAINT) if e.statistic == own.name else 0.0 for e in kept)]
        shown = np.maximum(shown, np.minimum(largest, np.array(most, np.float32)[labels]))
    strengths, e = np.array([own.strength for own in kept]), np.array([own.expected for own in kept])
    order = np.argsort(e)
    q = np.empty_like(e)
    q[order] = np.minimum.accumulate((e[order] / np.arange(1, len(e) + 1))[::-1])[::-1]
    of_means = np.array([own.statistic == BROAD.name for own in kept], bool)
    return shown, Clusters(labels, strengths, -np.expm1(-e), np.minimum(q, 1.0), e, of_means)


def signs_of(config: RegionConfig) -> list[str]:
    """Return the signs that are asked for."""
    return list(SIGNS) if config.sign == "both" else [config.sign]


def candidates(
    field: NDArray[np.float32],
    tested: NDArray[np.bool_],
    places: NDArray[np.intp],
    sign: str,
    expected: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ways: float,
) -> list[Candidate]:
    """Return the regions of one statistic and sign.

    Parameters
    ----------
    field : (n, h, w) its surprise.
    tested, places : of :func:`regions_of_sign`.
    sign : of the field.
    expected : regions of this sign and statistic, as strong, in health, of strengths.
    ways : by how much it is widened because others are asked for, too.
    """
    labels, strengths = regions_of_sign(field, tested, places)
    drawn_of = np.concatenate([[np.inf], DRAWN * strengths])
    cells = np.flatnonzero((labels > 0) & (field >= drawn_of[labels]))
    order = np.argsort(labels.ravel()[cells], kind="stable")
    bounds = np.searchsorted(labels.ravel()[cells][order], np.arange(1, len(strengths) + 2))
    rates = ways * expected(strengths)
    return [
        Candidate(sign, cells[order[start:stop]], float(strength), float(e))
        for start, stop, strength, e in zip(bounds[:-1], bounds[1:], strengths, rates, strict=True)
    ]


def drawn(found: Sequence[Candidate], shape: tuple[int, ...]) -> tuple[NDArray[np.int32], list[Candidate]]:
    """Return labels (n, h, w) and their candidates: the rarest take their cells first.

    All but broad regions are sharp: those that are rarer than one in every study come before all others. What lies on
    earlier ones of its sign by :data:`COVERED` is the same finding under another statistic: it is not told twice, and
    where it is rarer, the one that it lies on most is as rare.
    """
    labels, signs = np.zeros(int(np.prod(shape)), np.int32), [""]
    kept: list[Candidate] = []
    rough = BROAD.name
    for own in sorted(found, key=lambda e: (e.statistic == rough or e.expected > SHARP, e.expected, -e.strength)):
        taken = labels[own.cells]
        same = np.array([name == own.sign for name in signs])[taken]
        free = own.cells[taken == 0]
        if same.any() and int(same.sum()) >= COVERED[own.statistic == rough] * len(own.cells):
            most = int(np.bincount(taken[same]).argmax()) - 1
            kept[most] = replace(kept[most], expected=min(kept[most].expected, own.expected))
        elif len(free):
            kept.append(own)
            signs.append(own.sign)
            labels[free] = len(kept)
    return labels.reshape(shape), kept


def litres_of(evidence: Evidence, tested: NDArray[np.bool_]) -> float:
    """Return the volume of the tested blocks' cells."""
    return float(tested.sum() * evidence.cell_mm**2 * evidence.spacing_mm / 1e6)
