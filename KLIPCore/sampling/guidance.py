"""What a measurement adds to a denoiser: the likelihood score, exact or approximated.

A prior says where a noisy image comes from, D(x, σ) = E[x₀ | x_σ]. The posterior knows the data too,
D_post(x, σ) = E[x₀ | x_σ, y], and the two differ by the likelihood score

    s_l(x, σ) = ∇_x log p(y | x_σ = x) = (D_post − D) / σ² .

p(y | x_σ) is an integral over all clean images; every guidance method approximates it in its own way. All have one
signature, so that any sampler runs with any of them, with the exact score where a closed form exists, and the KL
estimator can take D + σ² s_l for D_post. All of them are here:

==================  ============================================  ===================================
name                s_l                                           exact for
==================  ============================================  ===================================
``exact``           given in closed form                          any prior that has one
``dds``             (x̂ − D)/σ²                                     the prior N(μ, σ_d² I)
``pigdm``           Jᵀ (x̂ − D)/r², J = ∂D/∂x                       the prior N(μ, σ_d² I)
``projection``      (x_c − x)/σ²                                  a flat prior
``dps``             φ Jᵀ Aᵀ W (y − A D)                            nothing; right where D is certain
==================  ============================================  ===================================

x̂ is the *proximal step* on the prior's estimate: with p(x₀ | x_σ) ≈ N(D, r² I), r² = σ² σ_d² / (σ² + σ_d²),
the posterior mean given x_σ and y is a small linear problem,

    x̂ = argmin ‖x − D‖² / (2 r²) + ½ Σ w (y − A x)² ,

and x_c the same problem around the noisy state itself, with r = σ. For a real prior r² is too large along
directions that the prior knows well, so that fine structure follows the data too willingly.

Sources: ``dds``, Chung et al., "Decomposed diffusion sampling", ICLR 2024; ``pigdm``, Song, Vahdat, Mardani &
Kautz, "Pseudoinverse-guided diffusion models for inverse problems", ICLR 2023; ``projection``, Song, Shen,
Xing & Ermon, "Solving inverse problems in medical imaging with score-based generative models", ICLR 2022;
``dps``, Chung, Kim, Mccann, Klasky & Ye, ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.solve import preconditioned_iterations, proximal_step
from KLIPCore.priors.prior import Denoiser

PRIOR_STD = 0.12
"""σ_d unless told otherwise: the local spread of clean CT slices in windowed intensity, as the presets of
``klip detect`` have it.
"""

CG_ITERATIONS = 8
"""Conjugate-gradient iterations of a step unless told otherwise."""


@dataclass(frozen=True, eq=False)
class Guided:
    """A guidance method's answer for a batch of states.

    Attributes
    ----------
    denoised : (B, H, W) D(x, σ), the prior's estimate.
    score : (B, H, W) s_l(x, σ), per intensity unit.
    corrected : (B, H, W) D_post, of methods that find it first and take the score from it; None for those that
        find the score.
    """

    denoised: Tensor
    score: Tensor
    corrected: Tensor | None = None

    def posterior_mean(self, sigma: float) -> Tensor:
        """Return D_post = D + σ² s_l, (B, H, W)."""
        return self.denoised + sigma**2 * self.score if self.corrected is None else self.corrected


Guidance = Callable[[Tensor, float], Guided]
"""(B, H, W) states and one noise level → the prior's estimate and the likelihood score."""


def prior_variance(sigma: float, prior_std: float) -> float:
    """Return r² = σ² σ_d² / (σ² + σ_d²), the variance left in a pixel of spread σ_d once it is seen with noise σ."""
    return sigma**2 * prior_std**2 / (sigma**2 + prior_std**2)


def exact_guidance(denoise: Denoiser, likelihood_score: Denoiser) -> Guidance:
    """Return guidance by a score known in closed form (:func:`KLIPCore.priors.gaussian.likelihood_score`)."""

    def guide(x: Tensor, sigma: float) -> Guided:
        return Guided(denoise(x, sigma), likelihood_score(x, sigma))

    return guide


def no_guidance(denoise: Denoiser) -> Guidance:
    """Return guidance by nothing: the prior left alone, s_l = 0."""

    def guide(x: Tensor, sigma: float) -> Guided:
        estimate = denoise(x, sigma)
        return Guided(estimate, torch.zeros_like(estimate), estimate)

    return guide


def proximal_guidance(
    denoise: Denoiser, measurement: Measurement, prior_std: float = PRIOR_STD, cg_iterations: int = CG_ITERATIONS
) -> Guidance:
    """Return guidance by a proximal step on the prior's estimate (DDS); nothing is differentiated.

    Parameters
    ----------
    denoise : the prior.
    measurement : data whose leading dimensions broadcast to the batch.
    prior_std : σ_d, local spread of clean images.
    cg_iterations : conjugate-gradient iterations of the proximal step, done to the last one.
    """

    def guide(x: Tensor, sigma: float) -> Guided:
        estimate = denoise(x, sigma)
        corrected = proximal_step(measurement, estimate, prior_variance(sigma, prior_std), cg_iterations)
        return Guided(estimate, (corrected - estimate) / sigma**2, corrected)

    return guide


