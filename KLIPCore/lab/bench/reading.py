"""What the checks of a study cost beside reading it: ``python -m KLIPCore.lab.bench.reading --slices 300``.

A synthetic study of 512 × 512 pixels is written as DICOM slices and read once with every check timed: whether the
numbers are Hounsfield units, what lies outside the field of view, which bits are stored, how the slices lie, and which
files are copies. Their sum is compared with the rest, which is reading headers and pixels. One process, one
run, in seconds of its processor: other programs do not enter.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from KLIPCore.io import dicom, listing
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

CHECKS = {
    "copies and phases": (listing, "acquisitions"),
    "places of the slices": (dicom, "stack"),
    "stored bits": (dicom, "only_stored_bits"),
    "outside the field of view": (dicom, "air_outside"),
}
"""Functions that judge while a study is read, and where they are called from."""
ALLOWED = 0.1


def synthetic(slices: int, size: int) -> Volume:
    """Return a noisy ellipse of soft tissue in air, with a spine."""
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    plane = np.where((rows / 0.3) ** 2 + (columns / 0.4) ** 2 < 1, 40.0, -1000.0)
    plane[(rows - 0.2) ** 2 + columns**2 < 0.003] = 600
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 15, (8, size, size)).astype(np.float32)
    array = np.stack([np.rint(plane + noise[k % 8]) for k in range(slices)]).astype(np.float32)
    affine = np.diag([1.0, 0.7, 0.7, 1.0])[:, [2, 1, 0, 3]].copy()
    return Volume(array.clip(-1024, 3071), Grid(array.shape, affine))


def measure(folder: Path) -> dict[str, float]:
    """Return the seconds of each check, and under "all" those of reading with all checks."""
    seconds = dict.fromkeys(CHECKS, 0.0)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return function(*given, **named)
            finally:
                seconds[name] += time.process_time() - began

        return call

    patches = [
        patch.object(module, name, timed(what, getattr(module, name))) for what, (module, name) in CHECKS.items()
    ]
    began = time.process_time()
    for one in patches:
        one.start()
    try:
        volume = read_study(folder)
        judging = time.process_time()
        check_ct(volume)
        seconds["Hounsfield units"] = time.process_time() - judging
    finally:
        for one in patches:
            one.stop()
    return seconds | {"all": time.process_time() - began}


def main() -> int:
    """Print a table; 1 where the checks cost more than a tenth of reading."""
    parser = argparse.ArgumentParser(prog="python -m KLIPCore.lab.bench.reading", description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="klip-reading-") as name:
        folder = Path(name) / "ct"
        write_dicom_series(synthetic(asked.slices, asked.size), folder, seed=1)
        measure(folder)  # warms the file cache and the imports
        seconds = measure(folder)
    whole = seconds.pop("all")
    checks = sum(seconds.values())
    print(f"{asked.slices} slices of {asked.size}x{asked.size}: read and checked in {whole:.2f} s")
    print("| check | seconds | part of reading |\n|---|---|---|")
    for what, spent in seconds.items():
        print(f"| {what} | {spent:.3f} | {spent / (whole - checks):.1%} |")
    share = checks / (whole - checks)
    print(f"| all | {checks:.3f} | {share:.1%} |")
    return 0 if share <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
