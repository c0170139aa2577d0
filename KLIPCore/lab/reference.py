"""Making a prior's reference of health from finished runs: `klip priors reference`.

The runs are of the prior's training patients, and of healthy patients it was not trained on. Laws are cross-fitted:
the regions of a training patient are counted with laws that the patient had no part in. A network knows its training
patients better than others (memorisation); so the others decide by which factor the rate of each sign is widened,
until what is promised is what is found in them. A rate is never narrowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.maps.reference import (
    FLOOR,
    LAWS,
    MEDIAN,
    QUANTILES,
    Reference,
    litres_of,
    regions_of_sign,
)
from KLIPCore.maps.resample import Landing
from KLIPCore.maps.unexpected import (
    N_BLOCK_CLASSES,
    SIGNS,
    Evidence,
    block_classes,
    block_statistics,
    evidence_of,
    mean_pushes,
)
from KLIPCore.runs.folder import RunFolder

FOLDS = 3
"""Parts of the training patients for the cross-fit."""

SHRINK = 500.0
"""Blocks by which the law of a class is drawn towards that of all."""

LEAST = 50
"""Blocks a class needs for a law of its own."""

PROMISE = 3.0
"""Expected regions at which the widening is read: fewer are too few to count in some patients."""

Study = tuple[Evidence, NDArray[np.bool_]]


def fit_reference(
    train: Sequence[Path], unseen: Sequence[Path], block_mm: float = 12.0, tell: Callable[[str], None] = print
) -> Reference:
    """Return the reference of the prior that made some runs.

    Parameters
    ----------
    train : run folders of the prior's training patients, three at least.
    unseen : run folders of healthy patients outside training.
    block_mm : edge of the blocks.
    tell : called with a line as work goes on.

    Raises
    ------
    ConfigError : too few runs, or runs of different priors or measurements.
    TraceError : a run is not there, or recorded no pushes.
    """
    if len(train) < FOLDS:
        raise ConfigError(f"A reference needs runs of at least {FOLDS} training patients.", "Run klip detect on more.")
    notes = [RunFolder(path).run() for path in (*train, *unseen)]
    sha = {note["prior"]["sha256"] for note in notes}
    measured = [_measurement(note) for note in notes]
    if len(sha) > 1 or any(own != measured[0] for own in measured):
        raise ConfigError("The runs are of different priors or measurements.", "Make all of them with one command.")
    tell(f"reading {len(notes)} runs")
    studies = [_study(path) for path in train]
    strengths: dict[str, list[NDArray[np.float64]]] = {sign: [] for sign in SIGNS}
    empty = {sign: np.zeros(0, np.float32) for sign in SIGNS}
    common: dict[str, Any] = {
        "litres": sum(litres_of(*study) for study in studies),
        "widening": dict.fromkeys(SIGNS, 1.0),
        "block_mm": block_mm,
        "settings": measured[0],
        "prior_sha256": sha.pop(),
        "patients": {"train": [path.name for path in train], "unseen": [path.name for path in unseen]},
    }
    for fold in range(FOLDS):
        tell(f"cross-fit {fold + 1} of {FOLDS}")
        laws = _laws([study for n, study in enumerate(studies) if n % FOLDS != fold], block_mm)
        own = Reference(*laws, empty, **common)
        for evidence, tested in studies[fold::FOLDS]:
            for sign, field in own.surprise(evidence, tested).items():
                strengths[sign].append(regions_of_sign(field, tested, evidence.places)[1])
    falling = {sign: np.sort(np.concatenate(values))[::-1].astype(np.float32) for sign, values in strengths.items()}
    made = Reference(*_laws(studies, block_mm), falling, **common)
    return replace(made, widening=_widening(made, [_study(path) for path in unseen])) if unseen else made


def _measurement(note: dict[str, Any]) -> dict[str, Any]:
    """What a reference holds for: how the study was measured."""
    return dict(note["config"]["measurement"])


def _study(path: Path) -> Study:
    """A run's evidence, and its tested blocks."""
    folder = RunFolder(path)
    run = folder.run()
    trace, framing = folder.trace(run["slices"], run["fingerprint"], ("path", "pushes")), folder.read_framing()
    evidence = evidence_of(trace, framing)
    return evidence, Landing(framing, tuple(trace.indices), evidence.weight.shape[-1]).tested()


def _laws(studies: Sequence[Study], block_mm: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(4, classes) mean pushes and (4, block classes, quantiles) laws of some studies."""
    mean_push = mean_pushes([evidence for evidence, _ in studies])
    numbers = [block_classes(evidence, block_mm)[tested] for evidence, tested in studies]
    classes = np.concatenate(numbers)
    stats = [block_statistics(evidence, mean_push, block_mm) for evidence, _ in studies]
    laws = np.zeros((len(LAWS), N_BLOCK_CLASSES, len(QUANTILES)), np.float32)
    for place, law in enumerate(LAWS):
        logs = [np.log(own[law][tested] + FLOOR) for own, (_, tested) in zip(stats, studies, strict=True)]
        laws[place] = _quantiles(np.concatenate(logs), classes)
        # every study at the level of all, as it will be when it is judged
        level = [own - np.median(own - laws[place][c, MEDIAN]) for own, c in zip(logs, numbers, strict=True)]
        laws[place] = _quantiles(np.concatenate(level), classes)
    return mean_push, laws


def _quantiles(logs: NDArray[np.floating], classes: NDArray[np.intp]) -> NDArray[np.float32]:
    """(classes, quantiles) of ln(S + floor), rare classes drawn towards all."""
    everywhere = np.quantile(logs, QUANTILES)
    out = np.tile(everywhere, (N_BLOCK_CLASSES, 1))
    order = np.argsort(classes, kind="stable")
    bounds = np.searchsorted(classes[order], np.arange(N_BLOCK_CLASSES + 1))
    for number in range(N_BLOCK_CLASSES):
        own = logs[order[bounds[number] : bounds[number + 1]]]
        if len(own) > LEAST:
            share = len(own) / (len(own) + SHRINK)
            out[number] = share * np.quantile(own, QUANTILES) + (1 - share) * everywhere
    return np.asarray(np.maximum.accumulate(out, 1), np.float32)


def _widening(made: Reference, unseen: Sequence[Study]) -> dict[str, float]:
    """By sign: found over promised regions in healthy patients outside training, at least 1."""
    found, promised = dict.fromkeys(SIGNS, 0), dict.fromkeys(SIGNS, 0.0)
    for evidence, tested in unseen:
        litres = litres_of(evidence, tested)
        for sign, field in made.surprise(evidence, tested).items():
            strength = regions_of_sign(field, tested, evidence.places)[1]
            found[sign] += int((made.expected(strength, sign, litres) <= PROMISE).sum())
            promised[sign] += PROMISE / len(SIGNS)
    return {sign: max(1.0, found[sign] / promised[sign]) for sign in SIGNS}
