"""Several priors on the same slices: is the network that denoises best also the one that finds most?

The root mean square error of denoising at each σ comes from each prior's own model card (its training run
measured it on held-out slices); localization is measured here, with everything else equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from KLIPCore.export.files import written
from KLIPCore.lab.evaluation.table import cell, lines_of, run_line
from KLIPCore.volume.model_card import ModelCard


def prior_rows(
    tables: Sequence[dict[str, Any]], cards: Sequence[ModelCard], patients: Sequence[str]
) -> list[dict[str, Any]]:
    """Return one JSON-ready row a prior and score.

    Parameters
    ----------
    tables : what :func:`KLIPCore.lab.evaluation.localization.evaluate` made with each prior.
    cards : of the priors.
    patients : whose figures are shown.
    """
    rows = []
    for table, card in zip(tables, cards, strict=True):
        training = card.training
        row = {
            "prior": card.name,
            "sha256": card.sha256,
            "backbone": str(
                training.get("backbone")
                or ("patch" if card.position_channels else card.network.get("kind", "not stated"))
            ),
            "steps": training.get("steps"),
            "validation_rmse": {
                str(sigma): float(error) for sigma, error in dict(training.get("validation_rmse", {})).items()
            },
            "seconds": table["cost"]["trace"]["seconds_median"],
            "network_evaluations": table["cost"]["trace"]["network_evaluations"],
        }
        for score in table["scores"]:
            own = {s["patient"]: s for s in table["summary"] if s["score"] == score}
            figures = {
                f"{name}_{who}": own[who][name]
                for who in (*patients, "all")
                if who in own
                for name in ("body", "organ")
            }
            rows.append(row | {"score": score} | figures)
    return rows


def _once(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first row of each prior."""
    return list({row["sha256"] or row["prior"]: row for row in reversed(rows)}.values())[::-1]


def priors_markdown(table: dict[str, Any]) -> str:
    """Return both tables: what each network is, and what it finds."""
    rows = table["rows"]
    priors = _once(rows)
    sigmas = sorted({sigma for row in priors for sigma in row["validation_rmse"]}, key=float)
    lines = [
        f"# {table['title']}",
        "",
        "Error of denoising held-out slices (root mean square, intensity 0 to 1), from each prior's model card:",
    ]
    lines += lines_of(
        ["prior", "backbone", "steps", *(f"σ {sigma}" for sigma in sigmas), "seconds a slice", "evaluations a slice"],
        [
            [
                f"{row['prior']} `{row['sha256'][:12]}`",
                row["backbone"],
                str(row["steps"] or "–"),
                *(
                    f"{row['validation_rmse'][sigma]:.4f}" if sigma in row["validation_rmse"] else "–"
                    for sigma in sigmas
                ),
                f"{row['seconds']:.2f}",
                f"{row['network_evaluations']:g}",
            ]
            for row in priors
        ],
    )
    figures = [key for key in rows[0] if key.startswith(("body_", "organ_"))]
    lines += lines_of(
        ["backbone", "score", *(f"AUROC {key.replace('_', ' ')}" for key in figures)],
        [[row["backbone"], f"`{row['score']}`", *(cell(row[key]) for key in figures)] for row in rows],
    )
    return "\n".join([*lines, "", run_line(table)])


def plot_priors(table: dict[str, Any], path: Path) -> Path:
    """Draw the denoising error by σ, relative to the first prior, and AUROC of the first score."""
    from matplotlib.figure import Figure

    rows = table["rows"]
    priors = _once(rows)
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    first = {float(sigma): error for sigma, error in priors[0]["validation_rmse"].items()}
    for n, row in enumerate(priors):
        errors = {float(sigma): error for sigma, error in row["validation_rmse"].items()}
        shared = sorted(set(errors) & set(first))
        left.plot(shared, [errors[s] / first[s] for s in shared], "o-", color=f"C{n}", label=row["backbone"])
    left.set(
        xscale="log", xlabel="σ", ylabel=f"error of denoising held-out slices, over that of {priors[0]['backbone']}"
    )
    left.set_xticks(sorted(first), [f"{sigma:g}" for sigma in sorted(first)])
    left.minorticks_off()
    left.grid(alpha=0.3)
    left.legend(fontsize=8)
    score = rows[0]["score"]
    keys = [key for key in rows[0] if key.startswith(("body_", "organ_")) and not key.endswith("_all")]
    for n, row in enumerate(r for r in rows if r["score"] == score):
        for k, key in enumerate(keys):
            mean, lo, hi = row[key]
            if mean is not None:
                right.errorbar(
                    mean,
                    k + 0.2 * (n - (len(priors) - 1) / 2),
                    xerr=None if lo is None else [[mean - lo], [hi - mean]],
                    fmt="o",
                    color=f"C{n}",
                    ms=5,
                    lw=1.2,
                )
    right.set_yticks(range(len(keys)), [key.replace("_", ", ") for key in keys])
    right.invert_yaxis()
    right.set(xlabel=f"AUROC, {score}")
    right.grid(alpha=0.3, axis="x")
    with written(path) as part:
        figure.savefig(part, format="png", dpi=120)
    return path
