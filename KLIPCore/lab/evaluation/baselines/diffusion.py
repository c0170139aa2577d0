"""Baselines that ask the prior: published ways to tell with a diffusion model what is unusual in an image.

Each function takes a :class:`~KLIPCore.lab.evaluation.baselines.view.SliceView` and returns non-negative scores: two
maps per pixel, as they are and behind the scores' low-pass
(:func:`~KLIPCore.lab.evaluation.baselines.view.energies`), or (:func:`plain_kl`) one per base cell of the trace.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.kl.quadrature import antithetic_noise, gauss_legendre_nodes, whitened_push
from KLIPCore.lab.evaluation.baselines.view import SliceView, energies
from KLIPCore.sampling.dds import unguided_sample
from KLIPCore.sampling.schedule import geometric

RESIDUAL_SIGMAS = (0.1, 0.2, 0.4)
"""Noise levels of :func:`denoising_residual`: the window of the localization scores."""

ANODDPM_START, ANODDPM_END = 0.4, 0.01
ANODDPM_STEPS, ANODDPM_RUNS = 8, 2
"""18 network evaluations a slice (a last one ends each run), two more than the preset quick."""

PATCH_PX, STRIDE_PX = 96, 80
"""Edge of the patches of :func:`pddpm`, and their distance: three by three of them on 256 pixels."""

PDDPM_START, PDDPM_END, PDDPM_STEPS = 0.4, 0.05, 3
"""Four evaluations a patch."""

SIGMA_LO, SIGMA_HI = 0.02, 2.0
"""Noise levels of :func:`elbo` and :func:`diffpath`."""

ELBO_NODES = 8
"""Two evaluations a node: 16 a slice."""

DIFFPATH_STEPS = 16


def denoising_residual(view: SliceView) -> NDArray[np.float32]:
    """Return Σ over σ of ((x̂ − D(x̂, σ)) / σ)², without any sampling.

    The residual of a denoiser at a clean image is σ times the prior's score there (Tweedie): likely images have small
    ones. Used at a single σ by Graham et al., "Denoising diffusion models for out-of-distribution detection" (CVPR
    workshops 2023), at several by Mahmood et al., "Multiscale score matching for OOD detection" (ICLR 2021). Behind
    the low-pass it is called ``one-shot-low-pass``: what ``darker`` and ``hypodense`` have over that row are the
    sign, the weights, the gate and the noise.
    """
    x = view.image[None]
    return energies(torch.cat([(x - view.denoise(x, sigma)) / sigma for sigma in RESIDUAL_SIGMAS]))


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
    return energies((view.image - healthy)[None])


def patches(shape: tuple[int, int], edge: int, stride: int) -> list[tuple[slice, slice]]:
    """Return patches that cover an image: ``stride`` apart, the last ones moved back to its rim."""

    def starts(n: int) -> list[int]:
        return sorted({min(k, max(n - edge, 0)) for k in range(0, max(n - edge, 0) + stride, stride)})

    return [(slice(r, r + edge), slice(c, c + edge)) for r in starts(shape[0]) for c in starts(shape[1])]


def pddpm(view: SliceView) -> NDArray[np.float32]:
    """Return the squared difference of the image and its reconstruction patch by patch, each from its surroundings.

    Behrendt, Bhattacharya, Krüger, Opfer & Schlaefer, "Patched diffusion models for unsupervised anomaly detection
    in brain MRI" (MIDL 2023): one patch is noised and restored while the rest of the image stays visible; the
    patches together are the healthy version, overlaps averaged. There a network is trained for just that, which
    sees the rest without noise and restores a patch in one evaluation. The prior here expects its noise
    everywhere (shown clean surroundings, it leaves the patch's noise where it is), so the patch is restored in a
    short chain, and the surroundings are shown with fresh noise of the chain's own level, as RePaint does (Lugmayr et
    al., CVPR 2022). Gaussian noise; one run; patches without any of the body are left as they are.
    """
    boxes = [box for box in patches(view.body.shape, PATCH_PX, STRIDE_PX) if view.body[box].any()]
    inside = torch.zeros(len(boxes), *view.image.shape, dtype=torch.bool)
    for n, box in enumerate(boxes):
        inside[n][box] = True
    draws = iter(view.noise(2 * (PDDPM_STEPS + 1)).split(1))

    def with_surroundings(x: Tensor, sigma: float) -> Tensor:
        return view.denoise(torch.where(inside, x, view.image + sigma * next(draws)), sigma)

    start = (view.image + PDDPM_START * next(draws)).expand(len(boxes), -1, -1)
    levels = list(geometric(PDDPM_START, PDDPM_END, PDDPM_STEPS))
    restored = unguided_sample(with_surroundings, levels, start, lambda: next(draws))
    count = inside.sum(0)
    healthy = torch.where(count > 0, (restored * inside).sum(0) / count.clamp_min(1), view.image)
    return energies((view.image - healthy)[None])


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
    pushes = []
    for sigma, weight in zip(nodes.sigma, nodes.weight, strict=True):
        z = antithetic_noise(tuple(x.shape), 1, generator)
        denoised = view.denoise(x + float(sigma) * z, float(sigma))
        pushes.append(whitened_push(x.expand_as(denoised), denoised, float(sigma), float(weight)))
    return np.asarray(energies(torch.cat(pushes)) / len(pushes[0]), np.float32)


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
    turns = []
    before = None
    for k, sigma in enumerate(sigmas):
        epsilon = (x - view.denoise(x, float(sigma))) / float(sigma)
        if before is not None:
            turns.append((epsilon - before) / step**0.5)
        before = epsilon
        if k + 1 < n_steps:
            x = x + float(sigmas[k + 1] - sigma) * epsilon
    return energies(torch.cat(turns))


def plain_kl(view: SliceView) -> NDArray[np.float32]:
    """Return (h, w) nats per base cell of the ``path`` layer: all of the guided chain, no window, no bands, no parts.

    KLIP's own ablation ("plain KL" in Kheirandish et al., CVPR 2026): what is left of the method without restriction
    in time.
    """
    return np.asarray(view.trace.layers["path"].energy.sum((0, 1)), np.float32)


def mahalanobis(view: SliceView) -> NDArray[np.float32]:
    """Return how far each patch's features in the prior's network are from those of healthy slices.

    :mod:`KLIPCore.lab.evaluation.baselines.features` has the sources. The healthy slices are those that the
    configuration names as its reference, simulated and reconstructed as the slices that are scored. Every other
    method here does without them.
    """
    assert view.health is not None, "this baseline needs healthy slices"
    return view.health.distance(view.denoise, view.image) * view.body
