"""One-shot denoising residual: Σ over σ of ((x̂ − D(x̂, σ)) / σ)², without any sampling.

The residual of a denoiser at a clean image is σ times the prior's score there (Tweedie): likely images have
small ones. Used at a single σ by Graham et al., "Denoising diffusion models for out-of-distribution detection"
(CVPR workshops 2023), at several by Mahmood et al., "Multiscale score matching for OOD detection" (ICLR 2021).
Here per pixel, summed over three levels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.baselines.view import SliceView

SIGMAS = (0.1, 0.2, 0.4)
"""Noise levels: the window of the localization scores."""


def score(view: SliceView) -> NDArray[np.float32]:
    """(H, W) Σ ((x̂ − D(x̂, σ)) / σ)²."""
    x = view.image[None]
    total = torch.stack([((x - view.denoise(x, sigma))[0] / sigma).square() for sigma in SIGMAS]).sum(0)
    return np.asarray(total.numpy(), np.float32)
