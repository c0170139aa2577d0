"""A small run that is broken on purpose, and what became of it: used by :mod:`KLIPCore.lab.fuzz.faults`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.lab.fuzz.seeds import tiny_study, write_tiny_prior
from KLIPCore.runs.folder import OWN_FILES

COMPARED = ("kl_map.nrrd", "reconstruction.nrrd", "body.npz")
SLICES = 12
LONGEST_FIRST_S, LONGEST_S, LONGEST_RUNS = 1800, 300, 20
"""The undisturbed run takes at most the first; one that takes longer than the second, and than so many undisturbed
ones, hangs: a computer may be busy with other work.
"""


@dataclass
class Fault:
    """What one kind of fault did.

    Attributes
    ----------
    name : in words.
    runs : times it was tried.
    told : runs that ended in a sentence of ours, or finished; killed ones say nothing and count when the next one did.
    tracebacks, lost, leftovers, differing : runs with a traceback, with finished slices gone, with half a file
        left, with another result.
    notes : one line for each that is not as it should be.
    """

    name: str
    runs: int = 0
    told: int = 0
    tracebacks: int = 0
    lost: int = 0
    leftovers: int = 0
    differing: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing went wrong."""
        return self.told == self.runs and not (self.tracebacks or self.lost or self.leftovers or self.differing)


