"""An archive whose workers are killed: ``python -m KLIPCore.lab.bench.archive_kills --studies 200 --every 20``.

Small simulated studies go through ``klip archive run`` twice, and through a plain loop of the same commands:

- undisturbed, one study at a time, for what the bookkeeping costs. Each process notes at its end what it took of the
  processor itself: that of the run and its worker is the bookkeeping, that of the commands is not. Totals are told,
  too; on a busy computer a command's own time varies by more than the bookkeeping takes;
- with two workers, of which one is killed with signal 9 every few seconds, and the run itself now and then, which is
  then started again. Each study must have one outcome, the one of the undisturbed run. Linux only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from KLIPCore.io.dicom_series import write_dicom_series
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
    """

    wall_s: float
    cpu_s: float
    bookkeeping_s: float = 0.0


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


def make_studies(folder: Path, count: int, seed: int) -> list[Path]:
    """Write simulated studies as DICOM, a folder each."""
    studies = [folder / f"{number:04d}" for number in range(count)]
    for number, study in enumerate(studies):
        write_dicom_series(small_study(seed + number), study, seed=seed + number + 1)
    return studies


def spent_by(command: list[str], folder: Path) -> Spent:
    """Run ``klip archive run`` to its end, which must be a good one; notes lie in a folder of their own."""
    folder.mkdir()
    notes = folder / "notes"
    (folder / "sitecustomize.py").write_text(NOTING.format(path=str(notes)), encoding="utf-8")
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    wall, before = time.monotonic(), _children()
    subprocess.run(
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": paths},
    )
    wall, used = time.monotonic() - wall, _children() - before
    rows = [line.split() for line in notes.read_text(encoding="utf-8").splitlines()]
    return Spent(wall, used, sum(float(seconds) for kind, seconds in rows if kind == "bookkeeping"))


def plain_loop(studies: list[Path], out: Path) -> Spent:
    """Run the same command on every study, one after the other, as a shell's loop does."""
    wall, before = time.monotonic(), _children()
    out.mkdir()
    for study in studies:
        with (out / f"{study.name}.json").open("wb") as said:
            subprocess.run([*KLIP, "guard", str(study), "--format", "json"], stdout=said, check=False)
    return Spent(time.monotonic() - wall, _children() - before)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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


def outcomes(out: Path) -> tuple[Counter[str], dict[str, str], int]:
    """Return how often each path is in the table, the guard's verdict on each, and how often studies were begun."""
    with (out / "verdicts.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    verdicts = {}
    for row in rows:
        found = json.loads((out / "studies" / row["study"][:2] / f"{row['study']}.guard.json").read_bytes())
        verdicts[row["path"]] = json.dumps({name: value for name, value in found.items() if name not in VARIABLE})
    return (
        Counter(row["path"] for row in rows if row["status"] == "done"),
        verdicts,
        sum(int(r["tries"]) for r in rows),
    )


def main() -> int:
    """Make studies, run, kill, compare; 0 where every study has one outcome and it is the undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between kills, on average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-kills", action="store_true", help="measure the bookkeeping alone")
    parser.add_argument("--make", type=Path, help="write the studies into this folder, and nothing else")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.make:
        make_studies(given.make, given.studies, given.seed)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        studies = make_studies(folder / "ct", given.studies, given.seed)
        index = folder / "index.jsonl"
        subprocess.run([*KLIP, "archive", "index", str(folder / "ct"), "-o", str(index)], check=True)
        run = [*KLIP, "archive", "run", str(index), "--job", "guard", "--progress", "none"]
        loop = plain_loop(studies, folder / "loop")
        alone = spent_by([*run, "-o", str(folder / "alone")], folder / "noting")
        if given.no_kills:
            tell_bookkeeping(given.studies, loop, alone)
            return 0
        killed = killed_run(
            [*run, "-o", str(folder / "killed"), "--studies", "2"], given.every, random.Random(given.seed)
        )
        return tell(given.studies, loop, alone, killed, (outcomes(folder / "alone"), outcomes(folder / "killed")))


def tell_bookkeeping(studies: int, loop: Spent, alone: Spent) -> None:
    """Print the table's head: what a run costs over a plain loop."""
    extra = 100 * (alone.cpu_s / loop.cpu_s - 1)
    own = alone.bookkeeping_s
    print("| what | figure |\n| --- | --- |")
    print(f"| studies | {studies} |")
    print(f"| plain loop | {loop.cpu_s:.1f} s of the processor, {loop.wall_s:.0f} s |")
    print(f"| klip archive run, one at a time | {alone.cpu_s:.1f} s of the processor, {alone.wall_s:.0f} s |")
    print(f"| difference of the two, processor | {extra:+.1f} % |")
    print(f"| of it bookkeeping: the run and its worker | {own:.2f} s, {100 * own / (alone.cpu_s - own):.1f} % |")


def tell(
    studies: int,
    loop: Spent,
    alone: Spent,
    killed: tuple[int, int, float],
    found: tuple[tuple[Counter[str], dict[str, str], int], tuple[Counter[str], dict[str, str], int]],
) -> int:
    """Print the table; 0 where nothing is amiss."""
    (_, expected, _), (times, verdicts, tries) = found
    once = sum(count == 1 for count in times.values())
    same = sum(verdicts.get(path) == verdict for path, verdict in expected.items())
    tell_bookkeeping(studies, loop, alone)
    print(f"| two workers, kills of workers and of the run | {killed[0]} and {killed[1]}, {killed[2]:.0f} s |")
    print(f"| studies with exactly one outcome | {once} of {studies} |")
    print(f"| outcomes equal to the undisturbed run's | {same} of {studies} |")
    print(f"| times that a study was begun | {tries} |")
    return 0 if once == same == studies == len(times) else 1


if __name__ == "__main__":
    sys.exit(main())
