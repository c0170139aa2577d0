"""A training set made on the spot: three simulated patients, and a network that fits in a breath."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from small_study import small_study

from KLIPCore.io.images import write_image
from KLIPCore.lab.training.config import TrainingConfig
from KLIPCore.lab.training.data import DataSource
from KLIPCore.priors.unet import UNetConfig
from KLIPCore.volume.units import Window

SIZE = 32
NETWORK = UNetConfig(channels=(8, 16), n_res_blocks=1, unshuffle=2)


def made_patients(folder: Path) -> Path:
    """``p0``, ``p1`` and ``p2`` as NIfTI."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(3):
        write_image(small_study(5, lesion=False, seed=seed), folder / f"p{seed}.nii.gz")
    return folder


def tiny_config(**changes: object) -> TrainingConfig:
    """A run of a few steps on ``p0`` and ``p1``, judged on ``p2``."""
    sources = (DataSource("simulated", "{case}.nii.gz", ("p0", "p1"), oriented=True, licence="none"),)
    held_out = (DataSource("simulated, held out", "{case}.nii.gz", ("p2",), oriented=True, licence="none"),)
    config = TrainingConfig(
        name="tiny",
        anatomy="ellipses",
        window=Window(-160.0, 240.0),
        sources=sources,
        validation=held_out,
        licence="none",
        size=SIZE,
        patches=((16, 8), (32, 2)),
        steps=6,
        warmup_steps=2,
        decay_steps=4,
        learning_rate=3e-3,
        save_every=3,
        pictures_every=0,
        n_validation=4,
        network=NETWORK,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


YAML = """
name: tiny
anatomy: ellipses
window: {lo_hu: -160.0, hi_hu: 240.0}
licence: none
size: 32
patches: [[16, 8], [32, 2]]
steps: 4
warmup_steps: 2
decay_steps: 2
save_every: 2
n_validation: 2
network: {channels: [8, 16], n_res_blocks: 1, unshuffle: 2}
sources:
  - {name: simulated, pattern: "{case}.nii.gz", cases: [p0, p1], oriented: true, licence: none}
validation:
  - {name: held out, pattern: "{case}.nii.gz", cases: [p2], oriented: true, licence: none}
"""
