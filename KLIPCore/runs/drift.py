"""Whether the studies of a scanner change from week to week: Shewhart and CUSUM charts over the guard's numbers.

A single study that fits says nothing about a scanner whose kernel, contrast protocol or calibration was changed. Over
an archive it shows: each quantity of :class:`KLIPCore.runs.guard.Verdict` is compared with the scanner's own first
studies, week by week. A week's mean beyond 3 standard errors alarms at once; a small lasting shift adds up in the
two-sided CUSUM, S⁺ = max(0, S⁺ + u − k) and S⁻ = max(0, S⁻ − u − k) of standardized weekly means u, and alarms beyond
h (Page 1954).
"""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore.errors import InputError
from KLIPCore.volume.untrusted import json_object

QUANTITIES = ("anatomy", "air", "contrast", "left-right", "front-back", "noise_hu", "fat_hu", "air_hu")
"""What is charted: the laws' z and three physical quantities."""

BASELINE = 20
"""Studies of a scanner that say what is usual for it: its first ones, to the end of their week."""

SIGMAS, SLACK, LIMIT = 3.0, 0.5, 5.0
"""Limit of a week's mean; k and h of the CUSUM, in standard errors."""


@dataclass(frozen=True)
class Point:
    """One quantity of one scanner in one week.

    Attributes
    ----------
    scanner, week, quantity : which; the week as ``2026-W05`` (ISO 8601).
    n : studies in that week with this quantity.
    mean : theirs.
    usual, spread : mean and standard deviation of the scanner's baseline.
    u : distance of the week's mean from the usual one in standard errors.
    up, down : CUSUM of shifts upwards and downwards, after this week.
    """

    scanner: str
    week: str
    quantity: str
    n: int
    mean: float
    usual: float
    spread: float
    u: float
    up: float
    down: float

    @property
    def alarm(self) -> str:
        """``3 sigma``, ``CUSUM``, both with a comma, or nothing."""
        found = [("3 sigma", abs(self.u) > SIGMAS), ("CUSUM", max(self.up, self.down) > LIMIT)]
        return ", ".join(name for name, beyond in found if beyond)


def drift_chart(verdicts: Iterable[Mapping[str, Any]], baseline: int = BASELINE) -> list[Point]:
    """Return the charts' points, by scanner, quantity and week; the weeks of the baseline are not among them.

    Parameters
    ----------
    verdicts : as :meth:`KLIPCore.runs.guard.Verdict.to_dict` makes them, each with ``scanner`` and ``date``
        (``2026-02-03``) beside. Those without numbers, refused by the reader, are left out.
    baseline : studies of a scanner that make its baseline.

    Raises
    ------
    InputError : a verdict lacks scanner or date, or they are none.
    """
    by_scanner: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for verdict in verdicts:
        scanner, week, values = _record(verdict)
        if values:
            by_scanner.setdefault(scanner, []).append((week, values))
    points = []
    for scanner, studies in sorted(by_scanner.items()):
        studies.sort(key=lambda study: study[0])
        if len(studies) <= baseline:
            continue
        last = studies[baseline - 1][0]
        for quantity in QUANTITIES:
            series = [(week, values[quantity]) for week, values in studies if quantity in values]
            points += _charted(scanner, quantity, series, last)
    return points


def _charted(scanner: str, quantity: str, series: list[tuple[str, float]], last: str) -> list[Point]:
    """The points of one chart; ``last`` is the last week of the baseline."""
    before = np.array([value for week, value in series if week <= last])
    if len(before) < 2:
        return []
    usual, spread = float(before.mean()), max(float(before.std(ddof=1)), 1e-6)
    points, up, down = [], 0.0, 0.0
    for week in sorted({week for week, _ in series if week > last}):
        values = [value for own, value in series if own == week]
        mean = float(np.mean(values))
        u = (mean - usual) / (spread * np.sqrt(1 / len(values) + 1 / len(before)))  # the baseline is uncertain, too
        up, down = max(0.0, up + u - SLACK), max(0.0, down - u - SLACK)
        points.append(Point(scanner, week, quantity, len(values), mean, usual, spread, float(u), up, down))
    return points


def _record(verdict: Mapping[str, Any]) -> tuple[str, str, dict[str, float]]:
    """Scanner, week and numbers of a verdict."""
    try:
        year, week, _ = datetime.date.fromisoformat(str(verdict["date"])).isocalendar()
        numbers = {**verdict["z"], **verdict["physical"]}
        known = {name: float(numbers[name]) for name in QUANTITIES if numbers.get(name) is not None}
        return str(verdict["scanner"]), f"{year}-W{week:02d}", known
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"A verdict has no scanner, date or numbers that can be read ({type(error).__name__}: {error}).",
            "Write verdicts with: klip guard STUDY --format json --scanner NAME --date 2026-02-03 >> verdicts.jsonl",
        ) from error


def read_verdicts(path: Path) -> list[dict[str, Any]]:
    """Return the verdicts of a file with one JSON object a line, or of the table ``verdicts.csv`` of an archive.

    Raises
    ------
    InputError : it cannot be read, or a line is no JSON object; the message names the line.
    """
    if path.suffix.lower() == ".csv":
        return _read_table(path)
    remedy = "Give a file to which klip guard --format json has written."
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read as text.", remedy) from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(json_object(line))
            except ValueError as error:
                raise InputError(f"Line {number} of {path.name} is not a verdict ({error}).", remedy) from error
    return found


def _read_table(path: Path) -> list[dict[str, Any]]:
    """Verdicts of an archive's table: of studies that the guard has judged and whose scanner and date are known."""
    remedy = "Give verdicts.csv of klip archive run with --guard, over an index made with --scanner-and-date."
    found = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                numbers = {name: float(row[name]) for name in QUANTITIES if row.get(name)}
                if numbers and row.get("scanner") and row.get("date"):
                    found.append({"scanner": row["scanner"], "date": row["date"], "z": numbers, "physical": {}})
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as a table of verdicts.", remedy) from error
    if not found:
        raise InputError(f"No study in {path.name} has numbers of the guard, a scanner and a date.", remedy)
    return found


def drift_text(points: list[Point]) -> str:
    """Return the alarms as lines for a person, and how many points they are among."""
    alarms = [point for point in points if point.alarm]
    lines = [
        f"{p.scanner}  {p.week}  {p.quantity}: {p.mean:.2f} in {p.n} studies, usually {p.usual:.2f} ± {p.spread:.2f} "
        f"({p.alarm}; u = {p.u:+.1f}, CUSUM +{p.up:.1f} -{p.down:.1f})"
        for p in alarms
    ]
    if not points:
        lines.append("Too little to chart: no scanner has studies in weeks after those of its baseline.")
    return "\n".join([*lines, f"{len(alarms)} alarms among {len(points)} weekly means."])
