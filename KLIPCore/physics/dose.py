"""From windowed intensities to attenuation and back: what a photon sees of the prior's image.

The prior's image x is a windowed intensity in [0, 1] (HU = lo + x·width) with the couch and the air around the
patient set to 0. Photons see the attenuation μ = μ_water (1 + HU/1000) inside the body and none outside. Both
are linear, so the line integral along a ray is

    p = slope · (A x) + baseline ,  slope = μ_water · width / 1000 ,  baseline = μ_water (1 + lo/1000) · A(body) ,

and a measurement can stay in the unit of A x ("intensity·mm") while its noise is that of a real dose: p̂ has
variance 1/N, y = (p̂ − baseline)/slope has variance 1/(N slope²). HU above the window count as the window's
top: the prior's image has no denser bone, so neither has the simulated patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from KLIPCore.physics.linear import LinearOperator
from KLIPCore.physics.noise import PoissonNoise
from KLIPCore.volume.units import MU_WATER_PER_MM, Window


@dataclass(frozen=True, eq=False)
class WindowedCT:
    """The linear map between measurements of windowed intensity and line integrals of attenuation.

    Attributes
    ----------
    slope : line integral (no unit) per intensity·mm.
    baseline : (..., n_views, n_detectors) line integrals of a body at the window's lower end.
    """

    slope: float
    baseline: Tensor

    @classmethod
    def of_body(cls, window: Window, A: LinearOperator, body: Tensor) -> WindowedCT:
        """Return the map for slices with a known body outline.

        Parameters
        ----------
        window : HU of intensity 0 and 1.
        A : projector in mm.
        body : (..., H, W) body masks, bool or fractions in [0, 1], on A's image grid.
        """
        mask = body if torch.is_floating_point(body) else body.to(torch.float32)
        # below −1000 HU there is nothing to attenuate
        at_zero = max(MU_WATER_PER_MM * (1.0 + window.lo_hu / 1000.0), 0.0)
        return cls(MU_WATER_PER_MM * window.width_hu / 1000.0, at_zero * A(mask))

    def line_integrals(self, y: Tensor) -> Tensor:
        """Return the line integrals p of attenuation of a measurement in intensity·mm."""
        return self.slope * y + self.baseline

    def from_line_integrals(self, p: Tensor) -> Tensor:
        """Return the measurement in intensity·mm of line integrals p of attenuation."""
        return (p - self.baseline) / self.slope

    def noise(self, photons_per_ray: float, electronic_std: float = 0.0) -> PoissonNoise:
        """Return the photon noise at this dose, acting on measurements in intensity·mm."""
        return PoissonNoise(photons_per_ray, self.slope, self.baseline, electronic_std)
