"""DDS: reverse diffusion guided by a proximal step, the default posterior sampler.

At level σ the prior offers x̂₀ = D(x, σ). The measurement corrects it (Chung et al., "Decomposed diffusion
sampling", 2024):

    x̂ = argmin ‖x − x̂₀‖² / (2 r²) + ½ Σ w (y − A x)²,    r² = σ² σ_d² / (σ² + σ_d²)

by conjugate gradients, without back-propagation through the network. The ancestral step down to σ₊ is then

    mean = x + (σ² − σ₊²)/σ² · (x̂ − x),    v = σ₊² (σ² − σ₊²) / σ²           (Ho et al. 2020 in VE form)

and the prior alone would have used x̂₀ for x̂, so δ = (σ² − σ₊²)/σ² · (x̂ − x̂₀) and the step's nats are

    ‖δ‖² / 2v = (σ² − σ₊²) / (2 σ² σ₊²) · ‖x̂ − x̂₀‖² .

The chain is warm-started: a quick reconstruction plus noise at a middle σ replaces the levels above, which decide
nothing that such a measurement leaves open. Exact for an isotropic Gaussian prior. The chain is
:func:`KLIPCore.sampling.reverse.reverse_transitions` with :func:`KLIPCore.sampling.guidance.proximal_guidance`
and σ_d = 0 in the step's variance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.solve import has_closed_form, least_squares, proximal_step
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.guidance import Guidance, proximal_guidance
from KLIPCore.sampling.reverse import NoiseSource, reverse_transitions
from KLIPCore.sampling.transition import Transition

QUICK_STD = 0.1
"""Spread of images in the quick reconstruction's proximal step. Three times as much fits more noise (half a
decibel) and gives the same samples.
"""


def dds_transitions(
    denoise: Denoiser,
    measurement: Measurement,
    sigmas: Sequence[float],
    x_start: Tensor,
    noise: NoiseSource,
    *,
    prior_std: float = 0.12,
    cg_iterations: int = 8,
    guidance: Guidance | None = None,
) -> Iterator[Transition]:
    """Return guided ancestral steps from ``sigmas[0]`` down to ``sigmas[-1]``.

    Parameters
    ----------
    denoise : the prior.
    measurement : data whose leading dimensions broadcast to the batch.
    sigmas : falling noise levels, all above 0.
    x_start : (B, H, W) states at ``sigmas[0]``.
    noise : draws (B, H, W) standard normal noise.
    prior_std, cg_iterations : of :func:`KLIPCore.sampling.guidance.proximal_guidance`.
    guidance : another guidance method instead of the proximal step.

    Yields
    ------
    one :class:`Transition` a step, with B × H × W tensors; the last one's ``denoised`` is the posterior sample.
    """
    guide = guidance or proximal_guidance(denoise, measurement, prior_std, cg_iterations)
    return reverse_transitions(guide, sigmas, x_start, noise, data_std=0.0)


def unguided_sample(denoise: Denoiser, sigmas: Sequence[float], x_start: Tensor, noise: NoiseSource) -> Tensor:
    """Run the prior back alone from ``sigmas[0]``: (B, H, W) clean images it considers likely near ``x_start``."""
    x = x_start
    for sigma, sigma_next in pairwise(sigmas):
        share = (sigma**2 - sigma_next**2) / sigma**2
        x = x + share * (denoise(x, sigma) - x) + sigma_next * math.sqrt(share) * noise()
    return denoise(x, float(sigmas[-1]))


def warm_start(measurement: Measurement, sigma: float, cg_iterations: int, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return a quick reconstruction and noisy states around it.

    The reconstruction is least squares, stopped early so that it fits no noise; or, where it costs a few
    products only, a proximal step from air.

    Parameters
    ----------
    measurement : data without batch dimension, or with those of ``noise`` but the first.
    sigma : noise level of the states.
    cg_iterations : iterations of the early-stopped least squares, or of the proximal step.
    noise : (B, H, W) standard normal.

    Returns
    -------
    quick : (H, W) the reconstruction.
    states : (B, H, W) quick + σ · noise.
    """
    if has_closed_form(measurement):
        air = measurement.y.new_zeros(
            *measurement.y.shape[: -len(measurement.A.range_shape)], *measurement.A.domain_shape
        )
        quick = proximal_step(measurement, air, QUICK_STD**2, cg_iterations)
    else:
        quick = least_squares(measurement, cg_iterations)
    return quick, quick + sigma * noise
