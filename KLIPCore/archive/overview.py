"""overview.html: every study of an archive on one page, to sort, to filter and to open.

The page needs no network and no second file. Its content policy allows its own script and style, by their hashes, and
nothing else; every text from outside is put there as text.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import html
import json
from collections import Counter
from pathlib import Path
from typing import Any

from KLIPCore.archive.plan import ArchiveFolder
from KLIPCore.archive.tables import verdict_rows
from KLIPCore.export.files import write_bytes

MOST_ROWS = 20_000
"""Studies on the page; the tables have all."""

SHOWN = (
    "line", "status", "finding", "regions", "expected", "largest_ml", "flagged_ml", "guard", "seconds", "message",
    "remedy", "path", "accession", "scanner", "date", "note", "report",
)  # fmt: skip
"""Columns that the page has."""

DISCLAIMER = (
    "Research software. Not a medical device. It marks where a scan departs from the images its prior was trained on; "
    "it does not diagnose, and an unmarked place is not thereby healthy."
)


def write_overview(folder: ArchiveFolder) -> Path:
    """Write the page; failed studies first, then those whose strongest region health shows least often.

    Raises
    ------
    OutputError : it cannot be written.
    """
    counts: Counter[str] = Counter()

    def counted() -> Any:
        for number, row in enumerate(verdict_rows(folder)):
            counts[str(row["status"])] += 1
            yield _order(row), number, row

    first = [row for _, _, row in heapq.nsmallest(MOST_ROWS, counted())]
    page = Path(__file__).with_name("overview.html").read_text(encoding="utf-8")
    data = [[row.get(name) for name in SHOWN] for row in first]
    values = {
        "title": html.escape("An archive of CT studies"),
        "counts": html.escape(", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "no study"),
        "rest": _rest(sum(counts.values())),
        "disclaimer": html.escape(DISCLAIMER),
        "script_hash": _hash(_between(page, "<script>", "</script>")),
        "style_hash": _hash(_between(page, "<style>", "</style>")),
        "data": json.dumps([list(SHOWN), data]).replace("<", "\\u003c").replace(">", "\\u003e"),
    }
    for name, value in values.items():
        page = page.replace(f"<!--{name}-->", value)
    return write_bytes(folder.path / "overview.html", page.encode("utf-8", "backslashreplace"))


def _order(row: dict[str, Any]) -> tuple[int, float]:
    """Place of a row on the page."""
    if row["status"] != "done":
        return (0 if row["status"] == "failed" else 2), 0.0
    expected = row.get("expected")
    if isinstance(expected, (int, float)):
        return 1, float(expected)
    return 1, 1e6 - float(row.get("regions") or 0)


def _rest(total: int) -> str:
    if total <= MOST_ROWS:
        return ""
    return html.escape(f"{MOST_ROWS} of {total} are shown here; all are in verdicts.csv.")


def _between(text: str, begin: str, end: str) -> str:
    return text.split(begin, 1)[1].split(end, 1)[0]


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