class Stand:
    """A study, a prior, and a run that nobody disturbed.

    Parameters
    ----------
    folder : where all of it goes.
    steps : of a sample's chain; they decide how long a run takes.
    """

    def __init__(self, folder: Path, steps: int = 40) -> None:
        self.folder = folder
        self.slowest = (0.0, 0.0)
        folder.chmod(0o755)
        write_dicom_series(tiny_study(SLICES), folder / "ct", seed=1)
        self.prior = write_tiny_prior(folder / "prior")
        self.settings = folder / "settings.yaml"
        work = {
            "sampling": {"n_samples": 2, "n_steps": steps},
            "record": {"n_nodes": 8, "cell": 2, "layers": ["cold", "path"]},
        }
        self.settings.write_text(
            json.dumps({**work, "regions": {"score": "surprise"}, "preset": "quick"}), encoding="utf-8"
        )  # JSON is YAML
        self.longest_s: float = LONGEST_FIRST_S
        began = time.monotonic()
        done = self.klip(folder / "whole")
        if done.returncode != 0:
            raise RuntimeError(f"The undisturbed run failed: {done.stderr}")
        self.seconds = time.monotonic() - began
        self.longest_s = max(LONGEST_S, LONGEST_RUNS * self.seconds)
        print(
            f"An undisturbed run of {SLICES} slices takes {self.seconds:.1f} s, {self.slowest[1]:.1f} s of processor.",
            file=sys.stderr,
        )
        self.whole = {name: (folder / "whole" / name).read_bytes() for name in COMPARED}

    def command(self, out: Path) -> list[str]:
        """Return the command line of a run."""
        fixed = [
            "--config",
            str(self.settings),
            "--prior",
            str(self.prior),
            "--device",
            "cpu",
            "--workers",
            "1",
            "--threads",
            "1",
            "--progress",
            "json",
        ]
        python = [sys.executable, "-X", "faulthandler"]  # one that hangs says where, when it is ended
        return [*python, "-m", "KLIPCore.cli", "detect", str(self.folder / "ct"), "-o", str(out), *fixed]

    def start(self, out: Path, before: str = "", tracer: list[str] | None = None) -> subprocess.Popen[str]:
        """Start a run.

        ``before`` is a line of Python that happens in its process first, ``tracer`` a command that starts it in
        its turn.
        """
        pipes = subprocess.PIPE
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "MPLCONFIGDIR": str(self.folder / "mpl"),
            "HOME": str(self.folder),
        }
        command = [*(tracer or ()), *self.command(out)]
        if before:  # in an interpreter of its own, which then becomes the run: forking beside threads may never end
            line = f"import os, sys, signal, resource; {before}; os.execv(sys.argv[1], sys.argv[1:])"
            command = [sys.executable, "-c", line, *command]
        return subprocess.Popen(command, stdout=pipes, stderr=pipes, text=True, env=environment, cwd=_root())

    def klip(self, out: Path, before: str = "", tracer: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        """Do a run to its end."""
        began, worked = time.monotonic(), _processor_s()
        with self.start(out, before, tracer) as process:
            said, errors = end(process, self.longest_s)
        self.slowest = max(self.slowest, (time.monotonic() - began, _processor_s() - worked))
        return subprocess.CompletedProcess(process.args, process.returncode, said, errors)

    def judge(
        self,
        fault: Fault,
        out: Path,
        kept: dict[str, bytes],
        done: subprocess.CompletedProcess[str],
        again: bool = True,
    ) -> None:
        """Count how a run ended and what it left.

        Run again, its result must be the undisturbed one.
        """
        fault.runs += 1
        killed = done.returncode == -signal.SIGKILL
        fault.told += killed or done.returncode == 0 or len(done.stderr.strip().splitlines()) in (1, 2)
        if "Traceback" in done.stderr:
            fault.tracebacks += 1
            fault.notes.append(done.stderr.strip().splitlines()[-1][:200])
        self._look(fault, out, kept, parts=not killed)
        if not again:
            return
        kept = finished(out)
        last = self.klip(out)
        if last.returncode != 0:
            fault.differing += 1
            fault.notes.append("the next run did not end well: " + last.stderr.strip()[-200:])
            return
        self._look(fault, out, kept, parts=True)
        differing = [name for name, content in self.whole.items() if (out / name).read_bytes() != content]
        if differing:
            fault.differing += 1
            fault.notes.append(f"{differing} differ")

    def _look(self, fault: Fault, out: Path, kept: dict[str, bytes], parts: bool) -> None:
        gone = [
            name
            for name, content in kept.items()
            if not (out / name).is_file() or (out / name).read_bytes() != content
        ]
        if gone:
            fault.lost += 1
            fault.notes.append(f"{gone} are gone or changed")
        known = {*OWN_FILES, "trace", *(f"trace/slice_{k:04d}.npz" for k in range(SLICES))}
        strange = (
            [str(f.relative_to(out)) for f in out.rglob("*") if str(f.relative_to(out)) not in known]
            if out.is_dir() and parts
            else []
        )
        if strange:
            fault.leftovers += 1
            fault.notes.append(f"{strange} were left")


def finished(out: Path) -> dict[str, bytes]:
    """Return the slices that are done, by name: what no fault may touch."""
    return (
        {f"trace/{file.name}": file.read_bytes() for file in sorted((out / "trace").glob("*.npz"))}
        if (out / "trace").is_dir()
        else {}
    )


def end(process: subprocess.Popen[str], longest_s: float) -> tuple[str, str]:
    """Return what a run said; one that hangs is ended, and says where it was, on many lines, which is no sentence."""
    try:
        return process.communicate(timeout=longest_s)
    except subprocess.TimeoutExpired:
        spent = _spent(process.pid)
        process.send_signal(signal.SIGABRT)  # what every thread does is written to standard error
        try:
            said, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            said, errors = process.communicate()
        process.returncode = 1  # not as if it had been killed on purpose
        return said, f"{errors}\ncut off\nafter {longest_s:.0f} s: {spent}"


def _spent(pid: int) -> str:
    """What a process did with its time: one that stands in line for a core does not hang."""
    worked = sum(psutil.Process(pid).cpu_times()[:2])
    queue = Path(f"/proc/{pid}/schedstat")  # of Linux: nanoseconds on a core, and in line for one
    if not queue.is_file():
        return f"{worked:.0f} s of the processor"
    return f"{worked:.0f} s of the processor, {int(queue.read_text().split()[1]) / 1e9:.0f} s in line for it"


def _processor_s() -> float:
    """Seconds of the processor that ended processes of this one took."""
    times = os.times()
    return times.children_user + times.children_system


def _root() -> Path:
    return Path(__file__).resolve().parents[3]
