"""A small simulated study with a label, written where an evaluation finds it, for tests of `klip evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from small_study import LESION_LPS_MM, LESION_RADIUS_MM, small_study

from KLIPCore.io.images import write_image

FAST: dict[str, Any] = {
    "prior": "abdomen-ct-256-small",
    "sampling": {"n_steps": 3, "n_samples": 2},
    "record": {"layers": ["cold", "path", "darker"]},
}
"""Settings of a run that takes a fraction of a second a slice."""


def write_labelled(folder: Path, n_slices: int = 6, lesion: bool = True) -> dict[str, Any]:
    """``ct.nrrd`` and ``label.nrrd`` (1 liver, 2 lesion); the case that names them, as YAML holds it."""
    study = small_study(n_slices, lesion)
    points = np.moveaxis(
        study.grid.to_world(np.stack(np.meshgrid(*(np.arange(n) for n in study.grid.shape), indexing="ij"), -1)), -1, 0
    )
    x, y, z = points
    label = (((x + 70) / 65) ** 2 + ((y + 10) / 75) ** 2 <= 1).astype(np.float32)
    if lesion:
        lx, ly, lz = LESION_LPS_MM
        label[(x - lx) ** 2 + (y - ly) ** 2 + (z - lz) ** 2 <= LESION_RADIUS_MM**2] = 2
    write_image(study, folder / "ct.nrrd")
    write_image(study.with_array(label), folder / "label.nrrd")
    return {"name": "one", "patient": "A", "image": "ct.nrrd", "label": "label.nrrd"}
