"""A stationary Gaussian prior on images, at FFT cost: exact truth at the size of a real scan.

A covariance that depends only on the offset between pixels (on a torus) is diagonal in the Fourier basis: C =
Fᴴ S F with the power spectrum S(f). The Wiener denoiser is then one FFT pair. A measurement by a scanner's
operator A is not diagonal there, so the posterior is not stationary; it is still Gaussian, and what is asked
of it are linear systems that conjugate gradients solve to any accuracy, matrix-free. With C_σ = C σ²/(C + σ²)
the covariance left once x_σ is seen,

    D_post = D + C_σ^½ q,      (I + C_σ^½ Aᵀ W A C_σ^½) q = C_σ^½ Aᵀ W (y − A D),

and σ = ∞ gives the posterior mean. Exact samples come from Matheron's rule: draw x and data y' from the joint
law of prior and measurement, then add the posterior mean's answer to what is missing, y − y' (Hoffman & Ribak
1991; Papandreou & Yuille 2010). For images small enough :meth:`StationaryGaussianPrior.dense` hands everything
to the closed forms.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.solve import conjugate_gradients
from KLIPCore.priors.gaussian import GaussianPrior, exact_card
from KLIPCore.volume.model_card import ModelCard


class StationaryGaussianPrior:
    """N(μ, C) with C stationary on the torus; satisfies :class:`KLIPCore.priors.prior.Prior`.

    Parameters
    ----------
    mean : (H, W) μ, anything.
    spectrum : (H, W) eigenvalues of C in the order of :func:`torch.fft.fft2`: positive, and equal at f and −f.
    name : the card's name.

    Raises
    ------
    ConfigError : the spectrum does not fit the mean, is not positive, or belongs to no real covariance.
    """

    def __init__(self, mean: Tensor, spectrum: Tensor, name: str = "stationary-gaussian") -> None:
        if mean.ndim != 2 or mean.shape != spectrum.shape or not bool((spectrum > 0).all()):
            raise ConfigError(
                "The power spectrum must be positive and of the mean's shape (H, W).",
                "Use StationaryGaussianPrior.matern.",
            )
        mirrored = torch.roll(spectrum.flip(0, 1), (1, 1), (0, 1))
        if not torch.allclose(spectrum, mirrored, rtol=1e-9):
            raise ConfigError("The power spectrum differs at f and −f: no real image has it.", "Make it symmetric.")
        self.mean = mean.detach().double()
        self.spectrum = spectrum.detach().double()
        self._card = exact_card(name, mean.shape[-1])

    @classmethod
    def matern(
        cls, mean: Tensor, std: float, length: float, smoothness: float = 1.5, floor: float = 1e-6
    ) -> StationaryGaussianPrior:
        """Return a prior with Matérn covariance: S(f) ∝ (1 + (2π f length)²)^−(smoothness + 1).

        It is scaled to the pixel standard deviation ``std``.

        Parameters
        ----------
        mean : (H, W).
        std : standard deviation of a pixel.
        length : correlation length in pixels.
        smoothness : ν; 0.5 is rough, 1.5 looks like soft tissue.
        floor : part of the mean power that every frequency has at least, which keeps C well conditioned.
        """
        height, width = mean.shape[-2:]
        fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
        fx = torch.fft.fftfreq(width, dtype=torch.float64)[None, :]
        power = (1 + (2 * math.pi * length) ** 2 * (fy**2 + fx**2)) ** -(smoothness + 1)
        power = power / power.mean() + floor
        return cls(mean, std**2 * power / power.mean())

    @property
    def card(self) -> ModelCard:
        """A card that names no anatomy."""
        return self._card

    def to(self, device: torch.device | str) -> Self:
        """Return the same prior on another device (one that has float64)."""
        moved = object.__new__(type(self))
        moved.__dict__ = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.__dict__.items()}
        return moved

    def filtered(self, x: Tensor, gain: Tensor) -> Tensor:
        """Return x (..., H, W) with its Fourier coefficients multiplied by ``gain`` (..., H, W).

        The gain is real and symmetric.
        """
        return torch.fft.ifft2(gain * torch.fft.fft2(x)).real

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return μ + C (C + σ²)⁻¹ (x − μ) for x (B, 1, H, W) and sigma (B,), in x's type; differentiable."""
        s = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).reshape(-1, 1, 1, 1).square()
        return (self.mean + self.filtered(x.double() - self.mean, self.spectrum / (self.spectrum + s))).to(x.dtype)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Return the (n, 1, H, W) float64 draws; the generator lives on the CPU."""
        z = torch.randn(n, 1, *self.mean.shape, generator=generator, dtype=torch.float64).to(self.mean.device)
        return self.mean + self.filtered(z, self.spectrum.sqrt())

    def dense(self) -> GaussianPrior:
        """Return the same law with its (H·W)² covariance written out; for images up to about 32 × 32."""
        height, width = self.mean.shape
        units = torch.eye(height * width, dtype=torch.float64, device=self.mean.device).reshape(-1, height, width)
        return GaussianPrior(
            self.mean[None], self.filtered(units, self.spectrum).reshape(height * width, -1), name=self.card.name
        )

    def posterior(
        self, measurement: Measurement, n_iterations: int = 400, tolerance: float = 1e-12
    ) -> StationaryPosterior:
        """Return this prior after a linear measurement with Gaussian noise, matrix-free."""
        return StationaryPosterior(self, measurement, n_iterations, tolerance)


class StationaryPosterior:
    """p(x₀ | y) of a stationary prior: exact denoiser, mean and samples by conjugate gradients; itself a Prior.

    Parameters
    ----------
    prior : what was known before.
    measurement : one measurement with Gaussian noise, in float64 for full accuracy.
    n_iterations, tolerance : limits of the conjugate gradients; the residual falls below ``tolerance`` of the
        right-hand side.

    Raises
    ------
    ConfigError : the noise is not Gaussian, or the operator acts on images of another size.
    """

    def __init__(
        self, prior: StationaryGaussianPrior, measurement: Measurement, n_iterations: int, tolerance: float
    ) -> None:
        if not isinstance(measurement.noise, GaussianNoise):
            raise ConfigError("Only a measurement with Gaussian noise has a Gaussian posterior.", "Use GaussianNoise.")
        if tuple(measurement.A.domain_shape) != tuple(prior.mean.shape):
            raise ConfigError(
                f"The operator acts on {measurement.A.domain_shape}, the prior on {tuple(prior.mean.shape)}.",
                "Build both for the same image.",
            )
        self.prior, self.measurement = prior, measurement
        self.n_iterations, self.tolerance = n_iterations, tolerance
        self._card = exact_card(f"{prior.card.name}, measured", prior.mean.shape[-1])
        self.mean = prior.mean + self._correction(prior.mean[None, None], prior.spectrum, measurement.y)[0, 0]

    @property
    def card(self) -> ModelCard:
        """A card that names no anatomy."""
        return self._card

    def _correction(self, estimate: Tensor, spectrum: Tensor, y: Tensor) -> Tensor:
        """C' Aᵀ (A C' Aᵀ + W⁻¹)⁻¹ (y − A x̂) for estimates (B, 1, H, W) whose errors have the spectrum C'."""
        A, w, prior = self.measurement.A, self.measurement.weights, self.prior
        root = spectrum.sqrt()
        dtype = self.measurement.y.dtype

        def normal(d: Tensor) -> Tensor:
            return A.T(w * A(d.to(dtype))).double()

        b = prior.filtered(A.T(w * (y - A(estimate.to(dtype)))).double(), root)
        q = conjugate_gradients(
            lambda d: d + prior.filtered(normal(prior.filtered(d, root)), root),
            b,
            self.n_iterations,
            relative_tolerance=self.tolerance,
        )
        return prior.filtered(q, root)

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return D_post(x, σ) = E[x₀ | x_σ = x, y] for x (B, 1, H, W) and sigma (B,), in x's type."""
        s = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).reshape(-1, 1, 1, 1).square()
        prior_estimate = self.prior.denoise(x.double(), sigma)
        left = self.prior.spectrum * s / (self.prior.spectrum + s)
        return (prior_estimate + self._correction(prior_estimate, left, self.measurement.y)).to(x.dtype)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Return the (n, 1, H, W) float64 exact draws by Matheron's rule."""
        x = self.prior.sample(n, generator)
        dtype = self.measurement.y.dtype
        simulated = self.measurement.noise.sample(self.measurement.A(x.to(dtype)), generator)
        return x + self._correction(torch.zeros_like(x), self.prior.spectrum, self.measurement.y - simulated)
