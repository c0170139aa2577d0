"""Noise levels, from high to low."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError


def geometric(sigma_start: float, sigma_end: float, n_steps: int) -> NDArray[np.float64]:
    """Return the (n_steps + 1,) levels falling evenly in ln σ.

    The schedule on which path KL is least biased (docs/method.md).

    Raises
    ------
    ConfigError : the levels do not fall, or there are none.
    """
    if not 0 < sigma_end < sigma_start or n_steps < 1:
        raise ConfigError(
            f"No {n_steps} noise levels fall from {sigma_start} to {sigma_end}.",
            "Give a larger σ, a smaller one above 0, and at least one step.",
        )
    return np.geomspace(sigma_start, sigma_end, n_steps + 1)


def karras(sigma_start: float, sigma_end: float, n_steps: int, rho: float = 7.0) -> NDArray[np.float64]:
    """Return the (n_steps + 1,) levels falling evenly in σ^(1/ρ): Karras et al. 2022, equation 5."""
    if not 0 < sigma_end < sigma_start or n_steps < 1:
        raise ConfigError(
            f"No {n_steps} noise levels fall from {sigma_start} to {sigma_end}.",
            "Give a larger σ, a smaller one above 0, and at least one step.",
        )
    t = np.linspace(0.0, 1.0, n_steps + 1)
    return np.asarray((sigma_start ** (1 / rho) + t * (sigma_end ** (1 / rho) - sigma_start ** (1 / rho))) ** rho)
