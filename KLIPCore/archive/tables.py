"""verdicts.csv and regions.csv, and the same as Parquet: written row by row from the states of all shards."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
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

Put = Callable[[dict[str, Any]], object]
"""Takes a row."""

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


def write_tables(folder: ArchiveFolder, seen: Put | None = None) -> list[Path]:
    """Write verdicts and regions as CSV, and as Parquet where pyarrow is installed; each study is read once.

    Parameters
    ----------
    folder : of the archive.
    seen : hears each row of the verdicts, too.

    Raises
    ------
    OutputError : a file cannot be written.
    """
    made: list[Path] = []
    for name, columns, rows, more in (
        ("verdicts", VERDICT_COLUMNS, verdict_rows(folder), seen),
        ("regions", REGION_COLUMNS, region_table(folder), None),
    ):
        with ExitStack() as tables:
            made.append(folder.path / f"{name}.csv")
            puts = [tables.enter_context(csv_table(made[-1], columns))]
            if importlib.util.find_spec("pyarrow"):
                made.append(folder.path / f"{name}.parquet")
                puts.append(tables.enter_context(parquet_table(made[-1], columns)))
            puts += [more] if more else []
            for row in rows:
                for put in puts:
                    put(row)
    return made


@contextmanager
def csv_table(path: Path, columns: Sequence[str]) -> Iterator[Put]:
    """Yield a table for spreadsheets, a row at a time: UTF-8 with a mark, and no text that is taken for a formula."""
    with written(path) as part, part.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(columns)
        yield lambda row: table.writerow([_cell(row.get(column)) for column in columns])


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULAS) else value
    return "" if value is None else value


@contextmanager
def parquet_table(path: Path, columns: Sequence[str]) -> Iterator[Put]:
    """Yield a table of text and 64-bit floating-point columns, a row at a time, written in groups."""
    arrow, parquet = optional("pyarrow", "archive"), optional("pyarrow.parquet", "archive")
    kinds = arrow.schema([(name, arrow.float64() if name in NUMBERS else arrow.string()) for name in columns])
    held: list[dict[str, Any]] = []

    def flush() -> None:
        cells = {name: [_typed(row.get(name), name not in NUMBERS) for row in held] for name in columns}
        writer.write_table(arrow.table(cells, schema=kinds))
        held.clear()

    def put(row: dict[str, Any]) -> None:
        held.append(row)
        if len(held) >= BATCH:
            flush()

    with written(path) as part, parquet.ParquetWriter(part, kinds) as writer:
        yield put
        flush()


def _typed(value: Any, as_text: bool) -> Any:
    if value is None or value == "":
        return None
    return str(value).encode("utf-8", "backslashreplace").decode() if as_text else float(value)
