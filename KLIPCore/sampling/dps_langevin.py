"""DPS on annealed Langevin dynamics, as PaDIS samples.

At every level σ_i the chain takes n Langevin steps of size α/2 with α = c σ_i², and only then goes on to σ_{i+1}:

    mean = x + (α/2) (s + s_l),      v = α,      δ = (α/2) s_l,      ‖δ‖²/2v = ⅛ α ‖s_l‖² .

No step lowers the noise level, so the raw path sum has nothing to do with the KL: it grows with n and c. What
each step does provide is the score s_l = 2δ/α at its level, and the level's share of the KL is ½ Δ_i E‖s_l‖²,
Δ_i = σ_i² − σ_{i+1}². Hence

    weight = 4 Δ_i / (α n) ,

an average over the inner steps instead of a sum. At the last level the chain relaxes once more and counts nothing.
(Hu et al., "Learning image priors through patch-based diffusion models", NeurIPS 2024; Song & Ermon 2019.)

The score is that of DPS (Chung, Kim, Mccann, Klasky & Ye, ICLR 2023), which puts the point D(x, σ) in place of the
distribution p(x₀ | x_σ). With R = Σ w (y − A D)² the literal score −½ ∇R is far too strong where D is still
uncertain, so the paper divides by √R and tunes a constant. The same thing said without a constant: if the
misfit's scale is unknown and is profiled out of the likelihood, p(y | x_σ) ∝ R^{−M/2} for M data, and with J = ∂D/∂x

    s_l = −(M / 2) ∇ log R = φ Jᵀ Aᵀ W (y − A D) ,      φ = min(1, M / R) .

φ is the data's own noise over the actual misfit: 1 at convergence, where R ≈ M, and never above, which would
trust the data more than their noise allows. The paper's step −ζ ∇√R has ζ = φ √R · α/2. DPS finds the
posterior mean; its pushes at high σ are far too strong along smooth images (on the tomography benchmark its
nats come out a hundredfold), so nats of this guidance are comparable with each other at best. With the exact
score the same chain gives the closed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.guidance import Guidance, dps_guidance
from KLIPCore.sampling.reverse import NoiseSource, falling
from KLIPCore.sampling.transition import Transition
from KLIPCore.sampling.ve_projection import langevin_step


def dps_langevin_transitions(
    denoise: Denoiser,
    measurement: Measurement,
    sigmas: Sequence[float],
    x_start: Tensor,
    noise: NoiseSource,
    *,
    n_inner: int = 10,
    step: float = 0.5,
    guidance: Guidance | None = None,
) -> Iterator[Transition]:
    """Yield Langevin steps at every level from ``sigmas[0]`` down to ``sigmas[-1]``.

    Parameters
    ----------
    denoise : the prior; gradients must flow through it unless ``guidance`` is given.
    measurement : data whose leading dimensions broadcast to the batch.
    sigmas : falling noise levels, all above 0.
    x_start : (B, H, W) states at ``sigmas[0]``.
    noise : draws (B, H, W) standard normal noise.
    n_inner : n, steps per level.
    step : c of α = c σ²; the smaller, the less the chain's own discretisation widens the law it samples.
    guidance : a method of :mod:`KLIPCore.sampling.guidance`; its DPS when None.

    Yields
    ------
    one :class:`Transition` an inner step; those of the last level have weight 0.
    """
    if n_inner < 1 or not 0 < step < 2:
        raise ConfigError(
            "Langevin steps need a number of at least 1 and a size between 0 and 2.", "Use the defaults."
        )
    guide = guidance or dps_guidance(denoise, measurement)
    levels = falling(sigmas)
    x = x_start
    for sigma, sigma_next in zip(levels, [*levels[1:], levels[-1]], strict=True):
        alpha = step * sigma**2
        weight = 4 * (sigma**2 - sigma_next**2) / (alpha * n_inner)
        for _ in range(n_inner):
            made = langevin_step(guide, x, sigma, alpha / 2, noise, weight)
            x = made.x_next
            yield made
