"""A mixture of Gaussians as a prior: exact like a Gaussian, but not linear.

p(x₀) = Σ_k w_k N(μ_k, C). Seen through noise, x_σ belongs to component k with responsibility

    r_k(x, σ) ∝ w_k N(x; μ_k, C + σ² I),          D(x, σ) = Σ_k r_k(x, σ) D_k(x, σ),

D_k being the Wiener denoiser of component k: a soft choice between linear answers, which is what a trained
network does between anatomies. A linear measurement changes every component as it changes a Gaussian
(:mod:`KLIPCore.priors.gaussian`) and multiplies its weight by its evidence N(y; A μ_k, A C Aᵀ + W⁻¹): the
posterior is a mixture again. All components share one covariance, which keeps the divergence of prior and
posterior computable in any dimension (:mod:`KLIPCore.kl.mixture`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.gaussian import conditioned_covariance, dense_likelihood, eigen, exact_card, per_sample
from KLIPCore.volume.model_card import ModelCard


class GaussianMixturePrior:
    """Σ_k w_k N(μ_k, C) with its exact denoiser; satisfies :class:`KLIPCore.priors.prior.Prior`.

    Parameters
    ----------
    weights : (K,) positive; scaled to sum to 1.
    means : (K, C, H, W) μ_k.
    covariance : (n, n) symmetric positive definite, shared by the components.
    name : the card's name.

    Attributes
    ----------
    shape : (C, H, W).
    variances, basis : (n,) eigenvalues, rising, and (n, n) eigenvectors in columns of the covariance.

    Raises
    ------
    ConfigError : shapes that do not belong together, a weight or variance that is not positive.
    """

    def __init__(self, weights: Tensor, means: Tensor, covariance: Tensor, *, name: str = "gaussian-mixture") -> None:
        n = means[0].numel()
        if means.ndim != 4 or weights.shape != means.shape[:1] or tuple(covariance.shape) != (n, n):
            raise ConfigError(
                "Weights, means and covariance of the mixture do not fit each other.",
                "Give (K,), (K, C, H, W) and (n, n).",
            )
        if not bool((weights > 0).all()):
            raise ConfigError(
                "Every component of a mixture needs a positive weight.", "Leave out components without weight."
            )
        self.shape = tuple(means.shape[1:])
        self.weights = weights.detach().double() / weights.detach().double().sum()
        self.means = means.detach().double()
        self.covariance, self.variances, self.basis = eigen(covariance)
        self._card = exact_card(name, means.shape[-1])

    @property
    def card(self) -> ModelCard:
        """A card that names no anatomy."""
        return self._card

    @property
    def mean(self) -> Tensor:
        """(C, H, W) Σ_k w_k μ_k."""
        return torch.einsum("k,kchw->chw", self.weights, self.means)

    def _whitened(self, x: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """Eigen-coordinates (B, K, n) of x about every mean, and log w_k N(x; μ_k, ·) up to a constant, (B, K)."""
        offsets = (x.double().flatten(1)[:, None] - self.means.flatten(1)[None]) @ self.basis
        return offsets, torch.log(self.weights) - 0.5 * (offsets.square() / variances[:, None]).sum(-1)

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return Σ_k r_k D_k for x (B, C, H, W) and sigma (B,), in x's type; differentiable."""
        s = per_sample(sigma, x).square()
        offsets, log_share = self._whitened(x, self.variances + s)
        gain = self.variances / (self.variances + s)
        estimates = self.means.flatten(1) + (gain[:, None] * offsets) @ self.basis.T
        return torch.einsum("bk,bkn->bn", torch.softmax(log_share, 1), estimates).reshape(x.shape).to(x.dtype)

    def log_density(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """Return log p(x_σ = x) in nats for x (B, C, H, W), shape (B,)."""
        variances = (self.variances + sigma**2)[None]
        _, log_share = self._whitened(x, variances)
        return torch.logsumexp(log_share, 1) - 0.5 * torch.log(2 * math.pi * variances).sum()

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Return the (n, C, H, W) float64 draws."""
        which = torch.multinomial(self.weights.cpu(), n, replacement=True, generator=generator).to(self.means.device)
        z = torch.randn(n, len(self.variances), generator=generator, dtype=torch.float64).to(self.means.device)
        return self.means[which] + ((self.variances.sqrt() * z) @ self.basis.T).reshape(n, *self.shape)

    def posterior(self, measurement: Measurement) -> GaussianMixturePrior:
        """Return this prior after a linear measurement with Gaussian noise.

        Every component conditioned, weights by evidence.

        Raises
        ------
        ConfigError : the measurement is of other pixels, several, not Gaussian, or rules out a component entirely.
        """
        A, y, w = (t.to(self.means.device) for t in dense_likelihood(measurement, self.means[0].numel()))
        factor = self.basis * self.variances.sqrt()
        covariance = conditioned_covariance(factor, A, w)
        residuals = y - self.means.flatten(1) @ A.T
        used = w > 0  # data of weight 0 say nothing and have no variance
        spread = (A @ factor)[used]
        predictive = spread @ spread.T + torch.diag(1 / w[used])
        log_evidence = -0.5 * (residuals[:, used].T * torch.linalg.solve(predictive, residuals[:, used].T)).sum(0)
        weights = torch.softmax(torch.log(self.weights) + log_evidence, 0)
        means = self.means.flatten(1) + (w * residuals) @ A @ covariance
        return GaussianMixturePrior(
            weights, means.reshape(self.means.shape), covariance, name=f"{self.card.name}, measured"
        )
