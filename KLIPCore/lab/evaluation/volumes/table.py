"""The outcome of an evaluation on whole volumes, for people and for programs: JSON, Markdown, CSV and a plot."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from KLIPCore.export.files import write_bytes, written
from KLIPCore.lab.evaluation.table import lines_of
from KLIPCore.lab.evaluation.volumes.scoring import DEFAULT, P_LEVELS, ScanFigures
from KLIPCore.lab.evaluation.volumes.summary import ALL, RANKING

COLUMNS = (
    "scan", "patient", "healthy", "score", "auroc", "auroc_limited", "aupro", "lesion_voxels", "other_voxels",
    "lesions", "large_lesions", "setting", "found", "found_large", "regions", "false_regions", "dice", "slices_auroc",
    "error",
)  # fmt: skip
"""Of ``scans.csv``: one row a scan, score and setting, and one for each scan or score that failed."""


def write_outcome(table: dict[str, Any], figures: Sequence[ScanFigures], out: Path) -> list[Path]:
    """Write ``table.json``, ``table.md``, ``scans.csv`` and ``froc.png``; each appears only when it is whole.

    Raises
    ------
    OutputError : one of them cannot be written.
    """
    files = [
        write_bytes(out / "table.json", (json.dumps(table, indent=2, allow_nan=False) + "\n").encode()),
        write_bytes(out / "table.md", (volumes_markdown(table) + "\n").encode()),
        write_bytes(out / "scans.csv", scans_csv(figures, table["failed"]).encode()),
    ]
    if table["froc"]:
        files.append(plot_froc(table, out / "froc.png"))
    return files


def scans_csv(figures: Sequence[ScanFigures], failed: Sequence[dict[str, str]]) -> str:
    """Return every scan under every score and setting as comma-separated values; what is not a number is empty."""
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    rows.writeheader()
    for own in figures:
        v = own.voxels
        same = dict(
            zip(
                COLUMNS,
                (own.scan, own.patient, own.healthy, own.score, _number(v.auroc), _number(v.auroc_limited),
                 _number(v.aupro), v.n_lesion, v.n_other, own.lesions, own.large),
                strict=False,
            )
        )  # fmt: skip
        for p in own.points:
            at = (p.setting, p.found, p.found_large, p.regions, p.false, _number(p.dice))
            slices = {"slices_auroc": _number(own.slices_auroc)}
            rows.writerow(same | dict(zip(COLUMNS[11:17], at, strict=True)) | slices)
    for why in failed:
        rows.writerow({key: why[key] for key in ("scan", "patient", "score")} | {"error": why["message"]})
    return text.getvalue()


def _number(value: float) -> str:
    return "" if value != value else f"{value:.5f}"


def volumes_markdown(table: dict[str, Any]) -> str:
    """Return the summary as Markdown tables with their provenance."""
    large = f"> {table['lesion_mm']:g} mm"
    ill = [entry for entry in table["summary"] if not entry["healthy"]]
    well = [entry for entry in table["summary"] if entry["healthy"]]
    lines = [f"# {table['title']}"]
    if ill:
        lines += _ranking(ill, large, table["fpr_limit"])
    if well:
        lines += _healthy(well)
    lines += _froc(table, large)
    if table["failed"]:
        lines += ["", "Not evaluated:", ""]
        lines += [
            f"- {why['scan']}{', ' + why['score'] if why['score'] else ''}: {why['message']} {why['remedy']}".rstrip()
            for why in table["failed"]
        ]
    notes = [*table["notes"], *(f"{name}: {note}" for name, run in table["runs"].items() for note in run["notes"])]
    if notes:
        lines += ["", "Notes:", "", *(f"- {note}" for note in notes)]
    return "\n".join([*lines, "", run_line(table)])


def _ranking(entries: Sequence[dict[str, Any]], large: str, limit: float) -> list[str]:
    """Patients with lesions: how the map ranks voxels, and what the default reports."""
    rows = [
        [
            e["score"],
            _who(e),
            str(e["n_scans"]),
            *(_figure(e[key]) for key in RANKING),
            f"{e['points'][DEFAULT]['found']} of {e['n_large']}",
            _figure(e["points"][DEFAULT]["found_part"], 2),
            _figure(e["points"][DEFAULT]["dice"], 2),
            _figure(e["points"][DEFAULT]["false_a_study"], 2),
        ]
        for e in entries
    ]
    titles = ["score", "patient", "scans", "AUROC", f"AUROC ≤ {limit:g}", f"AUPRO ≤ {limit:g}", "slices"]
    titles += ["blocks", "in the organ"]
    return [
        "",
        "Studies with lesions: voxels of the body, each scan by itself, then the mean over the scans of a patient and "
        "over patients; slices: AUROC of the slices with lesions among the scan's own; blocks: AUROC of those that "
        "hold a lesion's pixel, in the body and in the organ, mean over the slices with lesions; regions at the "
        "default.",
        *lines_of([*titles, f"lesions {large}", "part found", "Dice", "false regions a study"], rows),
    ]


def _healthy(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Healthy patients: regions a study at every setting, one table a kind of setting."""
    lines = ["", "Healthy studies: regions a study, by setting."]
    for kind in dict.fromkeys(e["ranked_by"] for e in entries):
        own = [e for e in entries if e["ranked_by"] == kind]
        names = list(own[0]["points"])
        rows = [
            [
                e["score"],
                _who(e),
                str(e["n_scans"]),
                *(_figure(e["points"][name]["regions_a_study"], 2) for name in names),
            ]
            for e in own
        ]
        lines += lines_of(["score", "patient", "studies", *names], rows)
    levels = [f"p < {level:g}" for level in P_LEVELS]
    rows = [[e["score"], _who(e), *(f"{_figure(100 * v, 2)} %" for v in e["below"])] for e in entries]
    lines += ["", "Healthy studies: share of the blocks with a p-value below a level."]
    return lines + lines_of(["score", "patient", *levels], rows)


