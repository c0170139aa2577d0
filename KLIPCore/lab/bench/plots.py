"""Pictures of a bench: cost against quality, and how seconds grow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from KLIPCore.export.files import written
from KLIPCore.lab.bench.table import Section

INK, OURS, THEIRS, GRID = "#222222", "#0b6e99", "#c2571a", "#dddddd"


def plot_cost(schedules: Section | None, curve: Section | None, path: Path) -> Path:
    """Measure seconds a slice against AUROC over the body: our chains, our presets, the published schedules."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    for row in curve.rows if curve else ():
        axes.scatter(
            row["seconds"], row["body_auroc"], s=14 + 10 * row["samples"], color=OURS, alpha=0.35, linewidths=0
        )
    rows = schedules.rows if schedules else ()
    for row in rows:
        ours = not row["name"].startswith("published")
        axes.scatter(
            row["seconds"],
            row["body_auroc"],
            s=44,
            marker="o" if ours else "s",
            color=OURS if ours else THEIRS,
            zorder=3,
        )
        near = min((other for other in rows if other is not row), key=lambda other: _octaves(other, row), default=row)
        up = row["body_auroc"] >= near["body_auroc"]  # neighbours in time are named on different sides
        axes.annotate(
            _name(row),
            (row["seconds"], row["body_auroc"]),
            xytext=(0, 7 if up else -14),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            ha="center",
        )
    axes.set_xscale("log")
    axes.set_xlabel("seconds a slice")
    axes.set_ylabel("AUROC of blocks over the body")
    axes.axhline(0.5, color=GRID, zorder=0)
    axes.margins(x=0.14, y=0.14)
    axes.scatter([], [], s=44, color=OURS, label="our presets, by score")
    axes.scatter(
        [], [], s=24, color=OURS, alpha=0.35, linewidths=0, label="our chains of other lengths (area: samples)"
    )
    axes.scatter([], [], s=44, marker="s", color=THEIRS, label="published schedules")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return _save(figure, path)


def _octaves(one: dict[str, Any], other: dict[str, Any]) -> float:
    """How far apart two rows are in time."""
    return abs(math.log2(one["seconds"] / other["seconds"]))


def _name(row: dict[str, Any]) -> str:
    """What a point is called: short, because neighbours are near."""
    name: str = row["name"].replace("`", "").replace("published ", "").replace("preset ", "")
    return (
        f"klip, {row['samples']} sample{'s' * (row['samples'] != 1)}" if row["name"].startswith("our chain") else name
    )


def plot_scaling(section: Section, path: Path) -> Path:
    """Return one panel an axis, logarithmic, with the fitted power law."""
    figure = Figure(figsize=(2.4 * len(section.rows), 2.7), layout="constrained")
    panels = figure.subplots(1, len(section.rows), squeeze=False)[0]
    for axes, row in zip(panels, section.rows, strict=True):
        n, seconds, e = row["range"], row["all_seconds"], row["exponent"]
        offset = float(np.mean(np.log(seconds) - e * np.log(n)))
        axes.plot(n, np.exp(offset + e * np.log(n)), color=GRID, linewidth=2)
        axes.plot(n, seconds, "o", color=OURS)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(n, [str(v) for v in n])
        lo, hi = min(seconds), max(seconds)
        missing = (
            max(n[-1] / n[0] / (hi / lo), 1.0) ** 0.5
        )  # as many octaves up as to the right: 45° is proportional, flat is flat
        axes.set_ylim(lo / missing / 1.2, hi * missing * 1.2)
        axes.set_yticks(
            [lo, hi] if hi > 1.3 * lo else [lo], [f"{v:.2g}" for v in ([lo, hi] if hi > 1.3 * lo else [lo])]
        )
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title(f"{row['name']}: exponent {e:.2f}", fontsize=9)
        axes.tick_params(labelsize=8, which="both")
    panels[0].set_ylabel("seconds")
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    """Write a PNG, whole or not at all."""
    with written(path) as part:
        figure.savefig(part, format="png", dpi=150, metadata={"Software": None})
    return path
