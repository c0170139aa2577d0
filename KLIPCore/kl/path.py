"""The KL along a chain: nats of the transitions a sampler yields, added up.

A guided step beside its unguided twin holds ‖δ‖²/2v nats, and along a chain they add up (docs/method.md). The
sum is an upper bound that falls to KL(posterior ‖ prior) as steps shrink, with an error proportional to the
step size for the samplers here; so nats of chains are comparable at equal schedules only. Because the leading
error is linear, a chain of N and one of 2N steps know it: :func:`richardson` takes it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.errors import TraceError
from KLIPCore.sampling.transition import Transition


@dataclass(frozen=True, eq=False)
class PathKL:
    """Nats of every transition and every sample.

    Attributes
    ----------
    sigma_from, sigma_to : (K,) levels of the transitions.
    per_sample : (B, K) nats of sample j in transition k, weights included.
    raw_nats : mean over samples of the nats with all weights 1.
    map : nats per pixel, mean over samples.
    final : (B, ...) the chains' last states.
    denoised : (B, ...) the last transition's estimates of the clean images.
    """

    sigma_from: NDArray[np.float64]
    sigma_to: NDArray[np.float64]
    per_sample: NDArray[np.float64]
    raw_nats: float
    map: Tensor
    final: Tensor
    denoised: Tensor

    @property
    def nats(self) -> float:
        """Σ over transitions of the mean over chains."""
        return float(self.per_sample.mean(0).sum())

    @property
    def standard_error(self) -> float:
        """Of :attr:`nats`, from the spread over chains; NaN for a single one."""
        n = len(self.per_sample)
        return float(self.per_sample.sum(1).std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan

    def window(self, lo: float, hi: float) -> float:
        """Return nats of σ ∈ [lo, hi].

        Steps that are cut count by their share in ln σ, steps that stay at a level count if it is inside.
        """
        top, bottom = np.log(self.sigma_from), np.log(self.sigma_to)
        length = top - bottom
        overlap = np.clip(np.minimum(top, math.log(hi)) - np.maximum(bottom, math.log(lo)), 0, None)
        stays = (self.sigma_from > lo) & (self.sigma_from <= hi)
        share = np.where(length > 0, overlap / np.where(length > 0, length, 1.0), stays)
        return float(self.per_sample.mean(0) @ share)


def path_kl(transitions: Iterable[Transition]) -> PathKL:
    """Run a sampler to its end and add up its nats.

    Raises
    ------
    TraceError : there was no transition.
    DeterministicStepError : the sampler took a step without noise.
    """
    levels, nats = [], []
    total: Tensor | None = None
    raw = 0.0
    last: Transition | None = None
    for step in transitions:
        squares = step.whitened_push().double().square()
        nats.append(squares.flatten(1).sum(1).cpu().numpy())
        raw += float(step.shift.double().square().flatten(1).sum(1).mean()) / (2 * step.variance)
        levels.append((step.sigma_from, step.sigma_to))
        total = squares.mean(0) if total is None else total + squares.mean(0)
        last = step
    if last is None or total is None:
        raise TraceError(
            "The sampler took no step, so there is no path to measure.", "Give it at least two noise levels."
        )
    sigma_from, sigma_to = np.array(levels, float).T
    return PathKL(sigma_from, sigma_to, np.stack(nats, 1), raw, total.cpu(), last.x_next, last.denoised)


def richardson(coarse: PathKL, fine: PathKL) -> tuple[float, float]:
    """Return 2 KL(2N) − KL(N): nats without the error linear in the step size, and their standard error.

    Parameters
    ----------
    coarse, fine : chains of one sampler over one σ interval, with N and 2N steps, independent of each other.
    """
    return 2 * fine.nats - coarse.nats, math.hypot(2 * fine.standard_error, coarse.standard_error)
