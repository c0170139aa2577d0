"""Localization on scans with masks: `klip evaluate CONFIG --data FOLDER -o OUT`.

Every case goes through the very steps of :func:`KLIPCore.detection.detect.detect`, up to the trace. Then every
score is read from the same trace and every baseline is given the same slices, so that all are compared on the
same prior, samples and data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore import __version__
from KLIPCore.config import RegionConfig
from KLIPCore.detection.devices import configure_process
from KLIPCore.detection.precision import load_fastest
from KLIPCore.lab.bench.machine import machine
from KLIPCore.lab.evaluation.auroc import mean_of, over_patients
from KLIPCore.lab.evaluation.backbones import plot_priors, prior_rows, priors_markdown
from KLIPCore.lab.evaluation.baselines.features import Health
from KLIPCore.lab.evaluation.baselines.registry import baseline
from KLIPCore.lab.evaluation.cases import LabelledStudy
from KLIPCore.lab.evaluation.config import EvaluationConfig
from KLIPCore.lab.evaluation.figures import MapName, SliceFigures, measure_slice, summarize
from KLIPCore.lab.evaluation.run import QUALITY_METHODS, BaselineMap, CaseRun, Tell
from KLIPCore.lab.evaluation.table import markdown as table_markdown
from KLIPCore.lab.evaluation.table import write_files, write_table
from KLIPCore.lab.evaluation.variation_table import Point, plot_variations, rows, variations_markdown
from KLIPCore.lab.evaluation.variations import plan
from KLIPCore.maps.kl_map import KLMap
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.maps.trace import KLTrace
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.prior import Prior
from KLIPCore.runs.folder import RunFolder
from KLIPCore.scores import SCORES

__all__ = ["EvaluationConfig", "evaluate", "markdown", "traces"]


def evaluate(
    config: EvaluationConfig,
    data: Path,
    out: Path,
    progress: Callable[[str, float, str], None] | None = None,
    priors: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Run all cases and write ``table.json``, ``table.md`` and pictures into ``out``.

    A stopped evaluation is continued.

    Parameters
    ----------
    config : what is measured; see :mod:`KLIPCore.lab.evaluation.config` for the three kinds.
    data : folder below which its files lie.
    out : folder for the results.
    progress : called as work goes on.
    priors : names or files, instead of the configuration's own; several are compared.

    Returns
    -------
    what ``table.json`` holds.

    Raises
    ------
    EmptyInputError : a case's file is missing, or has no room for its implants.
    GeometryError : an image and its label have different shapes.
    PriorError : a prior cannot be loaded.
    """
    tell = progress or (lambda stage, fraction, detail: None)
    config = config.with_priors(priors, data)
    if config.variations:
        return _vary(config, data, out, tell)
    if len(config.priors) > 1:
        return _compare(config, data, out, tell)
    return _measure(config, data, out, tell)


def markdown(table: dict[str, Any]) -> str:
    """Return what an evaluation gave, as Markdown."""
    return {"variations": variations_markdown, "priors": priors_markdown}.get(table.get("kind", ""), table_markdown)(
        table
    )


def _compare(config: EvaluationConfig, data: Path, out: Path, tell: Tell) -> dict[str, Any]:
    """The same evaluation with several priors, each in a folder of its name, and one table of all."""
    tables, cards = [], []
    for n, name in enumerate(config.priors):
        own = replace(config, priors=(name,), run=replace(config.run, prior=name))
        cards.append(load_prior(name).card)
        folder = out / f"{cards[-1].name}-{cards[-1].sha256[:8]}"
        tables.append(
            _measure(own, data, folder, _share(tell, n / len(config.priors), 1 / len(config.priors), cards[-1].name))
        )
    table = {
        **_provenance(config, tables[0]["wall_seconds"]),
        "kind": "priors",
        "rows": prior_rows(tables, cards, config.patients),
    }
    table |= {key: tables[0][key] for key in ("machine", "run", "block_mm", "lesion_mm")} | {
        "wall_seconds": round(sum(t["wall_seconds"] for t in tables), 1)
    }
    write_files(table, priors_markdown(table), out)
    plot_priors(table, out / "priors.png")
    return table


