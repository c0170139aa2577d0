"""VE predictor–corrector with projection onto the data: the published KLIP's score-model sampler.

Song, Shen, Xing & Ermon ("Solving inverse problems in medical imaging with score-based generative models",
ICLR 2022) draw the noisy state itself towards images that agree with the data: the measured part of the state
is replaced by the data, noised to the same level. The mean of that is the solution of

    x_c = argmin ‖x' − x‖² / (2 σ²) + ½ Σ w (y − A x')² ,      s_l = (x_c − x) / σ²

which is the exact likelihood score of a *flat* prior: the state alone is asked, not what the prior makes of
it. Replacing noise by noise, on top, changes no mean; here the step's own noise stays, so that the prior's and
the guided step have the same covariance and their divergence exists. Song et al. 2021 alternate two moves, and
both are guided:

predictor, one reverse-diffusion step σ_i → σ_{i+1} with Δ_i = σ_i² − σ_{i+1}²:

    mean = x + Δ_i (s + s_l),      v = Δ_i,      δ = Δ_i s_l,      ‖δ‖²/2v = ½ Δ_i ‖s_l‖²

corrector, n_c Langevin steps that stay at σ_i, of size ε = 2 (r σ_i)² (Song's rule with ‖s‖ ≈ √d/σ_i; r is the
"signal-to-noise" 0.16):

    mean = x + ε (s + s_l),        v = 2ε,       δ = ε s_l,        ‖δ‖²/2v = ¼ ε ‖s_l‖²

A corrector visits its level without lowering it. Each such visit is a step of the path like any other, so the
plain sum of nats counts a level 1 + n_c times. But each visit is also a sample of s_l at that level; the
level's share of the KL is ½ Δ_i E‖s_l‖², and :attr:`KLIPCore.sampling.transition.Transition.weight` makes
every visit stand for an equal part of it,

    weight = 1 / (1 + n_c)  (predictor),      2 Δ_i / (ε (1 + n_c))  (corrector),

so that weighted nats add up to the KL whatever n_c and r are, and raw ones (weight ignored) are still at hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.guidance import Guidance, projection_guidance
from KLIPCore.sampling.reverse import NoiseSource, falling, reverse_step
from KLIPCore.sampling.transition import Transition


def langevin_step(
    guidance: Guidance,
    x: Tensor,
    sigma: float,
    step_size: float,
    noise: NoiseSource,
    weight: float,
    sigma_next: float | None = None,
) -> Transition:
    """Return x + ε (s + s_l) + √(2ε) z at one noise level.

    Leaves the noised posterior where it is, up to an error of order ε.
    """
    guided = guidance(x, sigma)
    prior_mean = x + step_size / sigma**2 * (guided.denoised - x)
    guided_mean = prior_mean + step_size * guided.score
    x_next = guided_mean + math.sqrt(2 * step_size) * noise()
    to = sigma if sigma_next is None else sigma_next
    return Transition(sigma, to, prior_mean, guided_mean, 2 * step_size, x_next, guided.posterior_mean(sigma), weight)


def ve_projection_transitions(
    denoise: Denoiser,
    measurement: Measurement,
    sigmas: Sequence[float],
    x_start: Tensor,
    noise: NoiseSource,
    *,
    n_corrector: int = 1,
    corrector_snr: float = 0.16,
    guidance: Guidance | None = None,
) -> Iterator[Transition]:
    """Yield predictor–corrector steps from ``sigmas[0]`` down to ``sigmas[-1]``.

    Parameters
    ----------
    denoise : the prior.
    measurement : data whose leading dimensions broadcast to the batch.
    sigmas : falling noise levels, all above 0.
    x_start : (B, H, W) states at ``sigmas[0]``.
    noise : draws (B, H, W) standard normal noise.
    n_corrector : n_c, Langevin steps at every level but the first and the last.
    corrector_snr : r of the corrector's step size.
    guidance : a method of :mod:`KLIPCore.sampling.guidance`; its projection when None.

    Yields
    ------
    one :class:`Transition` a step; correctors have ``sigma_to == sigma_from``.
    """
    if n_corrector < 0 or not corrector_snr > 0:
        raise ConfigError(
            "The corrector needs a positive signal-to-noise ratio and no negative number of steps.",
            "Use the defaults.",
        )
    guide = guidance or projection_guidance(denoise, measurement)
    x = x_start
    for i, (sigma, sigma_next) in enumerate(pairwise(falling(sigmas))):
        delta, step_size = sigma**2 - sigma_next**2, 2 * (corrector_snr * sigma) ** 2
        visits = 1 + n_corrector if i else 1
        for _ in range(visits - 1):
            corrected = langevin_step(guide, x, sigma, step_size, noise, 2 * delta / (step_size * visits))
            x = corrected.x_next
            yield corrected
        predicted = reverse_step(guide(x, sigma), x, sigma, sigma_next, noise, math.inf, 1.0 / visits)
        x = predicted.x_next
        yield predicted
