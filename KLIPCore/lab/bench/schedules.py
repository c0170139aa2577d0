"""Cost beside quality: the published schedules and ours, on the same slices, the same data, the same prior, in
one run.

The recipes, and what of them is ours, are in :mod:`KLIPCore.lab.published.schedule`. Every map is read over the same
overlapping blocks and compared with the same mask, so that a row is a point in the plane of seconds and AUROC. A⁺
replaces Fourier lines in no time in the published code where ours takes some conjugate gradients; hence the network's
seconds are given beside the total.

One sample is drawn of each published chain where it draws 5 or 8: ratios to it are lower bounds of ratios to
the published code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.config import PRESETS, Config, RegionConfig
from KLIPCore.detection.simulated_scan import measure_slice, slice_generator, trace_slice
from KLIPCore.lab.bench.clock import ClockedScanner
from KLIPCore.lab.bench.subject import BLOCK_MM, Subject
from KLIPCore.lab.bench.table import Section
from KLIPCore.lab.bench.whole import published_score
from KLIPCore.lab.evaluation.auroc import auroc
from KLIPCore.lab.published.recipe import RECIPES
from KLIPCore.lab.published.schedule import Lengths, localization_window, sample_recipe
from KLIPCore.lab.published.score import score_map
from KLIPCore.maps.blocks import block_nats
from KLIPCore.maps.map_maker import make_map
from KLIPCore.maps.resample import Landing
from KLIPCore.maps.trace import KLTrace
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Prior

TIMED_SCORE = "hypodense"
"""Score whose AUROC on single slices stands beside the times; the default one is judged on whole studies."""

SHORT = Lengths(ve_steps=20, padis_levels=6, padis_inner=2, ddpm_steps=10)
"""For a quick look: not the published schedules, and the table's evaluations say so."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One method on one slice.

    Attributes
    ----------
    seconds, network_seconds : of all, and of the network's evaluations alone (gradients included).
    evaluations : of the network, in images.
    body, organ : AUROC over the body and inside the organ.
    """

    seconds: float
    network_seconds: float
    evaluations: int
    body: float
    organ: float


class Comparison:
    """One slice, its data and its truth, and every method on it.

    Parameters
    ----------
    prior, device : the same for all.
    subject : the slice.
    """

    def __init__(self, prior: Prior, subject: Subject, device: torch.device) -> None:
        self.prior, self.subject, self.device = prior, subject, device
        study, self.cell = subject.study, Config().record.cell
        self.scanner = ClockedScanner.build(Config(), prior, study.frame.pixel_mm, device)
        self.truth = subject.truth(self.cell)
        n_cells = study.frame.size // self.cell
        self.tested: NDArray[np.bool_] = Landing(study, (subject.index,), n_cells).tested(None)[0]

    def measurement(self) -> Measurement:
        """Return the very data that :func:`KLIPCore.detection.simulated_scan.trace_slice` makes of the slice."""
        return measure_slice(
            self.scanner,
            self.subject.study,
            self.subject.index,
            slice_generator(Config().sampling.seed, self.subject.index),
        )

    def judge(self, blocks: NDArray[np.floating]) -> tuple[float, float]:
        """Return AUROC over body and organ of (h, w) scores of the block centred at each cell."""
        positive = self.truth.positive
        body, organ = (region | positive for region in (self.tested, self.truth.inside))
        return auroc(blocks[body], positive[body]), auroc(blocks[organ], positive[organ])

    def ours(self, config: Config, score_name: str) -> Outcome:
        """Return one of our configurations, read by one of our scores."""
        scanner = ClockedScanner.build(config, self.prior, self.subject.study.frame.pixel_mm, self.device)
        started = time.perf_counter()
        traced = trace_slice(scanner, self.subject.study, self.subject.index)
        seconds = time.perf_counter() - started
        made = make_map(KLTrace((traced,)), self.subject.study, RegionConfig(score=score_name, block_mm=BLOCK_MM))
        return Outcome(seconds, scanner.clock.network, scanner.n_evaluations, *self.judge(made.nats[0]))

    def published(self, name: str, lengths: Lengths) -> Outcome:
        """Return one of the published recipes, read by its own score."""
        scanner, m = self.scanner, self.measurement()
        scanner.clock.network, before = 0.0, scanner.n_evaluations
        started = time.perf_counter()
        scanner.clock.projections = 0.0
        frame = self.subject.study.frame
        artifact, sigmas = sample_recipe(
            name,
            scanner.denoise,
            m,
            lengths,
            sigma_max=self.prior.card.sigma_max,
            width_mm=frame.pixel_mm * frame.size,
        )
        seconds = time.perf_counter() - started
        outside = seconds - scanner.clock.projections
        network = (
            outside if name == "padis" else scanner.clock.network
        )  # a gradient's way back is not inside any one call
        cells = score_map(artifact, self.cell, localization_window(name, sigmas))
        blocks = block_nats(cells[None], BLOCK_MM / (self.subject.study.frame.pixel_mm * self.cell))[0]
        return Outcome(seconds, network, scanner.n_evaluations - before, *self.judge(blocks))


def mean_row(name: str, outcomes: list[Outcome], **more: Any) -> dict[str, Any]:
    """Return means over slices."""
    mean = {
        key: float(np.mean([getattr(o, key) for o in outcomes]))
        for key in ("seconds", "network_seconds", "evaluations", "body", "organ")
    }
    return {
        "name": name,
        "seconds": mean["seconds"],
        "network_seconds": mean["network_seconds"],
        "evaluations": round(mean["evaluations"]),
        "body_auroc": mean["body"],
        "organ_auroc": mean["organ"],
        **more,
    }


OURS: tuple[tuple[str, str], ...] = (
    *((preset, TIMED_SCORE) for preset in PRESETS),
    *(("quick", score) for score in ("surprise", "one-shot") if score != TIMED_SCORE),
)
"""Presets and the scores read from them."""


def schedules_section(comparisons: list[Comparison], lengths: Lengths, tell: Callable[[str], None]) -> Section:
    """Return the published schedules and ours; ratios are to the longest published one."""
    rows = []
    for preset, score in OURS:
        tell(f"preset {preset}, score {score}")
        outcomes = [c.ours(PRESETS[preset], score) for c in comparisons]
        rows.append(mean_row(f"preset {preset}, `{score}`", outcomes, samples=PRESETS[preset].sampling.n_samples))
    for n in (1, 8):
        tell(f"published score by our chain, {n} samples")
        rows.append(
            mean_row("our chain, `klip`", [c.ours(published_score(n), "klip") for c in comparisons], samples=n)
        )
    for name in reversed(RECIPES):
        tell(f"published schedule {name}")
        rows.append(
            mean_row(f"published {name}", [c.published(name, lengths) for c in comparisons], samples=lengths.samples)
        )
    longest = next(row for row in rows if row["name"] == "published ve-projection")
    for row in rows:
        row["reference_ratio"] = longest["seconds"] / row["seconds"]
        row["network_ratio"] = longest["network_seconds"] / row["network_seconds"]
    slices = "; ".join(c.subject.name for c in comparisons)
    note = (
        f"{len(comparisons)} slice{'s' * (len(comparisons) != 1)} ({slices}), {Config().measurement.n_views} views, "
        f"blocks of {BLOCK_MM:g} mm. Ratios are to "
        f"ve-projection, which draws {lengths.samples} of its 8 samples here; the network ratio leaves out "
        "projections."
    )
    columns = (
        "samples",
        "evaluations",
        "seconds",
        "network_seconds",
        "reference_ratio",
        "network_ratio",
        "body_auroc",
        "organ_auroc",
    )
    return Section(
        "schedules", columns, tuple(rows), (note,), "a slice by", ("bench_cost.png", "Seconds a slice against AUROC")
    )


def curve_section(
    comparisons: list[Comparison], steps: tuple[int, ...], samples: tuple[int, ...], tell: Callable[[str], None]
) -> Section:
    """Measure cost against AUROC over the length and number of our chains; everything else is the preset quick."""
    rows = []
    for n_steps in steps:
        for n_samples in samples:
            tell(f"{n_steps} levels, {n_samples} samples")
            config = PRESETS["quick"].updated({"sampling": {"n_steps": n_steps, "n_samples": n_samples}})
            rows.append(
                mean_row(
                    f"{n_steps} levels",
                    [c.ours(config, TIMED_SCORE) for c in comparisons],
                    steps=n_steps,
                    samples=n_samples,
                )
            )
    note = (
        f"Score `{TIMED_SCORE}`, the slices of the comparison above; noise levels of the chain, everything else "
        "as in the preset quick."
    )
    return Section(
        "curve",
        ("samples", "evaluations", "seconds", "body_auroc", "organ_auroc"),
        tuple(rows),
        (note,),
        heading="preset quick with",
    )
