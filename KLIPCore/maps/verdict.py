"""From surprise to regions with the number of regions as strong that a healthy study would show.

    region                    touching blocks of one sign with u ≥ :data:`FORMING`; strength = its largest u
    what is drawn of it       its blocks with u ≥ :data:`DRAWN` · strength, so that no web of weak blocks is outlined

In soft tissue the surprise of a block and that of the focal average at its place (:mod:`KLIPCore.maps.averages`) are
added, as Fisher adds logarithms of p-values: a lesion of a centimetre that is a little rare by each is rare by both.
How rare regions of the sum are was counted in health, so that nothing is assumed about how the two depend on each
other. The broad average has regions of its own and a part of the acceptable ones; a place that both find is told once
(:func:`drawn`).

What is darker and what is brighter than expected are judged apart. A contrast phase that the training patients did not
have makes healthy organs and vessels brighter, and litres of them; then nothing can be promised for the bright side.

References
----------
R. A. Fisher: Statistical methods for research workers. 4th edition, 1932, section 21.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.config import RegionConfig
from KLIPCore.maps.averages import BROAD, FOCAL
from KLIPCore.maps.block_laws import JOINT_KINDS
from KLIPCore.maps.clusters import Clusters
from KLIPCore.maps.reference import Reference
from KLIPCore.maps.unexpected import SIGNS, Evidence

FORMING = 6.0
"""Blocks with at least this surprise form regions."""

JOINT, JOINT_FORMING = JOINT_KINDS[0][0], 10.0
"""The tissue of regions of the sum of a block's and the focal average's surprise, and from what on it forms them."""

BROAD_PART, REST = 0.1, 0.95
"""Parts of the acceptable regions that the broad average may show, and what else is asked: what both find is told
once, so that they may add up to a little more than 1.
"""

FAINT = 1.01 * FORMING
"""Surprise that is shown, at most, of a region of an average that healthy studies often have."""

BLOCKS = "blocks"
"""The statistic of blocks, with the focal average or without."""

DRAWN = 0.5
"""Part of a region's strength down to which it is drawn."""


SHARP, COVERED = 1.0, (0.5, 0.25)
"""Regions in health up to which sharp ones are drawn first; part of a sharp region, and of a broad one, that may lie
on others of its sign.
"""


def regions_of_sign(
    surprise: NDArray[np.floating],
    tested: NDArray[np.bool_],
    places: NDArray[np.intp],
    forming: float = FORMING,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return labels (n, h, w) of touching blocks with enough surprise, and each one's strength.

    Parameters
    ----------
    surprise : (n, h, w) of one sign.
    tested : (n, h, w) bool.
    places : (n,) slice numbers; slices that are not neighbours do not touch.
    forming : surprise from which on blocks form regions.
    """
    labels = np.zeros(tested.shape, np.int32)
    cuts = np.flatnonzero(np.diff(places) > 1) + 1
    n = 0
    for start, stop in zip([0, *cuts], [*cuts, len(places)], strict=True):
        own, found = ndi.label((surprise[start:stop] >= forming) & tested[start:stop], np.ones((3, 3, 3), bool))
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
    statistic : that finds it: blocks (with the focal average), or the broad average's name.
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
    asked, averages = signs_of(config), averages or {}
    litres = rate * litres_of(evidence, tested)
    shown = np.where(tested, np.maximum.reduce([fields[config.tissue, name] for name in asked]), np.float32(0))
    focal, broad = averages.get(FOCAL.name), averages.get(BROAD.name)
    summed = _summed(fields, config.tissue, focal)
    tissue, forming = (config.tissue, FORMING) if focal is None else (JOINT, JOINT_FORMING)
    found: list[Candidate] = []
    for name in asked:
        blocks = partial(reference.expected, kind=(tissue, name), litres=litres, block_mm=config.block_mm)
        ways = len(asked) / (1.0 if broad is None else REST)
        found += candidates(summed[name], tested, evidence.places, Asked(name, BLOCKS, blocks, ways, forming))
        if broad is not None:
            means = partial(reference.averages[BROAD.name].expected, sign=name, litres=litres)
            ways = len(asked) / BROAD_PART
            found += candidates(broad[name], tested, evidence.places, Asked(name, BROAD.name, means, ways))
    labels, kept = drawn(found, tested.shape)
    for statistic, surprise, formed in ((BLOCKS, summed, forming), (BROAD.name, broad, FORMING)):
        if surprise is None:
            continue
        largest = np.float32(FORMING / formed) * np.maximum.reduce([surprise[name] for name in asked])
        # what health often shows is coloured as faintly as it forms: these surprises are not as rare as a block's
        most = [0.0, *((np.inf if e.expected <= SHARP else FAINT) if e.statistic == statistic else 0.0 for e in kept)]
        shown = np.maximum(shown, np.minimum(largest, np.array(most, np.float32)[labels]))
    strengths, e = np.array([own.strength for own in kept]), np.array([own.expected for own in kept])
    order = np.argsort(e)
    q = np.empty_like(e)
    q[order] = np.minimum.accumulate((e[order] / np.arange(1, len(e) + 1))[::-1])[::-1]
    of_means = np.array([own.statistic == BROAD.name for own in kept], bool)
    return shown, Clusters(labels, strengths, -np.expm1(-e), np.minimum(q, 1.0), e, of_means)


def _summed(
    fields: Mapping[tuple[str, str], NDArray[np.float32]], tissue: str, focal: Mapping[str, NDArray[np.float32]] | None
) -> dict[str, NDArray[np.float32]]:
    """Surprise of blocks by sign, with that of the focal average where it is asked."""
    return {sign: fields[tissue, sign] + (0 if focal is None else focal[sign]) for sign in SIGNS}


def signs_of(config: RegionConfig) -> list[str]:
    """Return the signs that are asked for."""
    return list(SIGNS) if config.sign == "both" else [config.sign]


@dataclass(frozen=True)
class Asked:
    """What one statistic is asked for one sign.

    Attributes
    ----------
    sign, statistic : of its regions.
    expected : regions of this sign and statistic, as strong, in health, of strengths.
    ways : by how much that is widened because others are asked for, too.
    forming : surprise from which on regions form.
    """

    sign: str
    statistic: str
    expected: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ways: float
    forming: float = FORMING


def candidates(
    field: NDArray[np.float32], tested: NDArray[np.bool_], places: NDArray[np.intp], asked: Asked
) -> list[Candidate]:
    """Return the regions of one statistic and sign.

    Parameters
    ----------
    field : (n, h, w) its surprise.
    tested, places : of :func:`regions_of_sign`.
    asked : which statistic and sign.
    """
    labels, strengths = regions_of_sign(field, tested, places, asked.forming)
    drawn_of = np.concatenate([[np.inf], DRAWN * strengths])
    cells = np.flatnonzero((labels > 0) & (field >= drawn_of[labels]))
    order = np.argsort(labels.ravel()[cells], kind="stable")
    bounds = np.searchsorted(labels.ravel()[cells][order], np.arange(1, len(strengths) + 2))
    rates = asked.ways * asked.expected(strengths)
    return [
        Candidate(asked.sign, cells[order[start:stop]], float(strength), float(e), asked.statistic)
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
