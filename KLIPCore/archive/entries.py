"""An index of studies: one a line, read a line at a time, so that a million lines need no more memory than ten.

Three forms are read. A line of JSON, as ``klip archive index`` writes it; a table with a header, ``.csv``; or plain
lines, each a path. Relative paths are meant from the folder of the index.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO

from KLIPCore.errors import EmptyInputError, InputError
from KLIPCore.volume.untrusted import json_object

LONGEST_LINE = 1 << 16
"""Characters of a line; a path has 4096 at most."""

FORM = 'Write one study per line: a path, or JSON like {"path": "/archive/study1", "series": "4"}.'


@dataclass(frozen=True)
class Entry:
    """One study of an index.

    Attributes
    ----------
    path : folder or file of the study; empty where a PACS is asked for it.
    study_uid : DICOM StudyInstanceUID, empty where it is not known.
    series : which series, as ``klip detect --series`` takes it; empty where there is no choice.
    accession : accession number, where a PACS is asked by it.
    scanner, date : for the drift chart; empty where nobody said them.
    note : what the index has to say of the study, e.g. that other series are left out.
    pacs : address of the PACS that has it, where an index was made of several.
    """

    path: str = ""
    study_uid: str = ""
    series: str = ""
    accession: str = ""
    scanner: str = ""
    date: str = ""
    note: str = ""
    pacs: str = ""

    @property
    def key(self) -> str:
        """What makes two lines the same study: UID and series where the UID is known, else path or accession."""
        if self.study_uid:
            return f"uid {self.study_uid} {self.series}"
        return f"path {self.path} {self.series}" if self.path else f"accession {self.accession}"

    @cached_property
    def name(self) -> str:
        """Name of the study's folder among the results: a hash, which says nothing about a patient."""
        return hashlib.sha256(self.key.encode("utf-8", "surrogateescape")).hexdigest()[:20]

    def in_shard(self, shard: tuple[int, int]) -> bool:
        """Return whether shard ``(i, n)``, counted from 1, has this study; two lines of one study are in the same."""
        number, count = shard
        return count == 1 or int(self.name[:12], 16) % count == number - 1

    def line(self) -> str:
        """Return the entry as a line of JSON, without its empty fields."""
        return json.dumps({name: value for name in FIELDS if (value := getattr(self, name))})


FIELDS = tuple(Entry.__dataclass_fields__)


def read_entries(index: Path) -> Iterator[tuple[int, Entry]]:
    """Yield (line number, entry) of an index; empty lines and lines that begin with ``#`` are passed over.

    Raises
    ------
    EmptyInputError : there is no such file.
    InputError : a line is no study; the message names the line.
    """
    try:
        stream = index.open(encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise EmptyInputError(
            f"The index {index.name} cannot be read ({error.strerror}).", "Make one with: klip archive index FOLDER."
        ) from error
    base = index.parent.absolute()
    with stream:
        lines = _table(stream, index) if index.suffix.lower() == ".csv" else _lines(stream, index)
        for number, entry in lines:
            yield number, _absolute(entry, base)


def _lines(stream: IO[str], index: Path) -> Iterator[tuple[int, Entry]]:
    """Entries of lines of JSON or plain paths."""
    number = 0
    while text := stream.readline(LONGEST_LINE):
        number += 1
        text = text.strip("\r\n \t\ufeff")
        if len(text) >= LONGEST_LINE - 4 or "\0" in text:
            raise InputError(f"Line {number} of {index.name} is no study.", FORM)
        if text and not text.startswith("#"):
            yield number, _of_json(text, number, index) if text.startswith("{") else Entry(path=text)


def _of_json(text: str, number: int, index: Path) -> Entry:
    try:
        return _entry(json_object(text))
    except ValueError as error:
        raise InputError(f"Line {number} of {index.name} is no study: {error}.", FORM) from error


def _table(stream: IO[str], index: Path) -> Iterator[tuple[int, Entry]]:
    """Entries of a table with a header."""
    rows = csv.DictReader(stream)
    try:
        if not set(rows.fieldnames or ()) & {"path", "study_uid", "accession"}:
            raise InputError(
                f"The table {index.name} has no column path, study_uid or accession.",
                f"Name the columns in its first line, of: {', '.join(FIELDS)}.",
            )
        for row in rows:
            known = {name: (row.get(name) or "").strip() for name in FIELDS}
            if any(known.values()):
                yield rows.line_num, _entry(known)
    except (csv.Error, ValueError) as error:
        raise InputError(f"Line {rows.line_num} of {index.name} is no study: {error}.", FORM) from error


def _entry(values: dict[str, object]) -> Entry:
    """The entry of some fields; ValueError where they are of the wrong kind or name no study."""
    known = {name: values.get(name, "") for name in FIELDS}
    wrong = [name for name, value in known.items() if not isinstance(value, str) or len(value) > LONGEST_LINE]
    if wrong:
        raise ValueError(f"its {wrong[0]} is no text")
    entry = Entry(**known)  # type: ignore[arg-type]
    if not (entry.path or entry.study_uid or entry.accession):
        raise ValueError("it has neither path nor study_uid nor accession")
    return entry


def _absolute(entry: Entry, base: Path) -> Entry:
    """The entry with its path from the root."""
    if not entry.path or os.path.isabs(entry.path):  # noqa: PTH117  (a million lines: strings are ten times as fast)
        return entry
    return replace(entry, path=os.path.normpath(os.path.join(base, entry.path)))  # noqa: PTH118
