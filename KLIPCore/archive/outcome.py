"""A finished study as rows of tables: one of verdicts, and one for each region."""

from __future__ import annotations

from typing import Any

from KLIPCore.archive.entries import Entry
from KLIPCore.archive.jobs import Failure

QUANTITIES = ("anatomy", "air", "contrast", "left-right", "front-back", "noise_hu", "fat_hu", "air_hu")
"""What :mod:`KLIPCore.runs.drift` charts, of the guard's verdict."""

VERDICT_COLUMNS = (
    "study",
    "line",
    "status",
    "finding",
    "regions",
    "expected",
    "largest_ml",
    "flagged_ml",
    "tested_ml",
    "slices",
    "belongs",
    "guard",
    "guard_p",
    *QUANTITIES,
    "seconds",
    "tries",
    "summary",
    "reasons",
    "warnings",
    "error",
    "message",
    "remedy",
    "scanner",
    "date",
    "path",
    "study_uid",
    "series",
    "accession",
    "note",
    "report",
)
"""Columns of ``verdicts.csv``. ``expected``: regions as strong as the study's strongest that a healthy one shows."""

REGION_COLUMNS = (
    "study",
    "line",
    "label",
    "name",
    "x_mm",
    "y_mm",
    "z_mm",
    "volume_mm3",
    "peak",
    "total",
    "unit",
    "p_value",
    "q_value",
    "expected",
    "first_slice",
    "last_slice",
    "report",
)
"""Columns of ``regions.csv``: a region's place is its centroid in LPS, its slices are counted from the feet."""


def verdict_cells(result: dict[str, Any], guard: dict[str, Any]) -> dict[str, Any]:
    """Return the cells of a study with an outcome.

    Parameters
    ----------
    result : ``result.json`` of its run; empty where there is none.
    guard : the guard's verdict; empty where it was not asked.
    """
    cells: dict[str, Any] = {}
    if guard:
        numbers = {**_dict(guard.get("z")), **_dict(guard.get("physical"))}
        cells |= {name: numbers[name] for name in QUANTITIES if numbers.get(name) is not None}
        verdict = guard.get("verdict")
        cells |= {"guard": verdict, "guard_p": guard.get("p"), "finding": verdict}
        cells["reasons"] = " ".join(
            _one_line(str(r.get("sentence", ""))) for r in guard.get("reasons", ()) if isinstance(r, dict)
        )
    if result:
        regions = _regions(result)
        known = [region["expected_in_healthy_study"] for region in regions if _expected(region) is not None]
        fit = _dict(result.get("study_fit"))
        cells |= {
            "finding": "regions" if regions else "no region",
            "regions": len(regions),
            "expected": min(known, default=None),
            "largest_ml": max((_ml(region.get("volume_mm3")) or 0.0 for region in regions), default=0.0),
            "flagged_ml": _ml(result.get("significant_mm3")),
            "tested_ml": _ml(result.get("tested_mm3")),
            "slices": result.get("slices"),
            "belongs": fit.get("belongs"),
            "summary": result.get("summary"),
            "warnings": " ".join(map(str, result.get("warnings", ()))),
        }
    return cells


def region_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cells of a study's regions, but for those that say which study it is."""
    unit = _dict(result.get("units")).get("peak", "")
    rows = []
    for region in _regions(result):
        x, y, z = (*region.get("centroid_lps_mm", ()), None, None, None)[:3]
        first, last = (*region.get("slices_from_feet", ()), None, None)[:2]
        rows.append(
            {
                "label": region.get("label"),
                "name": region.get("name"),
                "x_mm": x,
                "y_mm": y,
                "z_mm": z,
                "volume_mm3": region.get("volume_mm3"),
                "peak": region.get("peak_nats"),
                "total": region.get("total_nats"),
                "unit": unit,
                "p_value": region.get("p_value"),
                "q_value": region.get("q_value"),
                "expected": _expected(region),
                "first_slice": first,
                "last_slice": last,
            }
        )
    return rows


def failure_cells(failure: Failure, guard: dict[str, Any]) -> dict[str, Any]:
    """Return the cells of a study without a result."""
    cells = verdict_cells({}, guard)
    return cells | {
        "finding": None,
        "error": failure.error,
        "message": _one_line(failure.message),
        "remedy": _one_line(failure.remedy),
    }


def _one_line(text: str) -> str:
    """A sentence as a cell: a reader's list of series has lines."""
    return " ".join(text.split())


def of_study(entry: Entry, line: int, name: str) -> dict[str, Any]:
    """Return the cells that say which study a row is about."""
    return {
        "study": name,
        "line": line,
        "scanner": entry.scanner,
        "date": entry.date,
        "path": entry.path,
        "study_uid": entry.study_uid,
        "series": entry.series,
        "accession": entry.accession,
        "note": entry.note,
    }


def report_link(name: str) -> str:
    """Return where a study's report lies, from the archive's folder."""
    return f"studies/{name[:2]}/{name}/report.html"


def _regions(result: dict[str, Any]) -> list[dict[str, Any]]:
    found = result.get("regions")
    return [region for region in found if isinstance(region, dict)] if isinstance(found, list) else []


def _expected(region: dict[str, Any]) -> float | None:
    value = region.get("expected_in_healthy_study")
    return float(value) if isinstance(value, (int, float)) else None


def _ml(value: Any) -> float | None:
    return value / 1000 if isinstance(value, (int, float)) else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
