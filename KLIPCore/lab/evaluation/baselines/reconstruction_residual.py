"""Reconstruction residual: what the prior took out of, or put into, the measured image.

(CG reconstruction − posterior mean)², the oldest idea of the field: an autoencoder or a diffusion model
returns what it knows, so anomalies stay in the residual (Baur et al., Med. Image Anal. 69, 101952, 2021,
compare its variants). Streaks of a sparse scan stay in it as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.baselines.view import SliceView


def score(view: SliceView) -> NDArray[np.float32]:
    """(H, W) squared difference of the least-squares reconstruction and the posterior mean."""
    return np.square(view.classical("cg") - view.trace.reconstruction)
