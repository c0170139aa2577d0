"""Hounsfield units, attenuation, and the prior's intensity window.

Three scales meet in this project. A scanner stores **HU** = 1000 (μ − μ_water) / μ_water. Projection physics
needs the linear attenuation **μ** (1/mm). A diffusion prior sees a **windowed intensity** in [0, 1]: HU clipped
to [lo, hi] and mapped linearly, as a radiologist's window does. σ, and therefore every nat, is in the last scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError

MU_WATER_PER_MM = 0.0193
"""Attenuation of water at 70 keV in 1/mm (NIST XCOM, 0.193 1/cm): a 120 kVp beam's effective energy."""


@dataclass(frozen=True)
class Window:
    """A HU interval shown as intensity 0..1.

    Attributes
    ----------
    lo_hu, hi_hu : the HU mapped to 0 and to 1.
    """

    lo_hu: float
    hi_hu: float

    def __post_init__(self) -> None:
        if not self.lo_hu < self.hi_hu:
            raise ConfigError(f"The window {self.lo_hu}..{self.hi_hu} HU is empty.", "Give the lower bound first.")

    @property
    def width_hu(self) -> float:
        """HU per unit of windowed intensity."""
        return self.hi_hu - self.lo_hu

    def apply(self, hu: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return HU of any shape → intensity in [0, 1], clipped, float32."""
        return np.clip((np.asarray(hu, np.float32) - self.lo_hu) / self.width_hu, 0.0, 1.0).astype(np.float32)

    def invert(self, intensity: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the HU of intensities of any shape, float32, not clipped."""
        return (np.asarray(intensity, np.float32) * self.width_hu + self.lo_hu).astype(np.float32)


def hu_to_mu(hu: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return HU → linear attenuation in 1/mm, not below 0 (vacuum)."""
    return np.maximum(MU_WATER_PER_MM * (1.0 + np.asarray(hu, np.float32) / 1000.0), 0.0).astype(np.float32)


def mu_to_hu(mu_per_mm: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the HU of linear attenuation in 1/mm."""
    return (1000.0 * (np.asarray(mu_per_mm, np.float32) / MU_WATER_PER_MM - 1.0)).astype(np.float32)
