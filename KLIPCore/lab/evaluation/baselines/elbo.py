"""Diffusion likelihood: the negative log density of the reconstruction under the prior, pixel by pixel.

By the I-MMSE relation (Kong, Brekelmans & Ver Steeg, "Information-theoretic diffusion", ICLR 2023), up to a constant,

    −log p(x) = ½ ∫ E_z ‖x − D(x + σz, σ)‖² dγ ,   γ = 1/σ²

(the same integral is the diffusion ELBO of Ho et al. 2020)

with nodes in ln σ and antithetic noise. Whole-image likelihoods are known to prefer simple images (Nalisnick
et al., ICLR 2019); that is why this is a baseline.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.kl.quadrature import antithetic_noise, gauss_legendre_nodes, whitened_push
from KLIPCore.lab.evaluation.baselines.view import SliceView

SIGMA_LO, SIGMA_HI = 0.02, 2.0
N_NODES = 8
"""Two evaluations a node: 16 a slice."""


def score(
    view: SliceView, sigma_lo: float = SIGMA_LO, sigma_hi: float = SIGMA_HI, n_nodes: int = N_NODES
) -> NDArray[np.float32]:
    """(H, W) nats: ½ ∫ E (x − D)² dγ over the given levels, per pixel."""
    nodes = gauss_legendre_nodes(n_nodes, sigma_lo, sigma_hi)
    generator = torch.Generator().manual_seed(view.seed)
    x = view.image
    total = torch.zeros_like(x)
    for sigma, weight in zip(nodes.sigma, nodes.weight, strict=True):
        z = antithetic_noise(tuple(x.shape), 1, generator)
        denoised = view.denoise(x + float(sigma) * z, float(sigma))
        total += whitened_push(x.expand_as(denoised), denoised, float(sigma), float(weight)).square().mean(0)
    return np.asarray(total.numpy(), np.float32)
