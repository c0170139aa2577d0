"""Baselines that look at the denoiser's Jacobian: how it would move if the image were a little different.

With s = ∇ log p_σ the score of the noised prior and D its denoiser, Tweedie's formula and its derivative say

    σ² s(x) = D(x) − x,      σ² ∇D(x) = Cov[x₀ | x_σ = x],      −∇s = (1 − ∇D) / σ² .

So the eigenvalues of ∇D tell in which directions the prior is unsure of the clean image (:func:`eigenscore`), and its
trace how curved log p_σ is (:func:`scoped_terms`). Nothing is back-propagated: products with ∇D are differences of two
evaluations of the denoiser. A network that computes in bfloat16 answers with an error of its own, so the difference
must not be too small; :data:`STEP` is where the errors of both kinds stay at a few per cent.

The functions that the registry names take a :class:`~KLIPCore.lab.evaluation.baselines.view.SliceView`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.lab.evaluation.baselines.view import SliceView
from KLIPCore.priors.prior import Denoiser

STEP = 0.03
"""Root mean square of the change that a Jacobian product makes, as a part of σ."""

LEVELS = (0.1, 0.4)
"""Noise levels: a fine and a coarse one, the ends of the window in which the other baselines look."""

N_EIGEN, N_ITERATIONS = 3, 3
"""36 evaluations a slice: a product takes two."""

N_PROBES = 2
"""12 evaluations a slice: one and two for the product, for each level and probe."""


def jacobian_products(denoise: Denoiser, x: Tensor, directions: Tensor, sigma: float) -> Tensor:
    """Return ∇D(x, σ) v for some directions, by central differences.

    Parameters
    ----------
    denoise : D.
    x : (H, W), or (K, H, W): a state for each direction.
    directions : (K, H, W), of any length.
    sigma : noise level.
    """
    rms = directions.square().mean((-2, -1), keepdim=True).sqrt()
    c = STEP * sigma / rms
    ahead, behind = denoise(torch.cat([x + c * directions, x - c * directions]), sigma).chunk(2)
    return (ahead - behind) / (2 * c)


def leading_eigen(
    denoise: Denoiser, x: Tensor, sigma: float, start: Tensor, n_iterations: int
) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalues of ∇D(x, σ), falling, and their eigenvectors, by subspace iteration.

    Each iteration multiplies all directions by ∇D and makes them orthonormal again; the last product gives the
    Rayleigh–Ritz values, those of the symmetric part of Vᵀ ∇D V.

    Parameters
    ----------
    denoise : D.
    x : (H, W) state.
    sigma : noise level.
    start : (K, H, W) directions to begin with.
    n_iterations : products with each direction.

    Returns
    -------
    (K,) eigenvalues of ∇D: times σ², the posterior variances; and (K, H, W) vectors of length 1.
    """
    v, product = start, start
    for _ in range(n_iterations):
        v = torch.linalg.qr(product.flatten(1).T).Q.T.reshape(start.shape)
        product = jacobian_products(denoise, x, v, sigma)
    small = v.flatten(1) @ product.flatten(1).T
    values, rotation = torch.linalg.eigh((small + small.T) / 2)
    return values.flip(0), torch.einsum("jk,jhw->khw", rotation.flip(1), v)


def eigenscore(view: SliceView) -> NDArray[np.float32]:
    """Return Σ over σ and the K largest eigenvalues of λ_k v_k² / σ², the share of each pixel in the sum of them.

    Shoushtari, Wang, Shi, Asif & Kamilov, "EigenScore: OOD detection using posterior covariance in diffusion
    models" (ICLR 2026): an image that the prior does not know leaves it unsure, so the largest eigenvalues λ_k of
    Cov[x₀ | x_σ] = σ² ∇D(x_σ) at x_σ = x + σz are larger. Theirs is one number an image, Σ over σ of the sum of the
    eigenvalues, standardized level by level with training images; as there are none of these here, λ is divided
    by σ², which keeps each level between 0 and K. Localization is ours: the eigenvectors say where the uncertainty
    lies, and the number is the sum of the map. Two levels, three eigenvalues, three iterations and one noise image
    are fewer than the paper's five levels, up to fifty iterations and five or more noise images.
    """
    noise = view.noise(len(LEVELS) + N_EIGEN)
    total = torch.zeros_like(view.image)
    for sigma, z in zip(LEVELS, noise, strict=False):
        values, vectors = leading_eigen(view.denoise, view.image + sigma * z, sigma, noise[-N_EIGEN:], N_ITERATIONS)
        total += (values.clamp_min(0)[:, None, None] * vectors.square()).sum(0)
    return np.asarray(total.numpy(), np.float32)


def scoped_terms(view: SliceView) -> NDArray[np.float32]:
    """Return (2 · levels, H, W): for each level the terms of σ² ‖s‖² and of σ² tr(−∇s), in this order.

    Barkley, Culbertson & Fridovich-Keil, "SCOPED: score–curvature out-of-distribution proximity evaluator for
    diffusion" (ICLR 2026): on what a density usually yields, T = ‖s‖² / tr(−∇s) is 1 (the two have the same
    expectation, Fisher's), elsewhere it is not. At x_σ = x + σz,

        ‖σ s‖² = ‖x_σ − D(x_σ)‖² / σ²,      tr(−σ² ∇s) = n − tr ∇D(x_σ),      tr ∇D ≈ vᵀ ∇D v,

    v a probe of random signs (Hutchinson). Both are sums over pixels, so T of a block is the ratio of its own two
    sums: the norm of the score in the block, and the trace of the block of the Jacobian on the diagonal, of which
    Σ over the block of v · ∇D v is an unbiased estimate. :func:`scoped_statistic` makes T of the sums, of a block or
    of the whole image. Two probes, each with a noise image of its own and its negative.
    """
    generator = torch.Generator().manual_seed(view.seed)
    draws = view.noise(N_PROBES // 2)
    z = torch.cat([draws, -draws])
    terms = []
    for sigma in LEVELS:
        x = view.image + sigma * z
        signs = torch.randint(0, 2, tuple(x.shape), generator=generator).to(x) * 2 - 1
        norm = ((x - view.denoise(x, sigma)) / sigma).square()
        curvature = 1 - signs * jacobian_products(view.denoise, x, signs, sigma)
        terms += [norm.mean(0), curvature.mean(0)]
    return np.asarray(torch.stack(terms).numpy(), np.float32)


def scoped_statistic(sums: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the largest (ln T)² over levels, 0 where the image is as usual as can be.

    The paper takes the larger one of two levels of −ln h(T), with h the density of T among images known to be usual.
    Here nobody supplies these, and h is taken to be the same on both sides of the T = 1 that the theory gives.

    Parameters
    ----------
    sums : (..., 2 · levels, h, w) sums of :func:`scoped_terms`, at least one pixel each.

    Returns
    -------
    (..., h, w).
    """
    norm, curvature = sums[..., ::2, :, :], np.maximum(sums[..., 1::2, :, :], 1e-6)
    return np.asarray(np.square(np.log(np.maximum(norm, 1e-12) / curvature)).max(-3), np.float64)
