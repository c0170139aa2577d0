"""Give one reader many mangled inputs, and count: each input in a child process that can hang, die or swell
without harm.

Linux and macOS (it forks); peaks of memory are known on Linux only. A child reads inputs one after another and
says of each how it ended; the parent kills one that is silent for longer than :data:`HANG_S`, and goes on
behind the input that did it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore.errors import KlipError
from KLIPCore.lab.fuzz.readers import Reader

HANG_S = 10.0
SLACK_BYTES = 16 << 20
"""Of memory that an allocator may keep beyond what was asked for; twice the honest need is counted from there."""
ROOM_BYTES = 6 << 30
"""What a child may take at most beyond what it has: a bomb ends in an error, not in the computer."""
INPUTS_A_CHILD = 200
LONGEST_MESSAGE = 1500
ADVICE = ("allow_pickle", "weights_only", "pickle", "unsafe_load", "Traceback")
"""Words that no sentence to a user holds."""

OUTCOMES = ("read", "refused", "traceback", "bad sentence", "hang", "death")


@dataclass
class Tally:
    """What became of a reader's inputs.

    Attributes
    ----------
    counts : by :data:`OUTCOMES`.
    swollen, leftovers, chatter : inputs that took more than twice their honest need, left a file, or made a
        library write to the screen.
    findings : one line for each input that is not as it should be.
    slowest_s, largest_bytes : of all inputs.
    """

    counts: Counter[str] = field(default_factory=Counter)
    swollen: int = 0
    leftovers: int = 0
    chatter: int = 0
    findings: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    largest_bytes: int = 0

    @property
    def sound(self) -> bool:
        """Whether every input was read or refused in a sentence, in time and in its memory, and left nothing."""
        return not (self.swollen or self.leftovers or self.chatter or any(self.counts[name] for name in OUTCOMES[2:]))

    def add(self, place: int, said: dict[str, Any], honest: int) -> None:
        """Count one input."""
        outcome, problems = said["outcome"], []
        self.counts[outcome] += 1
        self.slowest_s = max(self.slowest_s, said["seconds"])
        self.largest_bytes = max(self.largest_bytes, said["peak"])
        if said["peak"] > 2 * (honest + said["bytes"] + said["made"]) + SLACK_BYTES:
            self.swollen += 1
            problems.append(f"{said['peak'] >> 20} MiB")
        if said["left"]:
            self.leftovers += 1
            problems.append(f"left {said['left'][:3]}")
        if said["chatter"]:
            self.chatter += 1
            problems.append(f"wrote {said['chatter'][:200]!r}")
        if outcome not in ("read", "refused"):
            problems.append(f"{outcome}: {said['text']}")
        if problems:
            self.findings.append(f"input {place}: " + "; ".join(problems))


def fuzz(reader: Reader, n: int, seed: int = 0, start: int = 0) -> Tally:
    """Give a reader ``n`` mangled inputs.

    Parameters
    ----------
    reader : one of :data:`KLIPCore.lab.fuzz.readers.READERS`.
    n : how many.
    seed : with an input's number it decides how it is mangled.
    start : number of the first.
    """
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="klip-fuzz-") as name:
        folder = Path(name)
        seeds = reader.make_seeds(folder / "seeds")
        bench = _Bench(reader, seeds, folder, seed)
        honest = max((said["peak"] for said in bench.run([-1 - k for k in range(len(seeds))]).values()), default=0)
        left = list(range(start, start + n))
        while left:
            answers = bench.run(left[:INPUTS_A_CHILD])
            for place, said in answers.items():
                tally.add(place, said, honest)
            left = left[len(answers) :]
    return tally


@dataclass(frozen=True)
class _Bench:
    """Where inputs are made and read."""

    reader: Reader
    seeds: list[Path]
    folder: Path
    seed: int

    def run(self, places: list[int]) -> dict[int, dict[str, Any]]:
        """Read inputs in a child until all are read, or one hangs or kills it; negative numbers are sound seeds."""
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(out)
            self._work(places, into)
        os.close(into)
        answers: dict[int, dict[str, Any]] = {}
        with os.fdopen(out, "rb", buffering=0) as stream:  # select must see every line
            while len(answers) < len(places):
                ready, _, _ = select.select([stream], [], [], HANG_S)
                line = stream.readline() if ready else b""
                if not line:
                    os.kill(child, signal.SIGKILL) if not ready else None
                    status = os.waitpid(child, 0)[1]
                    text = (
                        f"ended by signal {os.WTERMSIG(status)}"
                        if os.WIFSIGNALED(status)
                        else _last_words(self.folder)
                    )
                    text = text if ready else f"silent for {HANG_S:g} s"
                    lost = {
                        "outcome": "death" if ready else "hang",
                        "seconds": HANG_S if not ready else 0.0,
                        "text": text,
                    }
                    answers[places[len(answers)]] = lost | {
                        "peak": 0,
                        "bytes": 0,
                        "made": 0,
                        "left": [],
                        "chatter": "",
                    }
                    return answers
                answers[places[len(answers)]] = json.loads(line)
        os.waitpid(child, 0)
        return answers

    def _work(self, places: list[int], into: int) -> None:
        """The child: never returns."""
        try:
            work = self.folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            (work / "tmp").mkdir(parents=True)
            os.chdir(work)
            tempfile.tempdir = str(work / "tmp")
            os.environ["TMPDIR"] = str(work / "tmp")
            screen = os.open(work.parent / "screen", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(screen, 1)
            os.dup2(screen, 2)
            _limit_memory()
            for place in places:
                os.write(into, json.dumps(self._one(place, work, screen)).encode() + b"\n")
            os._exit(0)
        except BaseException:  # ours: told where a person sees it, and counted as a death
            (self.folder / "harness").write_text(traceback.format_exc(), encoding="utf-8")
            os._exit(70)

    def _one(self, place: int, work: Path, screen: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, abs(place), int(place < 0)])
        case = work / "case"
        shutil.copytree(self.seeds[-1 - place if place < 0 else place % len(self.seeds)], case)
        if place >= 0:
            self.reader.mangle(rng, case)
        before = _files(work)
        size = sum(file.stat().st_size for file in case.rglob("*") if file.is_file() and not file.is_symlink())
        written, base, began = os.fstat(screen).st_size, _reset_peak(), time.monotonic()
        outcome, text, made = _read(self.reader, case)
        said: dict[str, Any] = {"outcome": outcome, "text": text, "bytes": size, "made": made}
        said |= {"seconds": round(time.monotonic() - began, 3), "peak": max(_peak() - base, 0)}
        sys.stdout.flush()
        sys.stderr.flush()
        allowed = {str(case.relative_to(work) / name) for name in self.reader.writes}
        said["left"] = sorted(_files(work) - before - allowed)
        said["chatter"] = os.pread(screen, 300, written).decode("utf-8", "replace")
        shutil.rmtree(case, ignore_errors=True)
        for extra in said["left"]:
            shutil.rmtree(work / extra, ignore_errors=True)
            (work / extra).unlink(missing_ok=True)
        return said


def _read(reader: Reader, case: Path) -> tuple[str, str, int]:
    """How reading ended, in words, and how many bytes it made."""
    try:
        made = reader.read(case)
    except KlipError as error:
        fine = (
            error.message
            and error.remedy
            and len(str(error)) < LONGEST_MESSAGE
            and not any(word in str(error) for word in ADVICE)
        )
        return ("refused" if fine else "bad sentence"), f"{type(error).__name__}: {str(error)[:300]}", 0
    except BaseException as error:
        frames = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if "KLIPCore" in f.filename and "fuzz" not in f.filename
        ]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        return "traceback", f"{type(error).__name__} at {where}: {str(error)[:200]}", 0
    if isinstance(made, np.ndarray):
        return "read", "", int(made.nbytes)
    return "read", "", made if isinstance(made, int) else 0


def _last_words(folder: Path) -> str:
    file = folder / "harness"
    return " ".join(file.read_text(encoding="utf-8").split())[-300:] if file.is_file() else "ended"


def _files(folder: Path) -> set[str]:
    return {
        str(Path(at, name).relative_to(folder))
        for at, folders, files in os.walk(folder)
        for name in (*folders, *files)
    }


def _limit_memory() -> None:
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM_BYTES,) * 2)


def _reset_peak() -> int:
    """Start counting the largest memory anew, from what is held now; 0 where nobody counts."""
    if sys.platform != "linux":
        return 0
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    if sys.platform != "linux":
        return 0
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10
