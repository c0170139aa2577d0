"""Baselines that ask the prior: published ways to tell with a diffusion model what is unusual in an image.

Each function takes a :class:`~KLIPCore.lab.evaluation.baselines.view.SliceView` and returns non-negative scores, per
pixel or (:func:`plain_kl`) per base cell of the trace.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.kl.quadrature import antithetic_noise, gauss_legendre_nodes, whitened_push
from KLIPCore.kl.signed import SCALES_PX, gaussian_blur
from KLIPCore.lab.evaluation.baselines.view import SliceView
from KLIPCore.sampling.dds import unguided_sample
from KLIPCore.sampling.schedule import geometric

RESIDUAL_SIGMAS = (0.1, 0.2, 0.4)
"""Noise levels of :func:`denoising_residual`: the window of the localization scores."""

ANODDPM_START, ANODDPM_END = 0.4, 0.01
ANODDPM_STEPS, ANODDPM_RUNS = 8, 2
"""18 network evaluations a slice (a last one ends each run), two more than the preset quick."""

SIGMA_LO, SIGMA_HI = 0.02, 2.0
"""Noise levels of :func:`elbo` and :func:`diffpath`."""

ELBO_NODES = 8
"""Two evaluations a node: 16 a slice."""

DIFFPATH_STEPS = 16


def denoising_residual(view: SliceView) -> NDArray[np.float32]:
    """Return Σ over σ of ((x̂ − D(x̂, σ)) / σ)², without any sampling.

    The residual of a denoiser at a clean image is σ times the prior's score there (Tweedie): likely images have small
    ones. Used at a single σ by Graham et al., "Denoising diffusion models for out-of-distribution detection" (CVPR
    workshops 2023), at several by Mahmood et al., "Multiscale score matching for OOD detection" (ICLR 2021).
    """
    x = view.image[None]
    total = torch.stack([((x - view.denoise(x, sigma))[0] / sigma).square() for sigma in RESIDUAL_SIGMAS]).sum(0)
    return np.asarray(total.numpy(), np.float32)


def one_shot_low_pass(view: SliceView) -> NDArray[np.float32]:
    """Return Σ over σ of (G ((x̂ − D(x̂, σ)) / σ))².

    :func:`denoising_residual` behind the Gaussian that the scores ``darker`` and ``hypodense`` lay over their
    pushes.

    Squared pixel by pixel, texture and edges win; a comparison of one with a low-pass and one without compares the
    low-pass. What those scores have over this row are the sign, the weights, the gate and the noise.
    """
    x = view.image[None]
    pushes = torch.cat([(x - view.denoise(x, sigma)) / sigma for sigma in RESIDUAL_SIGMAS])
    return np.asarray(gaussian_blur(pushes, SCALES_PX[0]).square().sum(0).numpy(), np.float32)


def anoddpm(view: SliceView) -> NDArray[np.float32]:
    """Return the squared difference of the image and the mean of its healthy versions.

    Noise the image half-way, let the prior bring it back, look at what changed: Wyatt et al., "AnoDDPM: anomaly
    detection with denoising diffusion probabilistic models using simplex noise" (CVPR workshops 2022). Here with
    Gaussian noise, the prior's own, and the mean of two runs.
    """
    noise = iter(view.noise(ANODDPM_RUNS * (ANODDPM_STEPS + 1)).split(ANODDPM_RUNS))
    start = view.image + ANODDPM_START * next(noise)
    levels = list(geometric(ANODDPM_START, ANODDPM_END, ANODDPM_STEPS))
    healthy = unguided_sample(view.denoise, levels, start, lambda: next(noise)).mean(0)
    return np.asarray((view.image - healthy).square().numpy(), np.float32)


def elbo(
    view: SliceView, sigma_lo: float = SIGMA_LO, sigma_hi: float = SIGMA_HI, n_nodes: int = ELBO_NODES
) -> NDArray[np.float32]:
    """Return the negative log density of the reconstruction under the prior, in nats per pixel, up to a constant.

    By the I-MMSE relation (Kong, Brekelmans & Ver Steeg, "Information-theoretic diffusion", ICLR 2023),
    −log p(x) = ½ ∫ E_z ‖x − D(x + σz, σ)‖² dγ with γ = 1/σ² (the same integral is the diffusion ELBO of Ho et al.
    2020), with nodes in ln σ and antithetic noise. Whole-image likelihoods are known to prefer simple images
    (Nalisnick et al., ICLR 2019); that is why this is a baseline.
    """
    nodes = gauss_legendre_nodes(n_nodes, sigma_lo, sigma_hi)
    generator = torch.Generator().manual_seed(view.seed)
    x = view.image
    total = torch.zeros_like(x)
    for sigma, weight in zip(nodes.sigma, nodes.weight, strict=True):
        z = antithetic_noise(tuple(x.shape), 1, generator)
        denoised = view.denoise(x + float(sigma) * z, float(sigma))
        total += whitened_push(x.expand_as(denoised), denoised, float(sigma), float(weight)).square().mean(0)
    return np.asarray(total.numpy(), np.float32)


def diffpath(view: SliceView, n_steps: int = DIFFPATH_STEPS) -> NDArray[np.float32]:
    """Return how fast the noise prediction turns on the way from the image to pure noise: Σ (Δε / Δ ln σ)² Δ ln σ.

    Heng, Thiery & Soh, "Out-of-distribution detection with a single unconditional diffusion model" (NeurIPS 2024):
    the image is carried along the prior's probability-flow ODE, dx/dσ = ε(x, σ) = (x − D(x, σ)) / σ, and ‖∂ε/∂t‖²
    summed over the path is the statistic. Here its one-dimensional form per pixel, t = ln σ, with Euler's rule as in
    the paper (DDIM encoding).
    """
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


def plain_kl(view: SliceView) -> NDArray[np.float32]:
    """Return (h, w) nats per base cell of the ``path`` layer: all of the guided chain, no window, no bands, no parts.

    KLIP's own ablation ("plain KL" in Kheirandish et al., CVPR 2026): what is left of the method without restriction
    in time.
    """
    return np.asarray(view.trace.layers["path"].energy.sum((0, 1)), np.float32)
