"""A large index opened, resumed and reported: ``python -m KLIPCore.lab.bench.archive_index --lines 1000000``.

Each step is a process of its own, so that its memory is its own: importing an index for the first time, opening it
again and claiming a study, and writing tables and overview.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import sys, time
from pathlib import Path
from KLIPCore.archive.importing import import_index
from KLIPCore.archive.plan import ArchiveFolder, Plan
from KLIPCore.archive.report import write_report
from KLIPCore.archive.state import State
out, step = Path(sys.argv[1]), sys.argv[2]
folder = ArchiveFolder(out / "out")
wall, cpu = time.monotonic(), time.process_time()
if step == "report":
    write_report(folder.path)
else:
    folder.open(Plan())
    state = State(folder.state((1, 1)))
    import_index(state, out / "index.jsonl")
    claim = state.claim()
    state.put_back(claim)
    state.counts()
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.process_time() - cpu, time.monotonic() - wall, int(peak) // 1024)
"""


def main() -> None:
    """Print the table. Linux only: memory is read where Linux keeps it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    given = parser.parse_args()
    print("| index of | step | processor s | s | peak memory, MiB |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "index.jsonl").open("w", encoding="utf-8") as stream:
            for n in range(given.lines):
                stream.write(f'{{"path": "/archive/{n:07d}/ct", "study_uid": "1.2.3.{n}", "series": "1.2.3.{n}.1"}}\n')
        for step in ("first import", "open again", "report"):
            command = [sys.executable, "-c", PROGRAM, name, step]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ))
            cpu, wall, peak = done.stdout.split()
            print(f"| {given.lines:,} | {step} | {float(cpu):.1f} | {float(wall):.1f} | {peak} |", flush=True)


if __name__ == "__main__":
    main()
