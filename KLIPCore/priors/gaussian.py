"""Gaussian priors, for truth: everything a diffusion prior only approximates is here in closed form.

Let x₀ ~ N(μ, C) and x_σ = x₀ + σ z. Then the optimal denoiser is Wiener's,

    D(x, σ) = E[x₀ | x_σ = x] = μ + C (C + σ² I)⁻¹ (x − μ),

and a linear measurement y = A x₀ + N(0, W⁻¹) turns the prior into another Gaussian, N(m, P), with

    P = (C⁻¹ + Aᵀ W A)⁻¹,      m = μ + P Aᵀ W (y − A μ) .

So the posterior of a :class:`GaussianPrior` *is* a :class:`GaussianPrior`: its denoiser is D_post(x, σ) = E[x₀
| x_σ, y], its samples are exact posterior samples, and the likelihood score that guidance approximates is

    s_l(x, σ) = ∇ log p(y | x_σ = x) = (D_post(x, σ) − D(x, σ)) / σ² .

:mod:`KLIPCore.kl.gaussian` has the divergence between the two in nats. Everything is computed in float64.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.priors.prior import Denoiser, Prior, denoiser
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window


def exact_card(name: str, size: int) -> ModelCard:
    """Return card of a prior that was written down, not trained: no anatomy, every noise level."""
    return ModelCard(
        name=name,
        anatomy="none (a distribution in closed form)",
        window=Window(0.0, 1.0),
        size=size,
        pixel_mm_range=(1.0, 1.0),
        position_channels=False,
        sigma_min=0.0,
        sigma_max=math.inf,
        intended_use="Testing: the exact answer that an estimator is measured against.",
    )


def dense_likelihood(measurement: Measurement, n_pixels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a (M, n), y (M,) and weights (M,) of a measurement as float64 arrays on the CPU.

    Raises
    ------
    ConfigError : A acts on another number of pixels, y holds several measurements, or the noise is not Gaussian.
    """
    A = measurement.A
    if math.prod(A.domain_shape) != n_pixels:
        raise ConfigError(
            f"The operator acts on {tuple(A.domain_shape)} pixels, the prior has {n_pixels}.",
            "Build both for the same image.",
        )
    if not isinstance(measurement.noise, GaussianNoise) or measurement.y.numel() != math.prod(A.range_shape):
        raise ConfigError(
            "Only one measurement with Gaussian noise has a posterior in closed form.",
            "Use GaussianNoise and a single y.",
        )
    like = measurement.y
    columns = A(torch.eye(n_pixels, dtype=like.dtype, device=like.device).reshape(n_pixels, *A.domain_shape))
    weights = measurement.weights.expand_as(like)
    return (
        columns.reshape(n_pixels, -1).T.double().cpu(),
        like.reshape(-1).double().cpu(),
        weights.reshape(-1).double().cpu(),
    )


def per_sample(sigma: Tensor | float, x: Tensor) -> Tensor:
    """Return the (B, 1) float64 noise levels for the samples of x (B, ...)."""
    levels = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).reshape(-1, 1)
    return levels.expand(len(x), 1)


