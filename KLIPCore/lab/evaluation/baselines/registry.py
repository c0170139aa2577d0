"""All baselines by name, so that an evaluation's configuration can ask for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.kl.bands import cell_sums
from KLIPCore.lab.evaluation.baselines import classical, curvature, diffusion
from KLIPCore.lab.evaluation.baselines.published import RECIPES_IN_FULL
from KLIPCore.lab.evaluation.baselines.view import SliceView


@dataclass(frozen=True)
class Baseline:
    """A way to score a slice, in two steps: maps that are kept, and what is read from their sums over blocks.

    Attributes
    ----------
    kept : name of the computation, and of the file that keeps it; several baselines may read from one.
    compute : a slice → maps (H, W) per pixel or (h, w) per base cell, or (P, H, W) several of them.
    read : sums of the maps over blocks, (..., P, h, w) → non-negative scores (..., h, w).
    per_image : whether the published method gives one number an image; it is then read from the sums over the body,
        and slices are told from each other by it instead of by their largest block.
    needs_scan, needs_health : whether it looks at the measurement itself, and at a reference of healthy slices.
    """

    kept: str
    compute: Callable[[SliceView], NDArray[np.float32]]
    read: Callable[[NDArray[np.floating]], NDArray[np.floating]]
    per_image: bool = False
    needs_scan: bool = False
    needs_health: bool = False

    def cells(self, view: SliceView, cell: int) -> NDArray[np.float32]:
        """Return (P, h, w): the maps of a slice, summed over base cells of ``cell`` pixels."""
        made = self.compute(view)
        maps = made if made.ndim == 3 else made[None]
        whole = maps.shape[-2:] == view.trace.reconstruction.shape
        return np.asarray(cell_sums(torch.from_numpy(maps), cell).numpy() if whole else maps, np.float32)


def _first(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    return sums[..., 0, :, :]


def _second(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    return sums[..., 1, :, :]


def _pair(
    name: str, compute: Callable[[SliceView], NDArray[np.float32]], low_passed: str = "", needs_scan: bool = False
) -> dict[str, Baseline]:
    """A method that squares a residual, pixel by pixel and behind the scores' low-pass."""
    return {
        name: Baseline(name, compute, _first, needs_scan=needs_scan),
        low_passed or f"{name}-low-pass": Baseline(name, compute, _second, needs_scan=needs_scan),
    }


BASELINES: dict[str, Baseline] = {
    **_pair("reconstruction-residual", classical.reconstruction_residual, needs_scan=True),
    **_pair("denoising-residual", diffusion.denoising_residual, "one-shot-low-pass"),
    "without-prior": Baseline("without-prior", classical.without_prior, _first),
    **_pair("anoddpm", diffusion.anoddpm),
    **_pair("pddpm", diffusion.pddpm),
    "plain-kl": Baseline("plain-kl", diffusion.plain_kl, _first),
    **_pair("elbo", diffusion.elbo),
    **_pair("diffpath", diffusion.diffpath),
    "eigenscore": Baseline("eigenscore", curvature.eigenscore, _first, per_image=True),
    "scoped": Baseline("scoped", curvature.scoped_terms, curvature.scoped_statistic, per_image=True),
    "mahalanobis": Baseline("mahalanobis", diffusion.mahalanobis, _first, needs_health=True),
    **_pair("classical-residual", classical.classical_residual, needs_scan=True),
    "feature-distance": Baseline("feature-distance", classical.feature_distance, _first),
    "blob": Baseline("blob", classical.blob, _first),
    "hu-threshold": Baseline("hu-threshold", classical.hu_threshold, _first),
    **{name: Baseline(name, compute, _first, needs_scan=True) for name, compute in RECIPES_IN_FULL.items()},
}


def baseline(name: str) -> Baseline:
    """Return the baseline of that name.

    Raises
    ------
    ConfigError : there is none.
    """
    if name not in BASELINES:
        raise ConfigError(f"There is no baseline '{name}'.", f"Choose from {', '.join(BASELINES)}.")
    return BASELINES[name]
