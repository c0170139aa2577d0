"""DiffPath: how fast the noise prediction turns along the way from the image to pure noise.

Heng, Thiery & Soh, "Out-of-distribution detection with a single unconditional diffusion model" (NeurIPS 2024):
the image is carried along the prior's probability-flow ODE, dx/dσ = ε(x, σ) = (x − D(x, σ)) / σ, and ‖∂ε/∂t‖²
summed over the path is the statistic. Here its one-dimensional form per pixel, t = ln σ, Heun's rule replaced
by Euler's as in the paper (DDIM encoding).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.baselines.view import SliceView

SIGMA_LO, SIGMA_HI = 0.02, 2.0
N_STEPS = 16


def score(view: SliceView, n_steps: int = N_STEPS) -> NDArray[np.float32]:
    """(H, W) Σ (Δε / Δ ln σ)² Δ ln σ along the path."""
    sigmas = np.geomspace(SIGMA_LO, SIGMA_HI, n_steps)
    step = float(np.log(sigmas[1] / sigmas[0]))
    x = view.image[None]
    total = torch.zeros_like(x)
    before = None
    for k, sigma in enumerate(sigmas):
        epsilon = (x - view.denoise(x, float(sigma))) / float(sigma)
        if before is not None:
            total += (epsilon - before).square() / step
        before = epsilon
        if k + 1 < n_steps:
            x = x + float(sigmas[k + 1] - sigma) * epsilon
    return np.asarray(total[0].numpy(), np.float32)
