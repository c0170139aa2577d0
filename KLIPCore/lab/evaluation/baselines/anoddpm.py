"""AnoDDPM: noise the image half-way, let the prior bring it back, look at what changed.

Wyatt et al., "AnoDDPM: anomaly detection with denoising diffusion probabilistic models using simplex noise"
(CVPR workshops 2022). Here with Gaussian noise, the prior's own, and the mean of two runs; the squared
difference is the score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.baselines.view import SliceView
from KLIPCore.sampling.dds import unguided_sample
from KLIPCore.sampling.schedule import geometric

SIGMA_START, SIGMA_END = 0.4, 0.01
N_STEPS, N_RUNS = 8, 2
"""18 network evaluations a slice (a last one ends each run), two more than the preset quick."""


def score(view: SliceView) -> NDArray[np.float32]:
    """(H, W) squared difference of the image and the mean of its healthy versions."""
    noise = iter(view.noise(N_RUNS * (N_STEPS + 1)).split(N_RUNS))
    start = view.image + SIGMA_START * next(noise)
    healthy = unguided_sample(
        view.denoise, list(geometric(SIGMA_START, SIGMA_END, N_STEPS)), start, lambda: next(noise)
    ).mean(0)
    return np.asarray((view.image - healthy).square().numpy(), np.float32)