def eigen(covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a covariance made symmetric, (n, n), its eigenvalues, (n,) rising, and eigenvectors in columns; float64.

    Raises
    ------
    ConfigError : it is not positive definite.
    """
    symmetric = 0.5 * (covariance + covariance.T).detach().double()
    variances, basis = torch.linalg.eigh(symmetric)
    if not float(variances[0]) > 0:
        raise ConfigError("The covariance is not positive definite.", "Add a small variance to its diagonal.")
    return symmetric, variances, basis


class GaussianPrior:
    """N(μ, C) over images, with its exact denoiser; satisfies :class:`KLIPCore.priors.prior.Prior`.

    Parameters
    ----------
    mean : (C, H, W) μ.
    covariance : (n, n) symmetric positive definite, n = C·H·W pixels in row-major order.
    name : the card's name.

    Attributes
    ----------
    shape : (C, H, W).
    variances, basis : (n,) eigenvalues, rising, and (n, n) eigenvectors in columns of the covariance.

    Raises
    ------
    ConfigError : the covariance does not fit the mean or is not positive definite.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, *, name: str = "gaussian") -> None:
        n = mean.numel()
        if mean.ndim != 3 or tuple(covariance.shape) != (n, n):
            raise ConfigError(
                f"A covariance of {tuple(covariance.shape)} does not fit a mean of {tuple(mean.shape)}.",
                "Give (C, H, W) and (n, n).",
            )
        self.shape = tuple(mean.shape)
        self.mean = mean.detach().double()
        self.covariance, self.variances, self.basis = eigen(covariance)
        self._card = exact_card(name, mean.shape[-1])

    @property
    def card(self) -> ModelCard:
        """A card that names no anatomy."""
        return self._card

    @property
    def n_pixels(self) -> int:
        """C·H·W."""
        return self.mean.numel()

    def to(self, device: torch.device | str) -> Self:
        """Return the same prior on another device (one that has float64)."""
        moved = object.__new__(type(self))
        moved.__dict__ = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.__dict__.items()}
        return moved

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return μ + C (C + σ²)⁻¹ (x − μ) for x (B, C, H, W) and sigma (B,), in x's type; differentiable."""
        s = per_sample(sigma, x).square()
        z = (x.double() - self.mean).flatten(1) @ self.basis
        gain = self.variances / (self.variances + s)
        return (self.mean + ((gain * z) @ self.basis.T).reshape(x.shape)).to(x.dtype)

    def log_density(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """Return log p(x_σ = x) in nats for x (B, C, H, W), shape (B,)."""
        variances = self.variances + sigma**2
        z = (x.double() - self.mean).flatten(1) @ self.basis
        return -0.5 * (z.square() / variances + torch.log(2 * math.pi * variances)).sum(1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Return the (n, C, H, W) float64 draws; the generator lives on the CPU."""
        z = torch.randn(n, self.n_pixels, generator=generator, dtype=torch.float64).to(self.mean.device)
        return self.mean + ((self.variances.sqrt() * z) @ self.basis.T).reshape(n, *self.shape)

    def posterior(self, measurement: Measurement) -> GaussianPrior:
        """Return N(m, P): this prior after a linear measurement with Gaussian noise.

        Raises
        ------
        ConfigError : the measurement is of other pixels, several, or not Gaussian.
        """
        A, y, w = (t.to(self.mean.device) for t in dense_likelihood(measurement, self.n_pixels))
        covariance = conditioned_covariance(self.basis * self.variances.sqrt(), A, w)
        mean = self.mean.flatten() + covariance @ (A.T @ (w * (y - A @ self.mean.flatten())))
        return GaussianPrior(mean.reshape(self.shape), covariance, name=f"{self.card.name}, measured")


def conditioned_covariance(factor: Tensor, A: Tensor, w: Tensor) -> Tensor:
    """Return P = L (I + Lᵀ Aᵀ W A L)⁻¹ Lᵀ for C = L Lᵀ.

    Positive definite in floating point too, unlike C − C Aᵀ (…)⁻¹ A C.

    Parameters
    ----------
    factor : (n, n) L.
    A : (M, n) measurement matrix.
    w : (M,) inverse variances of its noise.
    """
    AL = w.sqrt()[:, None] * (A @ factor)
    information = torch.eye(len(factor), dtype=factor.dtype, device=factor.device) + AL.T @ AL
    root = torch.linalg.solve_triangular(torch.linalg.cholesky(information), factor.T, upper=False)
    return root.T @ root


def likelihood_score(prior: Prior, posterior: Prior) -> Denoiser:
    """Return the exact s_l(x, σ) = (D_post − D)/σ² = ∇ log p(y | x_σ) of (B, H, W) states.

    It follows from a prior and its own posterior.
    """
    before, after = denoiser(prior), denoiser(posterior)

    def score(x: Tensor, sigma: float) -> Tensor:
        return (after(x, sigma) - before(x, sigma)) / sigma**2

    return score
