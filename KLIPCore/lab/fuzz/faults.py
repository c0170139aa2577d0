"""Break whole runs on purpose: ``python -m KLIPCore.lab.fuzz.faults --kills 50``.

A tiny study and a prior of random weights go through the real command in processes of its own, which is killed
at random times, given a full disk, no permissions, little memory, damaged traces, or a second process in its
folder. Each time three things are asked: was a sentence said, is every finished slice still there, and is the
continued result the same to the bit. POSIX only.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from KLIPCore.lab.fuzz.stand import Fault, Stand, end, finished
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.runs.folder import LOCK

OBEY = (
    "import ctypes; [ctypes.CDLL(None).prctl(24, c, 0, 0, 0) for c in (1, 2, 3) if os.geteuid() == 0 and "
    "sys.platform == 'linux']"
)
"""Drop root's rights over permissions from what the next program gets: CAP_DAC_OVERRIDE,
CAP_DAC_READ_SEARCH, CAP_FOWNER by PR_CAPBSET_DROP.
"""


STRACE = shutil.which("strace")
SHARES = (("out", "ESTALE", 20), ("out", "EIO", 5), ("study", "EIO", 30))
"""Which folder goes away, how it says so, and from which access on."""


def kills(stand: Stand, n: int, seed: int) -> Fault:
    """Kill a run at random times of its life, three times in a row, and let it finish."""
    fault, draw = Fault("killed with signal 9 at a random time"), random.Random(seed)
    while fault.runs < n:
        out = stand.folder / f"kill{fault.runs}"
        for turn in range(min(3, n - fault.runs)):
            kept = finished(out)
            with stand.start(out) as process:
                try:
                    process.wait(draw.uniform(0.3, 1.0) * stand.seconds)
                except subprocess.TimeoutExpired:
                    process.kill()
                said, errors = process.communicate()
            done = subprocess.CompletedProcess(process.args, process.returncode, said, errors)
            stand.judge(fault, out, kept, done, again=turn == 2 or fault.runs == n - 1)
        shutil.rmtree(out, ignore_errors=True)
    return fault


def full_disk(stand: Stand) -> Fault:
    """Let every write fail that goes beyond so many bytes of a file, from nothing up to the largest file."""
    fault = Fault("file too large, at every size of file that a run writes")
    sizes = sorted({file.stat().st_size for file in (stand.folder / "whole").rglob("*") if file.is_file()})
    for limit in [0, *(size - 1 for size in sizes)]:
        out = stand.folder / "full"

        # the signal ignored: an error, as on a full disk, instead of the end
        before = (
            f"signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, "
            f"{limit}))"
        )
        stand.judge(fault, out, {}, stand.klip(out, before))
        shutil.rmtree(out, ignore_errors=True)
    return fault


def small_disk(stand: Stand) -> Fault | None:
    """Yield a file system that is full after a few slices, where this user may mount one; None where not."""
    fault = Fault("disk full (a file system of so many KiB)")
    place = stand.folder / "disk"
    place.mkdir()
    need = sum(file.stat().st_size for file in (stand.folder / "whole").rglob("*") if file.is_file()) >> 10
    for part in (0.1, 0.3, 0.5, 0.7, 0.9):
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={max(int(need * part), 8)}k", "none", str(place)],
            capture_output=True,
            check=False,
        )
        if mounted.returncode != 0:
            return None
        try:
            stand.judge(fault, place / "out", {}, stand.klip(place / "out"), again=False)
            subprocess.run(["mount", "-o", "remount,size=100m", str(place)], check=True)
            kept = finished(place / "out")
            stand.judge(fault, place / "out", kept, stand.klip(place / "out"))
        finally:
            subprocess.run(["umount", str(place)], check=True)
    return fault


def _interrupted(
    stand: Stand, out: Path, act: Callable[[], object], before: str = ""
) -> tuple[dict[str, bytes], subprocess.CompletedProcess[str]]:
    """Start a run, do something to it once three slices are done, and wait for its end."""
    with stand.start(out, before) as process:
        while process.poll() is None and len(finished(out)) < 3:
            time.sleep(0.02)
        kept = finished(out)
        act()
        said, errors = end(process, stand.longest_s)
    return kept, subprocess.CompletedProcess(process.args, process.returncode, said, errors)


def lost_permission(stand: Stand) -> Fault:
    """Take the right to write away in mid-run; root is made to obey permissions first."""
    fault = Fault("permission lost in mid-run")
    for name in ("trace", "."):
        out = stand.folder / "rights"
        kept, done = _interrupted(stand, out, lambda place=out / name: place.chmod(stat.S_IRUSR | stat.S_IXUSR), OBEY)  # type: ignore[misc]
        (out / name).chmod(0o755)
        (out / LOCK).unlink(missing_ok=True)  # the run had no right to
        stand.judge(fault, out, kept, done)
        shutil.rmtree(out, ignore_errors=True)
    return fault


def folder_gone(stand: Stand) -> Fault:
    """Move the output folder away in mid-run: a share that is unmounted."""
    fault, out = Fault("output folder gone in mid-run"), stand.folder / "gone"
    away = stand.folder / "away"
    _, done = _interrupted(stand, out, lambda: out.rename(away))
    kept = finished(away)
    shutil.rmtree(out, ignore_errors=True)
    away.rename(out)
    (out / LOCK).unlink(missing_ok=True)  # it went with the folder
    stand.judge(fault, out, kept, done)
    shutil.rmtree(out)
    return fault


def share_gone(stand: Stand) -> Fault | None:
    """Let every access to the output folder, or to the study, fail in mid-run as on a network share that went away.

    System calls on that folder return "stale file handle" or "input/output error", from the n-th on: strace does it.
    None where there is no strace, or where it may not trace.
    """
    fault = Fault("network share gone in mid-run (stale handle, input/output error)")
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False) if STRACE else None
    if tried is None or tried.returncode != 0:
        return None
    calls = "openat,read,pread64,write,pwrite64,fsync,rename,renameat,mkdir,unlink,newfstatat,statx,getdents64"
    for number, (what, error, first) in enumerate(SHARES):
        out = stand.folder / f"share{number}"
        place = out if what == "out" else stand.folder / "ct"
        watched = [place, *(place / "trace" for _ in range(what == "out")), *sorted(place.glob("*.dcm"))]
        out.mkdir()
        tracer = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={calls}:error={error}:when={first}+"]
        for path in watched:
            tracer += ["-P", str(path)]
        stand.judge(fault, out, {}, stand.klip(out, tracer=tracer))
        shutil.rmtree(out, ignore_errors=True)
    return fault


def damaged_traces(stand: Stand) -> Fault:
    """Truncate, swap, empty or replace finished traces, and run again."""
    fault = Fault("a trace truncated, swapped, emptied, of another run, or with numbers changed")

    def other_run(folder: Path) -> None:
        file = folder / "slice_0003.npz"
        SliceTrace.load(file).save(file, "another")

    changes: list[Callable[[Path], object]] = [
        lambda folder: (folder / "slice_0002.npz").write_bytes((folder / "slice_0002.npz").read_bytes()[:1000]),
        lambda folder: (folder / "slice_0002.npz").write_bytes(b""),
        lambda folder: shutil.copy(folder / "slice_0001.npz", folder / "slice_0002.npz"),
        lambda folder: (folder / "slice_0004.npz").unlink(),
        lambda folder: (folder / "slice_0005.npz.part").write_bytes(b"half"),
        lambda folder: _flip(folder / "slice_0006.npz"),
        other_run,
    ]
    for number, change in enumerate(changes):
        out = stand.folder / f"trace{number}"
        shutil.copytree(stand.folder / "whole", out)
        change(out / "trace")
        stand.judge(fault, out, {}, stand.klip(out), again=False)
        if any((out / name).read_bytes() != content for name, content in stand.whole.items()):
            fault.differing += 1
            fault.notes.append(f"change {number} shows in the result")
        shutil.rmtree(out, ignore_errors=True)
    return fault


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def two_processes(stand: Stand) -> Fault:
    """Start a second run in the folder of the first, which stands still meanwhile: it must not end before."""
    fault, out = Fault("two processes in one folder"), stand.folder / "two"
    with stand.start(out) as process:
        while process.poll() is None and len(finished(out)) < 3:
            time.sleep(0.02)
        kept = finished(out)
        process.send_signal(signal.SIGSTOP)
        second = stand.klip(out)
        process.send_signal(signal.SIGCONT)
        said, errors = end(process, stand.longest_s)
    if second.returncode != 3 or "Another process" not in second.stderr:
        fault.notes.append("the second was not refused: " + second.stderr[-200:])
        fault.differing += 1
    fault.runs += 1
    fault.told += len(second.stderr.strip().splitlines()) == 2
    stand.judge(fault, out, kept, subprocess.CompletedProcess(process.args, process.returncode, said, errors))
    shutil.rmtree(out, ignore_errors=True)
    return fault


def little_memory(stand: Stand) -> Fault:
    """Let memory be refused, beginning with what hardly starts."""
    fault = Fault("address space limited (MiB)")
    for limit in (900, 1200, 1500, 1800, 2100, 2400, 2700, 3000):
        out = stand.folder / "memory"

        done = stand.klip(out, f"resource.setrlimit(resource.RLIMIT_AS, ({limit << 20}, {limit << 20}))")
        if done.returncode == 1 and "ImportError" in done.stderr:
            continue  # Python itself could not load its libraries: nothing of ours ran
        stand.judge(fault, out, {}, done)
        shutil.rmtree(out, ignore_errors=True)
    return fault


def clock_set_back(stand: Stand) -> Fault:
    """Continue a run whose files come from tomorrow."""
    fault, out = Fault("clock set back between two runs"), stand.folder / "clock"
    shutil.copytree(stand.folder / "whole", out)
    (out / "trace" / "slice_0007.npz").unlink()
    for file in out.rglob("*"):
        os.utime(file, (time.time() + 86400, time.time() + 86400))
    kept = finished(out)
    stand.judge(fault, out, kept, stand.klip(out))
    shutil.rmtree(out)
    return fault


def main() -> int:
    """Print a table; 1 where something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m KLIPCore.lab.fuzz.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=40, help="of a sample's chain: fewer make shorter runs")
    parser.add_argument(
        "--only",
        action="append",
        help="kills, full_disk, small_disk, lost_permission, folder_gone, damaged_traces, two_processes, …",
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="klip-faults-") as name:
        stand = Stand(Path(name), asked.steps)
        kinds: dict[str, Callable[[], Fault | None]] = {"kills": lambda: kills(stand, asked.kills, asked.seed)}
        others = (
            full_disk,
            small_disk,
            lost_permission,
            folder_gone,
            share_gone,
            damaged_traces,
            two_processes,
            little_memory,
            clock_set_back,
        )
        kinds |= {kind.__name__: (lambda kind=kind: kind(stand)) for kind in others}  # type: ignore[misc]
        print(
            "| fault | runs | told | tracebacks | slices lost | leftovers | results that differ "
            "|\n|---|---|---|---|---|---|---|",
            flush=True,
        )
        sound = True
        for key, kind in kinds.items():
            if asked.only and key not in asked.only:
                continue
            fault = kind()
            if fault is None:
                print(f"{key}: not possible for this user", file=sys.stderr)
                continue
            cells = (
                fault.name,
                fault.runs,
                fault.told,
                fault.tracebacks,
                fault.lost,
                fault.leftovers,
                fault.differing,
            )
            print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)
            for note in fault.notes[:12]:
                print("  " + note, file=sys.stderr, flush=True)
            sound &= fault.sound
        seconds, worked = stand.slowest
        print(f"The slowest whole run took {seconds:.0f} s, {worked:.1f} s of the processor.", file=sys.stderr)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
