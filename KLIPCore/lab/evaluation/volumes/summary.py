"""From scans to patients to their mean: each patient is one, however many scans or lesions there are of it.

Figures of a patient's scans are averaged and its lesions are added up; the patients' figures are averaged in turn.
There is no interval: a handful of patients gives none that could be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from KLIPCore.lab.evaluation.volumes.scoring import ScanFigures, settings_of

ALL = "mean of patients"

RANKING = ("auroc", "auroc_limited", "aupro", "slices_auroc", "blocks_body", "blocks_organ")
"""Figures of how voxels, slices and blocks rank."""


def summarize(figures: Sequence[ScanFigures]) -> list[dict[str, Any]]:
    """Return one entry a score and patient, and one of their mean for each score; JSON-ready but for NaN."""
    out = []
    for score in dict.fromkeys(own.score for own in figures):
        of_score = [own for own in figures if own.score == score]
        for healthy in (False, True):
            group = [own for own in of_score if own.healthy == healthy]
            patients = [
                _patient([own for own in group if own.patient == name])
                for name in dict.fromkeys(own.patient for own in group)
            ]
            out += patients
            if patients:
                out.append(_macro(patients))
    return out


def _patient(scans: Sequence[ScanFigures]) -> dict[str, Any]:
    """The figures of one patient under one score."""
    first = scans[0]
    large = sum(own.large for own in scans)
    points = {}
    for n, name in enumerate(settings_of(scans)):
        at = [own.points[n] for own in scans]
        found = sum(point.found_large for point in at)
        points[name] = {
            "found": found,
            "found_part": found / large if large else float("nan"),
            "false_a_study": _mean([point.false for point in at]),
            "regions_a_study": _mean([point.regions for point in at]),
            "dice": _mean([point.dice for point in at]),
        }
    return {
        "score": first.score,
        "patient": first.patient,
        "healthy": first.healthy,
        "ranked_by": first.ranked_by,
        "n_patients": 1,
        "n_scans": len(scans),
        "n_lesions": sum(own.lesions for own in scans),
        "n_large": large,
        "auroc": _mean([own.voxels.auroc for own in scans]),
        "auroc_limited": _mean([own.voxels.auroc_limited for own in scans]),
        "aupro": _mean([own.voxels.aupro for own in scans]),
        "slices_auroc": _mean([own.slices_auroc for own in scans]),
        "blocks_body": _mean([own.blocks.body for own in scans]),
        "blocks_organ": _mean([own.blocks.organ for own in scans]),
        "below": [_mean(values) for values in zip(*(own.below for own in scans), strict=True)],
        "points": points,
    }


def _macro(patients: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of some patients' figures; counts are added up."""
    first = patients[0]

    def mean(pick: Callable[[dict[str, Any]], float]) -> float:
        return _mean([pick(patient) for patient in patients])

    points = {
        name: {"found": sum(p["points"][name]["found"] for p in patients)}
        | {
            key: mean(lambda p, name=name, key=key: p["points"][name][key])  # type: ignore[misc]
            for key in ("found_part", "false_a_study", "regions_a_study", "dice")
        }
        for name in first["points"]
    }
    return {
        **{key: first[key] for key in ("score", "healthy", "ranked_by")},
        "patient": ALL,
        "n_patients": len(patients),
        **{key: sum(p[key] for p in patients) for key in ("n_scans", "n_lesions", "n_large")},
        **{key: mean(lambda p, key=key: p[key]) for key in RANKING},  # type: ignore[misc]
        "below": [_mean(values) for values in zip(*(p["below"] for p in patients), strict=True)],
        "points": points,
    }


def _mean(values: Sequence[float]) -> float:
    """Mean of what is a number; NaN where nothing is."""
    kept = [value for value in values if np.isfinite(value)]
    return float(np.mean(kept)) if kept else float("nan")


def froc_curve(figures: Sequence[ScanFigures], lesion_mm: float) -> dict[str, list[float]]:
    """Return the free-response curve of one score over all of its regions' ranks.

    Parameters
    ----------
    figures : of all scans under the score.
    lesion_mm : lesions of more than this diameter are asked for.

    Returns
    -------
    ``rank`` rising, ``found`` mean over patients of the part of the lesions found, ``false`` mean over patients
    with lesions of the false regions a study, ``healthy`` the same over healthy patients; a list is empty where
    nobody is counted.
    """
    ranks = np.unique([touch.rank for own in figures for touch in own.regions])
    curves: dict[str, list[list[float]]] = {"found": [], "false": [], "healthy": []}
    for patient in dict.fromkeys(own.patient for own in figures):
        scans = [own for own in figures if own.patient == patient]
        false = np.sort([touch.rank for own in scans for touch in own.regions if not touch.lesions])
        count = np.searchsorted(false, ranks, side="right") / len(scans)
        curves["healthy" if scans[0].healthy else "false"].append(count.tolist())
        best = np.sort([rank for own in scans for rank in _best(own, lesion_mm)])
        if len(best):
            curves["found"].append((np.searchsorted(best, ranks, side="right") / len(best)).tolist())
    means = {name: np.mean(rows, 0).tolist() if rows else [] for name, rows in curves.items()}
    return {"rank": ranks.tolist(), **means}


def _best(own: ScanFigures, lesion_mm: float) -> list[float]:
    """The rank at which each large lesion of a scan is found; infinite where it is not."""
    best = {n: float("inf") for n, diameter in enumerate(own.diameters_mm, 1) if diameter > lesion_mm}
    for touch in own.regions:
        for number in best.keys() & set(touch.lesions):
            best[number] = min(best[number], touch.rank)
    return list(best.values())
