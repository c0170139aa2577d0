"""Making a prior's reference of health from finished runs: `klip priors reference`.

The runs are of the prior's training patients, and of healthy patients it was not trained on. Laws are cross-fitted:
the regions of a training patient are counted with laws that the patient had no part in. A network knows its training
patients better than others (memorisation); so the others decide by which factor the rate of each sign is widened,
until what is promised is what is found in them. A rate is never narrowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.lab.averages import KEPT, PROMISE, HealthyMeans, fit_average
from KLIPCore.maps.averages import BROAD, FOCAL, AverageLaws, largest_rarity, means_of, quantiles_of
from KLIPCore.maps.block_laws import FLOOR, JOINT_KINDS, QUANTILES, BlockLaws, surprise_of
from KLIPCore.maps.reference import BLOCKS_MM, Reference
from KLIPCore.maps.resample import Landing
from KLIPCore.maps.typicality import Typicality
from KLIPCore.maps.unexpected import (
    KINDS,
    N_BLOCK_CLASSES,
    SIGNS,
    TISSUES,
    Evidence,
    block_classes,
    block_statistics,
    cell_nats,
    evidence_of,
    mean_pushes,
)
from KLIPCore.maps.unusual_slices import SCAN_MM, SliceLaws, slice_strengths
from KLIPCore.maps.verdict import JOINT_FORMING, litres_of, regions_of_sign
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.health import schedule_of, window_of

FOLDS = 3
"""Parts of the training patients for the cross-fit."""

SHRINK = 500.0
"""Blocks by which the law of a class is drawn towards that of all."""

SLICE_PROMISE = 0.05
"""Share of healthy slices at which the widening of the slices' law is read."""

