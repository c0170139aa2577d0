"""Data in units of their own noise: the operator W^½ A, and residuals that are standard normal under the truth.

For Gaussian noise the whitened residual is √w (y − A x). Photon counts are whole numbers, few where the patient is
thick, and no root of a weight makes them normal. The randomized quantile residual does, exactly (Dunn & Smyth
1996): with F the Poisson distribution of the counts that image x predicts and N the counts that were read,

    z = Φ⁻¹(u) ,      u uniform between F(N − 1) and F(N) .
"""

from __future__ import annotations

import numpy as np
import scipy.special as special
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import LinearOperator
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import PoissonNoise


class Whitened(LinearOperator):
    """W^½ A: the scan in units of its noise.

    Parameters
    ----------
    A : the scan.
    root : √w, a number or of A's range; 0 where a ray does not count.
    """

    def __init__(self, A: LinearOperator, root: Tensor) -> None:
        self.A, self.root = A, root
        self.domain_shape, self.range_shape = A.domain_shape, A.range_shape

    def _apply(self, x: Tensor) -> Tensor:
        return self.root * self.A._apply(x)

    def _apply_transpose(self, y: Tensor) -> Tensor:
        return self.A._apply_transpose(self.root * y)

    def normal(self, x: Tensor, w: Tensor) -> Tensor:
        """Return Aᵀ W (w · A x), in one go where the weights are one number."""
        return self.A.normal(x, w * self.root.square())


def whitened(measurement: Measurement) -> Whitened:
    """Return the operator of a measurement in units of its noise."""
    return Whitened(measurement.A, measurement.weights.sqrt())


def whitened_residual(measurement: Measurement, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Residual of an image that is standard normal, ray by ray, where the image is the truth.

    Parameters
    ----------
    measurement : one sinogram with its noise model.
    x : (*domain_shape) the image.
    generator : CPU generator of the uniform numbers that counts need; seed 0 when None.

    Returns
    -------
    z (*range_shape); 0 where a ray has no weight.

    Raises
    ------
    ConfigError : electronic noise beside photon counts, for which there is no exact law here.
    """
    noise = measurement.noise
    if not isinstance(noise, PoissonNoise):
        return measurement.weights.sqrt() * measurement.residual(x)
    if noise.electronic_std > 0:
        raise ConfigError(
            "Photon counts with electronic noise have no exact law here.", "Set the electronic noise to 0."
        )
    generator = generator or torch.Generator().manual_seed(0)
    expected = _counts(noise, measurement.A(x))
    read = np.round(_counts(noise, measurement.y))
    u = torch.rand(measurement.y.shape, generator=generator, dtype=torch.float64).numpy()
    raised = read <= noise.min_count  # readings below were raised to this one
    below = np.where(raised, 0.0, special.pdtr(np.maximum(read - 1, 0), expected))
    upto = special.pdtr(read, expected)
    # in the upper tail F is 1 to rounding: there the complement is what is exact
    above = special.pdtrc(np.maximum(read - 1, 0), expected)
    beyond = special.pdtrc(read, expected)
    low = special.ndtri(np.maximum(below + u * (upto - below), 1e-300))
    high = -special.ndtri(np.maximum(beyond + (1 - u) * (above - beyond), 1e-300))
    z = np.where((below > 0.5) & ~raised, high, low)
    return torch.from_numpy(z).to(measurement.y)


def _counts(noise: PoissonNoise, y: Tensor) -> np.ndarray:
    return (noise.photons_per_ray * torch.exp(-(noise.slope * y + noise.baseline).double())).cpu().numpy()
