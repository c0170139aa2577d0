"""The tables of docs/results_slices.md, from what `klip evaluate` wrote: `python docs/make_results.py OUT [OUT ...]`.

Every OUT holds the table.json of one configuration in configs/; its name says which tables it fills. Only what
stands between

    <!-- measured: begin NAME -->   and   <!-- measured: end NAME -->

is replaced, by the table and the line that says how it was measured: command, seed, prior, machine. Prose
stands outside the markers. Plots of numbers are copied beside the other pictures; no picture here shows a patient.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KLIPCore.errors import ConfigError, KlipError
from KLIPCore.export.files import write_bytes
from KLIPCore.lab.bench.table import replace_measured
from KLIPCore.lab.evaluation.figures import FROC_RATES, SCAN_RATES
from KLIPCore.lab.evaluation.table import MEANS, cell

DOCS = Path(__file__).resolve().parent

Table = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """A plot of numbers that belongs to a table.

    Attributes
    ----------
    file : its name in the evaluation's folder.
    below : the marker of its table.
    caption : what it shows.
    """

    file: str
    below: str
    caption: str


def main(
    folders: list[Path], document: Path = DOCS / "results_slices.md", pictures: Path = DOCS / "images"
) -> list[str]:
    """Put the tables of each folder into the document; returns the names of those replaced.

    Raises
    ------
    ConfigError : a folder holds no finished evaluation, or one that no table is made of; the document is left
        as it was.
    """
    text = document.read_text(encoding="utf-8")
    done: list[str] = []
    copied: list[tuple[Path, str]] = []
    for folder in folders:
        table = _read(folder)
        sections, picture = MADE_OF[table["name"]]
        name_of_picture = f"{table['name'].removeprefix('eval_')}.png"
        for name, make in sections.items():
            content = make(table)
            if not content:  # this evaluation left it out
                continue
            if picture and picture.below == name:
                content += f"\n\n![{picture.caption}](images/{name_of_picture})"
                copied.append((folder / picture.file, name_of_picture))
            text = replace_measured(text, name, f"{content}\n\n{provenance(table)}")
            done.append(name)
    for source, name in copied:
        shutil.copyfile(source, pictures / name)
    write_bytes(document, text.encode())
    return done


def _read(folder: Path) -> Table:
    try:
        table: Table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"There is no finished evaluation in {folder}.", "Give the folder that klip evaluate wrote with -o."
        ) from error
    if table.get("name") not in MADE_OF:
        raise ConfigError(
            f"No table of the document is made of '{table.get('name', folder.name)}'.",
            f"Evaluate one of {', '.join(MADE_OF)}.",
        )
    return table


def provenance(table: Table) -> str:
    """How it was measured."""
    run, machine = table["run"], table["machine"]
    prior = f"prior `{table['prior_sha256'][:12]}`" if "prior_sha256" in table else "priors as named"
    return (
        f"`klip evaluate configs/{table['name']}.yaml --data FOLDER -o OUT`: preset {run['preset']}, "
        f"{run['measurement']['n_views']} views, seed "
        f"{run['sampling']['seed']}, blocks of {table['block_mm']:g} mm, {prior}; {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['device']}. "
        f"{MEANS}"
    )


def rows(titles: list[str], content: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles), *(f"| {' | '.join(row)} |" for row in content)]
    return "\n".join(lines)


def _part(figure: list[float | None], n: int | None = None) -> str:
    """A part of the lesions, and of how many."""
    return cell(figure, digits=2) + (f" of {n}" if n is not None and figure[0] is not None else "")


AT_ONE = FROC_RATES.index(1.0)

IN_THE_LIVER = ("tumour", "60 mm", "72 mm")
"""Kinds of implants whose figures inside the liver mean something."""


def localization(table: Table) -> str:
    """AUROC, precision and lesions found, each score and patient."""
    return rows(
        [
            "score",
            "patient",
            "slices",
            "AUROC body",
            "AUROC liver",
            "average precision liver",
            "lesions over 10 mm at 1 false mark a slice",
        ],
        [
            [
                f"`{s['score']}`",
                s["patient"],
                str(s["n_slices"]),
                cell(s["body"]),
                cell(s["organ"]),
                cell(s["organ_ap"]),
                _part(s["froc_large"][AT_ONE], s["n_large_lesions"]),
            ]
            for s in table["summary"]
        ],
    )


def found(table: Table) -> str:
    """FROC of regions and of whole scans."""
    rates = f"{SCAN_RATES[0]:g}, {SCAN_RATES[1]:g}, {SCAN_RATES[2]:g}, {SCAN_RATES[3]:g}"

    def each(figures: list[list[float | None]]) -> str:
        return ", ".join("–" if f[0] is None else f"{f[0]:.2f}" for f in figures) or "–"

    titles = [
        "score",
        "patient",
        "marks, at 1 a slice",
        "regions, at 1 a slice",
        "outlined at the default rate",
        "false regions a lesion slice then",
    ]
    return rows(
        [*titles, f"marks, at {rates} a scan", f"regions, at {rates} a scan"],
        [
            [
                f"`{s['score']}`",
                s["patient"],
                _part(s["froc_large"][AT_ONE], s["n_large_lesions"]),
                _part(s["froc_regions_large"][AT_ONE]),
                "–" if s["reported"]["large_found"] is None else f"{s['reported']['large_found']:.2f}",
                _part(s["reported"]["false_a_lesion_slice"]),
                f"{each(s['froc_scan_large'])} of {s['n_large_in_scans']}",
                each(s["froc_scan_regions_large"]),
            ]
            for s in table["summary"]
            if s["froc_regions_large"]
        ],
    )


def calibration(table: Table) -> str:
    """What happens on slices without a lesion, and how well regions fit."""
    return rows(
        [
            "score",
            "patient",
            "clean slices",
            "clean blocks with p < 0.05 [%]",
            "regions a clean slice",
            "Dice of regions on lesion slices",
        ],
        [
            [
                f"`{s['score']}`",
                s["patient"],
                str(s["n_clean"]),
                cell(s["clean_fire_rates"]["0.05"], 100, 1),
                cell(s["regions_per_clean_slice"], digits=2),
                cell(s["dice"], digits=2),
            ]
            for s in table["summary"]
            if s["clean_fire_rates"]
        ],
    )


def implants(table: Table) -> str:
    """Localization and whole slices, each kind of implant, donors one by one."""
    of = {(s["score"], *s["patient"].rsplit(", ", 1)): s for s in table["summary"]}
    who = [patient for patient in dict.fromkeys(patient for _, _, patient in of) if patient != "all"]
    figures = {"body": "body", "liver": "organ", "slices": "image_auroc"}
    titles = [f"{where} {patient}" for where in figures for patient in who]
    content = []
    for score, kind in dict.fromkeys((score, kind) for score, kind, _ in of):
        own = [of[score, kind, patient] for patient in who]
        liver = kind in IN_THE_LIVER
        cells = [cell(s[name]) if where != "liver" or liver else "" for where, name in figures.items() for s in own]
        marks = [_part(s["froc"][AT_ONE], s["n_lesions"]) for s in own]
        content.append([f"`{score}`", kind, *cells, *marks])
    return rows(["score", "implant", *titles, *(f"found at 1 false mark a slice, {p}" for p in who)], content)


def baselines(table: Table) -> str:
    """Each method, patients one by one and blocks of every size, the best inside the organ first."""
    blocks = [(table["block_mm"], table["summary"])]
    blocks += [(other["block_mm"], other["summary"]) for other in table.get("further", ())]
    of = {(s["score"], s["patient"], size): s for size, summary in blocks for s in summary}
    sizes, first = [size for size, _ in blocks], table["block_mm"]
    own = sorted((s for s in table["summary"] if s["patient"] == "all"), key=lambda s: -(s["organ"][0] or 0.0))
    who = [p for p in dict.fromkeys(s["patient"] for s in table["summary"]) if p != "all"]
    columns = [(where, patient, size) for size in sizes for where in ("body", "organ") for patient in who]
    titles = [
        "method",
        *(f"{w.replace('organ', 'liver')} {p}{'' if size == first else f', {size:g} mm'}" for w, p, size in columns),
        "average precision liver",
        "lesions over 10 mm at 1 false mark a slice",
        "slices",
        "evaluations a slice",
    ]
    return rows(
        titles,
        [
            [
                f"`{s['score']}`",
                *(cell(of[s["score"], patient, size][where]) for where, patient, size in columns),
                cell(s["organ_ap"]),
                _part(s["froc_large"][AT_ONE], s["n_large_lesions"]),
                cell(s["image_auroc"]),
                f"{table['cost'].get(s['score'], table['cost']['trace'])['network_evaluations']:g}",
            ]
            for s in own
        ],
    )


def quality(table: Table) -> str:
    """PSNR and SSIM of reconstructions inside the body, patients one by one, and what the posterior mean is ahead
    by; empty where they were not compared.
    """
    if not table["quality"]:
        return ""
    who = list(dict.fromkeys(r["patient"] for r in table["quality_rows"]))

    def mean(method: str, patient: str, figure: str) -> float:
        own = [r[figure] for r in table["quality_rows"] if (r["method"], r["patient"]) == (method, patient)]
        return sum(own) / len(own)

    content = []
    for q in table["quality"]:
        psnr = {patient: mean(q["method"], patient, "psnr_db") for patient in who}
        ahead = [f"{mean('posterior mean', patient, 'psnr_db') - psnr[patient]:+.1f} dB" for patient in who]
        cells = [f"{psnr[p]:.2f}" for p in who] + [f"{mean(q['method'], p, 'ssim'):.3f}" for p in who]
        content.append(
            [q["method"], str(q["n_slices"]), *cells, *([""] * len(who) if q["method"] == "posterior mean" else ahead)]
        )
    titles = [f"PSNR in the body {p} [dB]" for p in who] + [f"SSIM {p}" for p in who]
    return rows(["reconstruction", "slices", *titles, *(f"posterior mean is ahead by, {p}" for p in who)], content)


def variations(table: Table) -> str:
    """One line a value, the first score."""
    first = {(r["factor"], r["value"]): r for r in reversed(table["rows"])}
    who = [*table["patients"], "all"]
    titles = [
        "changed",
        "to",
        "score",
        *(f"liver {p}" for p in who),
        "less the preset's",
        "body, all",
        "seconds a slice",
        "evaluations",
    ]
    return rows(
        titles,
        [
            [
                r["factor"],
                r["value"],
                f"`{r['score']}`",
                *(cell(r[f"organ_{p}"]) for p in who),
                cell(r["organ_difference"]),
                cell(r["body_all"]),
                f"{r['seconds']:.2f}",
                f"{r['network_evaluations']:g}",
            ]
            for r in reversed(first.values())
        ],
    )


def backbones(table: Table) -> str:
    """Each prior, the scores that were evaluated."""
    sigmas = sorted({sigma for r in table["rows"] for sigma in r["validation_rmse"]}, key=float)
    figures = [key for key in table["rows"][0] if key.startswith(("body_", "organ_"))]
    titles = [
        "backbone",
        "prior",
        *(f"error at σ {s}" for s in sigmas),
        "score",
        *(f.replace("organ", "liver").replace("_", " ") for f in figures),
    ]
    return rows(
        [*titles, "seconds a slice"],
        [
            [
                r["backbone"],
                f"`{r['sha256'][:12]}`",
                *(f"{r['validation_rmse'][s]:.4f}" if s in r["validation_rmse"] else "–" for s in sigmas),
                f"`{r['score']}`",
                *(cell(r[key]) for key in figures),
                f"{r['seconds']:.2f}",
            ]
            for r in table["rows"]
        ],
    )


MADE_OF: dict[str, tuple[dict[str, Callable[[Table], str]], Picture | None]] = {
    "eval_lits_dev": (
        {"localization": localization, "found": found, "calibration": calibration, "quality60": quality},
        Picture(
            "froc.png",
            "found",
            "Part of the lesions found against false marks a slice and a scan; dashed: regions; the cross: the aim "
            "of 80 % at one a slice",
        ),
    ),
    "eval_baselines": ({"baselines": baselines}, None),
    "eval_more_baselines": ({"more_baselines": baselines}, None),
    "eval_baselines24": ({"baselines24": baselines}, None),
    "eval_published": ({"published": baselines}, None),
    "eval_published24": ({"published24": baselines}, None),
    "eval_views24": ({"views24": localization, "quality24": quality}, None),
    "eval_quality24": ({"quality24full": quality}, None),
    "eval_implants": ({"implants": implants}, None),
    "eval_large": ({"large": implants}, None),
    "eval_variations": (
        {"variations": variations},
        Picture(
            "variations.png",
            "variations",
            "AUROC of every setting, both patients, and seconds a slice",
        ),
    ),
    "eval_backbones": (
        {"backbones": backbones},
        Picture(
            "priors.png", "backbones", "Error of denoising by σ (relative to the first) and AUROC of each backbone"
        ),
    ),
}
"""Name of a configuration → its tables by marker, and the plot that goes with them."""


if __name__ == "__main__":
    try:
        print(*main([Path(name) for name in sys.argv[1:]]), sep="\n")
    except KlipError as error:
        sys.exit(str(error))
