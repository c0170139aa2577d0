"""Quantities of mean exactly zero, to subtract from noisy nats: Stein's identity as a control variate.

With s_post(x) = (D_post(x, σ) − x)/σ² the score of the noised posterior, E[s_post·f + div f] = 0 for any
smooth vector field f. So c = p·f + σ div f, p = (D_post − x)/σ, may be subtracted from the nats ‖a‖², a =
(D_post − D)/σ, without changing their mean, and the right f takes their variance away. For Gaussians with b =
E a, P and C the covariances of posterior and prior,

    f* = (1 − (P + σ²)(C + σ²)⁻¹)(a + b)        leaves nothing: ‖a‖² − c = E‖a‖² for every x,

and where the posterior is narrower than σ the bracket is C(C + σ²)⁻¹ = ∂D/∂x, the prior's Jacobian. That
suggests a field that needs three denoisings and no derivative, whatever the prior:

    f(x) = [D(x + σ(a + b)) − D(x)] / σ ,        b = a at the posterior's mean.

Two details make it good. *The divergence* is estimated with random signs (Hutchinson), on lattices: a probe
that is ±1 on every q-th pixel only, and 0 between, hears nothing of a pixel's neighbours, where a Jacobian's
off-diagonal entries are large, and q² shifted lattices together see every pixel once (probing by colours; Tang
& Saad, Numer. Linear Algebra Appl. 19, 2012, 485). *The mean* m of the posterior is known exactly, m =
D_post(·, σ → ∞): anything linear in x₀ − m has mean zero too, and the derivative of ‖a‖² − p·f at m along x₀ −
m, by a central difference, removes what is still linear in the samples.

All this holds only if D_post is the exact posterior denoiser of the law the samples come from; the mean of c
says whether it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from KLIPCore.priors.prior import Denoiser

FAR = 1e6
"""Where the posterior denoiser is asked for its mean, in units of the largest σ in use."""


def posterior_mean(denoise_posterior: Denoiser, like: Tensor, sigma: float) -> Tensor:
    """Return E[x₀ | y] from the exact posterior denoiser far above σ, of one sample's shape.

    ``like`` (n, ...) gives shape and type.
    """
    return denoise_posterior(like[:1], FAR * sigma)[0]


@dataclass(frozen=True, eq=False)
class SteinControl:
    """Control variates of the nats at one noise level.

    Attributes
    ----------
    denoise_prior, denoise_posterior : D and the exact D_post.
    center : the posterior's mean, of one sample's shape, type and device.
    sigma : σ.
    """

    denoise_prior: Denoiser
    denoise_posterior: Denoiser
    center: Tensor
    sigma: float

    @cached_property
    def typical(self) -> Tensor:
        """b = a at the posterior's mean, (1, ...)."""
        middle = self.center[None]
        return (self.denoise_posterior(middle, self.sigma) - self.denoise_prior(middle, self.sigma)) / self.sigma

    def parts(
        self, x: Tensor, before: Tensor | None = None, after: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return a, p and f at states (B, ...); ``before``, ``after`` are D and D_post there, if known."""
        sigma = self.sigma
        before = self.denoise_prior(x, sigma) if before is None else before
        after = self.denoise_posterior(x, sigma) if after is None else after
        push = (after - before) / sigma
        field = (self.denoise_prior(x + sigma * (push + self.typical), sigma) - before) / sigma
        return push, (after - x) / sigma, field

    def zero(
        self, x: Tensor, before: Tensor, after: Tensor, generator: torch.Generator, n_probes: int, spacing: int
    ) -> Tensor:
        """Return c = p·f + σ div f pixel by pixel, of x's shape; its mean over the noised posterior is 0.

        Parameters
        ----------
        x, before, after : states (B, H, W) and both denoisers' answers.
        generator : CPU random generator of the probes.
        n_probes : rounds of probes.
        spacing : q; a round costs q² evaluations of the field.
        """
        _, pull, field = self.parts(x, before, after)
        step = self.sigma * (1e-4 if x.dtype == torch.float64 else 3e-2)
        out = pull * field
        for _ in range(n_probes):
            signs = (2 * torch.randint(0, 2, x.shape, generator=generator) - 1).to(x)
            for lattice in lattices(x.shape[-2], x.shape[-1], spacing):
                probe = signs * lattice.to(x)
                out = out + probe * (self.parts(x + step * probe)[2] - field) * (self.sigma / (step * n_probes))
        return out

    def linear(self, samples: Tensor) -> Tensor:
        """Return the derivative of ‖a‖² − p·f at the mean along x₀ − m, pixel by pixel, (n, ...) float64.

        Linear in x₀, so of mean 0.
        """
        offset = samples - self.center
        step = 1e-3 if samples.dtype == torch.float64 else 5e-2

        def nats(x: Tensor) -> Tensor:
            push, pull, field = self.parts(x)
            return (push.square() - pull * field).double()

        middle = self.center
        return (nats(middle + step * offset) - nats(middle - step * offset)) / (2 * step)


def lattices(height: int, width: int, spacing: int) -> list[Tensor]:
    """Return q² masks (height, width) of every q-th pixel, shifted: they tile the image.

    Fewer where the image is smaller than q.
    """
    rows, columns = torch.arange(height) % spacing, torch.arange(width) % spacing
    masks = [(rows == i)[:, None] & (columns == j)[None, :] for i in range(spacing) for j in range(spacing)]
    return [mask for mask in masks if bool(mask.any())]
