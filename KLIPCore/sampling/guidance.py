"""What a measurement adds to a denoiser: the likelihood score, exact or approximated.

A prior says where a noisy image comes from, D(x, σ) = E[x₀ | x_σ]. The posterior knows the data too,
D_post(x, σ) = E[x₀ | x_σ, y], and the two differ by the likelihood score

    s_l(x, σ) = ∇_x log p(y | x_σ = x) = (D_post − D) / σ² .

p(y | x_σ) is an integral over all clean images; every guidance method approximates it in its own way. All have one
signature, so that any sampler runs with any of them, with the exact score where a closed form exists, and the KL
estimator can take D + σ² s_l for D_post. Here are the exact one and the house's default, the proximal step (DDS): with
p(x₀ | x_σ) ≈ N(D, r² I), r² = σ² σ_d² / (σ² + σ_d²), the posterior mean given x_σ and y is a small linear problem,

    x̂ = argmin ‖x − D‖² / (2 r²) + ½ Σ w (y − A x)² ,      s_l = (x̂ − D) / σ²

(Chung et al., "Decomposed diffusion sampling", ICLR 2024), exact for the prior N(μ, σ_d² I). For a real prior
r² is too large along directions that the prior knows well, so that fine structure follows the data too
willingly. The others live with the samplers that made them known:
:func:`KLIPCore.sampling.ve_projection.projection_guidance`,
:func:`KLIPCore.sampling.dps_langevin.dps_guidance`, :func:`KLIPCore.sampling.pigdm.pigdm_guidance`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.solve import proximal_step
from KLIPCore.sampling.dds import Denoise, prior_variance


@dataclass(frozen=True, eq=False)
class Guided:
    """A guidance method's answer for a batch of states.

    Attributes
    ----------
    denoised : (B, H, W) D(x, σ), the prior's estimate.
    score : (B, H, W) s_l(x, σ), per intensity unit.
    """

    denoised: Tensor
    score: Tensor

    def posterior_mean(self, sigma: float) -> Tensor:
        """(B, H, W) D_post = D + σ² s_l."""
        return self.denoised + sigma**2 * self.score


Guidance = Callable[[Tensor, float], Guided]
"""(B, H, W) states and one noise level → the prior's estimate and the likelihood score."""


def exact_guidance(denoise: Denoise, likelihood_score: Denoise) -> Guidance:
    """Guidance by a score known in closed form (:func:`KLIPCore.priors.gaussian.likelihood_score`)."""

    def guide(x: Tensor, sigma: float) -> Guided:
        return Guided(denoise(x, sigma), likelihood_score(x, sigma))

    return guide


def proximal_guidance(
    denoise: Denoise, measurement: Measurement, prior_std: float, cg_iterations: int = 8
) -> Guidance:
    """Guidance by a proximal step on the prior's estimate; nothing is differentiated.

    Parameters
    ----------
    denoise : the prior.
    measurement : data whose leading dimensions broadcast to the batch.
    prior_std : σ_d, local spread of clean images.
    cg_iterations : conjugate-gradient iterations of the proximal step.
    """

    def guide(x: Tensor, sigma: float) -> Guided:
        estimate = denoise(x, sigma)
        corrected = proximal_step(measurement, estimate, prior_variance(sigma, prior_std), cg_iterations)
        return Guided(estimate, (corrected - estimate) / sigma**2)

    return guide


def posterior_denoiser(guidance: Guidance) -> Denoise:
    """D_post as a guidance method sees it: what the KL estimator takes where the exact one is unknown."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return guidance(x, sigma).posterior_mean(sigma)

    return denoise


def reconstruction_denoiser(reconstruction: Tensor) -> Denoise:
    """D_post ≈ x̂, an (H, W) reconstruction, whatever the state: right where the data decide everything (σ² ≫
    posterior variance).

    Below the posterior's own spread it fails: x̂ does not follow the sample that was noised.
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return reconstruction.to(x).expand_as(x)

    return denoise


def pulled_back(denoise: Denoise, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """D(x, σ) with its graph, and the leaf it was computed from: ready for :func:`torch.autograd.grad`."""
    leaf = x.detach().requires_grad_(True)
    with torch.enable_grad():
        return denoise(leaf, sigma), leaf
