"""EDM's stochastic sampler: churn noise in, then follow the deterministic flow (Karras et al. 2022, algorithm 2).

At level σ_i the sampler first raises the noise to σ̂_i = (1 + γ_i) σ_i by adding ε ~ N(0, σ̂_i² − σ_i²), then
solves the probability-flow ODE dx/dσ = (x − D_post)/σ from σ̂_i down to σ_{i+1} by an Euler step and Heun's
correction. The ODE step is deterministic: the prior's and the guided one end in different points, and no
divergence between them exists. Grouped the other way round the sampler is a proper Markov chain of the
*churned* states: flow first, churn afterwards,

    x̂_i → x̂_{i+1} ~ N( Φ(x̂_i; σ̂_i → σ_{i+1}),  v I ),       v = S² (σ̂_{i+1}² − σ_{i+1}²) ,

and that is the :class:`~KLIPCore.sampling.transition.Transition` it yields: m = Φ with D, m + δ = Φ with
D_post. Where there is no churn v = 0, and a :class:`~KLIPCore.errors.DeterministicStepError` says so.

The flow lowers the variance by more than the step's net Δ = σ̂_i² − σ̂_{i+1}², because churn raises it again,
and the ODE moves by half a score: δ ≈ ½ (Δ + v) s_l. So ‖δ‖²/2v = ½ Δ ‖s_l‖² · (Δ + v)²/(4 Δ v): equal to the
KL's share when v = Δ (then the chain is reverse diffusion), larger for any other churn, because the paths of
prior and posterior then differ by more than their ends.
:attr:`~KLIPCore.sampling.transition.Transition.weight` = 4 Δ v/(Δ + v)² takes that out; S is the noise inflation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.guidance import Guidance, proximal_guidance
from KLIPCore.sampling.reverse import NoiseSource, falling
from KLIPCore.sampling.transition import Transition


@dataclass(frozen=True)
class Churn:
    """How much noise is added at each level before the flow lowers it again.

    Attributes
    ----------
    amount : S_churn; γ = S_churn/N. A chain over a factor R in σ is closest to reverse diffusion at S_churn = ln R.
    lowest, highest : S_min and S_max, the noise levels (intensity units) between which noise is added.
    noise_inflation : S_noise; a little above 1 makes up for a denoiser that removes too much.
    """

    amount: float = 4.0
    lowest: float = 0.0
    highest: float = math.inf
    noise_inflation: float = 1.0

    def raised(self, sigma: float, n_steps: int) -> float:
        """Return σ̂ = (1 + γ) σ with γ = min(S_churn/N, √2 − 1) between S_min and S_max, σ elsewhere.

        Parameters
        ----------
        sigma : noise level before the churn, intensity units.
        n_steps : N, steps of the whole chain.
        """
        gamma = min(self.amount / n_steps, math.sqrt(2) - 1) if self.lowest <= sigma <= self.highest else 0.0
        return sigma * (1 + gamma)


EDM_CHURN = Churn()
"""The churn unless told otherwise."""


def edm_stochastic_transitions(
    denoise: Denoiser,
    measurement: Measurement,
    sigmas: Sequence[float],
    x_start: Tensor,
    noise: NoiseSource,
    *,
    churn: Churn = EDM_CHURN,
    second_order: bool = True,
    guidance: Guidance | None = None,
) -> Iterator[Transition]:
    """Yield flow-and-churn steps from ``sigmas[0]`` down to ``sigmas[-1]``, the last one churned too.

    Parameters
    ----------
    denoise : the prior.
    measurement : data whose leading dimensions broadcast to the batch.
    sigmas : N + 1 falling noise levels, all above 0.
    x_start : (B, H, W) states at ``sigmas[0]``, before the first churn.
    noise : draws (B, H, W) standard normal noise.
    churn : noise added at each level.
    second_order : Heun's correction; it costs one more guided and two more plain evaluations a step.
    guidance : a method of :mod:`KLIPCore.sampling.guidance`; its proximal step when None.

    Yields
    ------
    one :class:`Transition` from σ̂_i to σ̂_{i+1} a step.

    Raises
    ------
    ConfigError : so much churn that a step raises the noise level.
    DeterministicStepError : a step without churn.
    """
    guide = guidance or proximal_guidance(denoise, measurement)
    levels = falling(sigmas)
    n = len(levels) - 1
    raised = [churn.raised(sigma, n) for sigma in levels]
    if any(high <= low for high, low in pairwise(raised)):
        raise ConfigError(
            f"A churn of {churn.amount:g} over {n} steps adds more noise than they remove.",
            "Use less churn or more steps.",
        )
    x = x_start + churn.noise_inflation * math.sqrt(raised[0] ** 2 - levels[0] ** 2) * noise()
    for sigma_hat, sigma_next, raised_next in zip(raised[:-1], levels[1:], raised[1:], strict=True):
        guided = guide(x, sigma_hat)
        step = sigma_next - sigma_hat
        prior_slope = (x - guided.denoised) / sigma_hat
        guided_slope = prior_slope - sigma_hat * guided.score
        prior_mean, guided_mean = x + step * prior_slope, x + step * guided_slope
        if second_order:
            guided_end = (guided_mean - guide(guided_mean, sigma_next).posterior_mean(sigma_next)) / sigma_next
            prior_end = (prior_mean - denoise(prior_mean, sigma_next)) / sigma_next
            prior_mean = x + 0.5 * step * (prior_slope + prior_end)
            guided_mean = x + 0.5 * step * (guided_slope + guided_end)
        variance = churn.noise_inflation**2 * (raised_next**2 - sigma_next**2)
        net = sigma_hat**2 - raised_next**2
        x = guided_mean + math.sqrt(variance) * noise()
        weight = 4 * net * variance / (net + variance) ** 2
        clean = guided.posterior_mean(sigma_hat)
        yield Transition(sigma_hat, raised_next, prior_mean, guided_mean, variance, x, clean, weight)
