"""The table and the pictures of measured scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.export.files import written
from KLIPCore.lab.evaluation.auroc import FEWEST
from KLIPCore.lab.evaluation.table import cell, lines_of

Picture = tuple[str, str, NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
"""Disc, selection, posterior mean (H, W), block map (h, w) and holes (h, w)."""


def measured_markdown(table: dict[str, Any]) -> str:
    """Return summary and regions as Markdown tables, with their provenance."""
    lines = [
        f"# {table['title']}",
        "",
        "AUROC and average precision of holes inside the disc: means over discs, with 95 % bootstrap "
        f"intervals over discs where there are at least {FEWEST}.",
    ]
    with_holes = [s for s in table["summary"] if s["auroc"] is not None]
    lines += lines_of(
        ["measured", "discs", "n", "method", "AUROC", "worst disc", "average precision"],
        [
            [
                s["selection"],
                s["group"],
                str(s["n"]),
                s["method"],
                cell(s["auroc"]),
                f"{s['worst_auroc']:.3f}",
                cell(s["ap"]),
            ]
            for s in with_holes
        ],
    )
    lines += _regions(table)
    chain, machine = table["run"]["sampling"], table["machine"]
    lines += [
        "",
        f"Prior {table['prior']} ({table['prior_sha256'][:12]}), {chain['n_samples']} samples, {chain['n_steps']} "
        f"levels from σ {chain['sigma_start']:g}, "
        f"seed {chain['seed']}, blocks of {table['block_mm']:g} mm. {table['software']}; {machine['cpu']}, "
        f"{machine['threads']} threads used, "
        f"device {machine['device']}; {table['wall_seconds']:g} s.",
    ]
    return "\n".join(lines)


def _regions(table: dict[str, Any]) -> list[str]:
    """Reported regions, scan by scan."""
    regions = [r for r in table["rows"] if "regions" in r]
    if not regions:
        return []
    rates = " and ".join(f"{rate:g}" for rate in sorted({r["rate"] for r in regions}))
    lines = [
        "",
        f"Regions at a false-discovery rate of {rates}, tested against a simulated solid disc in the same "
        "place; of the unusual ones those that "
        "lack more material than solid discs differ among themselves:",
    ]
    lines += lines_of(
        [
            "measured",
            "disc",
            "score",
            "holes: part of the disc",
            "unusual",
            "regions",
            "reported part",
            "Dice with holes",
            "p < 0.05 outside holes [%]",
        ],
        [
            [
                r["selection"],
                r["scan"],
                r["method"],
                f"{r['holes_share']:.3f}",
                str(r["unusual"]),
                str(r["regions"]),
                f"{r['reported_share']:.3f}",
                "–" if r["dice"] is None else f"{r['dice']:.2f}",
                f"{100 * r['fires_at_5_percent']:.1f}",
            ]
            for r in regions
        ],
    )
    return lines


def plot_scans(pictures: Sequence[Picture], path: Path, columns: int = 6) -> Path:
    """Return every scan: the posterior mean, and beside it the map of the first score with the holes' outlines."""
    from matplotlib.figure import Figure

    rows = max(1, -(-len(pictures) // (columns // 2)))
    figure = Figure(figsize=(1.9 * columns, 2.1 * rows), layout="constrained")
    axes = np.atleast_2d(figure.subplots(rows, columns))
    for place in axes.flat:
        place.axis("off")
    for n, (name, selection, mean, nats, hole) in enumerate(pictures):
        left, right = axes.flat[2 * n], axes.flat[2 * n + 1]
        left.imshow(mean, cmap="gray", vmin=0, vmax=0.9)
        left.set_title(f"{name}, {selection}", fontsize=7)
        right.imshow(nats, cmap="inferno", vmin=0, vmax=max(float(np.quantile(nats, 0.995)), 1e-9))
        if hole.any():
            right.contour(hole, levels=[0.5], colors="cyan", linewidths=0.6)
    with written(path) as part:
        figure.savefig(part, format="png", dpi=110)
    return path
