"""KLIP's published recipes in full, as baselines: their chains, their samples and their scores, with our prior.

Kheirandish, Hong & Fridovich-Keil (CVPR 2026). What is the published code's and what is ours is said in
:mod:`KLIPCore.lab.published.schedule` and in the recipes' own modules; the prior and the simulated scan are those of
every other row. Such a chain takes from minutes to more than an hour of one processor core per slice; finished slices
are kept, a chain that is stopped begins again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.baselines.view import SliceView
from KLIPCore.lab.published.schedule import Lengths, localization_window, sample_recipe
from KLIPCore.lab.published.score import score_map

FULL: dict[str, Lengths] = {
    "ve-projection": Lengths(samples=8, cg_iterations=5),
    "padis": Lengths(samples=1),
    "ddpm": Lengths(samples=8),
}
"""As published: 16 008 evaluations a slice, 1000 with their gradients, and 800. A⁺ takes the five iterations with
which it does best, and PaDIS draws the one sample of its pipeline.
"""


def published_score(view: SliceView, recipe: str, lengths: Lengths) -> NDArray[np.float32]:
    """Return (H, W): squared updates in the published window, mean over its steps and samples."""
    measurement, _ = view.scan()
    width_mm = view.pixel_mm * view.image.shape[-1]
    artifact, sigmas = sample_recipe(
        recipe, view.denoise, measurement, lengths, sigma_max=view.sigma_max, width_mm=width_mm
    )
    return score_map(artifact, 1, localization_window(recipe, sigmas))


RECIPES_IN_FULL: dict[str, Callable[[SliceView], NDArray[np.float32]]] = {
    f"published-{name}": partial(published_score, recipe=name, lengths=lengths) for name, lengths in FULL.items()
}
