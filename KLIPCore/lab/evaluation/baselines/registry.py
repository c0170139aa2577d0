"""All baselines by name, so that an evaluation's configuration can ask for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.lab.evaluation.baselines import classical, diffusion
from KLIPCore.lab.evaluation.baselines.view import SliceView

Baseline = Callable[[SliceView], NDArray[np.float32]]
"""A slice → non-negative scores (H, W) per pixel, or (h, w) per base cell; blocks add them up."""

BASELINES: dict[str, Baseline] = {
    "reconstruction-residual": classical.reconstruction_residual,
    "denoising-residual": diffusion.denoising_residual,
    "one-shot-low-pass": diffusion.one_shot_low_pass,
    "without-prior": classical.without_prior,
    "anoddpm": diffusion.anoddpm,
    "plain-kl": diffusion.plain_kl,
    "elbo": diffusion.elbo,
    "diffpath": diffusion.diffpath,
    "classical-residual": classical.classical_residual,
    "feature-distance": classical.feature_distance,
    "blob": classical.blob,
    "hu-threshold": classical.hu_threshold,
}

NEEDS_SCAN = frozenset({"reconstruction-residual", "classical-residual"})
"""Baselines that look at the measurement itself."""


def baseline(name: str) -> Baseline:
    """Return the baseline of that name.

    Raises
    ------
    ConfigError : there is none.
    """
    if name not in BASELINES:
        raise ConfigError(f"There is no baseline '{name}'.", f"Choose from {', '.join(BASELINES)}.")
    return BASELINES[name]
