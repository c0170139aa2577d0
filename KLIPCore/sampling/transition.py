"""One noisy step of a sampler, with and without the measurement: the pivot between sampling and KL.

A reverse-diffusion step draws x₋ ~ N(m, v I). Guidance by a measurement moves the mean to m + δ and leaves v. The KL
divergence between the two Gaussians is ‖δ‖² / (2 v) nats, exactly, and along a chain such terms add up
(docs/method.md, "The exact discrete rule"). So a sampler yields :class:`Transition` objects and knows nothing
of KL, and the estimator reads δ and v and knows nothing of tomography.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from KLIPCore.errors import DeterministicStepError


@dataclass(frozen=True, eq=False)
class Transition:
    """A guided step beside the step the prior alone would have made.

    Attributes
    ----------
    sigma_from, sigma_to : noise levels before and after (intensity units).
    prior_mean : (B, C, H, W) mean m of the unguided step.
    guided_mean : (B, C, H, W) mean m + δ of the guided one.
    variance : v > 0 of the noise that both steps add, per pixel.
    x_next : (B, C, H, W) the state drawn.
    denoised : (B, C, H, W) the guided estimate of the clean image at this step.
    weight : part of the step's nats that counts (below 1 where a level is visited more than once).
    """

    sigma_from: float
    sigma_to: float
    prior_mean: Tensor
    guided_mean: Tensor
    variance: float
    x_next: Tensor
    denoised: Tensor
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.variance > 0:
            raise DeterministicStepError(
                f"The step from σ = {self.sigma_from:.3g} to {self.sigma_to:.3g} adds no noise, so its path KL does "
                "not exist.",
                "Use a stochastic sampler, or the re-noised quadrature, which needs only posterior samples.",
            )

    @property
    def shift(self) -> Tensor:
        """δ, (B, C, H, W): how far the measurement moved the step's mean."""
        return self.guided_mean - self.prior_mean

    def whitened_push(self) -> Tensor:
        """Return δ √(weight / 2v), (B, C, H, W): its squares are nats per pixel."""
        return self.shift * math.sqrt(self.weight / (2.0 * self.variance))
