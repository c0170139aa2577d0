"""Localization on scans with masks: `klip evaluate CONFIG --data FOLDER -o OUT`.

Every case goes through the very steps of :func:`KLIPCore.pipeline.detect`, up to the trace. Then every score is read from
the same trace and every baseline is given the same slices, so that all are compared on the same prior, samples and data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore import __version__
from KLIPCore.config import SCORES, RegionConfig
from KLIPCore.evaluation.auroc import bootstrap_mean
from KLIPCore.evaluation.cases import EvaluationConfig, LabelledStudy
from KLIPCore.evaluation.figures import SliceFigures, measure_slice, summarize
from KLIPCore.evaluation.run import QUALITY_METHODS, CaseRun
from KLIPCore.evaluation.table import markdown, write_table
from KLIPCore.io.results import RunFolder
from KLIPCore.kl.map import KLMap, make_map
from KLIPCore.kl.trace import KLTrace
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.prior import Prior
from KLIPCore.selection import choose_device

__all__ = ["EvaluationConfig", "evaluate", "markdown", "traces"]


def evaluate(config: EvaluationConfig, data: Path, out: Path, progress: Callable[[str, float, str], None] | None = None) -> dict[str, Any]:
    """Run all cases and write ``table.json``, ``table.md`` and pictures into ``out``; a stopped evaluation is continued.

    Returns
    -------
    what ``table.json`` holds.

    Raises
    ------
    EmptyInputError : a case's file is missing.
    GeometryError : an image and its label have different shapes.
    """
    tell = progress or (lambda stage, fraction, detail: None)
    device = choose_device(config.run.device)
    prior = load_prior(config.run.prior, device)
    figures: list[SliceFigures] = []
    quality: list[dict[str, Any]] = []
    cost: dict[str, list[tuple[float, int]]] = {}
    started = time.monotonic()
    for n, case in enumerate(config.cases):

        def part(stage: str, fraction: float, detail: str, n: int = n, name: str = case.name) -> None:
            tell("evaluate", (n + fraction) / len(config.cases), f"{name}: {detail}")

        study = LabelledStudy.read(config, case, data, prior)
        run = CaseRun(study, prior, device, out / "cases" / case.name)
        trace = run.trace(part)
        cost.setdefault("trace", []).extend((s.info["seconds"], s.info["network_evaluations"]) for s in trace.slices)
        tested: NDArray[np.bool_] | None = None
        for name in config.scores:
            made = make_map(trace, study.framed, RegionConfig(score=name, block_mm=config.block_mm))
            tested = made.tested
            figures += _of_score(study, name, made, run.config.regions.fdr)
        for name in config.baselines:
            part("evaluate", 0.95, name)
            scored = run.baseline(name, trace)
            if tested is None:
                tested = make_map(trace, study.framed, RegionConfig(block_mm=config.block_mm)).tested
            for k, index in enumerate(trace.indices):
                truth = study.truth(index, run.config.record.cell)
                figures.append(measure_slice(name, case.name, case.patient, scored.values[k], tested[k], truth, config.block_mm))
            cost.setdefault(name, []).extend(zip(scored.seconds, scored.evaluations, strict=True))
        if config.quality_slices:
            part("evaluate", 0.98, "classical reconstructions")
            quality += run.quality(trace, config.quality_slices)
    table = _table(config, prior, figures, quality, cost, time.monotonic() - started)
    write_table(table, figures, out)
    tell("done", 1.0, f"{len(figures)} figures")
    return table


def _of_score(study: LabelledStudy, name: str, made: KLMap, fdr: float) -> list[SliceFigures]:
    """Figures of a score on every slice of its map."""
    reported = np.where(made.clusters.spread(made.clusters.q) <= fdr, made.clusters.labels, 0)
    cell = study.framed.frame.size // made.nats.shape[-1]
    return [
        measure_slice(
            name,
            study.case.name,
            study.case.patient,
            made.nats[k],
            made.tested[k],
            study.truth(index, cell),
            study.config.block_mm,
            made.p[k],
            reported[k],
        )
        for k, index in enumerate(made.indices)
    ]


def _table(
    config: EvaluationConfig, prior: Prior, figures: list[SliceFigures], quality: list[dict[str, Any]], cost: dict[str, list[tuple[float, int]]], wall: float
) -> dict[str, Any]:
    """Everything that ``table.json`` holds."""
    summary = [
        summarize(method, patient, [f for f in figures if f.method == method and patient in ("all", f.patient)], config.lesion_mm)
        for method in (*config.scores, *config.baselines)
        for patient in (*config.patients, "all")
    ]
    return {
        "title": config.title,
        "software": f"KLIPCore {__version__}",
        "prior": prior.card.name,
        "prior_sha256": prior.card.sha256,
        "run": config.run.to_dict(),
        "block_mm": config.block_mm,
        "lesion_mm": config.lesion_mm,
        "scores": {name: SCORES[name].explanation for name in config.scores},
        "baselines": list(config.baselines),
        "n_cases": len(config.cases),
        "n_patients": len(config.patients),
        "seconds_per_slice_median": round(float(np.median([seconds for seconds, _ in cost["trace"]])), 2) if cost["trace"] else None,
        "wall_seconds": round(wall, 1),
        "summary": summary,
        "quality": _quality(quality),
        "cost": {
            name: {"seconds_median": round(float(np.median([c[0] for c in own])), 3), "network_evaluations": round(float(np.mean([c[1] for c in own])), 1)}
            for name, own in cost.items()
            if own
        },
        "rows": [{**f.row(), "score": f.method, "slice": f.index} for f in figures if f.has_lesion],
        "quality_rows": quality,
    }


def _quality(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean PSNR and SSIM of each way of reconstructing, with intervals over slices."""
    out = []
    for method in QUALITY_METHODS if rows else ():
        own = [r for r in rows if r["method"] == method]
        entry: dict[str, Any] = {"method": method, "n_slices": len(own)}
        for name in ("psnr_db", "ssim"):
            interval = bootstrap_mean([r[name] for r in own])
            entry[name] = [round(x, 4) for x in (interval.mean, interval.lo, interval.hi)]
        out.append(entry)
    return out


def traces(out: Path, case: str) -> KLTrace:
    """The trace that an evaluation left of one case, for looking closer."""
    folder = RunFolder(out / "cases" / case)
    run = folder.run()
    return folder.trace(run["slices"], run["fingerprint"])
