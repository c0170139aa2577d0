"""An evaluation's outcome for people: Markdown tables with their provenance, and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore.export.files import written
from KLIPCore.export.report import json_ready
from KLIPCore.lab.evaluation.auroc import FEWEST
from KLIPCore.lab.evaluation.figures import FROC_RATES, SCAN_RATES, SliceFigures, scans_of
from KLIPCore.lab.evaluation.froc import froc


def write_table(table: dict[str, Any], figures: Sequence[SliceFigures], out: Path) -> list[Path]:
    """Write ``table.json``, ``table.md``, ``froc.png`` and ``calibration.png``; each appears only when it is whole."""
    files = write_files(table, markdown(table), out)
    files.append(plot_froc(figures, out / "froc.png", table["lesion_mm"]))
    if any(s["clean_fire_rates"] for s in table["summary"]):
        files.append(plot_calibration(table, out / "calibration.png"))
    return files


def write_files(table: dict[str, Any], text: str, out: Path) -> list[Path]:
    """Write ``table.json`` and ``table.md``, whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, content in (
        ("table.json", json.dumps(json_ready(table), indent=2, allow_nan=False)),
        ("table.md", text),
    ):
        part = out / f"{name}.part"
        part.write_text(content + "\n", encoding="utf-8")
        part.replace(out / name)
        files.append(out / name)
    return files


def cell(figure: Sequence[float | None] | None, scale: float = 1.0, digits: int = 3) -> str:
    """Return ``0.912 [0.880, 0.940]``; ``0.912`` where there is no interval, a dash for what was not measured."""
    if figure is None or figure[0] is None:
        return "–"
    mean, lo, hi = (scale * (np.nan if x is None else x) for x in figure)
    if not np.isfinite(lo):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{lo:.{digits}f}, {hi:.{digits}f}]"