def _vary(config: EvaluationConfig, data: Path, out: Path, tell: Tell) -> dict[str, Any]:
    """One setting changed at a time; runs that differ in nothing that decides a trace share it."""
    started = time.monotonic()
    configure_process()
    prior = load_fastest(config.run.prior, config.run.device, config.run.precision)
    device = prior.device
    points = [Point(setting) for setting in plan(config.variations, config.run, config.block_mm, config.scores)]
    for n, case in enumerate(config.cases):
        study = LabelledStudy.read(config, case, data, prior)
        for k, point in enumerate(points):
            setting = point.setting
            label = f"{case.name}, {setting.factor} {setting.value}"
            part = _share(tell, (n + k / len(points)) / len(config.cases), 1 / len(points) / len(config.cases), label)
            own = study.with_config(replace(config, run=setting.run, block_mm=setting.readings[0].block_mm))
            run = CaseRun(own, prior, device, out / "runs" / setting.run.fingerprint(prior.card.sha256) / case.name)
            trace = run.trace(part)
            maker = MapMaker(trace, study.framed)
            for reading in setting.readings:
                point.figures += _of_score(own, reading.score, maker.make(reading), reading.rate)
            point.seconds += [s.info["seconds"] for s in trace.slices]
            point.evaluations += [s.info["network_evaluations"] for s in trace.slices]
            point.psnr_db += [s.info["psnr_db"] for s in trace.slices]
    table = {
        **_provenance(config, time.monotonic() - started),
        "kind": "variations",
        "machine": machine(prior.card, device),
        "patients": config.patients,
    }
    table |= {
        "prior": prior.card.name,
        "prior_sha256": prior.card.sha256,
        "rows": rows(points, config.patients, config.lesion_mm),
    }
    write_files(table, variations_markdown(table), out)
    plot_variations(table, out / "variations.png")
    tell("done", 1.0, f"{len(points)} settings")
    return table


def _share(tell: Tell, begin: float, length: float, label: str) -> Tell:
    """Progress of a part of the work, as progress of the whole."""
    return lambda stage, fraction, detail: tell("evaluate", begin + length * fraction, f"{label}: {detail}")


def _measure(config: EvaluationConfig, data: Path, out: Path, tell: Tell) -> dict[str, Any]:
    """All scores and baselines of all cases with one prior."""
    configure_process()
    prior = load_fastest(config.run.prior, config.run.device, config.run.precision)
    device = prior.device
    made = _Measured()
    started = time.monotonic()
    health = _health(config, data, prior, device, out, tell)
    for n, case in enumerate(config.cases):
        donor = LabelledStudy.read(config, case, data, prior)
        n_parts = 1 + len(config.implants)
        for k, recipe in enumerate((None, *config.implants)):
            study, group = (donor.implanted(recipe), recipe.name) if recipe else (donor, "")
            part = _share(
                tell, (n + k / n_parts) / len(config.cases), 1 / n_parts / len(config.cases), study.case.name
            )
            run = CaseRun(study, prior, device, out / "cases" / study.case.name, health)
            _measure_study(study, run, group, part, made)
    table = _table(config, prior, device, made, time.monotonic() - started)
    write_table(table, made.figures, out)
    tell("done", 1.0, f"{len(made.figures)} figures")
    return table


def _health(
    config: EvaluationConfig, data: Path, prior: Prior, device: torch.device, out: Path, tell: Tell
) -> Health | None:
    """What the reference's slices look like to the network, made as those that are scored; None where nobody asks."""
    if not any(baseline(name).needs_health for name in config.baselines):
        return None
    slices = []
    for case in config.reference:
        study = LabelledStudy.read_reference(config, case, data, prior)
        trace = CaseRun(study, prior, device, out / "reference" / case.name).trace(_share(tell, 0, 0, case.name))
        slices += [(torch.from_numpy(s.reconstruction), study.framed.mask(s.index) > 0.5) for s in trace.slices]
    return Health.of(prior, slices)


@dataclass
class _Measured:
    """What has been measured so far: figures of slices, also in further blocks, of reconstructions, and (seconds,
    evaluations) of each slice by what they were spent on.
    """

    figures: list[SliceFigures] = field(default_factory=list)
    further: dict[float, list[SliceFigures]] = field(default_factory=dict)
    quality: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, list[tuple[float, int]]] = field(default_factory=dict)


def _measure_study(study: LabelledStudy, run: CaseRun, group: str, tell: Tell, made: _Measured) -> None:
    """Everything of one study, added to ``made``."""
    config = study.config
    trace = run.trace(tell)
    made.cost.setdefault("trace", []).extend((s.info["seconds"], s.info["network_evaluations"]) for s in trace.slices)
    maker = MapMaker(trace, study.framed)
    for block_mm in (config.block_mm, *config.more_blocks_mm):
        own = study.with_config(replace(config, block_mm=block_mm))
        first = block_mm == config.block_mm
        figures = made.figures if first else made.further.setdefault(block_mm, [])
        for name in config.scores:
            reading = RegionConfig(score=name, block_mm=block_mm, fdr=run.config.regions.fdr)
            figures += _of_score(own, name, maker.make(reading), reading.rate, group)
        for name in config.baselines:
            tell("evaluate", 0.95, name)
            scored = run.baseline(name, trace, block_mm)
            figures += _of_baseline(own, name, scored, maker.tested, trace.indices, group)
            if first:
                made.cost.setdefault(name, []).extend(zip(scored.seconds, scored.evaluations, strict=True))
    if config.quality_slices:
        tell("evaluate", 0.98, "classical reconstructions")
        made.quality += run.quality(trace, config.quality_slices)


