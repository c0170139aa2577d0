"""KL without a chain: posterior samples, re-noised at nodes of our choosing.

Mismatched estimation (Verdú, IEEE Trans. Inf. Theory 56, 2010, 3712; the I-MMSE identity) writes the
divergence between posterior and prior as an integral over noise levels, with γ = 1/σ²:

    KL(p(x₀|y) ‖ p(x₀)) = ½ ∫ E ‖D_post(x_σ, σ) − D(x_σ, σ)‖² dγ,      x_σ = x₀ + σ z,  x₀ ~ p(x₀|y)

Substituting dγ = −2 σ⁻² d ln σ and placing Gauss–Legendre nodes in ln σ gives a sum of squares,

    KL ≈ Σ_k w_k E ‖D_post − D‖² / σ_k² = Σ_k E ‖u_k‖² ,    u_k = √w_k (D_post − D) / σ_k .

u_k is the *whitened push*: its squares are nats per pixel, so blocks, windows and scale bands are sums over
fewer terms. At temperature τ < 1 the states are x̂ + τ σ z: the same push, evaluated closer to the
reconstruction than the prior's own noise would carry it (docs/method.md says what is then measured).

:func:`renoised` is the loop over the nodes. :func:`KLIPCore.kl.estimate.estimate_kl` adds up what it yields
with standard errors, a run of ``klip detect`` into the layers of its trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Nodes:
    """A quadrature rule in ln σ.

    Attributes
    ----------
    sigma : (K,) nodes, rising.
    weight : (K,) weights of d ln σ.
    edges : (K + 1,) σ bin edges: node k stands for the bin between edges k and k + 1.
    """

    sigma: NDArray[np.float64]
    weight: NDArray[np.float64]
    edges: NDArray[np.float64]


def gauss_legendre_nodes(n: int, lo: float, hi: float) -> Nodes:
    """Return Gauss–Legendre nodes in ln σ on [lo, hi].

    The bins' widths in ln σ are the weights, so bins tile the interval exactly.

    Raises
    ------
    ConfigError : the interval is empty.
    """
    if not 0 < lo < hi or n < 1:
        raise ConfigError(
            f"No {n} quadrature nodes fit in σ {lo} to {hi}.",
            "Give a positive, rising σ interval and at least one node.",
        )
    t, w = np.polynomial.legendre.leggauss(n)
    half = 0.5 * np.log(hi / lo)
    weight = half * w
    edges = np.log(lo) + np.concatenate([[0.0], np.cumsum(weight)])
    return Nodes(np.exp(np.log(lo) + half * (t + 1.0)), weight, np.exp(edges))


def panel_nodes(edges: Sequence[float], n: int) -> Nodes:
    """Return Gauss–Legendre nodes, n of them in each panel between neighbouring ``edges``.

    Every union of panels is a σ window exactly.

    Parameters
    ----------
    edges : σ of the panels' borders, rising, at least two.
    n : nodes per panel.

    Raises
    ------
    ConfigError : fewer than two edges, or they do not rise from above 0.
    """
    if len(edges) < 2:
        raise ConfigError("One edge bounds no σ interval.", "Give at least two rising edges.")
    panels = [gauss_legendre_nodes(n, lo, hi) for lo, hi in pairwise(edges)]
    return Nodes(
        np.concatenate([p.sigma for p in panels]),
        np.concatenate([p.weight for p in panels]),
        np.concatenate([[panels[0].edges[0]], *(p.edges[1:] for p in panels)]),
    )


BothMeans = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""(B, ...) states and one noise level → D(x, σ) of the prior and of the posterior, (B, ...) each."""


@dataclass(frozen=True, eq=False)
class NodeMeans:
    """What prior and posterior make of the states of one node.

    Attributes
    ----------
    sigma, weight : of the node: its noise level and its weight of d ln σ.
    states : (B, ...) x_σ.
    prior_mean, posterior_mean : (B, ...) D and D_post there.
    """

    sigma: float
    weight: float
    states: Tensor
    prior_mean: Tensor
    posterior_mean: Tensor

    def whitened(self) -> Tensor:
        """Return the whitened push u, (B, ...): its squares are nats."""
        return whitened_push(self.posterior_mean, self.prior_mean, self.sigma, self.weight)


def renoised(
    points: Tensor, nodes: Nodes, both: BothMeans, noise: Callable[[], Tensor], *, temperature: float = 1.0
) -> Iterator[NodeMeans]:
    """Return what prior and posterior make of clean images that are noised again at every node, lowest first.

    Parameters
    ----------
    points : (B, ...) clean images x₀, or anything that broadcasts to the noise.
    nodes : the quadrature rule.
    both : the two denoisers.
    noise : draws (B, ...) standard normal noise z, once a node. Fresh noise averages out over nodes; common
        noise doubles the sum's error.
    temperature : τ of the states x₀ + τ σ z.

    Yields
    ------
    one :class:`NodeMeans` a node.
    """
    for sigma, weight in zip(nodes.sigma.tolist(), nodes.weight.tolist(), strict=True):
        states = points + temperature * sigma * noise()
        prior_mean, posterior_mean = both(states, sigma)
        yield NodeMeans(sigma, weight, states, prior_mean, posterior_mean)


def whitened_push(posterior_mean: Tensor, prior_mean: Tensor, sigma: float, weight: float) -> Tensor:
    """Return u = √w (D_post − D) / σ, of the arguments' shape: its squares are nats."""
    return (posterior_mean - prior_mean) * float(np.sqrt(weight) / sigma)


def antithetic_noise(
    shape: tuple[int, ...], n_pairs: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the (2 · n_pairs, *shape) standard normal noise in pairs z, −z.

    Odd orders of the noise cancel in their mean.
    """
    z = torch.randn(n_pairs, *shape, generator=generator, dtype=dtype)
    return torch.stack([z, -z], dim=1).reshape(2 * n_pairs, *shape)