def _froc(table: dict[str, Any], large: str) -> list[str]:
    """Lesions found against false regions a study, means over patients."""
    means = [e for e in table["summary"] if e["patient"] == ALL]
    rows = []
    for score in dict.fromkeys(e["score"] for e in means):
        ill = next((e for e in means if e["score"] == score and not e["healthy"]), None)
        well = next((e for e in means if e["score"] == score and e["healthy"]), None)
        for name in (ill or well or {})["points"]:
            at = ill["points"][name] if ill else {}
            rows.append(
                [
                    score,
                    name,
                    f"{at['found']} of {ill['n_large']}" if ill else "–",
                    *(_figure(at.get(key), 2) for key in ("found_part", "dice", "false_a_study")),
                    _figure(well["points"][name]["regions_a_study"], 2) if well else "–",
                ]
            )
    titles = ["score", "setting", f"lesions {large}", "part found", "Dice", "false regions a study with lesions"]
    text = "Free response: lesions that a reported region touches, and regions that touch none; means over patients."
    return ["", text, *lines_of([*titles, "regions a healthy study"], rows)] if rows else []


def _who(entry: dict[str, Any]) -> str:
    return f"{ALL} ({entry['n_patients']})" if entry["patient"] == ALL else str(entry["patient"])


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def run_line(table: dict[str, Any]) -> str:
    """Name priors, settings and command in a sentence or two."""
    runs = table["runs"].values()
    priors = sorted({f"{run['prior']} ({run['prior_sha256'][:12]})" for run in runs})
    presets, seeds = sorted({run["preset"] for run in runs}), sorted({run["seed"] for run in runs})
    views = sorted({run["n_views"] for run in runs})
    command = f" `{table['command']}`;" if table["command"] else ""
    return (
        f"{table['n_evaluated']} of {table['n_studies']} studies.{command} prior {', '.join(priors) or '–'}, preset "
        f"{', '.join(presets) or '–'}, {', '.join(map(str, views)) or '–'} views, seed "
        f"{', '.join(map(str, seeds)) or '–'}. {table['software']}; {table['wall_seconds']:g} s."
    )


def plot_froc(table: dict[str, Any], path: Path) -> Path:
    """Draw lesions found against false regions a study with lesions (left) and a healthy study (right)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    settings = {e["score"]: e for e in table["summary"] if e["patient"] == ALL and not e["healthy"]}
    well = {e["score"]: e for e in table["summary"] if e["patient"] == ALL and e["healthy"]}
    for n, (score, curve) in enumerate(table["froc"].items()):
        across = (
            (panels[0], curve["false"], settings.get(score), "false_a_study"),
            (panels[1], curve["healthy"], well.get(score), "regions_a_study"),
        )
        for axes, false, entry, key in across:
            if not false or not curve["found"]:
                continue
            axes.step([0, *false], [0, *curve["found"]], where="post", color=f"C{n % 10}", lw=1.2, label=score)
            y = settings[score]["points"][DEFAULT]["found_part"] if score in settings else None
            if entry is not None and y is not None:
                axes.plot([entry["points"][DEFAULT][key]], [y], "o", color=f"C{n % 10}", ms=5)
    titles = ("false regions a study with lesions", "regions a healthy study")
    for axes, title in zip(panels, titles, strict=True):
        axes.set(xlim=(0, 10), ylim=(0, 1.02), xlabel=f"{title} (dot: the default)")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    panels[0].set_ylabel(f"part of the lesions > {table['lesion_mm']:g} mm found")
    with written(path) as part:
        figure.savefig(part, format="png", dpi=120)
    return path
