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


class Overview:
    """The page, given its rows one by one.

    Failed studies come first, then those whose strongest region health shows least often. It holds no more rows
    than it shows.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._kept: list[tuple[tuple[float, float], int, dict[str, Any]]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Take a row of the verdicts."""
        self.counts[str(row["status"])] += 1
        place, value = _order(row)
        item = ((-place, -value), -self.counts.total(), row)  # the heap gives up its smallest: the last on the page
        if len(self._kept) < MOST_ROWS:
            heapq.heappush(self._kept, item)
        else:
            heapq.heappushpop(self._kept, item)

    def write(self, folder: ArchiveFolder) -> Path:
        """Write the page.

        Raises
        ------
        OutputError : it cannot be written.
        """
        page = Path(__file__).with_name("overview.html").read_text(encoding="utf-8")
        first = [row for *_, row in sorted(self._kept, key=lambda item: item[:2], reverse=True)]
        data = [[row.get(name) for name in SHOWN] for row in first]
        told = ", ".join(f"{n} {status}" for status, n in sorted(self.counts.items()))
        values = {
            "title": html.escape("An archive of CT studies"),
            "counts": html.escape(told or "no study"),
            "rest": _rest(self.counts.total()),
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
