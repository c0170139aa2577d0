"""Mean pushes: what the posterior mean has and the prior does not expect, with its sign, before anything is squared.

At a node of noise level σ the prior is asked what it makes of the posterior mean x̂, noised at temperature τ
with antithetic noise ±z:

    push(σ) = x̂ − ½ Σ± D(x̂ ± τ σ z, σ)            [intensity]

Squares of it are nats (:mod:`KLIPCore.kl.accumulate`), and squares forget two things a verdict needs: the
sign, and what healthy tissue of the same kind gives on average. A trace therefore keeps the pushes themselves,
at half the frame's resolution, together with an *expectation*: what the prior makes of the slice at a noise
level that erases lesions, D(x̂, σ ≈ 0.45). Centring, pooling over slices, weights and blocks are arithmetic on these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import TraceError

STEP = 2
"""Pushes are averaged over squares of this many frame pixels: finer detail is texture and noise."""

EXPECTATION_SIGMA = 0.45
"""Noise level near which the expectation is read: the nearest recorded node is taken."""


@dataclass(frozen=True, eq=False)
class Pushes:
    """The mean pushes of one slice.

    Attributes
    ----------
    sigma : (K,) rising noise levels (intensity units).
    push : (K, h, w) float32, x̂ − E D in intensity, averaged over squares of :data:`STEP` pixels.
    expectation : (h, w) float32, E D at the node nearest to :data:`EXPECTATION_SIGMA`, averaged likewise.
    """

    sigma: NDArray[np.float64]
    push: NDArray[np.float32]
    expectation: NDArray[np.float32]

    def nearest(self, sigma: float) -> int:
        """Return the node nearest to ``sigma`` in ln σ."""
        return int(np.abs(np.log(self.sigma / sigma)).argmin())

    def distance(self, sigma: float) -> float:
        """Return how far, in ln σ, that node lies from ``sigma``."""
        return float(np.abs(np.log(self.sigma / sigma)).min())

    def arrays(self) -> dict[str, NDArray]:
        """Return what is stored, by name: float16 is exact to a thousandth of a push."""
        return {
            "sigma": self.sigma,
            "push": self.push.astype(np.float16),
            "expectation": self.expectation.astype(np.float16),
        }

    @classmethod
    def of(cls, arrays: dict[str, NDArray]) -> Pushes:
        """Rebuild pushes from :meth:`arrays`.

        Raises
        ------
        TraceError : the arrays do not belong together.
        """
        sigma, push, expectation = (np.asarray(arrays[name]) for name in ("sigma", "push", "expectation"))
        if push.shape != (len(sigma), *expectation.shape) or not (np.diff(sigma) > 0).all():
            raise TraceError("The stored pushes are damaged.", "Delete the slice's trace file and run detect again.")
        return cls(sigma.astype(np.float64), push.astype(np.float32), expectation.astype(np.float32))
