"""The KL divergence between two Gaussian mixtures with shared covariances, by one-dimensional integrals.

Let q = Σ_j ρ_j N(m_j, P) and p = Σ_k w_k N(μ_k, C), both blurred by noise of variance s. Relative to its first
component a mixture of two is log p(x) = log N(x; μ₁, C + s) + log(w₁ + w₂ e^ℓ), where the log-odds ℓ(x) = aᵀx
+ c are *linear* because the covariance is shared. Under component j of q, ℓ is normal, so

    E_q[log p] = Σ_j ρ_j { E log N(x; μ₁, C + s)  [closed form]  +  ∫ N(ℓ; E_j ℓ, aᵀ(P + s)a) log(w₁ + w₂ e^ℓ) dℓ },

and KL = E_q[log q] − E_q[log p] needs four smooth one-dimensional integrals, whatever the number of pixels. As for
Gaussians, nats in a σ window are a difference of two KLs. This is truth for a denoiser that is not linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from scipy.integrate import quad
from torch import Tensor

from KLIPCore.errors import ConfigError


class Mixture(Protocol):
    """What is needed of a mixture.

    Weights (K,), means (K, ...), shared covariance (n, n) with eigenvalues (n,) and -vectors (n, n).
    """

    weights: Tensor
    means: Tensor
    covariance: Tensor
    variances: Tensor
    basis: Tensor


@dataclass(frozen=True, eq=False)
class MixtureKL:
    """KL(q ‖ p) of two-component mixtures and its restriction to σ windows.

    Attributes
    ----------
    posterior : q.
    prior : p.
    """

    posterior: Mixture
    prior: Mixture

    def __post_init__(self) -> None:
        if len(self.prior.weights) != 2 or len(self.posterior.weights) != 2:
            raise ConfigError("Only mixtures of two components have a one-dimensional truth.", "Use two components.")

    def nats(self, sigma: float = 0.0) -> float:
        """Return the KL of the two after blurring both by noise σ; 0 at σ = ∞."""
        if math.isinf(sigma):
            return 0.0
        q, s = self.posterior, sigma**2
        return _expected_log_density(q, q, s) - _expected_log_density(q, self.prior, s)

    def window(self, lo: float, hi: float) -> float:
        """Return nats of σ ∈ [lo, hi]; ``hi`` may be infinite."""
        return self.nats(lo) - self.nats(hi)


def _expected_log_density(q: Mixture, p: Mixture, s: float) -> float:
    """E_q[log p] of both blurred by variance s, without the constant −n/2 ln 2π."""
    variances = p.variances + s
    centres = q.means.flatten(1) @ p.basis
    mu = p.means.flatten(1) @ p.basis
    spread = p.basis.T @ q.covariance @ p.basis + s * torch.eye(len(variances), dtype=torch.float64)
    a = (mu[1] - mu[0]) / variances
    offset = -0.5 * float(((mu[1] ** 2 - mu[0] ** 2) / variances).sum())
    std = math.sqrt(max(float(a @ spread @ a), 0.0))
    log_w1, log_w2 = (float(v) for v in torch.log(p.weights))
    total = -0.5 * float(torch.log(variances).sum() + (spread.diagonal() / variances).sum())
    for weight, centre in zip(q.weights.tolist(), centres, strict=True):
        total -= weight * 0.5 * float(((centre - mu[0]) ** 2 / variances).sum())
        total += weight * _normal_mean_of_log_sum(float(a @ centre) + offset, std, log_w1, log_w2)
    return total


def _normal_mean_of_log_sum(mean: float, std: float, log_w1: float, log_w2: float) -> float:
    """E log(w₁ + w₂ e^ℓ) for ℓ ~ N(mean, std²), to about 1e-12."""
    if std < 1e-12:
        return float(np.logaddexp(log_w1, log_w2 + mean))

    def integrand(t: float) -> float:
        return math.exp(-0.5 * t * t) / math.sqrt(2 * math.pi) * float(np.logaddexp(log_w1, log_w2 + mean + std * t))

    turning = (log_w1 - log_w2 - mean) / std  # where the two components weigh the same
    points = sorted({float(np.clip(turning + d / std, -12, 12)) for d in (-8, -1, 0, 1, 8)} | {0.0})
    edges = [-12.0, *points, 12.0]
    return float(
        sum(quad(integrand, lo, hi, epsabs=1e-14, epsrel=1e-13, limit=200)[0] for lo, hi in pairwise(edges) if hi > lo)
    )
