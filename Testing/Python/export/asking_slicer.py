"""Asks 3D Slicer's own core what it reads in a file of ours, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from busy import longest

needs_slicer = pytest.mark.skipif(
    importlib.util.find_spec("slicer") is None, reason="needs slicer-core (pip install klipcore[test])"
)
RAS = np.array([-1.0, -1.0, 1.0])
"""LPS × RAS = RAS."""


def read_in_slicer(what: str, path: Path, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The summary and arrays that ``in_slicer.py`` writes for ``path``; ``what`` is "segmentation", "model"
    or "volume".
    """
    out = folder / "seen_in_slicer.npz"
    script = Path(__file__).with_name("in_slicer.py")
    done = subprocess.run(
        [sys.executable, str(script), what, str(path), str(out)],
        capture_output=True,
        text=True,
        timeout=longest(120),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as arrays:
        seen = dict(arrays)
    return json.loads(str(seen.pop("summary"))), seen