def _of_score(study: LabelledStudy, name: str, made: KLMap, fdr: float, group: str = "") -> list[SliceFigures]:
    """Figures of a score on every slice of its map."""
    clusters = made.clusters
    reported = np.where(clusters.spread(clusters.q) <= fdr, clusters.labels, 0)
    cell = study.framed.frame.size // made.nats.shape[-1]
    return [
        measure_slice(
            MapName(name, study.case.name, study.case.patient, group),
            made.nats[k],
            made.tested[k],
            study.truth(index, cell),
            study.config.block_mm,
            made.p[k],
            reported[k],
            (clusters.labels[k], clusters.mass),
        )
        for k, index in enumerate(made.indices)
    ]


def _of_baseline(
    study: LabelledStudy,
    name: str,
    scored: BaselineMap,
    tested: NDArray[np.bool_],
    indices: Sequence[int],
    group: str,
) -> list[SliceFigures]:
    """Figures of a baseline on every slice; a published number an image stands in for the largest block."""
    who = MapName(name, study.case.name, study.case.patient, group)
    made = [
        measure_slice(
            who,
            scored.values[k],
            tested[k],
            study.truth(index, study.config.run.record.cell),
            study.config.block_mm,
        )
        for k, index in enumerate(indices)
    ]
    if scored.images is None:
        return made
    return [replace(figures, largest=image) for figures, image in zip(made, scored.images, strict=True)]


def _selections(config: EvaluationConfig) -> list[tuple[str, Callable[[SliceFigures], bool]]]:
    """What rows of the table are about: patients and all of them; with implants, each kind, in each donor
    and in all (healthy slices in every one).
    """

    def of(group: str, patient: str) -> Callable[[SliceFigures], bool]:
        return lambda f: patient in ("all", f.patient) and (not group or f.group in ("", group))

    who = [*config.patients, "all"]
    if not config.implants:
        return [(patient, of("", patient)) for patient in who]
    return [
        (f"{implant.name}, {patient}", of(implant.name, patient)) for implant in config.implants for patient in who
    ]


def _provenance(config: EvaluationConfig, wall: float) -> dict[str, Any]:
    """What every table begins with."""
    return {
        "title": config.title,
        "name": config.name,
        "software": f"KLIPCore {__version__}",
        "run": config.run.to_dict() | {"prior": Path(config.run.prior).stem},  # no folder of somebody's machine
        "block_mm": config.block_mm,
        "lesion_mm": config.lesion_mm,
        "n_cases": len(config.cases),
        "n_patients": len(config.patients),
        "wall_seconds": round(wall, 1),
    }


def _table(
    config: EvaluationConfig, prior: Prior, device: torch.device, made: _Measured, wall: float
) -> dict[str, Any]:
    """Everything that ``table.json`` holds."""

    def summary(figures: list[SliceFigures]) -> list[dict[str, Any]]:
        return [
            summarize(method, label, [f for f in figures if f.method == method and chosen(f)], config.lesion_mm)
            for method in (*config.scores, *config.baselines)
            for label, chosen in _selections(config)
        ]

    cost = made.cost
    return _provenance(config, wall) | {
        "kind": "localization",
        "prior": prior.card.name,
        "prior_sha256": prior.card.sha256,
        "machine": machine(prior.card, device),
        "scores": {name: SCORES[name].explanation for name in config.scores},
        "baselines": list(config.baselines),
        "reference": [case.name for case in config.reference],
        "implants": [asdict(implant) for implant in config.implants],
        "seconds_per_slice_median": round(float(np.median([seconds for seconds, _ in cost["trace"]])), 2)
        if cost["trace"]
        else None,
        "summary": summary(made.figures),
        "further": [{"block_mm": size, "summary": summary(figures)} for size, figures in made.further.items()],
        "quality": _quality(made.quality),
        "cost": {
            name: {
                "seconds_median": round(float(np.median([c[0] for c in own])), 3),
                "network_evaluations": round(float(np.mean([c[1] for c in own])), 1),
            }
            for name, own in cost.items()
            if own
        },
        "rows": [{**f.row(), "score": f.method, "slice": f.index} for f in made.figures if f.has_lesion],
        "quality_rows": made.quality,
    }


def _quality(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean PSNR and SSIM of each way of reconstructing, over patients, as in the summary."""
    out = []
    for method in QUALITY_METHODS if rows else ():
        own = [r for r in rows if r["method"] == method]
        entry: dict[str, Any] = {"method": method, "n_slices": len(own)}
        for name in ("psnr_db", "ssim"):
            entry[name] = over_patients([r[name] for r in own], [r["patient"] for r in own], mean_of).rounded()
        out.append(entry)
    return out


def traces(out: Path, case: str) -> KLTrace:
    """Return the trace that an evaluation left of one case, for looking closer."""
    folder = RunFolder(out / "cases" / case)
    run = folder.run()
    return folder.trace(run["slices"], run["fingerprint"])
