"""Folders → an index: which studies lie there, and which CT series of each is to be examined.

Only headers are read, a folder at a time; what is known of a million series lies in a temporary SQLite file, not in
memory. A study whose series lie in several folders is one study.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from KLIPCore.archive.entries import Entry
from KLIPCore.errors import EmptyInputError, InputError
from KLIPCore.export.files import written
from KLIPCore.io.fields import read_header, text
from KLIPCore.io.listing import VOLUMES, SeriesInfo, list_series

LEAST_SLICES = 4
"""Images of a CT series that is worth an examination; fewer are localizers, bolus tracking and the like."""


@dataclass
class Indexed:
    """What was found below some folders.

    Attributes
    ----------
    studies : lines written.
    series : CT series among them and left out.
    folders : folders looked into.
    damaged : folders with a file that cannot be read; they have a line, and fail with their reason when examined.
    without_ct : studies without a CT series of enough images, which have no line.
    """

    studies: int = 0
    series: int = 0
    folders: int = 0
    damaged: int = 0
    without_ct: int = 0

    def sentence(self) -> str:
        """Return the numbers for a person."""
        rest = [f"{self.without_ct} without CT were left out"] if self.without_ct else []
        rest += [f"{self.damaged} folders hold files that cannot be read"] if self.damaged else []
        return "; ".join([f"{self.studies} studies in {self.folders} folders", *rest]) + "."


@dataclass(frozen=True)
class Choice:
    """What becomes a line.

    Attributes
    ----------
    every : whether each CT series of a study becomes one; else the one with the most images.
    least : images that a series has at least.
    known : whether scanner and date are read from the headers, for the drift chart.
    """

    every: bool = False
    least: int = LEAST_SLICES
    known: bool = False


def write_index(folders: Iterable[Path], out: Path, choice: Choice | None = None) -> Indexed:
    """Write the index of all studies below some folders, whole or not at all.

    Parameters
    ----------
    folders : where to look; a file (NIfTI, NRRD, MHA) is a study, too.
    out : the index, lines of JSON.
    choice : which series become lines.

    Raises
    ------
    EmptyInputError : a folder is not there, or no study is in any.
    OutputError : the index cannot be written.
    """
    choice, found = choice or Choice(), Indexed()
    with tempfile.TemporaryDirectory() as scratch:
        base = sqlite3.connect(Path(scratch) / "series.sqlite", isolation_level=None)
        try:
            base.execute("CREATE TABLE series (study, series, path, images, instances, scanner, date, note)")
            base.execute("BEGIN")
            for folder in folders:
                for row in _look(Path(folder), choice, found):
                    base.execute("INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            base.execute("COMMIT")
            with written(out) as part, part.open("w", encoding="utf-8", errors="surrogateescape") as stream:
                for entry in _entries(base, choice, found):
                    stream.write(entry.line() + "\n")
                    found.studies += 1
                if not found.studies:
                    raise EmptyInputError("No CT study was found there.", "Give folders with DICOM CT or NIfTI files.")
        finally:
            base.close()
    return found


class Row(NamedTuple):
    """A series in one folder, or a file.

    Attributes
    ----------
    study : StudyInstanceUID; empty where there is none.
    series : what chooses it.
    path : folder or file.
    images : so many; 0 where it is of no use, -1 where that is not known.
    instances : hash of its instances, by which a copy is told from a part.
    scanner, date : where they were asked for.
    note : for the index.
    """

    study: str
    series: str
    path: str
    images: int = -1
    instances: str = ""
    scanner: str = ""
    date: str = ""
    note: str = ""


def _look(folder: Path, choice: Choice, found: Indexed) -> Iterator[Row]:
    """Series and volume files below a folder."""
    if not folder.exists():
        raise EmptyInputError(f"There is no folder {folder}.", "Check the path.")
    if folder.is_file():
        yield Row("", "", str(folder.absolute()))
        return
    for place, below, names in os.walk(folder.absolute(), onerror=_refuse):
        below[:] = sorted(name for name in below if not name.startswith("."))
        names = sorted(name for name in names if not name.startswith("."))
        volumes = [name for name in names if name.lower().endswith(VOLUMES)]
        yield from (Row("", "", str(Path(place, name))) for name in volumes)
        if len(volumes) < len(names):
            found.folders += 1
            yield from _series(Path(place), choice, found)
        elif volumes:
            found.folders += 1


def _refuse(error: OSError) -> None:
    raise InputError(
        f"The folder {error.filename} cannot be read ({error.strerror}).", "Check its permissions; or leave it out."
    ) from error


def _series(place: Path, choice: Choice, found: Indexed) -> Iterator[Row]:
    """CT series whose files lie in a folder itself."""
    try:
        infos = list_series(place, below=False)
    except EmptyInputError:
        return
    except InputError:  # the examination will say which file, and why
        found.damaged += 1
        yield Row("", "", str(place))
        return
    for info in infos:
        usable = info.is_ct and info.n_images >= choice.least
        scanner, date = _known(info) if usable and choice.known else ("", "")
        yield Row(
            info.study_uid, info.choice, str(place), info.n_images if usable else 0, _instances(info), scanner, date
        )


def _instances(info: SeriesInfo) -> str:
    """A hash of the instances of a series, whatever their order."""
    uids = sorted(text(header, "SOPInstanceUID") for header in info.headers)
    return hashlib.sha256("\n".join(uids).encode()).hexdigest()[:32]


def _known(info: SeriesInfo) -> tuple[str, str]:
    """Scanner and date of a series, from its first file."""
    tags = ("Manufacturer", "ManufacturerModelName", "StationName", "StudyDate", "SeriesDate")
    header = read_header(info.files[0], tags)
    if header is None:
        return "", ""
    scanner = " ".join(part for name in tags[:3] if (part := text(header, name)))
    day = text(header, "SeriesDate") or text(header, "StudyDate")
    return scanner, f"{day[:4]}-{day[4:6]}-{day[6:8]}" if len(day) == 8 and day.isdigit() else ""


def _entries(base: sqlite3.Connection, choice: Choice, found: Indexed) -> Iterator[Entry]:
    """A line for each study, or for each series: by path, so that neighbours stay together."""
    alone = "SELECT path FROM series WHERE study = '' AND images < 0 ORDER BY path"
    yield from (Entry(path=path) for (path,) in base.execute(alone))
    base.execute("CREATE INDEX by_study ON series (study, images DESC, series, path)")
    rows = base.execute("SELECT * FROM series WHERE images >= 0 ORDER BY study, images DESC, series, path")
    for study, group in groupby(rows, key=itemgetter(0)):
        usable = _merged(row for row in map(Row._make, group) if row.images > 0)
        if not usable:
            found.without_ct += 1
            continue
        found.series += len(usable)
        taken = usable if choice.every or not study else usable[:1]
        left = len(usable) - len(taken)
        for row in taken:
            note = [row.note] if row.note else []
            note += [f"{left} other CT series of this study are left out"] if left else []
            yield Entry(row.path, study, row.series, "", row.scanner, row.date, "; ".join(note))


def _merged(rows: Iterable[Row]) -> list[Row]:
    """Series of one study, most images first: of a copy one is kept, parts in neighbouring folders are joined."""
    known: dict[str, Row] = {}
    for row in rows:
        name = row.series or row.path
        known[name] = _joined(known[name], row) if name in known else row
    return sorted(known.values(), key=lambda row: -row.images)


def _joined(first: Row, other: Row) -> Row:
    """Two finds of one series."""
    if first.instances == other.instances:
        return first._replace(note="a copy of it lies elsewhere")
    common = os.path.commonpath([first.path, other.path])
    if common in (first.path, other.path, os.path.dirname(first.path)):  # noqa: PTH120
        return first._replace(path=common, images=first.images + other.images)
    return first._replace(note="part of this series lies elsewhere and is left out")
