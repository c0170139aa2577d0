"""Cost beside quality: the published schedules and ours, on the same slices, the same data, the same prior, in
one run.

    ve-projection   1000 levels, predictor and corrector, data projected into the state     2001 evaluations per sample
    padis           100 levels × 10 Langevin steps, DPS by back-propagation     1000 evaluations and gradients
    ddpm            100 strided steps of 1000, data's gradient without back-propagation         100 evaluations

(:mod:`KLIPCore.lab.published`). Every map is read over the same overlapping blocks and compared with the same
mask, so that a row is a point in the plane of seconds and AUROC. What is *not* the published code's: its
networks and its images, and its A⁺, which replaces Fourier lines in no time where ours takes some conjugate
gradients; hence the network's seconds are given beside the total. The chains start at the largest noise the
prior knows, and their windows are the published ones in σ.

One sample is drawn of each published chain where it draws 5 or 8: ratios to it are lower bounds of ratios to
the published code.
"""

from __future__ import annotations

import math
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
from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.lab.published.ddpm import DDPMSettings, epsilon_from_denoiser, sample_ddpm
from KLIPCore.lab.published.padis import PadisSettings, sample_padis
from KLIPCore.lab.published.recipe import RECIPES
from KLIPCore.lab.published.score import score_map
from KLIPCore.lab.published.ve_projection import VEProjectionSettings, sample_ve_projection
from KLIPCore.maps.blocks import block_nats
from KLIPCore.maps.map_maker import make_map
from KLIPCore.maps.resample import Landing
from KLIPCore.maps.trace import KLTrace
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Prior
from KLIPCore.sampling.ddpm import linear_alpha_bar, sigma_of

TIMED_SCORE = "hypodense"
"""Score whose AUROC on single slices stands beside the times; the default one is judged on whole studies."""

PADIS_WIDTH = 40.0
"""Width of the patch recipe's images in its unit of length."""

PROJECTION_ITERATIONS = 8
"""Conjugate-gradient iterations of A⁺ in the VE recipe, as many as our own proximal step takes."""


@dataclass(frozen=True)
class Lengths:
    """How long the published chains are.

    Attributes
    ----------
    ve_steps : levels of the predictor–corrector chain (two evaluations each).
    padis_levels, padis_inner : levels, and Langevin steps at each.
    ddpm_steps : steps.
    samples : of each.
    """

    ve_steps: int = 1000
    padis_levels: int = 100
    padis_inner: int = 10
    ddpm_steps: int = 100
    samples: int = 1


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
        artifact, sigmas = self._sample(name, m, lengths)
        seconds = time.perf_counter() - started
        outside = seconds - scanner.clock.projections
        network = (
            outside if name == "padis" else scanner.clock.network
        )  # a gradient's way back is not inside any one call
        cells = score_map(artifact, self.cell, _window(name, sigmas))
        blocks = block_nats(cells[None], BLOCK_MM / (self.subject.study.frame.pixel_mm * self.cell))[0]
        return Outcome(seconds, network, scanner.n_evaluations - before, *self.judge(blocks))

    def _sample(self, name: str, m: Measurement, lengths: Lengths) -> tuple[Artifact, NDArray[np.float64]]:
        """The recipe's record, and σ of each of its steps."""
        generator = torch.Generator().manual_seed(0)
        top, denoise = self.prior.card.sigma_max, self.scanner.denoise
        self.scanner.clock.projections = 0.0
        if name == "ve-projection":
            every = max(1, lengths.ve_steps // 100)
            made = sample_ve_projection(
                denoise,
                m,
                generator,
                VEProjectionSettings(
                    n_samples=lengths.samples,
                    n_steps=lengths.ve_steps,
                    sigma_max=top,
                    record_every=every,
                    cg_iterations=PROJECTION_ITERATIONS,
                ),
            )
            return made, np.geomspace(top, 0.01, lengths.ve_steps)[::every]
        if name == "padis":
            unit = PADIS_WIDTH / (self.subject.study.frame.pixel_mm * self.subject.study.frame.size)
            made = sample_padis(
                denoise,
                m,
                generator,
                PadisSettings(
                    n_runs=lengths.samples,
                    n_levels=lengths.padis_levels,
                    n_inner=lengths.padis_inner,
                    sigma_max=top,
                    unit=unit,
                ),
            )
            return made, made.g_values.astype(float) ** 2
        alpha_bar = linear_alpha_bar()
        predict = epsilon_from_denoiser(lambda x, sigma: denoise(x, min(sigma, top)), alpha_bar)
        made = sample_ddpm(
            predict, m, DDPMSettings(n_samples=lengths.samples, n_steps=lengths.ddpm_steps, unit=1 / _norm(m))
        )
        times = np.arange(lengths.ddpm_steps)[::-1] * (len(alpha_bar) // lengths.ddpm_steps)
        return made, sigma_of(alpha_bar)[times] / 2


def _window(name: str, sigmas: NDArray[np.float64]) -> tuple[int, int]:
    """Recorded steps inside the published window of noise levels; the nearest one where none is."""
    lo, hi = RECIPES[name].sigma_window("localization")
    inside = np.flatnonzero((sigmas >= lo) & (sigmas <= hi))
    if not inside.size:
        nearest = int(np.abs(np.log(sigmas) - 0.5 * math.log(lo * hi)).argmin())
        return nearest, nearest + 1
    return int(inside[0]), int(inside[-1]) + 1


def _norm(m: Measurement, n_iterations: int = 20) -> float:
    """‖A‖ by power iteration: the DDPM recipe's steps are made for a blur, whose norm is 1."""
    x = torch.ones(m.A.domain_shape, device=m.y.device)
    for _ in range(n_iterations):
        x = m.A.T(m.A(x / x.norm()))
    return math.sqrt(float(x.norm()))


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
