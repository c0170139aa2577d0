"""The published recipes beside the house's scores: what each difference is worth, where the truth is known and
on a synthetic slice.

Run it from the repository (about two minutes on one idle core):

    python examples/02_published_recipe.py

First, a prior in closed form, a disc that it did not expect, few projections: there the recipes run with their
published numbers of steps, and the KL of the same σ window is known block by block. Then a synthetic slice
with a liver lesion, drawn from the shipped prior and scanned once, with far fewer steps than published: a
chain that did not arrive at the image is told by its reconstruction, and its figures are put in brackets,
because they say nothing about the recipe. An illustration, not evidence about patients: the prior finds its
own draws more ordinary than any scan. docs/method.md reads the tables.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.config import Config
from KLIPCore.detection.simulated_scan import Scanner, slice_generator, trace_slice
from KLIPCore.kl.gaussian import GaussianKL
from KLIPCore.lab.benchmarks import measured
from KLIPCore.lab.phantoms.abdomen import Abdomen
from KLIPCore.lab.phantoms.lesions import Tumour, implant, place_tumours, tissue_mask
from KLIPCore.lab.phantoms.patient import Drawing, draw_patient
from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.lab.published.ddpm import DDPMSettings, epsilon_from_denoiser, sample_ddpm
from KLIPCore.lab.published.padis import PadisSettings, sample_padis
from KLIPCore.lab.published.recipe import RECIPES
from KLIPCore.lab.published.score import blocks_of, image_level, score_map
from KLIPCore.lab.published.ve_projection import VEProjectionSettings, sample_ve_projection
from KLIPCore.maps.blocks import tile_nats
from KLIPCore.maps.trace import KLTrace
from KLIPCore.physics.measurement import Measurement, simulate
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.checkpoint import DEFAULT_PRIOR, load_prior
from KLIPCore.priors.prior import denoiser
from KLIPCore.priors.stationary import StationaryGaussianPrior
from KLIPCore.sampling.ddpm import linear_alpha_bar, sigma_of
from KLIPCore.scores import SCORES
from KLIPCore.volume.framed_study import FramedStudy, frame_study
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

BLOCK = 8
"""Edge of a block in the prior's pixels; 12 mm."""

RADIUS_MM = 14.0
CONTRAST_HU = -50.0

SIGMA_MAX = 5.0
"""The shipped prior knows no more noise than this; the published chains start at 128 and at 10."""

DRAW_STEPS = 12
SAMPLES = 2
VE_STEPS = 40
PADIS_LEVELS, PADIS_INNER = 20, 3
DDPM_STEPS = 50

ARRIVED_DB = 25.0
"""A chain whose reconstruction is worse than this did not arrive."""

SIZE, DISC_RADIUS, DISC_CONTRAST = 32, 3.0, 0.35
"""Of the problem in closed form: pixels, and the disc in them; the prior's pixels spread by 0.15."""

EXACT_BLOCK = 4
STEPS = {"ve-projection": {"n_steps": 1000}, "padis": {"n_levels": 100, "n_inner": 10}, "ddpm": {"n_steps": 100}}
"""As published."""


@dataclass(frozen=True, eq=False)
class Problem:
    """One scanned slice with a known lesion.

    Attributes
    ----------
    scanner, study : as in a run.
    measurement : the very data that :func:`KLIPCore.detection.simulated_scan.trace_slice` makes of the slice.
    lesion, body : (n, n) bool in the prior's frame.
    """

    scanner: Scanner
    study: FramedStudy
    measurement: Measurement
    lesion: NDArray[np.bool_]
    body: NDArray[np.bool_]

    @property
    def width_mm(self) -> float:
        """Of the prior's square."""
        return self.study.frame.pixel_mm * self.study.frame.size


