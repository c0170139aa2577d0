"""The KL divergence between two Gaussians, noised alike, in nats: the project's ground truth.

Let q = N(m, P) (posterior) and p = N(μ, C) (prior), b = m − μ, and let both be blurred by noise of variance s = σ²:
G = (P + s)⁻¹, F = (C + s)⁻¹. The two closed forms

    KL(s) = ½ bᵀ F b                                  the mean part: how far the data moved the mean (surprise)
          + ½ [ tr F (P + s) − n + ln det(C + s) − ln det(P + s) ]     the variance part: free of y (information)

fall to 0 as s grows. Their slope is the diffusion identity dKL/ds = −½ E‖s_l‖² with s_l = F(x − μ) − G(x − m)
and x drawn from the noised q. So a σ window is a difference of two KLs, and *where* the nats are is the matrix

    K(s) = ½ ∫_s^∞ E[s_l s_lᵀ] ds' ,     tr K(s) = KL(s) ,     uᵀ K u = nats in the direction u,

whose diagonal says how many nats each pixel holds, and whose trace over any other orthonormal basis (wavelet
bands) is the same. It has a closed form too. E[s_l s_lᵀ] = F b bᵀ F + F (P + s) F − 2F + G, and with C = U Λ Uᵀ

    K(s) = ½ { U [ (Uᵀ(P + b bᵀ)U) ∘ T ] Uᵀ − C F + ln(C + s) − ln(P + s) },
    T_kl = ∫_s^∞ ds' / ((λ_k + s')(λ_l + s')) = ln[(λ_k + s)/(λ_l + s)] / (λ_k − λ_l) .
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError

Part = Literal["energy", "mean", "variance"]


class Gaussian(Protocol):
    """What is needed of a Gaussian.

    Mean (any shape, n pixels), covariance (n, n), its eigenvalues (n,) and -vectors (n, n).
    """

    mean: Tensor
    covariance: Tensor
    variances: Tensor
    basis: Tensor


@dataclass(frozen=True, eq=False)
class GaussianKL:
    """KL(q ‖ p) and every restriction of it.

    Attributes
    ----------
    posterior : q = N(m, P).
    prior : p = N(μ, C), of the same shape.
    """

    posterior: Gaussian
    prior: Gaussian

    def __post_init__(self) -> None:
        if self.posterior.mean.shape != self.prior.mean.shape:
            raise ConfigError("The two Gaussians are of different shapes.", "Compare a posterior with its own prior.")

    def nats(self, sigma: float = 0.0, part: Part = "energy") -> float:
        """Return the KL of the two after blurring both by noise σ, or its mean or variance part; 0 at σ = ∞."""
        if math.isinf(sigma):
            return 0.0
        p, q, s = self.prior, self.posterior, sigma**2
        shift = (q.mean - p.mean).flatten() @ p.basis
        mean = 0.5 * float((shift.square() / (p.variances + s)).sum())
        if part == "mean":
            return mean
        projected = ((q.covariance @ p.basis) * p.basis).sum(0)  # diagonal of Uᵀ P U
        trace = ((projected - p.variances) / (p.variances + s)).sum()
        variance = 0.5 * float(trace + torch.log(p.variances + s).sum() - torch.log(q.variances + s).sum())
        return variance if part == "variance" else mean + variance

    def window(self, lo: float, hi: float, part: Part = "energy") -> float:
        """Return nats of σ ∈ [lo, hi]: KL at lo minus KL at hi; ``hi`` may be infinite."""
        return self.nats(lo, part) - self.nats(hi, part)

    def matrix(self, lo: float = 0.0, hi: float = math.inf, part: Part = "energy") -> Tensor:
        """Return ½ ∫ E[s_l s_lᵀ] dσ² over the window, (n, n) float64; its trace is :meth:`window`."""
        tail = self._tail_matrix(lo, part)
        return tail if math.isinf(hi) else tail - self._tail_matrix(hi, part)

    def pixels(self, lo: float = 0.0, hi: float = math.inf, part: Part = "energy") -> Tensor:
        """Return nats of each pixel in the window, of the mean's shape; a block's nats are a sum of these."""
        return self.matrix(lo, hi, part).diagonal().reshape(self.prior.mean.shape)

    def _tail_matrix(self, sigma: float, part: Part) -> Tensor:
        """K(σ²) of the module's docstring, or its mean (b bᵀ) or variance (the rest) part."""
        p, q, s = self.prior, self.posterior, sigma**2
        U, lam = p.basis, p.variances + s
        ratio = (lam[:, None] - lam[None, :]) / lam[None, :]
        T = torch.where(ratio == 0, 1.0, torch.log1p(ratio) / torch.where(ratio == 0, 1.0, ratio)) / lam[None, :]
        shift = U.T @ (q.mean - p.mean).flatten()
        out = torch.zeros_like(p.covariance)
        if part != "variance":
            out = out + U @ (torch.outer(shift, shift) * T) @ U.T
        if part != "mean":
            out = out + U @ ((U.T @ q.covariance @ U) * T) @ U.T
            out = out + (U * (torch.log(lam) - p.variances / lam)) @ U.T
            out = out - (q.basis * torch.log(q.variances + s)) @ q.basis.T
        return 0.5 * out
