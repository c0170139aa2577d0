"""Memory of a large study: 300 slices of 512², preset full, from DICOM files to the report.

Two things could grow. With the *slices* grow the volume, its masks and the map on it; with the *steps* and
samples of a chain grows nothing, or so it should be. Each row is the largest resident set of `klip detect` in
a process of its own, with the shipped prior and the preset as it is:

1. the first N slices of the middle, and the first 2N: what a sampled slice leaves behind is the difference.
   The whole volume is read, framed, mapped and exported in either.
2. all slices. Sampling 300 of them takes half an hour on two cores and, after 1, says nothing more about
   memory; so all but N find a trace on disk, as those of a stopped run would: copies of the 2N that were
   sampled. The process samples the last N, reads all 300 traces, makes the map of all 300 slices and writes
   everything.

The study is drawn: ellipses of known HU with noise and a hypodense lesion every few slices, so that there are
regions to export.

    python -m KLIPCore.lab.bench.memory            300 slices of 512²; two or three minutes on two quiet cores
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.lab.bench.child import ChildRun, run_klip
from KLIPCore.lab.bench.table import NOT_MEASURED, Section
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.runs.folder import RunFolder
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

SLICES, SIZE = 300, 512
"""Of the study that the goal is about."""

GOAL_GIB = 6.0

GIB = 1024**3


def large_study(n_slices: int = SLICES, size: int = SIZE, seed: int = 0) -> Volume:
    """Return the (n_slices, size, size) HU.

    An abdomen of ellipses, 400 mm across and 1.25 mm a slice, a ball of 20 mm radius missing 50 HU every 40
    slices.
    """
    pixel, slice_mm = 400.0 / size, 1.25
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, pixel], [0, pixel, 0], [slice_mm, 0, 0]])
    affine[:3, 3] = (-200.0, -200.0, 0.0)
    axis = np.arange(size, dtype=np.float32) * np.float32(pixel) - 200
    y, x = axis[:, None], axis[None, :]

    def ellipse(cx: float, cy: float, a: float, b: float) -> np.ndarray:
        return ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1

    plain = np.full((size, size), -1000, np.float32)
    for hu, place in (
        (-95, (0, 0, 170, 125)),
        (55, (0, 0, 155, 110)),
        (110, (-70, -10, 65, 75)),
        (120, (85, 0, 35, 45)),
        (240, (0, 75, 22, 22)),
    ):
        plain[ellipse(*place)] = hu
    rng = np.random.default_rng(seed)
    array = np.empty((n_slices, size, size), np.float32)
    for k in range(n_slices):
        reach = 20.0**2 - ((k % 40 - 20) * slice_mm) ** 2
        lesion = (x + 70) ** 2 + (y + 5) ** 2 <= reach
        noise = rng.standard_normal((size, size), dtype=np.float32) * 8
        array[k] = plain + np.where(plain > -900, noise - 50 * lesion, 0)
    return Volume(array, Grid(array.shape, affine))


def fill(out: Path, n_slices: int, missing: int) -> None:
    """Give all slices but the last ``missing`` a trace: copies, in turn, of those that are there."""
    folder = RunFolder(out)
    run = folder.run()
    there = [SliceTrace.load(folder.slice_file(k)) for k in run["slices"]]
    for k in range(n_slices - missing):
        if not folder.slice_file(k).is_file():
            replace(there[k % len(there)], index=k).save(folder.slice_file(k), run["fingerprint"])


def memory_section(
    n_slices: int,
    size: int,
    few: int,
    threads: int,
    tell: Callable[[str], None],
    prior: str | None = None,
    score: str = "hypodense",
) -> Section:
    """Return the peaks.

    Parameters
    ----------
    n_slices, size : of the study.
    few : slices N that are sampled with the preset as it is, and then 2N.
    threads : of the arithmetic.
    tell : called with what is being done.
    prior : name or path; the shipped default when None.
    score : of the map.
    """
    with tempfile.TemporaryDirectory(prefix="klip-memory-") as name:
        scratch = Path(name)
        tell(f"drawing {n_slices} slices of {size}²")
        study = scratch / "study"
        write_dicom_series(large_study(n_slices, size), study, seed=0)
        common = ["detect", str(study), "--preset", "full", "--device", "cpu", "--progress", "none", "--score", score]
        rows: list[dict[str, Any]] = []
        middle = n_slices // 2
        for n in (few, 2 * few):
            tell(f"preset full on {n} of {n_slices} slices")
            out = scratch / f"out-{n}"
            which = ["--slices", f"{middle}:{middle + n}"]
            ran = run_klip([*common, "-o", str(out), *which, *(["--prior", prior] if prior else [])], scratch, threads)
            rows.append(_row(f"preset full, {n} of {n_slices} slices sampled", n, ran, out))
        tell(f"all {n_slices} slices, {few} of them sampled now")
        fill(out, n_slices, few)
        ran = run_klip([*common, "-o", str(out), *(["--prior", prior] if prior else [])], scratch, threads)
        rows.append(_row(f"preset full, {few} slices sampled, all {n_slices} mapped and exported", n_slices, ran, out))
    note = (
        f"The study: {n_slices} DICOM slices of {size}², read, framed, mapped on all voxels and exported (SEG, "
        "NRRD, HTML) in each row. In the last row the "
        "other slices' traces lay on disk. Memory is the largest resident set of the process; the trace is what "
        "lies on disk afterwards."
    )
    return Section(
        "memory",
        ("slices", "peak_gib", "goal_gib", "regions", "trace_mib"),
        tuple(rows),
        (note,),
        heading="memory of a large study",
    )


def _row(name: str, slices: int, ran: ChildRun, out: Path) -> dict[str, Any]:
    """One run's peak, and what it left behind."""
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    trace = sum(p.stat().st_size for p in (out / "trace").iterdir())
    return {
        "name": name,
        "slices": slices,
        "seconds": ran.seconds,
        "peak_gib": NOT_MEASURED if ran.peak_bytes is None else ran.peak_bytes / GIB,
        "goal_gib": f"{GOAL_GIB:g} GiB",
        "regions": len(result["regions"]),
        "trace_mib": trace / 1024**2,
    }


def main() -> None:
    """Run the command of this module."""
    parser = argparse.ArgumentParser(description="Peak memory of klip detect on a large study, preset full.")
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument(
        "--few", type=int, default=2, help="slices N that are sampled with the preset as it is; then 2N"
    )
    chosen = parser.parse_args()
    section = memory_section(
        chosen.slices, chosen.size, chosen.few, torch.get_num_threads(), lambda detail: print(detail, flush=True)
    )
    print(section.markdown())


if __name__ == "__main__":
    main()
