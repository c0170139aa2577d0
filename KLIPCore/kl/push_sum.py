"""Collecting mean pushes while the nodes of a slice are evaluated (:mod:`KLIPCore.maps.pushes`)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.maps.pushes import EXPECTATION_SIGMA, STEP, Pushes


class PushSum:
    """Collects the pushes of one slice, node after node.

    Parameters
    ----------
    mean : (H, W) posterior mean in intensity.
    """

    def __init__(self, mean: Tensor) -> None:
        self.mean = mean
        self.nodes: dict[float, NDArray[np.float32]] = {}

    def add(self, sigma: float, prior_mean: Tensor) -> None:
        """Add (n, H, W) denoised images D(x̂ + τσz, σ) of one node."""
        self.nodes[float(sigma)] = _coarse(prior_mean.mean(0))

    def done(self) -> Pushes:
        """Return what was collected, in rising order of σ."""
        sigma = np.array(sorted(self.nodes))
        mean = _coarse(self.mean)
        expected = [self.nodes[float(s)] for s in sigma]
        push = np.stack([mean - own for own in expected])
        return Pushes(sigma, push, expected[int(np.abs(np.log(sigma / EXPECTATION_SIGMA)).argmin())])


def _coarse(image: Tensor) -> NDArray[np.float32]:
    """(H, W) → (H/STEP, W/STEP) averages."""
    pooled = torch.nn.functional.avg_pool2d(image[None, None].float(), STEP)[0, 0]
    return np.asarray(pooled.cpu().numpy(), np.float32)
