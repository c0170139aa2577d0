"""The page of an archive: whatever a path or a message holds is text on it, and nothing else runs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from KLIPCore.archive.entries import Entry
from KLIPCore.archive.importing import import_index
from KLIPCore.archive.jobs import Failure
from KLIPCore.archive.outcome import failure_cells
from KLIPCore.archive.overview import Overview
from KLIPCore.archive.plan import ArchiveFolder, Plan
from KLIPCore.archive.state import DONE, FAILED, State
from KLIPCore.archive.tables import csv_table, verdict_rows

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>"


@pytest.fixture
def folder(tmp_path: Path) -> ArchiveFolder:
    """Three studies with outcomes, one of them of a hostile name, and one without."""
    made = ArchiveFolder(tmp_path / "out")
    made.open(Plan())
    index = tmp_path / "index.jsonl"
    paths = ("/a", "/b", "/" + HOSTILE, "/rest")
    index.write_text("".join(Entry(path=path).line() + "\n" for path in paths), encoding="utf-8")
    state = State(made.state((1, 1)))
    import_index(state, index)
    for expected, status in ((0.5, DONE), (0.01, DONE), (None, FAILED)):
        claim = state.claim()
        assert claim is not None
        cells = {"expected": expected, "regions": 1, "message": HOSTILE, "finding": "regions"}
        assert state.record(claim, status, 1.0, cells, [])
    state.close()
    return made


def written(folder: ArchiveFolder) -> str:
    """The page of an archive."""
    overview = Overview()
    for row in verdict_rows(folder):
        overview.add(row)
    return overview.write(folder).read_text(encoding="utf-8")


def test_no_more_rows_are_held_than_are_shown(folder: ArchiveFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("KLIPCore.archive.overview.MOST_ROWS", 2)
    page = written(folder)
    rows = json.loads(re.search(r'id="rows">(.*?)</script>', page, re.DOTALL)[1])[1]  # type: ignore[index]
    assert [row[0] for row in rows] == [3, 2]
    assert "2 of 4 are shown here" in page


def test_texts_from_outside_stay_texts(folder: ArchiveFolder) -> None:
    page = written(folder)
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    data = json.loads(re.search(r'type="application/json" id="rows">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    columns, rows = data
    assert [row[columns.index("path")] for row in rows] == ["/" + HOSTILE, "/b", "/a", "/rest"]
    report = rows[1][columns.index("report")]
    assert re.fullmatch(r"studies/[0-9a-f]{2}/[0-9a-f]{20}/report\.html", report)


def test_only_its_own_script_may_run(folder: ArchiveFolder) -> None:
    page = written(folder)
    script = page.rsplit("<script>", 1)[1].split("</script>")[0]
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert f"script-src 'sha256-{own}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "<!--" not in page.replace(json.dumps(HOSTILE), "")


def test_a_table_holds_no_formula(folder: ArchiveFolder, tmp_path: Path) -> None:
    rows = [row | {"path": "=1+1"} for row in verdict_rows(folder)]
    with csv_table(tmp_path / "t.csv", ("line", "path")) as put:
        for row in rows:
            put(row)
    text = (tmp_path / "t.csv").read_text(encoding="utf-8-sig")
    assert text.splitlines() == ["line,path", "1,'=1+1", "2,'=1+1", "3,'=1+1", "4,'=1+1"]


def test_a_sentence_is_one_line_of_a_table() -> None:
    guard = {"verdict": "does not fit", "reasons": [{"sentence": "Only MR:\n  #1 number 1\n"}, {"sentence": "Stop."}]}
    cells = failure_cells(Failure("NotCTError", "Only MR:\n  #1 number 1", "Give\tCT.", 4), guard)
    assert cells["reasons"] == "Only MR: #1 number 1 Stop."
    assert (cells["message"], cells["remedy"]) == ("Only MR: #1 number 1", "Give CT.")
