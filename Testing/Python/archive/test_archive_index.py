"""Folders → an index: one line a study, the right series, and nothing lost without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pydicom
import pytest
from small_study import small_study

from KLIPCore.archive.indexing import Choice, write_index
from KLIPCore.errors import EmptyInputError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import write_image


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def change(folder: Path, **fields: str) -> None:
    """Set header fields of all files of a folder."""
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        for name, value in fields.items():
            setattr(data, name, value)
        data.save_as(file)


def test_two_studies_a_volume_and_what_is_none(tmp_path: Path) -> None:
    write_dicom_series(small_study(5), tmp_path / "a" / "s1", seed=1)
    write_dicom_series(small_study(6), tmp_path / "a" / "s2", seed=2)
    one = pydicom.dcmread(next((tmp_path / "a" / "s1").iterdir()))
    change(tmp_path / "a" / "s2", StudyInstanceUID=one.StudyInstanceUID)
    write_dicom_series(small_study(4), tmp_path / "b", seed=3)
    change(tmp_path / "b", StudyDate="20260203", StationName="CT1")
    write_dicom_series(small_study(2), tmp_path / "few", seed=4)
    write_image(small_study(2), tmp_path / "c.nrrd")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.me").write_text("no study", encoding="utf-8")
    out = tmp_path / "index.jsonl"
    found = write_index([tmp_path], out, Choice(known=True))
    assert (found.studies, found.series, found.without_ct, found.damaged) == (3, 3, 1, 0)
    by_path = {Path(line["path"]).name: line for line in lines(out)}
    assert set(by_path) == {"c.nrrd", "s2", "b"}
    assert by_path["s2"]["note"] == "1 other CT series of this study are left out"
    assert by_path["b"]["date"] == "2026-02-03"
    assert by_path["b"]["scanner"].endswith("CT1")
    assert write_index([tmp_path / "a"], out, Choice(every=True)).studies == 2
    assert "scanner" not in lines(out)[0]


def test_copies_and_parts_of_a_series(tmp_path: Path) -> None:
    write_dicom_series(small_study(8), tmp_path / "x" / "1", seed=1)
    (tmp_path / "x" / "2").mkdir()
    for file in sorted((tmp_path / "x" / "1").iterdir())[5:]:
        file.rename(tmp_path / "x" / "2" / file.name)
    out = tmp_path / "index.jsonl"
    write_index([tmp_path / "x"], out, Choice(least=2))
    (line,) = lines(out)
    assert line["path"] == str(tmp_path / "x")
    shutil.copytree(tmp_path / "x" / "1", tmp_path / "y" / "1")
    shutil.copytree(tmp_path / "x" / "1", tmp_path / "y" / "far" / "copy")
    write_index([tmp_path / "y"], out)
    (line,) = lines(out)
    assert "copy" in line["note"]


def test_a_damaged_file_leaves_a_line_that_will_fail_with_its_reason(tmp_path: Path) -> None:
    write_dicom_series(small_study(4), tmp_path / "a", seed=1)
    next((tmp_path / "a").iterdir()).write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    found = write_index([tmp_path], tmp_path / "index.jsonl")
    assert (found.studies, found.damaged) == (1, 1)


def test_nothing_there(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(EmptyInputError):
            write_index([folder], tmp_path / "index.jsonl")
    assert not (tmp_path / "index.jsonl").exists()