def pigdm_guidance(
    denoise: Denoiser, measurement: Measurement, prior_std: float = PRIOR_STD, cg_iterations: int = CG_ITERATIONS
) -> Guidance:
    """Return guidance by ΠGDM (:mod:`KLIPCore.sampling.pigdm`).

    The proximal step, pulled back through the denoiser's Jacobian.

    Parameters
    ----------
    denoise : the prior; gradients must flow through it.
    measurement : data whose leading dimensions broadcast to the batch.
    prior_std : σ_d of r².
    cg_iterations : conjugate-gradient iterations of the inner solve.
    """

    def guide(x: Tensor, sigma: float) -> Guided:
        estimate, leaf = pulled_back(denoise, x, sigma)
        r2 = prior_variance(sigma, prior_std)
        fixed = estimate.detach()
        direction = (proximal_step(measurement, fixed, r2, cg_iterations) - fixed) / r2
        (score,) = torch.autograd.grad(estimate, leaf, direction)
        return Guided(fixed, score)

    return guide


def projection_guidance(
    denoise: Denoiser, measurement: Measurement, cg_iterations: int = CG_ITERATIONS, relaxation: float = 1.0
) -> Guidance:
    """Return guidance by projecting the state onto the data, as far as the noise of both allows.

    See :mod:`KLIPCore.sampling.ve_projection`.

    Parameters
    ----------
    denoise : the prior.
    measurement : data whose leading dimensions broadcast to the batch.
    cg_iterations : conjugate-gradient iterations of the projection.
    relaxation : λ of the original, in (0, 1]: part of the way that is gone.
    """

    def guide(x: Tensor, sigma: float) -> Guided:
        consistent = proximal_step(measurement, x, sigma**2, cg_iterations)
        return Guided(denoise(x, sigma), relaxation * (consistent - x) / sigma**2)

    return guide


def dps_guidance(denoise: Denoiser, measurement: Measurement, strength: float = 1.0) -> Guidance:
    """Return guidance by DPS with the misfit's scale profiled out (:mod:`KLIPCore.sampling.dps_langevin`).

    Parameters
    ----------
    denoise : the prior; gradients must flow through it.
    measurement : data whose leading dimensions broadcast to the batch.
    strength : factor on the score; 1 is the profiled likelihood.
    """
    n_data_dims = len(measurement.A.range_shape)

    def guide(x: Tensor, sigma: float) -> Guided:
        estimate, leaf = pulled_back(denoise, x, sigma)
        fixed = estimate.detach()
        residual = measurement.residual(fixed)
        w = measurement.weights.expand_as(residual)
        misfit = (w * residual.square()).flatten(-n_data_dims).sum(-1)
        n_used = (w > 0).to(x).flatten(-n_data_dims).sum(-1)
        trust = (n_used / misfit.clamp_min(1e-30)).clamp_max(1.0)
        (score,) = torch.autograd.grad(estimate, leaf, measurement.A.T(w * residual))
        return Guided(fixed, strength * trust.reshape(-1, *([1] * (x.ndim - 1))) * score)

    return guide


METHODS: dict[str, Callable[[Denoiser, Measurement, float, int], Guidance]] = {
    "dds": proximal_guidance,
    "pigdm": pigdm_guidance,
    "projection": lambda denoise, measurement, prior_std, cg_iterations: projection_guidance(
        denoise, measurement, cg_iterations
    ),
    "dps": lambda denoise, measurement, prior_std, cg_iterations: dps_guidance(denoise, measurement),
}
"""Name → guidance of a denoiser by a measurement, from σ_d and a number of iterations (which not all of them
ask for).
"""


def guidance_by(
    name: str,
    denoise: Denoiser,
    measurement: Measurement,
    prior_std: float = PRIOR_STD,
    cg_iterations: int | None = None,
) -> Guidance:
    """Return the guidance method of a name.

    Parameters
    ----------
    name : a key of :data:`METHODS`.
    denoise : the prior; for ``pigdm`` and ``dps`` gradients must flow through it.
    measurement : data whose leading dimensions broadcast to the batch.
    prior_std : σ_d, local spread of clean images; ``dds`` and ``pigdm`` ask for it.
    cg_iterations : conjugate-gradient iterations of a step, for all but ``dps``; None for what does the work
        of :data:`CG_ITERATIONS` plain ones (:func:`KLIPCore.physics.solve.preconditioned_iterations`).

    Raises
    ------
    ConfigError : no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"There is no guidance method '{name}'.", f"Choose one of: {', '.join(METHODS)}.")
    n = preconditioned_iterations(measurement, CG_ITERATIONS) if cg_iterations is None else cg_iterations
    return METHODS[name](denoise, measurement, prior_std, n)


def posterior_denoiser(guidance: Guidance) -> Denoiser:
    """Return D_post as a guidance method sees it: what the KL estimator takes where the exact one is unknown."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return guidance(x, sigma).posterior_mean(sigma)

    return denoise


def prior_and_posterior(guidance: Guidance) -> Callable[[Tensor, float], tuple[Tensor, Tensor]]:
    """Return D and D_post of a guidance method at once, from one evaluation of the prior.

    What the KL quadrature asks for.
    """

    def both(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        guided = guidance(x, sigma)
        return guided.denoised, guided.posterior_mean(sigma)

    return both


def reconstruction_denoiser(reconstruction: Tensor) -> Denoiser:
    """Return D_post ≈ x̂, an (H, W) reconstruction, whatever the state.

    Right where the data decide everything (σ² ≫ posterior variance).

    Below the posterior's own spread it fails: x̂ does not follow the sample that was noised.
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return reconstruction.to(x).expand_as(x)

    return denoise


def pulled_back(denoise: Denoiser, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Return D(x, σ) with its graph, and the leaf it was computed from: ready for :func:`torch.autograd.grad`."""
    leaf = x.detach().requires_grad_(True)
    with torch.enable_grad():
        return denoise(leaf, sigma), leaf
