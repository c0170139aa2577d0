"""An archive whose workers are killed: ``python -m KLIPCore.lab.bench.archive_kills --studies 200 --every 20``.

Small simulated studies go through ``klip archive run`` twice:

- undisturbed, one study at a time, for what the bookkeeping costs, *beside* a plain loop of the same commands: what a
  command takes of the processor varies with the load by more than the bookkeeping is, and so both have the same load.
  Each process notes at its end what it took itself: that of the run and its worker is the bookkeeping, that of the
  commands is not, and is compared with that of the loop's;
- with two workers, of which one is killed with signal 9 every few seconds, and the run itself now and then, which is
  then started again. Each study must have one outcome: the verdict of the guard in this process, undisturbed.

Linux only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from KLIPCore.archive.entries import read_entries
from KLIPCore.archive.jobs import steps_of
from KLIPCore.archive.plan import ArchiveFolder, Plan
from KLIPCore.config import Config
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.runs.guard import klip_guard
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

KLIP = (sys.executable, "-m", "KLIPCore.cli")
RUNNER_EVERY = 4
"""Of so many kills one is the run's own."""
VARIABLE = ("seconds",)
"""What differs between two verdicts on one study."""


@dataclass(frozen=True)
class Spent:
    """What a run took.

    Attributes
    ----------
    wall_s, cpu_s : by the clock, and of the processor by all its processes.
    bookkeeping_s : of the processor, by the run and its workers without the commands.
    commands_s : of the processor, by each command.
    """

    wall_s: float
    cpu_s: float
    bookkeeping_s: float
    commands_s: tuple[float, ...]

    @property
    def each(self) -> tuple[float, float]:
        """What a command took on average, and the standard error of that."""
        return statistics.mean(self.commands_s), statistics.stdev(self.commands_s) / len(self.commands_s) ** 0.5


NOTING = """import atexit, os, resource, sys

def note():
    used = resource.getrusage(resource.RUSAGE_SELF)
    kind = "bookkeeping" if "archive" in " ".join(sys.orig_argv) and "guard" not in sys.orig_argv[3:4] else "command"
    with open({path!r}, "a") as stream:
        stream.write(f"{{kind}} {{used.ru_utime + used.ru_stime}}\\n")

atexit.register(note)
"""
"""What every Python process of a run begins with: ``sitecustomize``."""


def small_study(seed: int, slices: int = 14) -> Volume:
    """Return an ellipse of soft tissue in air, with a spine and noise; 5 × 4 × 4 mm."""
    rows, columns = np.mgrid[:96, :96] - 47.5
    image = np.where((rows / 27) ** 2 + (columns / 38) ** 2 < 1, 60.0, -1000.0)
    image[(rows - 16) ** 2 + columns**2 < 30] = 300.0
    noise = np.random.default_rng(seed).normal(0, 8, (slices, *image.shape))
    affine = np.array([[0, 0, 4.0, -190], [0, 4.0, 0, -190], [5.0, 0, 0, 0], [0, 0, 0, 1]])
    return Volume(np.rint(image + np.where(image > -900, noise, 0)).astype(np.float32), Grid(noise.shape, affine))


def make_studies(folder: Path, count: int, seed: int, slices: int = 14) -> None:
    """Write simulated studies as DICOM, a folder each."""
    for number in range(count):
        study = small_study(seed + number, slices)
        write_dicom_series(study, folder / f"{number:04d}", seed=seed + number + 1)


def side_by_side(studies: int, loop: list[str], run: list[str], folder: Path) -> tuple[Spent, Spent]:
    """Run a plain loop and ``klip archive run`` at the same time, each by itself, and return what each took.

    Parameters
    ----------
    studies : that both examine; fewer commands than that are an error.
    loop, run : the two commands.
    folder : for notes.
    """
    began = time.monotonic()
    working = {}
    for name, command in (("loop", loop), ("run", run)):
        working[name] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=_noting(folder / name)
        )
    found = {}
    for _ in working:
        number, status, used = os.wait3(0)
        name = next(name for name, process in working.items() if process.pid == number)
        working[name].returncode = os.waitstatus_to_exitcode(status)
        notes = [line.split() for line in (folder / name / "notes").read_text(encoding="utf-8").splitlines()]
        took = {kind: [float(s) for other, s in notes if other == kind] for kind in ("bookkeeping", "command")}
        if status or len(took["command"]) != studies:
            raise RuntimeError(f"The {name} ended with status {status} after {len(took['command'])} commands.")
        wall, cpu = time.monotonic() - began, used.ru_utime + used.ru_stime
        found[name] = Spent(wall, cpu, sum(took["bookkeeping"]), tuple(took["command"]))
    return found["loop"], found["run"]


def _noting(folder: Path) -> dict[str, str]:
    """Environment in which each Python process notes what it took, in ``notes`` in this folder."""
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(NOTING.format(path=str(folder / "notes")), encoding="utf-8")
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": paths}


def plain_loop(index: Path, folder: Path) -> list[str]:
    """Return a shell's loop over the commands that ``klip archive run`` runs, one after the other."""
    plan, of = Plan(job="guard"), ArchiveFolder(folder)
    steps = [steps_of(entry, of, plan)[0] for _, entry in read_entries(index)]
    lines = [f"{shlex.join(step.command)} > {number}.json 2> {number}.log" for number, step in enumerate(steps)]
    folder.mkdir()
    return ["/bin/sh", "-c", "\n".join([f"cd {shlex.quote(str(folder))}", *lines, "exit 0"])]


