"""Rays that were not measured, or must not be believed.

A metal hip casts a shadow in which no photon count means anything; a detector that is too small cuts the
patient off; a gantry that cannot go round leaves a wedge of angles out. In all of these the honest measurement
is the same one with fewer rays. The sinogram keeps its shape (so that it can be shown, and filtered
back-projection can be tried); missing rays are 0 in A and weigh nothing in the likelihood.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import LinearOperator
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import Noise
from KLIPCore.volume.geometry import Geometry


class SelectRays(LinearOperator):
    """A with the rows of missing rays set to 0.

    Attributes
    ----------
    operator : A.
    keep : (*range_shape) bool, True where a ray counts.
    """

    def __init__(self, operator: LinearOperator, keep: Tensor) -> None:
        """Keep some of an operator's rays.

        Raises
        ------
        ConfigError : the mask is not boolean, not of A's range, or keeps nothing.
        """
        if keep.dtype != torch.bool or tuple(keep.shape) != tuple(operator.range_shape):
            raise ConfigError(
                f"A ray mask must be boolean and of shape {tuple(operator.range_shape)}.",
                "True marks the rays that count.",
            )
        if not bool(keep.any()):
            raise ConfigError("No ray is left of this measurement.", "Keep at least one.")
        self.operator, self.keep = operator, keep
        self.domain_shape, self.range_shape = operator.domain_shape, operator.range_shape

    def __repr__(self) -> str:
        return f"SelectRays({self.operator!r}, {int(self.keep.sum())} of {self.keep.numel()} rays)"

    def _apply(self, x: Tensor) -> Tensor:
        return self.operator._apply(x) * self.keep

    def _apply_transpose(self, y: Tensor) -> Tensor:
        return self.operator._apply_transpose(y * self.keep)


@dataclass(frozen=True, eq=False)
class KeptNoise:
    """A noise model in which missing rays are 0 and weigh nothing.

    Attributes
    ----------
    noise : the noise of the rays that count.
    keep : bool, True where a ray counts.
    """

    noise: Noise
    keep: Tensor

    def sample(self, y_clean: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a noisy measurement where there is one, 0 elsewhere."""
        return self.noise.sample(y_clean, generator) * self.keep

    def inverse_variance(self, y: Tensor) -> Tensor:
        """Return the noise model's weights where measured, 0 elsewhere."""
        return self.noise.inverse_variance(y) * self.keep

    def to(self, device: torch.device | str) -> KeptNoise:
        """Return the same model on another device."""
        return KeptNoise(self.noise.to(device), self.keep.to(device))


def without_rays(measurement: Measurement, keep: Tensor) -> Measurement:
    """Return the same measurement with fewer rays.

    Parameters
    ----------
    measurement : data, operator, noise.
    keep : (*range_shape) bool, True where a ray counts.
    """
    return replace(
        measurement,
        y=measurement.y * keep,
        A=SelectRays(measurement.A, keep),
        noise=KeptNoise(measurement.noise, keep),
    )


def outside_metal(A: LinearOperator, metal: Tensor, shortest_path: float = 0.0) -> Tensor:
    """Return rays that pass metal for no more than ``shortest_path`` (mm, for a projector): (*range_shape) bool.

    Parameters
    ----------
    A : projector.
    metal : (*domain_shape) bool or fractions.
    shortest_path : paths up to this long are tolerated.
    """
    return A(metal.to(torch.float32)) <= shortest_path


def interior(geometry: Geometry, radius_mm: float) -> Tensor:
    """Return rays that pass within ``radius_mm`` of the isocentre (a region-of-interest scan).

    (n_views, n_detectors) bool.
    """
    return torch.from_numpy(np.abs(geometry.lines()[1]) <= radius_mm)


def on_shorter_detector(geometry: Geometry, first: int, last: int) -> Tensor:
    """Return rays of bins ``first`` to ``last`` (inclusive), a truncated detector: (n_views, n_detectors) bool."""
    if not 0 <= first <= last < geometry.n_detectors:
        raise ConfigError(
            f"Bins {first} to {last} do not lie on a detector of {geometry.n_detectors}.", "Count bins from 0."
        )
    bins = torch.arange(geometry.n_detectors)
    return ((bins >= first) & (bins <= last)).expand(geometry.shape).clone()


def within_arc(geometry: Geometry, arc_deg: float, start_deg: float = 0.0) -> Tensor:
    """Return views from ``start_deg`` on over ``arc_deg`` (a limited-angle scan): (n_views, n_detectors) bool."""
    turned = np.mod(np.asarray(geometry.angles_rad) - math.radians(start_deg) + 1e-9, 2 * math.pi)
    return torch.from_numpy(turned <= math.radians(arc_deg) + 2e-9)[:, None].expand(geometry.shape).clone()
