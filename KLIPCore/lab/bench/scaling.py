"""How seconds grow with slices, samples, views and image size.

A power law t = c nᵉ is fitted to each (least squares in logarithms). e = 1 is proportional; below 1, part of
the work is shared or fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from KLIPCore.config import PRESETS, Config
from KLIPCore.detection.simulated_scan import Scanner, trace_slice
from KLIPCore.lab.bench.measure import timed_runs
from KLIPCore.lab.bench.subject import Subject
from KLIPCore.lab.bench.table import Section
from KLIPCore.priors.prior import Prior
from KLIPCore.priors.unet import UNetPrior
from KLIPCore.volume.framed_study import frame_study

AXES: dict[str, tuple[int, ...]] = {
    "slices": (1, 2, 4),
    "samples": (1, 2, 4, 8),
    "views": (15, 30, 60, 120),
    "size": (128, 256, 512),
}
"""What is varied, everything else being the preset quick."""

SMALL_AXES: dict[str, tuple[int, ...]] = {"slices": (1, 2), "samples": (1, 2), "views": (30, 60), "size": (128, 256)}


def exponent(n: Sequence[float], seconds: Sequence[float]) -> float:
    """Return e of t = c nᵉ."""
    return float(np.polyfit(np.log(np.asarray(n, float)), np.log(np.asarray(seconds, float)), 1)[0])


def seconds_of(
    axis: str, value: int, config: Config, prior: UNetPrior, subject: Subject, device: torch.device
) -> float:
    """Return seconds of the sampling when one thing has this value.

    Scanner and prior are ready before the clock starts.
    """
    study, n_slices = subject.study, 1
    if axis == "slices":
        n_slices = value
    elif axis == "samples":
        config = config.updated({"sampling": {"n_samples": value}})
    elif axis == "views":
        config = config.updated({"measurement": {"n_views": value}})
    elif axis == "size":
        prior = UNetPrior(
            prior.network, replace(prior.card, size=value), device=device
        )  # convolutions take any size; only time is asked for
        study = frame_study(study.study, prior.card)
    scanner = Scanner.build(config, prior, study.frame.pixel_mm, device)

    def run() -> None:
        for _ in range(n_slices):
            trace_slice(scanner, study, subject.index)

    return timed_runs(run, 1, device).seconds


def scaling_section(prior: Prior, subject: Subject, device: torch.device, axes: dict[str, tuple[int, ...]]) -> Section:
    """Return every axis: its values, seconds, and the fitted exponent."""
    if not isinstance(prior, UNetPrior):
        axes = {name: values for name, values in axes.items() if name != "size"}
    rows: list[dict[str, Any]] = []
    config = PRESETS["quick"]
    trace_slice(
        Scanner.build(config, prior, subject.study.frame.pixel_mm, device), subject.study, subject.index
    )  # warm up
    for axis, values in axes.items():
        seconds = [seconds_of(axis, value, config, prior, subject, device) for value in values]  # type: ignore[arg-type]
        rows.append(
            {"name": axis, "range": list(values), "all_seconds": seconds, "exponent": exponent(values, seconds)}
        )
    note = (
        "Preset quick, one slice unless slices are counted; sides of other sizes than the prior's own are timed "
        "with its weights and mean nothing else."
    )
    return Section(
        "scaling",
        ("range", "all_seconds", "exponent"),
        tuple(rows),
        (note,),
        "seconds against",
        ("bench_scaling.png", "Seconds against slices, samples, views and image size"),
    )
