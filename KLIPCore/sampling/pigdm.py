"""ΠGDM: ancestral sampling guided through the denoiser's Jacobian.

Song, Vahdat, Mardani & Kautz ("Pseudoinverse-guided diffusion models for inverse problems", ICLR 2023) take
p(x₀ | x_σ) ≈ N(D, r² I), so that y | x_σ ~ N(A D, r² A Aᵀ + W⁻¹), and differentiate its logarithm with J = ∂D/∂x:

    s_l = Jᵀ Aᵀ (r² A Aᵀ + W⁻¹)⁻¹ (y − A D) = Jᵀ (x̂ − D) / r² ,      r² = σ² σ_d² / (σ² + σ_d²)

x̂ being the proximal step of :mod:`KLIPCore.sampling.guidance` (whose own score amounts to J ≈ r²/σ² I). For a
Gaussian prior J = C_σ/σ² is the true uncertainty, so the push goes where the prior leaves room: on the
tomography benchmark this more than halves the score's error at σ ≤ σ_d/2. Above σ_d it overshoots, because r²
I says far too little about the smooth images that J lets through (the paper tempers the score by r² there);
start such chains at a middle σ. The price is one back-propagation through the network a step. The step itself
is that of :mod:`KLIPCore.sampling.reverse`:

    δ = Δ s_l ,      v = Δ (σ₊² + σ_d²) / (σ² + σ_d²),     Δ = σ² − σ₊²       (σ_d = 0 unless asked otherwise).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.guidance import Guidance, pigdm_guidance
from KLIPCore.sampling.reverse import NoiseSource, reverse_transitions
from KLIPCore.sampling.transition import Transition


def pigdm_transitions(
    denoise: Denoiser,
    measurement: Measurement,
    sigmas: Sequence[float],
    x_start: Tensor,
    noise: NoiseSource,
    *,
    data_std: float = 0.0,
    guidance: Guidance | None = None,
) -> Iterator[Transition]:
    """Yield guided steps from ``sigmas[0]`` down to ``sigmas[-1]``.

    Parameters
    ----------
    denoise : the prior; gradients must flow through it unless ``guidance`` is given.
    measurement : data whose leading dimensions broadcast to the batch.
    sigmas : falling noise levels, all above 0.
    x_start : (B, H, W) states at ``sigmas[0]``.
    noise : draws (B, H, W) standard normal noise.
    data_std : σ_d of the step's variance; 0 is the ancestral step.
    guidance : a method of :mod:`KLIPCore.sampling.guidance`; its ΠGDM when None.

    Yields
    ------
    one :class:`Transition` a step.
    """
    return reverse_transitions(guidance or pigdm_guidance(denoise, measurement), sigmas, x_start, noise, data_std)
