"""verdicts.csv and regions.csv, and the same as Parquet: written row by row from the states of all shards."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from KLIPCore.archive.entries import Entry
from KLIPCore.archive.importing import duplicates
from KLIPCore.archive.outcome import QUANTITIES, REGION_COLUMNS, VERDICT_COLUMNS, of_study, report_link
from KLIPCore.archive.plan import ArchiveFolder
from KLIPCore.archive.state import DONE, State
from KLIPCore.errors import optional
from KLIPCore.export.files import written

NUMBERS = frozenset(
    {
        *QUANTITIES,
        "line",
        "regions",
        "expected",
        "largest_ml",
        "flagged_ml",
        "tested_ml",
        "slices",
        "guard_p",
        "seconds",
    }
    | {"tries", "label", "x_mm", "y_mm", "z_mm", "volume_mm3", "peak", "total", "p_value", "q_value"}
    | {"first_slice", "last_slice"}
)
"""Columns of numbers; the others are text."""

BATCH = 10_000
"""Rows of a Parquet group."""

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def verdict_rows(folder: ArchiveFolder) -> Iterator[dict[str, Any]]:
    """Yield a row for each study, by shard and in the index's order; duplicates after them."""
    for path in folder.states():
        with closing(State(path)) as state:
            query = "SELECT name, line, entry, status, seconds, cells FROM study ORDER BY id"
            for name, line, entry, status, seconds, cells in state.base.execute(query):
                row = of_study(Entry(**json.loads(entry)), line, name) | {"status": status, "seconds": seconds}
                row |= json.loads(cells)
                if status == DONE and row.get("regions") is not None:
                    row["report"] = report_link(name)
                yield row
            for line, again, first, name in duplicates(state):
                message = f"The same study as line {first}; it was examined once."
                yield of_study(again, line, name) | {"status": "duplicate", "message": message}


def region_table(folder: ArchiveFolder) -> Iterator[dict[str, Any]]:
    """Yield a row for each region of all studies."""
    query = "SELECT s.name, s.line, r.cells FROM region r JOIN study s ON s.id = r.study ORDER BY r.study, r.rowid"
    for path in folder.states():
        with closing(State(path)) as state:
            for name, line, cells in state.base.execute(query):
                yield {"study": name, "line": line, **json.loads(cells), "report": report_link(name)}


def write_tables(folder: ArchiveFolder) -> list[Path]:
    """Write verdicts and regions as CSV, and as Parquet where pyarrow is installed.

    Raises
    ------
    OutputError : a file cannot be written.
    """
    made = [
        write_csv(folder.path / "verdicts.csv", VERDICT_COLUMNS, verdict_rows(folder)),
        write_csv(folder.path / "regions.csv", REGION_COLUMNS, region_table(folder)),
    ]
    if importlib.util.find_spec("pyarrow"):
        made.append(write_parquet(folder.path / "verdicts.parquet", VERDICT_COLUMNS, verdict_rows(folder)))
        made.append(write_parquet(folder.path / "regions.parquet", REGION_COLUMNS, region_table(folder)))
    return made


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> Path:
    """Write a table that spreadsheets read: UTF-8 with a mark, and no text that they would take for a formula."""
    with written(path) as part, part.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(columns)
        table.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return path


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULAS) else value
    return "" if value is None else value


def write_parquet(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> Path:
    """Write a table of text and 64-bit floating-point columns, a group of rows at a time."""
    arrow, parquet = optional("pyarrow", "archive"), optional("pyarrow.parquet", "archive")
    kinds = arrow.schema([(name, arrow.float64() if name in NUMBERS else arrow.string()) for name in columns])
    source = iter(rows)
    with written(path) as part, parquet.ParquetWriter(part, kinds) as writer:
        while batch := list(islice(source, BATCH)):
            cells = {name: [_typed(row.get(name), name not in NUMBERS) for row in batch] for name in columns}
            writer.write_table(arrow.table(cells, schema=kinds))
    return path


def _typed(value: Any, as_text: bool) -> Any:
    if value is None or value == "":
        return None
    return str(value).encode("utf-8", "backslashreplace").decode() if as_text else float(value)
