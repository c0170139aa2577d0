"""What came of changing one setting at a time: a table, and a picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore.export.files import written
from KLIPCore.lab.evaluation.auroc import mean_of, over_patients
from KLIPCore.lab.evaluation.figures import SliceFigures
from KLIPCore.lab.evaluation.froc import froc
from KLIPCore.lab.evaluation.table import cell, lines_of, run_line
from KLIPCore.lab.evaluation.variations import Setting


@dataclass
class Point:
    """A setting and what it gave.

    Attributes
    ----------
    setting : what was changed.
    figures : of every slice and score.
    seconds, evaluations, psnr_db : of every slice's run.
    """

    setting: Setting
    figures: list[SliceFigures] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    psnr_db: list[float] = field(default_factory=list)

    def of(self, score: str) -> list[SliceFigures]:
        """Return its figures with one score."""
        return [f for f in self.figures if f.method == score]


def rows(points: Sequence[Point], patients: Sequence[str], lesion_mm: float) -> list[dict[str, Any]]:
    """Return one JSON-ready row a point and score; differences are taken from the first point, slice by slice."""
    base = points[0]
    return [
        _row(point, base, reading.score, patients, lesion_mm) for point in points for reading in point.setting.readings
    ]


def _row(point: Point, base: Point, score: str, patients: Sequence[str], lesion_mm: float) -> dict[str, Any]:
    own = point.of(score)
    known = {(f.case, f.index): f for f in base.of(score) if f.has_lesion}
    lesion = [f for f in own if f.has_lesion]
    row: dict[str, Any] = {
        "factor": point.setting.factor,
        "value": point.setting.value,
        "score": score,
        "n_slices": len(lesion),
    }
    for name in ("body", "organ"):
        for patient in (*patients, "all"):
            row[f"{name}_{patient}"] = _interval(
                [(getattr(f, name), f.patient) for f in lesion if patient in ("all", f.patient)]
            )
        pairs = [
            (getattr(f, name) - getattr(known[f.case, f.index], name), f.patient)
            for f in lesion
            if (f.case, f.index) in known
        ]
        row[f"{name}_difference"] = None if point is base or not pairs else _interval(pairs)
    found = froc([f.marks for f in lesion], lesion_mm).at(1.0) if lesion else float("nan")
    row["large_at_one_mark"] = round(found, 4) if np.isfinite(found) else None
    clean = [(float(np.mean(f.p < 0.05)), f.patient) for f in own if not f.has_lesion and f.p is not None]
    row["clean_fire_rate"] = _interval(clean) if clean else None
    row["seconds"] = round(float(np.median(point.seconds)), 3)
    row["network_evaluations"] = round(float(np.mean(point.evaluations)), 1)
    row["psnr_db"] = round(float(np.mean(point.psnr_db)), 2)
    return row


def _interval(values: Sequence[tuple[float, str]]) -> list[float | None]:
    """Of (value, patient): the mean of the patients' means."""
    return over_patients([value for value, _ in values], [patient for _, patient in values], mean_of).rounded()


def variations_markdown(table: dict[str, Any]) -> str:
    """Return the table: one row a value and score."""
    who = [*table["patients"], "all"]
    titles = ["factor", "value", "score", *(f"AUROC {name} {p}" for p in who for name in ("body", "organ"))]
    titles += [
        "organ, less preset",
        f"> {table['lesion_mm']:g} mm at 1 mark",
        "clean p < 0.05 [%]",
        "PSNR [dB]",
        "s a slice",
        "evaluations",
    ]
    lines = [f"# {table['title']}"]
    lines += lines_of(
        titles,
        [
            [
                row["factor"],
                row["value"],
                f"`{row['score']}`",
                *(cell(row[f"{name}_{p}"]) for p in who for name in ("body", "organ")),
                cell(row["organ_difference"]),
                "–" if row["large_at_one_mark"] is None else f"{row['large_at_one_mark']:.2f}",
                cell(row["clean_fire_rate"], 100, 1),
                f"{row['psnr_db']:.1f}",
                f"{row['seconds']:.2f}",
                f"{row['network_evaluations']:g}",
            ]
            for row in table["rows"]
        ],
    )
    n = max((row["n_slices"] for row in table["rows"]), default=0)
    lines += [
        "",
        f"{n} lesion slices. Differences are paired: of the same slices, in the organ, with the same score as in "
        "the preset.",
        "",
        run_line(table),
    ]
    return "\n".join(lines)


def plot_variations(table: dict[str, Any], path: Path) -> Path:
    """Return a dot for every value, with an interval where there is one, patients apart.

    Cost on its own axis beside it. The first score of each value.
    """
    from matplotlib.figure import Figure

    rows = list({(r["factor"], r["value"]): r for r in reversed(table["rows"])}.values())[::-1]
    base = rows[0]
    patients = table["patients"]
    y: list[float] = []
    names = []
    for n, row in enumerate(rows):  # a gap between factors
        y.append((y[-1] + (1.0 if row["factor"] == rows[n - 1]["factor"] else 1.7)) if y else 0.0)
        first = n == 0 or row["factor"] != rows[n - 1]["factor"]
        names.append(f"{row['factor']}   {row['value']}" if first and row["factor"] != row["value"] else row["value"])
    figure = Figure(figsize=(10.5, 1.4 + 0.24 * (y[-1] + 1)), layout="constrained")
    organ, body, cost = figure.subplots(1, 3, sharey=True, width_ratios=[3, 3, 1.2])
    for axes, name in ((organ, "organ"), (body, "body")):
        for k, patient in enumerate(patients):
            shift = 0.26 * (k - (len(patients) - 1) / 2)
            key = f"{name}_{patient}"
            for place, row in zip(y, rows, strict=True):
                mean, lo, hi = row[key]
                if mean is not None:
                    mark = "s" if row["score"] != base["score"] else "o"
                    axes.errorbar(
                        mean,
                        place + shift,
                        xerr=None if lo is None else [[max(mean - lo, 0)], [max(hi - mean, 0)]],
                        fmt=mark,
                        ms=4.5,
                        lw=1,
                        color=f"C{k}",
                    )
            if base[key][0] is not None:
                axes.axvline(base[key][0], color=f"C{k}", lw=0.8, alpha=0.5, zorder=0)
            axes.plot([], [], "o", color=f"C{k}", label=f"patient {patient}")
        axes.set_xlabel(f"AUROC, {name}")
        axes.grid(alpha=0.25, axis="x")
    cost.barh(y, [row["seconds"] for row in rows], height=0.6, color="0.6")
    cost.axvline(base["seconds"], color="0.3", lw=0.8)
    cost.set(xlabel="seconds a slice")
    organ.set_yticks(y, names)
    organ.set_ylim(y[-1] + 1, -1)
    organ.plot([], [], "s", color="0.4", label="another score")
    organ.plot([], [], "-", color="0.4", lw=0.8, label="the preset")
    figure.legend(*organ.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    with written(path) as part:
        figure.savefig(part, format="png", dpi=120)
    return path
