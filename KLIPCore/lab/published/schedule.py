"""The published recipes on one scan of ours: how long their chains are, and which of their steps are scored.

    ve-projection   1000 levels, predictor and corrector, data projected into the state     2001 evaluations per sample
    padis           100 levels × 10 Langevin steps, DPS by back-propagation     1000 evaluations and gradients
    ddpm            100 strided steps of 1000, data's gradient without back-propagation         100 evaluations

What is *not* the published code's: its networks and its images, and its A⁺, which replaces Fourier lines in no time
where ours takes some conjugate gradients. The chains start at the largest noise the prior knows, and their windows are
the published ones in σ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.lab.published.ddpm import DDPMSettings, epsilon_from_denoiser, sample_ddpm
from KLIPCore.lab.published.padis import PadisSettings, sample_padis
from KLIPCore.lab.published.recipe import RECIPES
from KLIPCore.lab.published.ve_projection import VEProjectionSettings, sample_ve_projection
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.ddpm import linear_alpha_bar, sigma_of

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
    cg_iterations : of A⁺ in the predictor–corrector chain.
    """

    ve_steps: int = 1000
    padis_levels: int = 100
    padis_inner: int = 10
    ddpm_steps: int = 100
    samples: int = 1
    cg_iterations: int = PROJECTION_ITERATIONS


def sample_recipe(
    name: str, denoise: Denoiser, m: Measurement, lengths: Lengths, *, sigma_max: float, width_mm: float
) -> tuple[Artifact, NDArray[np.float64]]:
    """Return a recipe's record of one scan, and σ of each of its steps.

    Parameters
    ----------
    name : of one of :data:`KLIPCore.lab.published.recipe.RECIPES`.
    denoise : the prior; for ``padis`` gradients must flow through it.
    m : the scan, without batch dimension.
    lengths : of the chain.
    sigma_max : the largest noise that the prior knows, where the chain starts.
    width_mm : of the image.
    """
    generator = torch.Generator().manual_seed(0)
    if name == "ve-projection":
        every = max(1, lengths.ve_steps // 100)
        made = sample_ve_projection(
            denoise,
            m,
            generator,
            VEProjectionSettings(
                n_samples=lengths.samples,
                n_steps=lengths.ve_steps,
                sigma_max=sigma_max,
                record_every=every,
                cg_iterations=lengths.cg_iterations,
            ),
        )
        return made, np.geomspace(sigma_max, 0.01, lengths.ve_steps)[::every]
    if name == "padis":
        made = sample_padis(
            denoise,
            m,
            generator,
            PadisSettings(
                n_runs=lengths.samples,
                n_levels=lengths.padis_levels,
                n_inner=lengths.padis_inner,
                sigma_max=sigma_max,
                unit=PADIS_WIDTH / width_mm,
            ),
        )
        return made, made.g_values.astype(float) ** 2
    alpha_bar = linear_alpha_bar()
    predict = epsilon_from_denoiser(lambda x, sigma: denoise(x, min(sigma, sigma_max)), alpha_bar)
    made = sample_ddpm(
        predict, m, DDPMSettings(n_samples=lengths.samples, n_steps=lengths.ddpm_steps, unit=1 / _norm(m))
    )
    times = np.arange(lengths.ddpm_steps)[::-1] * (len(alpha_bar) // lengths.ddpm_steps)
    return made, sigma_of(alpha_bar)[times] / 2


def localization_window(name: str, sigmas: NDArray[np.float64]) -> tuple[int, int]:
    """Return the recorded steps inside the published window of noise levels; the nearest one where none is."""
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