def problem(seed: int, name: str = DEFAULT_PRIOR) -> Problem:
    """Draw, implant, frame, scan."""
    prior, plan = load_prior(name, "cpu"), Abdomen.random(seed)
    patient = draw_patient(prior, 1, seed, plan=plan, drawing=Drawing(n_steps=DRAW_STEPS))
    liver = plan.mask("liver", patient.grid) & tissue_mask(patient)
    flat = np.repeat(liver, 15, 0)  # one slice has no room above and below: a tumour is placed in a column of copies
    affine = patient.grid.affine.copy()
    affine[2, 3] -= 7 * affine[2, 0]
    column = type(patient.grid)(flat.shape, affine)
    template = Tumour((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), contrast_hu=CONTRAST_HU)
    (placed,) = place_tumours(flat, column, [RADIUS_MM], seed, template=template)
    x, y, _ = placed.centre_lps_mm
    volume, labels = implant(patient, [replace(placed, centre_lps_mm=(x, y, 0.0))], seed)
    study = frame_study(volume, prior.card)
    config = Config.from_preset("default")
    scanner = Scanner.build(config, prior, study.frame.pixel_mm, torch.device("cpu"))
    body = study.mask(0)
    fine = torch.from_numpy(study.intensity(0, prior.card, factor=config.measurement.finer))
    noise = scanner.noise_model(torch.from_numpy(body))
    measurement = simulate(
        fine, scanner.A_fine, scanner.A, noise, slice_generator(config.sampling.seed, 0), "synthetic slice"
    )
    in_frame = study.frame_of(0).pull(study.orientation.apply(labels > 0).astype(np.float32)[:1], order=0)[0]
    return Problem(scanner, study, measurement, in_frame > 0.5, body > 0.5)


def common_share(artifact: Artifact, window: tuple[int, int]) -> float:
    """Part of the recorded squares that all samples have in common: ‖E u‖² (unbiased) over E ‖u‖²; the rest
    is fluctuation.
    """
    u = artifact.normalized_updates[window[0] : window[1]].astype(np.float64)
    n, squares = u.shape[1], float(np.square(u).sum())
    return (float(np.square(u.sum(1)).sum()) - squares) / (n - 1) / squares


def separation(scores: NDArray[np.floating], p: Problem) -> float:
    """AUROC of lesion blocks among body blocks, by the published recipe."""
    return image_level([scores], [p.lesion], [p.body], BLOCK).mean


def largest_is_lesion(scores: NDArray[np.floating], p: Problem) -> str:
    """Where the largest block lies: it is the published score of the image."""
    place = np.unravel_index(scores.argmax(), scores.shape)
    if blocks_of(p.lesion, BLOCK)[place]:
        return "lesion"
    return "body" if blocks_of(p.body, BLOCK)[place] else "air"


def psnr(reconstruction: NDArray[np.float32] | None, p: Problem) -> float:
    """Of a reconstruction against the slice, in dB; it says whether a chain arrived."""
    truth = p.study.intensity(0, p.scanner.prior.card)
    return math.nan if reconstruction is None else -10 * math.log10(float(np.square(reconstruction - truth).mean()))


def row_of(
    p: Problem, name: str, first: Artifact, sigmas: NDArray[np.float64], common: Artifact | None
) -> dict[str, Any]:
    """One recipe's row: its score inside its published window of noise levels."""
    lo, hi = RECIPES[name].sigma_window("localization")
    inside = np.flatnonzero((sigmas >= lo) & (sigmas <= hi))
    window = (
        (int(inside[0]), int(inside[-1]) + 1) if inside.size else RECIPES[name].window("localization", len(sigmas))
    )
    return {
        "score": f"{name}, published",
        "sigma": (lo, hi),
        "scores": score_map(first, BLOCK, window),
        "common": common_share(common, window) if common is not None else math.nan,
        "psnr": psnr(first.reconstruction, p),
    }


def ve_projection_row(p: Problem) -> dict[str, Any]:
    """The score-model recipe."""
    settings = VEProjectionSettings(n_samples=SAMPLES, n_steps=VE_STEPS, sigma_max=SIGMA_MAX, record_every=1)
    made = sample_ve_projection(p.scanner.denoise, p.measurement, torch.Generator().manual_seed(0), settings)
    return row_of(p, "ve-projection", made, np.geomspace(SIGMA_MAX, 0.01, VE_STEPS), made)


