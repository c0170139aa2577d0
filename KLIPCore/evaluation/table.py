"""An evaluation's outcome for people: Markdown tables with their provenance, and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore.evaluation.figures import FROC_RATES, SliceFigures
from KLIPCore.evaluation.froc import froc
from KLIPCore.export.files import written
from KLIPCore.regions.report import json_ready


def write_table(table: dict[str, Any], figures: Sequence[SliceFigures], out: Path) -> list[Path]:
    """Write ``table.json``, ``table.md``, ``froc.png`` and ``calibration.png``; each appears only when it is whole."""
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, text in (("table.json", json.dumps(json_ready(table), indent=2, allow_nan=False)), ("table.md", markdown(table))):
        part = out / f"{name}.part"
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(out / name)
        files.append(out / name)
    files.append(plot_froc(figures, out / "froc.png"))
    if any(s["clean_fire_rates"] for s in table["summary"]):
        files.append(plot_calibration(table, out / "calibration.png"))
    return files


def cell(figure: Sequence[float | None] | None, scale: float = 1.0, digits: int = 3) -> str:
    """``0.912 [0.880, 0.940]``; a dash for what was not measured."""
    if figure is None or figure[0] is None:
        return "–"
    mean, lo, hi = (scale * (np.nan if x is None else x) for x in figure)
    return f"{mean:.{digits}f} [{lo:.{digits}f}, {hi:.{digits}f}]"


def _lines(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["", f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}", *(f"| {' | '.join(row)} |" for row in rows)]


def markdown(table: dict[str, Any]) -> str:
    """The summary as Markdown tables with its provenance."""
    summary = table["summary"]
    large = f"> {table['lesion_mm']:g} mm"
    who = [[s["score"], s["patient"]] for s in summary]
    lines = [f"# {table['title']}"]
    titles = ["score", "patient", "slices", "AUROC body", "AUROC organ", "average precision body", "average precision organ", "AUROC of slices"]
    lines += _lines(
        titles,
        [
            [*w, str(s["n_slices"]), cell(s["body"]), cell(s["organ"]), cell(s["body_ap"]), cell(s["organ_ap"]), cell(s["image_auroc"])]
            for w, s in zip(who, summary, strict=True)
        ],
    )
    lines += ["", f"Part of the lesions marked at so many false marks a slice, all lesions and those of {large}:"]
    at = FROC_RATES.index(1.0)
    lines += _lines(
        ["score", "patient", "lesions", *(f"{rate:g}" for rate in FROC_RATES), f"lesions {large}", f"{large} at 1"],
        [
            [
                *w,
                str(s["n_lesions"]),
                *(f"{f[0]:.2f}" if f[0] is not None else "–" for f in s["froc"]),
                str(s["n_large_lesions"]),
                cell(s["froc_large"][at], digits=2) if s["froc_large"] else "–",
            ]
            for w, s in zip(who, summary, strict=True)
            if s["froc"]
        ],
    )
    with_null = [(w, s) for w, s in zip(who, summary, strict=True) if s["clean_fire_rates"] or s["dice"]]
    if with_null:
        lines += ["", "Nulls and regions, at the default rate:"]
        lines += _lines(
            ["score", "patient", "clean slices", "clean blocks with p < 0.05 [%]", "regions a clean slice", "Dice of regions"],
            [
                [
                    *w,
                    str(s["n_clean"]),
                    cell(s["clean_fire_rates"]["0.05"], 100, 1) if s["clean_fire_rates"] else "–",
                    cell(s["regions_per_clean_slice"], digits=2),
                    cell(s["dice"], digits=2),
                ]
                for w, s in with_null
            ],
        )
    if table["quality"]:
        lines += ["", "Reconstruction inside the body, against the slice that was measured:"]
        lines += _lines(
            ["method", "slices", "PSNR [dB]", "SSIM"],
            [[q["method"], str(q["n_slices"]), cell(q["psnr_db"], digits=2), cell(q["ssim"])] for q in table["quality"]],
        )
    lines += ["", "Cost a slice:"]
    lines += _lines(
        ["what", "seconds (median)", "network evaluations"],
        [
            [f"{name}{' (all scores)' if name == 'trace' else ''}", f"{c['seconds_median']:.2f}", f"{c['network_evaluations']:g}"]
            for name, c in table["cost"].items()
        ],
    )
    run = table["run"]
    lines += [
        "",
        f"Means over slices, 95 % bootstrap intervals over slices. Prior {table['prior']} ({table['prior_sha256'][:12]}), preset {run['preset']}, "
        f"{run['measurement']['n_views']} views, {run['sampling']['n_samples']} samples, seed {run['sampling']['seed']}, blocks of {table['block_mm']:g} mm; "
        f"{table['seconds_per_slice_median']} s a slice (median). {table['software']}.",
    ]
    return "\n".join(lines)


def plot_froc(figures: Sequence[SliceFigures], path: Path) -> Path:
    """Sensitivity against false marks a slice, all lesions, one curve a method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for method in dict.fromkeys(f.method for f in figures):
        marks = [f.marks for f in figures if f.method == method and f.has_lesion]
        if marks:
            curve = froc(marks)
            axes.step(curve.false_per_image, curve.sensitivity, where="post", label=method)
    axes.set(xlim=(0, 8), ylim=(0, 1), xlabel="false marks a slice", ylabel="part of the lesions marked")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=7, ncols=2)
    with written(path) as part:
        figure.savefig(part, format="png", dpi=120)
    return path


def plot_calibration(table: dict[str, Any], path: Path) -> Path:
    """How often each level fires on clean slices, against the level."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    axes = figure.subplots()
    for entry in table["summary"]:
        if entry["patient"] == "all" and entry["clean_fire_rates"]:
            levels = [float(level) for level in entry["clean_fire_rates"]]
            rates = np.array([[np.nan if x is None else x for x in figures] for figures in entry["clean_fire_rates"].values()])
            axes.plot(levels, np.maximum(rates[:, 0], 1e-5), "o-", label=entry["score"])
    axes.plot([1e-3, 0.5], [1e-3, 0.5], "k:", lw=1)
    axes.set(xscale="log", yscale="log", xlabel="level", ylabel="part of clean blocks with p below it")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    with written(path) as part:
        figure.savefig(part, format="png", dpi=120)
    return path
