"""Pictures of a bench: cost against quality, and how seconds grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from KLIPCore.bench.table import Section
from KLIPCore.export.files import written

INK, OURS, THEIRS, GRID = "#222222", "#0b6e99", "#c2571a", "#dddddd"


def plot_cost(schedules: Section | None, curve: Section | None, path: Path) -> Path:
    """Seconds a slice against AUROC over the body: our chains, our presets, the published schedules."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for row in curve.rows if curve else ():
        axes.scatter(row["seconds"], row["body_auroc"], s=14 + 10 * row["samples"], color=OURS, alpha=0.35, linewidths=0)
    if curve:
        axes.scatter([], [], s=24, color=OURS, alpha=0.35, linewidths=0, label="our chains of other lengths (area: samples)")
    placed: list[tuple[float, float]] = []
    for row in schedules.rows if schedules else ():
        ours = not row["name"].startswith("published")
        axes.scatter(row["seconds"], row["body_auroc"], s=44, marker="o" if ours else "s", color=OURS if ours else THEIRS, zorder=3)
        _label(axes, row, placed)
    axes.set_xscale("log")
    axes.set_xlabel("seconds a slice")
    axes.set_ylabel("AUROC of blocks over the body")
    axes.axhline(0.5, color=GRID, zorder=0)
    axes.margins(x=0.2, y=0.12)
    if curve:
        axes.scatter([], [], s=44, color=OURS, label="our presets and the score read from them")
        axes.scatter([], [], s=44, marker="s", color=THEIRS, label="published schedules")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=8)
    return _save(figure, path)


def _label(axes: Any, row: dict[str, Any], placed: list[tuple[float, float]]) -> None:
    """A point's name beside it, on the other side where one stands already."""
    import math

    x, y = math.log10(row["seconds"]), row["body_auroc"]
    crowded = sum(abs(x - a) < 0.7 and abs(y - b) < 0.04 for a, b in placed)
    name = row["name"].replace("`", "").replace("published ", "").replace("preset ", "")
    if row["name"].startswith("our chain"):
        name += f", {row['samples']} samples" if row["samples"] > 1 else ", 1 sample"
    side = ((6, 4), (6, -10), (-6, 10), (-6, -14))[crowded % 4]
    axes.annotate(name, (row["seconds"], y), xytext=side, textcoords="offset points", fontsize=8, color=INK, ha="left" if side[0] > 0 else "right")
    placed.append((x, y))


def plot_scaling(section: Section, path: Path) -> Path:
    """One panel an axis, logarithmic, with the fitted power law."""
    figure = Figure(figsize=(2.4 * len(section.rows), 2.7), layout="constrained")
    panels = figure.subplots(1, len(section.rows), squeeze=False)[0]
    for axes, row in zip(panels, section.rows, strict=True):
        n, seconds, e = row["range"], row["all_seconds"], row["exponent"]
        middle = len(n) // 2
        axes.plot(n, [seconds[middle] * (v / n[middle]) ** e for v in n], color=GRID, linewidth=2)
        axes.plot(n, seconds, "o", color=OURS)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(n, [str(v) for v in n])
        axes.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
        axes.set_title(f"{row['name']}: exponent {e:.2f}", fontsize=9)
        axes.tick_params(labelsize=8, which="both")
    panels[0].set_ylabel("seconds")
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    """Write a PNG, whole or not at all."""
    with written(path) as part:
        figure.savefig(part, format="png", dpi=150, metadata={"Software": None})
    return path