Nats = dict[tuple[str, str], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class _Study:
    """A run, as far as laws are made of it."""

    evidence: Evidence
    tested: NDArray[np.bool_]
    focal: tuple[NDArray[np.float32], NDArray[np.bool_]] | None

    @classmethod
    def of(cls, path: Path) -> _Study:
        """Read a run folder."""
        folder = RunFolder(path)
        run = folder.run()
        trace, framing = folder.trace(run["slices"], run["fingerprint"], ("path", "pushes")), folder.read_framing()
        evidence = evidence_of(trace, framing, window_of(run))
        tested = Landing(framing, tuple(trace.indices), evidence.weight.shape[-1]).tested()
        return cls(evidence, tested, means_of(FOCAL, evidence))

    def cells(self, mean_push: NDArray[np.float32]) -> Nats:
        """Terms of the statistics of all kinds."""
        return {kind: own for tissue in TISSUES for kind, own in cell_nats(self.evidence, mean_push, tissue).items()}

    def strengths(self, fields: Nats, focal: NDArray[np.float32] | None) -> dict[tuple[str, str], NDArray[np.float64]]:
        """Strengths of the regions of each kind; of blocks and the focal average together under its law, if any."""
        where = (self.tested, self.evidence.places)
        out = {kind: regions_of_sign(own, *where)[1] for kind, own in fields.items()}
        if focal is not None and self.focal is not None:
            for law, (sign, kind) in zip(focal, zip(SIGNS, JOINT_KINDS, strict=True), strict=True):
                both = fields["soft", sign] + largest_rarity(*self.focal, sign, law)
                out[kind] = regions_of_sign(both, *where, JOINT_FORMING)[1]
        return out

    @property
    def litres(self) -> float:
        """Body examined."""
        return litres_of(self.evidence, self.tested)


def fit_reference(
    train: Sequence[Path],
    unseen: Sequence[Path],
    blocks_mm: Sequence[float] = BLOCKS_MM,
    tell: Callable[[str], None] = print,
) -> Reference:
    """Return the reference of the prior that made some runs.

    Parameters
    ----------
    train : run folders of the prior's training patients, three at least.
    unseen : run folders of healthy patients outside training.
    blocks_mm : rising block sizes that get laws of their own.
    tell : called with a line as work goes on.

    Raises
    ------
    ConfigError : too few runs, or runs of different priors, measurements or schedules.
    TraceError : a run is not there, or recorded no pushes.
    """
    sha256, measurement, schedule = _made_by(train, unseen)
    tell(f"reading {len(train) + len(unseen)} runs")
    studies, others = [_Study.of(path) for path in train], [_Study.of(path) for path in unseen]
    mean_push, averages = mean_pushes([study.evidence for study in studies]), _averages(studies, others, tell)
    laws, slices = _all_laws(studies, others, mean_push, blocks_mm, FOCAL.name in averages, tell)
    return Reference(
        mean_push,
        laws,
        sum(study.litres for study in studies),
        measurement,
        schedule,
        sha256,
        {"train": [path.name for path in train], "unseen": [path.name for path in unseen]},
        Typicality.fit(
            [(study.evidence.images, study.evidence.body) for study in studies],
            [(study.evidence.images, study.evidence.body) for study in others],
        ),
        slices,
        averages,
    )


def _averages(
    studies: Sequence[_Study], others: Sequence[_Study], tell: Callable[[str], None]
) -> dict[str, AverageLaws]:
    """Laws of averages, by name, as far as the runs allow; the focal one's are quantiles alone."""
    out = {}
    if all(study.focal is not None for study in (*studies, *others)):
        out[FOCAL.name] = AverageLaws(_focal_quantiles(studies), {}, {}, sum(study.litres for study in studies))
    tell(f"laws {BROAD.words}")
    train, unseen = (
        [HealthyMeans.of(BROAD, study.evidence, study.tested) for study in some] for some in (studies, others)
    )
    if None not in train and None not in unseen:
        out[BROAD.name] = fit_average([each for each in train if each], [each for each in unseen if each], FOLDS)
    return out


def _focal_quantiles(studies: Sequence[_Study]) -> NDArray[np.float32]:
    """Law of the focal average in some studies."""
    return quantiles_of([study.focal for study in studies if study.focal is not None])


def _made_by(train: Sequence[Path], unseen: Sequence[Path]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Hash of the prior, measurement and schedule of all runs.

    Raises
    ------
    ConfigError : they differ, or there are too few runs.
    TraceError : a run is not there.
    """
    if len(train) < FOLDS:
        raise ConfigError(f"A reference needs runs of at least {FOLDS} training patients.", "Run klip detect on more.")
    made_by = []
    for path in (*train, *unseen):
        note = RunFolder(path).run()
        made_by.append(
            (str(note["prior"]["sha256"]), dict(note["config"]["measurement"]), schedule_of(note["config"]))
        )
    if any(own != made_by[0] for own in made_by):
        raise ConfigError(
            "The runs are of different priors, measurements or schedules.", "Make all of them with one command."
        )
    return made_by[0]


def _all_laws(
    studies: Sequence[_Study],
    others: Sequence[_Study],
    mean_push: NDArray[np.float32],
    blocks_mm: Sequence[float],
    joint: bool,
    tell: Callable[[str], None],
) -> tuple[tuple[BlockLaws, ...], SliceLaws]:
    """The laws of each block size, with the focal average, too, if asked for, and of slices; cross-fitted, widened."""
    kinds = (*KINDS, *JOINT_KINDS) if joint else KINDS
    strengths: list[dict[tuple[str, str], list[NDArray[np.float64]]]] = [{k: [] for k in kinds} for _ in blocks_mm]
    of_slices: list[dict[tuple[str, str], NDArray[np.float64]]] = []
    for fold in range(FOLDS):
        tell(f"cross-fit {fold + 1} of {FOLDS}")
        fitted = [study for n, study in enumerate(studies) if n % FOLDS != fold]
        pushes = mean_pushes([study.evidence for study in fitted])
        cells = [study.cells(pushes) for study in studies]
        fitted_cells = [own for n, own in enumerate(cells) if n % FOLDS != fold]
        quantiles = {block_mm: _quantiles_of(fitted, fitted_cells, block_mm) for block_mm in {*blocks_mm, *SCAN_MM}}
        focal = _focal_quantiles(fitted) if joint else None
        for study, own in zip(studies[fold::FOLDS], cells[fold::FOLDS], strict=True):
            of_slices.append(_slices_of(study, own, quantiles))
            for size, block_mm in enumerate(blocks_mm):
                fields = surprise_of(own, study.evidence, quantiles[block_mm], block_mm)
                for kind, values in study.strengths(fields, focal).items():
                    strengths[size][kind].append(values)
    tell("laws of all")
    cells = [study.cells(mean_push) for study in studies]
    others_cells = [study.cells(mean_push) for study in others]
    litres, focal, out = sum(study.litres for study in studies), _focal_quantiles(studies) if joint else None, []
    for size, block_mm in enumerate(blocks_mm):
        falling = {k: np.sort(np.concatenate(v))[::-1][:KEPT].astype(np.float32) for k, v in strengths[size].items()}
        made = BlockLaws(block_mm, _quantiles_of(studies, cells, block_mm), falling, dict.fromkeys(kinds, 1.0))
        out.append(replace(made, widening=_widening(made, others, others_cells, focal, litres)) if others else made)
    slices = SliceLaws.fit(of_slices)
    if others:
        quantiles = {block_mm: _quantiles_of(studies, cells, block_mm) for block_mm in SCAN_MM}
        unseen = [_slices_of(study, own, quantiles) for study, own in zip(others, others_cells, strict=True)]
        slices = replace(slices, widening=_slice_widening(slices, unseen))
    return tuple(out), slices


def _slices_of(
    study: _Study, cells: Nats, quantiles: dict[float, NDArray[np.float32]]
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Strengths of a study's slices, by kind."""
    fields = (surprise_of(cells, study.evidence, quantiles[size], size) for size in SCAN_MM)
    return slice_strengths(fields, study.tested)


def _slice_widening(
    laws: SliceLaws, unseen: Sequence[dict[tuple[str, str], NDArray[np.float64]]]
) -> dict[tuple[str, str], float]:
    """By kind: found over promised share of unusual slices in healthy patients outside training, at least 1."""
    out = {}
    for kind in KINDS:
        shares = np.concatenate([laws.share_of(own[kind][own[kind] > 0], kind) for own in unseen])
        out[kind] = max(1.0, float(np.mean(shares <= SLICE_PROMISE)) / SLICE_PROMISE)
    return out


def _quantiles_of(studies: Sequence[_Study], cells: Sequence[Nats], block_mm: float) -> NDArray[np.float32]:
    """(kinds, block classes, quantiles) laws of some studies."""
    classes = np.concatenate([block_classes(study.evidence)[study.tested] for study in studies])
    stats = [block_statistics(own, study.evidence, block_mm) for own, study in zip(cells, studies, strict=True)]
    out = np.zeros((len(KINDS), N_BLOCK_CLASSES, len(QUANTILES)), np.float32)
    for place, kind in enumerate(KINDS):
        logs = np.concatenate([np.log(s[kind][study.tested] + FLOOR) for s, study in zip(stats, studies, strict=True)])
        everywhere = np.quantile(logs, QUANTILES)
        for number in range(N_BLOCK_CLASSES):
            own = logs[classes == number]
            share = len(own) / (len(own) + SHRINK)
            law = share * np.quantile(own, QUANTILES) + (1 - share) * everywhere if len(own) else everywhere
            out[place, number] = np.maximum.accumulate(law)
    return out


def _widening(
    made: BlockLaws,
    others: Sequence[_Study],
    cells: Sequence[Nats],
    focal: NDArray[np.float32] | None,
    litres: float,
) -> dict[tuple[str, str], float]:
    """By kind: found over promised regions in healthy patients outside training, at least 1."""
    found, promised = dict.fromkeys(made.widening, 0), dict.fromkeys(made.widening, 0.0)
    for study, own in zip(others, cells, strict=True):
        fields = surprise_of(own, study.evidence, made.quantiles, made.block_mm)
        for kind, strength in study.strengths(fields, focal).items():
            expected = made.regions_as_strong(strength, kind) * study.litres / litres
            found[kind] += int((expected <= PROMISE / len(SIGNS)).sum())
            promised[kind] += PROMISE / len(SIGNS)
    return {kind: max(1.0, found[kind] / promised[kind]) for kind in made.widening}