def lines_of(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table after an empty line."""
    return ["", f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}", *(f"| {' | '.join(row)} |" for row in rows)]


def markdown(table: dict[str, Any]) -> str:
    """Return the summary as Markdown tables with its provenance.

    Parameters
    ----------
    table : the outcome of :func:`KLIPCore.lab.evaluation.localization.evaluate`.
    """
    lines = [
        f"# {table['title']}",
        *_areas(table["summary"]),
        *_further(table),
        *_marks(table),
        *_regions(table),
        *_scans(table),
        *_nulls(table),
        *_quality_and_cost(table),
        "",
        run_line(table),
    ]
    return "\n".join(lines)


def _who(summary: dict[str, Any]) -> list[str]:
    """The first two cells of a row."""
    return [summary["score"], summary["patient"]]


def _further(table: dict[str, Any]) -> list[str]:
    """The same in blocks of other sizes."""
    return [
        line
        for other in table.get("further", ())
        for line in ("", f"In blocks of {other['block_mm']:g} mm:", *_areas(other["summary"]))
    ]


def _areas(summary: Sequence[dict[str, Any]]) -> list[str]:
    """How well lesion blocks are told from others, and slices with lesions from those without."""
    titles = [
        "score",
        "patient",
        "slices",
        "AUROC body",
        "AUROC organ",
        "average precision body",
        "average precision organ",
        "AUROC of slices",
    ]
    figures = ("body", "organ", "body_ap", "organ_ap", "image_auroc")
    return lines_of(
        titles,
        [[*_who(s), str(s["n_slices"]), *(cell(s[name]) for name in figures)] for s in summary],
    )


def _marks(table: dict[str, Any]) -> list[str]:
    """Lesions found by marks."""
    large, at = f"> {table['lesion_mm']:g} mm", FROC_RATES.index(1.0)
    return [
        "",
        f"Part of the lesions marked at so many false marks a slice, all lesions and those of {large}:",
        *lines_of(
            [
                "score",
                "patient",
                "lesions",
                *(f"{rate:g}" for rate in FROC_RATES),
                f"lesions {large}",
                f"{large} at 1",
            ],
            [
                [
                    *_who(s),
                    str(s["n_lesions"]),
                    *(f"{f[0]:.2f}" if f[0] is not None else "–" for f in s["froc"]),
                    str(s["n_large_lesions"]),
                    cell(s["froc_large"][at], digits=2) if s["froc_large"] else "–",
                ]
                for s in table["summary"]
                if s["froc"]
            ],
        ),
    ]


def _each(figures: Sequence[Sequence[float | None]]) -> list[str]:
    """Cells of a curve's figures; dashes where there is none."""
    return [f"{f[0]:.2f}" if f[0] is not None else "–" for f in figures] or ["–"] * len(SCAN_RATES)


def _with_regions(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for s in table["summary"] if s["froc_regions_large"] or s["froc_scan_large"]]


def _regions(table: dict[str, Any]) -> list[str]:
    """Large lesions found by regions instead of marks."""
    summary, at = _with_regions(table), FROC_RATES.index(1.0)
    if not summary:
        return []
    return [
        "",
        f"Part of the lesions > {table['lesion_mm']:g} mm found by a *region* whose strongest block lies on them, at "
        "so many false regions a slice:",
        *lines_of(
            [
                "score",
                "patient",
                *(f"{rate:g}" for rate in FROC_RATES),
                "at 1",
                "outlined at the default rate",
                "false ones a lesion slice then",
            ],
            [
                [
                    *_who(s),
                    *_each(s["froc_regions_large"]),
                    cell(s["froc_regions_large"][at], digits=2),
                    "–" if s["reported"]["large_found"] is None else f"{s['reported']['large_found']:.2f}",
                    cell(s["reported"]["false_a_lesion_slice"], digits=2),
                ]
                for s in summary
                if s["froc_regions_large"]
            ],
        ),
    ]


def _scans(table: dict[str, Any]) -> list[str]:
    """Large lesions found in whole scans instead of slices."""
    summary = _with_regions(table)
    if not summary:
        return []
    return [
        "",
        "The same in whole scans (their evaluated slices together; a lesion is found when it is in one of them), "
        f"from {SCAN_RATES[0]:g} false ones a scan:",
        *lines_of(
            [
                "score",
                "patient",
                "scans",
                f"lesions > {table['lesion_mm']:g} mm",
                *(f"marks, {rate:g}" for rate in SCAN_RATES),
                *(f"regions, {rate:g}" for rate in SCAN_RATES),
            ],
            [
                [
                    *_who(s),
                    str(s["n_scans"]),
                    str(s["n_large_in_scans"]),
                    *_each(s["froc_scan_large"]),
                    *_each(s["froc_scan_regions_large"]),
                ]
                for s in summary
                if s["froc_scan_large"]
            ],
        ),
    ]


def _nulls(table: dict[str, Any]) -> list[str]:
    """How often scores with a null fire on clean slices, and how regions lie on lesions."""
    with_null = [s for s in table["summary"] if s["clean_fire_rates"] or s["dice"]]
    if not with_null:
        return []
    titles = [
        "score",
        "patient",
        "clean slices",
        "clean blocks with p < 0.05 [%]",
        "regions a clean slice",
        "Dice of regions",
    ]
    rows = [
        [
            *_who(s),
            str(s["n_clean"]),
            cell(s["clean_fire_rates"]["0.05"], 100, 1) if s["clean_fire_rates"] else "–",
            cell(s["regions_per_clean_slice"], digits=2),
            cell(s["dice"], digits=2),
        ]
        for s in with_null
    ]
    return ["", "Nulls and regions, at the default rate:", *lines_of(titles, rows)]


def _quality_and_cost(table: dict[str, Any]) -> list[str]:
    """How well slices are reconstructed, and what everything costs."""
    lines = []
    if table["quality"]:
        lines += ["", "Reconstruction inside the body, against the slice that was measured:"]
        lines += lines_of(
            ["method", "slices", "PSNR [dB]", "SSIM"],
            [
                [q["method"], str(q["n_slices"]), cell(q["psnr_db"], digits=2), cell(q["ssim"])]
                for q in table["quality"]
            ],
        )
    lines += ["", "Cost a slice:"]
    lines += lines_of(
        ["what", "seconds (median)", "network evaluations"],
        [
            [
                f"{name}{' (all scores)' if name == 'trace' else ''}",
                f"{c['seconds_median']:.2f}",
                f"{c['network_evaluations']:g}",
            ]
            for name, c in table["cost"].items()
        ],
    )
    return lines


MEANS = (
    "Means over the slices of a patient; over several patients the mean of theirs, with a 95 % bootstrap interval "
    f"over patients where there are at least {FEWEST}."
)
"""What figures are means of."""


def run_line(table: dict[str, Any]) -> str:
    """Name prior, settings and machine in a sentence or two."""
    run, machine = table["run"], table["machine"]
    prior = f"Prior {table['prior']} ({table['prior_sha256'][:12]}), preset" if "prior" in table else "Preset"
    return (
        f"{MEANS} {prior} {run['preset']}, "
        f"{run['measurement']['n_views']} views, "
        f"{run['sampling']['n_samples']} samples, seed {run['sampling']['seed']}, blocks of {table['block_mm']:g} "
        f"mm. {table['software']}, "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} used, {100 * machine['busy']:.0f} % busy "
        "when the table was "
        f"written; device {machine['device']}."
    )


