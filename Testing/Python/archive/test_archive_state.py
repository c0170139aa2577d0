"""Index and state: every line is a study or a sentence, and a study has one owner and one outcome."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from KLIPCore.archive.entries import Entry, read_entries
from KLIPCore.archive.importing import duplicates, import_index
from KLIPCore.archive.owner import is_gone, own_name
from KLIPCore.archive.state import DONE, State, journal_mode
from KLIPCore.archive.work import parse_shard
from KLIPCore.errors import ConfigError, EmptyInputError, InputError, OutputError


def index(folder: Path, *lines: str, name: str = "index.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def state(folder: Path, owner: str = "", lease_s: float = 60.0) -> State:
    return State(folder / "state" / "shard.sqlite", owner=owner, lease_s=lease_s)


def test_three_forms_of_an_index(tmp_path: Path) -> None:
    lines = index(tmp_path, "# a comment", "", "ct/one", '{"path": "/two", "series": "4", "study_uid": "1.2"}')
    found = list(read_entries(lines))
    assert found == [(3, Entry(path=str(tmp_path / "ct" / "one"))), (4, Entry("/two", "1.2", "4"))]
    table = index(tmp_path, "accession,path,other", "A1,,x", ",/three,y", name="index.csv")
    assert list(read_entries(table)) == [(2, Entry(accession="A1")), (3, Entry(path="/three"))]


@pytest.mark.parametrize(
    "line", ['{"path": 3}', '{"series": "4"}', '{"path": "x"', "x" * 70_000, "a\0b", '{"path": ' + "[" * 5000]
)
def test_a_line_that_is_no_study_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=r"Line 2 of index\.jsonl"):
        list(read_entries(index(tmp_path, "/one", line)))


def test_an_index_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(EmptyInputError, match="cannot be read"):
        list(read_entries(tmp_path / "nowhere.jsonl"))
    with pytest.raises(InputError, match="no column"):
        list(read_entries(index(tmp_path, "a,b", "1,2", name="t.csv")))
    with pytest.raises(InputError, match="holds no study"):
        import_index(state(tmp_path), index(tmp_path, "# nothing"))


def test_a_study_named_twice_is_one_study(tmp_path: Path) -> None:
    known = state(tmp_path)
    source = index(tmp_path, "/a", '{"path": "/b", "study_uid": "1.2"}', "/a", '{"path": "/copy", "study_uid": "1.2"}')
    import_index(known, source)
    assert (known.counts().open, known.counts().duplicates) == (2, 2)
    assert [(line, first) for line, _, first, _ in duplicates(known)] == [(3, 1), (4, 2)]


def test_an_index_that_has_grown_brings_its_new_lines(tmp_path: Path) -> None:
    known = state(tmp_path)
    import_index(known, index(tmp_path, "/a", "/b"))
    claim = known.claim()
    assert claim is not None
    assert known.record(claim, DONE, 1.0, {}, [])
    import_index(known, index(tmp_path, "/a", "/b", "/c"))
    counts = known.counts()
    assert (counts.open, counts.done, counts.duplicates) == (2, 1, 0)


def test_shards_divide_an_index_without_rest(tmp_path: Path) -> None:
    entries = [Entry(path=f"/study/{n}") for n in range(300)]
    parts = [[entry for entry in entries if entry.in_shard((i, 7))] for i in range(1, 8)]
    assert sum(map(len, parts)) == 300
    assert {entry.path for part in parts for entry in part} == {entry.path for entry in entries}
    assert min(map(len, parts)) > 20
    assert parse_shard("3/20") == (3, 20)
    for wrong in ("0/2", "3/2", "a/b", "3", "-1/2", "1/²"):
        with pytest.raises(ConfigError):
            parse_shard(wrong)


def test_two_workers_never_hold_one_study(tmp_path: Path) -> None:
    one, other = state(tmp_path, "elsewhere|1|1.0"), state(tmp_path, "elsewhere|2|1.0")
    import_index(one, index(tmp_path, "/a", "/b"))
    first, second = one.claim(), other.claim()
    assert first is not None
    assert second is not None
    assert first.entry.path != second.entry.path
    assert one.claim() is None
    assert one.renew(first)
    assert not other.renew(first)


def test_whoever_is_silent_loses_the_study_and_may_not_record_it(tmp_path: Path) -> None:
    slow, other = state(tmp_path, "elsewhere|1|1.0", lease_s=0.05), state(tmp_path, "elsewhere|2|1.0")
    import_index(slow, index(tmp_path, "/a"))
    lost = slow.claim()
    assert lost is not None
    time.sleep(0.1)
    taken = other.claim()
    assert taken is not None
    assert taken.tries == 2
    assert not slow.renew(lost)
    assert not slow.record(lost, DONE, 1.0, {"regions": 1}, [{"label": 1}])
    assert other.record(taken, DONE, 1.0, {"regions": 0}, [])
    assert not other.record(taken, DONE, 1.0, {}, [])
    assert other.base.execute("SELECT COUNT(*) FROM region").fetchone() == (0,)
    assert other.next_free() is None


def test_a_dead_owner_of_this_computer_is_seen_at_once(tmp_path: Path) -> None:
    """A process claims, for an hour, and ends without a word."""
    here = state(tmp_path)
    import_index(here, index(tmp_path, "/a"))
    assert not is_gone(own_name())
    assert not is_gone("another computer|1|1.0")
    assert not is_gone("damaged")
    code = (
        "import os, sys; from pathlib import Path; from KLIPCore.archive.state import State; "
        f"print(State(Path({str(here.path)!r}), lease_s=3600).claim().entry.path); sys.stdout.flush(); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "/a\n", done.stderr
    taken = here.claim()
    assert taken is not None
    assert taken.tries == 2


def test_a_study_given_back_waits(tmp_path: Path) -> None:
    known = state(tmp_path)
    import_index(known, index(tmp_path, "/a"))
    claim = known.claim()
    assert claim is not None
    assert known.put_back(claim, 30.0, uncounted=True)
    assert known.claim() is None
    wait = known.next_free()
    assert wait is not None
    assert 20 < wait <= 30


def test_a_damaged_state_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(OutputError, match="cannot be used"):
        State(path)


def test_the_journal_suits_the_file_system(tmp_path: Path) -> None:
    assert journal_mode(tmp_path / "s.sqlite") in ("WAL", "DELETE")


def test_a_hundred_thousand_lines_in_little_memory(tmp_path: Path) -> None:
    """Reopened and reported in seconds; `python -m KLIPCore.lab.bench.archive_index` takes a million."""
    source = tmp_path / "index.jsonl"
    with source.open("w", encoding="utf-8") as stream:
        stream.writelines(f'{{"path": "/archive/{n:06d}/ct", "study_uid": "1.2.{n}"}}\n' for n in range(100_000))
    import_index(state(tmp_path), source)
    tracemalloc.start()
    began = time.process_time()
    again = state(tmp_path)
    import_index(again, source)
    assert again.counts().open == 100_000
    assert again.claim() is not None
    assert time.process_time() - began < 2.0
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