def killed_run(command: list[str], every_s: float, draw: random.Random) -> tuple[int, int, float]:
    """Run a command to its end while its workers are killed; return kills of workers, of the run, and seconds."""
    began, workers, runs = time.monotonic(), 0, 0
    run = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while run.poll() is None:
        try:
            run.wait(every_s * draw.uniform(0.5, 1.5))
        except psutil.TimeoutExpired:
            if (workers + runs) % RUNNER_EVERY == RUNNER_EVERY - 1:
                run.kill()
                run.wait()
                runs += 1
                run = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                continue
            found = [child for child in run.children() if "KLIPCore.archive.work" in " ".join(child.cmdline())]
            if found:
                draw.choice(found).kill()
                workers += 1
    if run.returncode != 0:
        raise RuntimeError(f"The run ended with {run.returncode}.")
    return workers, runs, time.monotonic() - began


def undisturbed(index: Path) -> dict[str, str]:
    """Return the guard's verdict on each path of an index."""
    found = {
        entry.path: klip_guard(entry.path, Config().prior, series=entry.series) for _, entry in read_entries(index)
    }
    return {path: _comparable(json.loads(json.dumps(verdict.to_dict()))) for path, verdict in found.items()}


def _comparable(verdict: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in verdict.items() if name not in VARIABLE}, sort_keys=True)


def outcomes(out: Path) -> tuple[Counter[str], dict[str, str], int]:
    """Return how often each path is in the table, the guard's verdict on each, and how often studies were begun."""
    with (out / "verdicts.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    verdicts = {}
    for row in rows:
        verdict = out / "studies" / row["study"][:2] / f"{row['study']}.guard.json"
        verdicts[row["path"]] = _comparable(json.loads(verdict.read_bytes()))
    times = Counter(row["path"] for row in rows if row["status"] == "done")
    return times, verdicts, sum(int(row["tries"]) for row in rows)


def main() -> int:
    """Make studies, run, kill, compare; 0 where every study has one outcome and it is the undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--slices", type=int, default=14, help="of each study")
    parser.add_argument("--every", type=float, default=20.0, help="seconds between kills, on average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-kills", action="store_true", help="measure the overhead alone")
    parser.add_argument("--no-overhead", action="store_true", help="kill workers alone")
    parser.add_argument("--make", type=Path, help="write the studies into this folder, and nothing else")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.make:
        make_studies(given.make, given.studies, given.seed, given.slices)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_studies(folder / "ct", given.studies, given.seed, given.slices)
        index = folder / "index.jsonl"
        subprocess.run([*KLIP, "archive", "index", str(folder / "ct"), "-o", str(index)], check=True)
        run = [*KLIP, "archive", "run", str(index), "--job", "guard", "--progress", "none"]
        if not given.no_overhead:
            alone, loop = [*run, "-o", str(folder / "alone")], plain_loop(index, folder / "loop")
            tell_overhead(*side_by_side(given.studies, loop, alone, folder / "noting"))
        if given.no_kills:
            return 0
        run += ["-o", str(folder / "killed"), "--studies", "2"]
        killed = killed_run(run, given.every, random.Random(given.seed))
        return tell_killed(killed, undisturbed(index), *outcomes(folder / "killed"))


def tell_overhead(loop: Spent, alone: Spent) -> None:
    """Print what a run costs over a plain loop."""
    own, extra = alone.bookkeeping_s, 100 * (alone.cpu_s / loop.cpu_s - 1)
    each = "{:.3f} ± {:.3f} s and {:.3f} ± {:.3f} s".format(*loop.each, *alone.each)
    print("| what | figure |\n| --- | --- |")
    print(f"| studies | {len(loop.commands_s)} |")
    print(f"| plain loop | {loop.cpu_s:.1f} s of the processor, {loop.wall_s:.0f} s |")
    print(
        f"| klip archive run beside it, one at a time | {alone.cpu_s:.1f} s of the processor, {alone.wall_s:.0f} s |"
    )
    print(f"| overhead: the difference of the two | {extra:+.1f} % |")
    print(f"| bookkeeping alone: the run and its worker | {own:.2f} s, {100 * own / sum(alone.commands_s):.1f} % |")
    print(f"| a command, in the loop and in the run | {each} |", flush=True)


def tell_killed(
    killed: tuple[int, int, float], expected: dict[str, str], times: Counter[str], verdicts: dict[str, str], tries: int
) -> int:
    """Print what came of the kills; 0 where nothing is amiss."""
    once = sum(times[path] == 1 for path in expected)
    same = sum(verdicts.get(path) == verdict for path, verdict in expected.items())
    print("| what | figure |\n| --- | --- |")
    print(f"| two workers, kills of workers and of the run | {killed[0]} and {killed[1]}, {killed[2]:.0f} s |")
    print(f"| studies with exactly one outcome | {once} of {len(expected)} |")
    print(f"| outcomes equal to the undisturbed ones | {same} of {len(expected)} |")
    print(f"| times that a study was begun | {tries} |")
    return 0 if once == same == len(expected) == len(times) else 1


if __name__ == "__main__":
    sys.exit(main())