def plot_froc(figures: Sequence[SliceFigures], path: Path, lesion_mm: float = 10.0) -> Path:
    """Draw sensitivity against false marks: all lesions and large ones a slice, large ones a scan.

    One colour a method, regions dashed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.2), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    names = list(dict.fromkeys(f.method for f in figures))
    for n, method in enumerate(names):
        own = [f for f in figures if f.method == method]
        lesion = [f for f in own if f.has_lesion]
        of_regions = [f.region_marks for f in lesion if f.region_marks is not None]
        marks = [f.marks for f in lesion]
        curves = [(0, marks, 0.0, False), (1, marks, lesion_mm, False), (1, of_regions, lesion_mm, True)]
        curves += [(2, scans_of(own), lesion_mm, False), (2, scans_of(own, regions=True), lesion_mm, True)]
        for place, images, smallest, dashed in curves:
            if images:
                curve = froc(images, smallest)
                label = method if place == 0 else None
                panels[place].step(
                    curve.false_per_image,
                    curve.sensitivity,
                    where="post",
                    ls="--" if dashed else "-",
                    lw=1.2,
                    color=f"C{n % 10}",
                    label=label,
                    alpha=0.9,
                )
    titles = ("all lesions, a slice", f"lesions > {lesion_mm:g} mm, a slice", f"lesions > {lesion_mm:g} mm, a scan")
    for axes, title, furthest in zip(panels, titles, (8, 8, 40), strict=True):
        axes.set(xlim=(0, furthest), ylim=(0, 1.02), title=title, xlabel="false marks (dashed: regions)")
        axes.grid(alpha=0.3)
    for axes in panels[1:2]:
        axes.plot([1], [0.8], marker="+", color="k", ms=9, mew=1.5)  # the aim: 80 % at one a slice
    panels[0].set_ylabel("part of the lesions found")
    if panels[0].lines:
        figure.legend(loc="outside lower center", ncols=7, fontsize=8, frameon=False)
    with written(path) as part:
        figure.savefig(part, format="png", dpi=120)
    return path


def plot_calibration(table: dict[str, Any], path: Path) -> Path:
    """Return how often each level fires on clean slices, against the level."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    axes = figure.subplots()
    whole = {
        entry["score"]: entry
        for entry in reversed(table["summary"])
        if entry["patient"].endswith("all") and entry["clean_fire_rates"]
    }
    for entry in reversed(whole.values()):  # with implants, the clean slices of every kind are the same
        levels = [float(level) for level in entry["clean_fire_rates"]]
        rates = np.array(
            [[np.nan if x is None else x for x in figures] for figures in entry["clean_fire_rates"].values()]
        )
        axes.plot(levels, np.maximum(rates[:, 0], 1e-5), "o-", label=entry["score"])
    axes.plot([1e-3, 0.5], [1e-3, 0.5], "k:", lw=1)
    axes.set(xscale="log", yscale="log", xlabel="level", ylabel="part of clean blocks with p below it")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    with written(path) as part:
        figure.savefig(part, format="png", dpi=120)
    return path
