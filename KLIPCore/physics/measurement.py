"""What was measured: the data, the operator that made it, and its noise.

A :class:`Measurement` is all that a sampler knows of the scan. It can come from a scanner, or be simulated
from an image; the two must never be mistaken for each other, so the flag travels with the data.

Simulating with the same discrete operator that later inverts the data flatters every method (the "inverse crime": the
discretisation error is missing from the data). :func:`simulate` takes the operator of a finer grid and always
adds noise.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import LinearOperator, size_text
from KLIPCore.physics.noise import Noise


@dataclass(frozen=True, eq=False, repr=False)
class Measurement:
    """y = A x + noise.

    Attributes
    ----------
    y : (..., *A.range_shape) the data.
    A : the linear operator.
    noise : the noise model.
    simulated : whether the data came from an image instead of a scanner.
    description : one line for reports, without patient data.
    """

    y: Tensor
    A: LinearOperator
    _: KW_ONLY
    noise: Noise
    simulated: bool
    description: str = ""

    def __post_init__(self) -> None:
        expected = tuple(self.A.range_shape)
        if tuple(self.y.shape[-len(expected) :]) != expected:
            raise ConfigError(
                f"Data of shape {tuple(self.y.shape)} do not come from an operator with range {expected}.",
                "Use the operator of this scan.",
            )
        if not bool(torch.isfinite(self.y).all()):
            raise ConfigError(
                "The measured data hold values that are not finite.",
                "Replace dead detector bins or remove their rays.",
            )

    def __repr__(self) -> str:
        origin = "simulated" if self.simulated else "measured"
        return (
            f"Measurement({size_text(tuple(self.y.shape))} {origin} values, {self.A!r}, {type(self.noise).__name__})"
        )

    @cached_property
    def weights(self) -> Tensor:
        """Inverse variances w, of y's shape or a scalar."""
        return self.noise.inverse_variance(self.y)

    def residual(self, x: Tensor) -> Tensor:
        """Return y − A x for x (..., *A.domain_shape), shape (..., *A.range_shape).

        Raises
        ------
        ConfigError : x and y have leading dimensions that do not belong together.
        """
        predicted = self.A(x)
        n = len(self.A.range_shape)
        lead_x, lead_y = tuple(predicted.shape[:-n]), tuple(self.y.shape[:-n])
        try:
            fits = tuple(torch.broadcast_shapes(lead_x, lead_y)) == lead_x
        except RuntimeError:
            fits = False
        if not fits:  # broadcasting would pair every image with every sinogram
            raise ConfigError(
                f"Images with leading shape {lead_x} cannot be compared with data of leading shape {lead_y}.",
                "Give y the same leading dimensions as x (1 where shared).",
            )
        return self.y - predicted

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Return log N(y; A x, 1/w) in nats, one number per image: shape (...). Data of weight 0 do not count."""
        r = self.residual(x)
        w = self.weights.expand_as(r)
        used = w > 0
        terms = torch.where(
            used, 0.5 * torch.log(torch.where(used, w, 1.0) / (2 * math.pi)) - 0.5 * w * r.square(), 0.0
        )
        return terms.flatten(-len(self.A.range_shape)).sum(-1)

    def to(self, device: torch.device | str) -> Measurement:
        """Return the same measurement on another device."""
        return replace(self, y=self.y.to(device), A=self.A.to(device), noise=self.noise.to(device))


def simulate(
    image_fine: Tensor,
    A_fine: LinearOperator,
    A: LinearOperator,
    noise: Noise,
    generator: torch.Generator,
    description: str = "",
) -> Measurement:
    """Return a measurement of a known image, without the inverse crime.

    Parameters
    ----------
    image_fine : (..., *A_fine.domain_shape) the truth, on a finer grid than the one that will be reconstructed.
    A_fine : operator that makes the clean data; the same rays as A.
    A : operator handed to whoever inverts the data.
    noise : noise model; it is always applied.
    generator : CPU random generator.
    description : one line for reports.

    Raises
    ------
    ConfigError : the operators do not measure the same rays, or A_fine's image is not finer than A's.
    """
    if tuple(A_fine.range_shape) != tuple(A.range_shape) or getattr(A_fine, "geometry", None) != getattr(
        A, "geometry", None
    ):
        raise ConfigError(
            "The fine operator measures other rays than the one to be inverted.", "Build both from the same geometry."
        )
    if not math.prod(A_fine.domain_shape) > math.prod(A.domain_shape):
        raise ConfigError(
            f"Simulating on a grid of {tuple(A_fine.domain_shape)} for a reconstruction on {tuple(A.domain_shape)} "
            "is an inverse crime.",
            "Simulate on a finer grid, e.g. ImageGrid2D.refined(2).",
        )
    return Measurement(
        noise.sample(A_fine(image_fine), generator), A, noise=noise, simulated=True, description=description
    )