def padis_row(p: Problem) -> dict[str, Any]:
    """The patch-prior recipe: runs one by one, so that what they have in common can be told."""
    settings = PadisSettings(
        n_runs=1,
        n_levels=PADIS_LEVELS,
        n_inner=PADIS_INNER,
        sigma_max=SIGMA_MAX,
        unit=40.0 / p.width_mm,  # the patch recipe's images are 40 units of length wide
    )
    runs = [
        sample_padis(
            p.scanner.denoise, p.measurement, torch.Generator().manual_seed(run), replace(settings, first_seed=run)
        )
        for run in range(SAMPLES)
    ]
    each = np.concatenate([run.normalized_updates for run in runs], 1)
    mean = Artifact(
        each.mean(1, keepdims=True),
        runs[0].g_values,
        np.mean([run.reconstruction for run in runs if run.reconstruction is not None], 0),
    )
    return row_of(p, "padis", mean, runs[0].g_values.astype(float) ** 2, Artifact(each, runs[0].g_values))


def ddpm_row(p: Problem) -> dict[str, Any]:
    """The DDPM recipe."""
    alpha_bar = linear_alpha_bar()
    times = np.arange(DDPM_STEPS)[::-1] * (len(alpha_bar) // DDPM_STEPS)
    predict = epsilon_from_denoiser(lambda x, sigma: p.scanner.denoise(x, min(sigma, SIGMA_MAX)), alpha_bar)
    settings = DDPMSettings(n_samples=SAMPLES, n_steps=DDPM_STEPS, unit=1 / operator_norm(p.measurement))
    made = sample_ddpm(predict, p.measurement, settings)
    return row_of(p, "ddpm", made, sigma_of(alpha_bar)[times] / 2, made)


def published(p: Problem) -> list[dict[str, Any]]:
    """Rows of the three recipes."""
    rows = []
    for make in (ve_projection_row, padis_row, ddpm_row):
        before = p.scanner.n_evaluations
        row = make(p)
        rows.append({**row, "evaluations": (p.scanner.n_evaluations - before) // SAMPLES})
    return rows


def operator_norm(m: Measurement) -> float:
    """‖A‖ by power iteration."""
    x = torch.ones(m.A.domain_shape, dtype=m.y.dtype)
    for _ in range(20):
        x = m.A.T(m.A(x / x.norm()))
    return math.sqrt(float(x.norm()))


def ours(p: Problem) -> list[dict[str, Any]]:
    """Rows of the house's scores, all from one trace."""
    config = p.scanner.config
    layers = tuple(dict.fromkeys((*config.record.layers, "path", "cold")))
    p.scanner.config = config.updated({"record": {"layers": list(layers)}, "sampling": {"n_samples": SAMPLES}})
    before = p.scanner.n_evaluations
    trace = KLTrace((trace_slice(p.scanner, p.study, 0),))
    evaluations = (p.scanner.n_evaluations - before) // SAMPLES
    rows = []
    for name in ("klip", "one-shot", "surprise"):
        score = SCORES[name]
        cells = trace.nats(score.layer, score.part, score.window, score.bands)
        energy, mean = (
            float(trace.nats(score.layer, part, score.window, score.bands).sum()) for part in ("energy", "mean")
        )  # type: ignore[arg-type]
        scores = tile_nats(cells, BLOCK * cells.shape[-1] / p.study.frame.size)[0]
        rows.append(
            {
                "score": name,
                "sigma": score.window,
                "scores": scores,
                "evaluations": evaluations,
                "common": mean / energy,
                "psnr": psnr(trace.slices[0].reconstruction, p),
            }
        )
    return rows


def exact_table() -> None:
    """The recipes as published against the closed form: a stationary Gaussian prior, 24 projections, a disc
    that was not expected.
    """
    prior = StationaryGaussianPrior.matern(torch.full((SIZE, SIZE), 0.5), 0.15, 3.0)
    denoise, dense = denoiser(prior), prior.dense()
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    disc = (rows - 20) ** 2 + (columns - 12) ** 2 <= DISC_RADIUS**2
    image = dense.sample(1, generator)[0, 0] + DISC_CONTRAST * disc
    grid = ImageGrid2D((SIZE, SIZE), 1.0)
    m = measured(image, Projector(ParallelBeam.sparse(24, grid), grid, dtype=torch.float64), 0.1, generator)
    posterior = dense.posterior(m)
    exact = GaussianKL(posterior, dense)

    def quality(reconstruction: Any) -> float:
        return -10 * math.log10(float(np.square(np.asarray(reconstruction) - image.clamp(0, 1).numpy()).mean()))

    print(
        f"Closed form: {SIZE} × {SIZE} pixels, a disc of radius {DISC_RADIUS:g}, blocks of {EXACT_BLOCK} pixels; "
        "published numbers of steps"
    )
    print(f"(the posterior mean reconstructs to {quality(posterior.mean[0]):.1f} dB)\n")
    print(
        "| recipe | reconstruction | AUROC | correlation with the KL's blocks | common to all samples | AUROC of "
        "the KL, of its mean part |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, recipe in RECIPES.items():
        seed, options = torch.Generator().manual_seed(1), STEPS[name]
        if name == "ve-projection":
            made = sample_ve_projection(denoise, m, seed, VEProjectionSettings(**options))
        elif name == "padis":
            made = sample_padis(denoise, m, seed, PadisSettings(unit=40 / SIZE, **options))
        else:
            made = sample_ddpm(
                epsilon_from_denoiser(denoise, linear_alpha_bar()),
                m,
                DDPMSettings(unit=1 / operator_norm(m), **options),
            )
        window = recipe.window("localization", made.n_steps)
        scores = score_map(made, EXACT_BLOCK, window)
        n = SIZE // EXACT_BLOCK
        truth = [
            exact.pixels(*recipe.sigma_window("localization"), part)[0]
            .reshape(n, EXACT_BLOCK, n, EXACT_BLOCK)
            .sum((1, 3))
            .numpy()
            for part in ("energy", "mean")
        ]
        areas = [image_level([blocks], [disc.numpy()], None, EXACT_BLOCK).mean for blocks in (scores, *truth)]
        common = f"{100 * common_share(made, window):.0f} %" if made.normalized_updates.shape[1] > 1 else "averaged"
        likeness = float(np.corrcoef(scores.ravel(), truth[0].ravel())[0, 1])
        print(
            f"| {name} | {quality(made.reconstruction):.1f} dB | {areas[0]:.2f} | {likeness:.2f} | {common} | "
            f"{areas[1]:.2f}, {areas[2]:.2f} |",
            flush=True,
        )
    print()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Published recipes beside the house's scores on one synthetic slice.")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic slice")
    parser.add_argument("--prior", default=DEFAULT_PRIOR, help="a shipped prior's name, or a weights file")
    chosen = parser.parse_args()
    seed = chosen.seed
    torch.set_num_threads(1)
    started = time.monotonic()
    exact_table()
    p = problem(seed, chosen.prior)
    n_lesion, n_body = (
        int((blocks_of(p.lesion, BLOCK) & blocks_of(p.body, BLOCK)).sum()),
        int(blocks_of(p.body, BLOCK).sum()),
    )
    print(
        f"Synthetic slice {seed}, {p.scanner.config.measurement.n_views} views; a lesion of {2 * RADIUS_MM:g} mm "
        f"and {CONTRAST_HU:g} HU:"
    )
    print(f"{n_lesion} of {n_body} body blocks of {BLOCK} pixels hold some of it. {SAMPLES} samples each.\n")
    print(
        "| score | σ window | evaluations a sample | reconstruction | AUROC | largest block | common to all samples |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in [*published(p), *ours(p)]:
        common = "–" if math.isnan(row["common"]) else f"{100 * row['common']:.0f} %"
        lo, hi = row["sigma"]
        where = largest_is_lesion(row["scores"], p)
        auroc = separation(row["scores"], p)
        figures = (
            [f"{auroc:.2f}", where, common]
            if row["psnr"] > ARRIVED_DB
            else [f"({v})" for v in (f"{auroc:.2f}", where, common)]
        )
        print(
            f"| {row['score']} | {lo:.2g}–{hi:.2g} | {row['evaluations']} | {row['psnr']:.1f} dB | "
            + " | ".join(figures)
            + " |",
            flush=True,
        )
    alpha_bar = linear_alpha_bar()
    start, end = RECIPES["ddpm"].window("localization")
    times = np.arange(990, -1, -10)[start:end]
    beta = 1 - alpha_bar[times] / alpha_bar[times - 1]
    a, a_next = alpha_bar[times], alpha_bar[times - 10]
    variance = (1 - a / a_next) * (1 - a_next) / (1 - a)
    print(
        "\nVariance that a stride of ten adds, over the β the published DDPM score divides by: "
        f"{(variance / beta).min():.1f} to {(variance / beta).max():.1f}"
    )
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
