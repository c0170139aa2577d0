"""All baselines by name, so that an evaluation's configuration can ask for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.lab.evaluation.baselines import (
    anoddpm,
    blob,
    classical_residual,
    denoising_residual,
    diffpath,
    elbo,
    feature_distance,
    hu_threshold,
    plain_kl,
    reconstruction_residual,
)
from KLIPCore.lab.evaluation.baselines.view import SliceView

Baseline = Callable[[SliceView], NDArray[np.float32]]
"""A slice → non-negative scores (H, W) per pixel, or (h, w) per base cell; blocks add them up."""

BASELINES: dict[str, Baseline] = {
    "reconstruction-residual": reconstruction_residual.score,
    "denoising-residual": denoising_residual.score,
    "anoddpm": anoddpm.score,
    "plain-kl": plain_kl.score,
    "elbo": elbo.score,
    "diffpath": diffpath.score,
    "classical-residual": classical_residual.score,
    "feature-distance": feature_distance.score,
    "blob": blob.score,
    "hu-threshold": hu_threshold.score,
}

NEEDS_SCAN = frozenset({"reconstruction-residual", "classical-residual"})
"""Baselines that look at the measurement itself."""


def baseline(name: str) -> Baseline:
    """The baseline of that name.

    Raises
    ------
    ConfigError : there is none.
    """
    if name not in BASELINES:
        raise ConfigError(f"There is no baseline '{name}'.", f"Choose from {', '.join(BASELINES)}.")
    return BASELINES[name]
