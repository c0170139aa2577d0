"""A hundred mangled inputs for every reader; the command gives two thousand."""

from __future__ import annotations

import mmap
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from KLIPCore.errors import UnreadableFileError
from KLIPCore.lab.fuzz.__main__ import main
from KLIPCore.lab.fuzz.harness import fuzz
from KLIPCore.lab.fuzz.mutate import mangled_bytes, mangled_json
from KLIPCore.lab.fuzz.readers import READERS, Reader
from KLIPCore.lab.fuzz.seeds import SEEDS


@pytest.mark.parametrize("name", READERS)
def test_a_hundred_inputs_are_read_or_refused(name: str) -> None:
    tally = fuzz(READERS[name], 100, seed=1)
    assert tally.findings == []
    assert tally.sound
    assert sum(tally.counts.values()) == 100
    assert tally.counts["read"] > 0, "nothing got past the first look"
    assert tally.counts["refused"] > 10, "nothing was wrong with them"


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("dicom", 206),  # a field whose value is asked for after the pixels were read, and is not there
        ("run", 206),  # a prior without its hash in the record
        ("run", 654),  # a prior's name that no file system takes
    ],
)
def test_what_two_thousand_inputs_found(name: str, start: int) -> None:
    assert fuzz(READERS[name], 1, seed=0, start=start).findings == []


@pytest.mark.parametrize("name", READERS)
def test_sound_inputs_are_read(name: str, tmp_path: Path) -> None:
    for folder in READERS[name].make_seeds(tmp_path):
        READERS[name].read(folder)


def test_every_input_can_be_made_again(tmp_path: Path) -> None:
    made = []
    for attempt in "ab":
        (seed,) = READERS["trace"].make_seeds(tmp_path / attempt)
        READERS["trace"].mangle(np.random.default_rng([7, 3, 0]), seed)
        made.append((seed / "slice.npz").read_bytes())
    assert len(made[0]) == len(made[1])  # zip archives keep the time of day
    rngs = [np.random.default_rng(5), np.random.default_rng(5)]
    assert len({mangled_bytes(rng, b"0123456789" * 9) for rng in rngs}) == 1
    assert len({mangled_json(rng, '{"a": [1, 2], "b": {"c": "d"}}') for rng in rngs}) == 1


def raises(folder: Path) -> None:
    """A reader with a bug."""
    raise KeyError("a bug")


def advises(folder: Path) -> None:
    """A reader that passes on what numpy says."""
    raise UnreadableFileError("Set allow_pickle=True.", "Do so.")


def swells(folder: Path) -> None:
    """A reader that takes 200 MiB for nothing, from the system: freed memory that this process kept is no news."""
    np.frombuffer(mmap.mmap(-1, 200 << 20), np.uint8)[:: mmap.PAGESIZE] = 1


def leaves(folder: Path) -> None:
    """A reader that leaves a file."""
    (folder / "x.part").touch()


def talks(folder: Path) -> None:
    """A reader whose library prints."""
    os.write(1, b"WARNING: In ITK\n")


def dies(folder: Path) -> None:
    """A reader whose library ends the process."""
    os.abort()


def sleeps(folder: Path) -> None:
    """A reader that never comes back."""
    time.sleep(3600)


@pytest.mark.parametrize(
    ("read", "seen"),
    [(raises, "traceback"), (advises, "bad sentence"), (dies, "death"), (leaves, "left"), (talks, "wrote")],
)
def test_the_harness_sees_what_is_wrong(read: object, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEEDS, "bad", SEEDS["trace"])
    tally = fuzz(Reader("bad", lambda rng, folder: None, read), 2)  # type: ignore[arg-type]
    assert not tally.sound
    assert len(tally.findings) == 2
    assert seen in tally.findings[0]


def test_the_harness_ends_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEEDS, "bad", SEEDS["trace"])
    monkeypatch.setattr("KLIPCore.lab.fuzz.harness.HANG_S", 0.3)
    assert fuzz(Reader("bad", lambda rng, folder: None, sleeps), 1).counts["hang"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are known on Linux only")
def test_the_harness_sees_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEEDS, "bad", SEEDS["trace"])

    def read(folder: Path) -> None:
        if (folder / "mangled").exists():
            swells(folder)

    tally = fuzz(Reader("bad", lambda rng, folder: (folder / "mangled").touch(), read), 1)
    assert tally.swollen == 1


def test_the_command_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz", "--reader", "mha", "--n", "5"])
    assert main() == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith("| reader | inputs |")
    assert lines[2].startswith("| mha | 5 |")
