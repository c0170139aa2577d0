"""Inverse problems whose answer is known: what every estimator and sampler here is measured against.

Each benchmark is a prior in closed form, one measurement drawn from it, and the exact posterior. They are small (a
few hundred pixels) and shaped like the real problem: correlated tissue, sparse data, a part of the image that
was never seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from KLIPCore.physics.linear import LinearOperator
from KLIPCore.physics.mask import Mask
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.gaussian import GaussianPrior
from KLIPCore.priors.mixture import GaussianMixturePrior
from KLIPCore.priors.stationary import StationaryGaussianPrior
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam


@dataclass(frozen=True, eq=False)
class GaussianBenchmark:
    """A Gaussian prior, a measurement of one of its images, and the posterior."""

    prior: GaussianPrior
    measurement: Measurement
    posterior: GaussianPrior


@dataclass(frozen=True, eq=False)
class MixtureBenchmark:
    """A mixture prior, a measurement of one of its images, and the posterior."""

    prior: GaussianMixturePrior
    measurement: Measurement
    posterior: GaussianMixturePrior


def exponential_covariance(height: int, width: int, std: float, length: float) -> Tensor:
    """Return the (n, n) covariance std² exp(−distance / length) of height·width pixels."""
    rows, columns = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], 1)
    return std**2 * torch.exp(-torch.cdist(places, places) / length)


def measured(prior_image: Tensor, A: LinearOperator, sigma: float, generator: torch.Generator) -> Measurement:
    """Return a simulated measurement of an (H, W) image by A with Gaussian noise."""
    noise = GaussianNoise(sigma)
    return Measurement(
        noise.sample(A(prior_image), generator), A, noise=noise, simulated=True, description="a benchmark's own image"
    )


def inpainting(
    size: int = 16, unseen_rows: int = 4, every: int = 3, noise: float = 0.01, seed: int = 0
) -> GaussianBenchmark:
    """Return every third pixel of a correlated image is seen.

    The last rows are neither seen nor correlated with the rest.

    Parameters
    ----------
    size : side of the image in pixels.
    unseen_rows : rows at the bottom that are independent of the others and not measured: exactly 0 nats.
    every : one pixel in this many is measured, in row-major order.
    noise : σ_y.
    seed : of image and noise.
    """
    n_seen = (size - unseen_rows) * size
    covariance = exponential_covariance(size, size, 0.2, 4.0)
    covariance[:n_seen, n_seen:] = 0
    covariance[n_seen:, :n_seen] = 0
    prior = GaussianPrior(torch.full((1, size, size), 0.5), covariance, name="inpainting")
    seen = torch.zeros(size * size, dtype=torch.bool)
    seen[:n_seen:every] = True
    generator = torch.Generator().manual_seed(seed)
    measurement = measured(prior.sample(1, generator)[0, 0], Mask(seen.reshape(size, size)), noise, generator)
    return GaussianBenchmark(prior, measurement, prior.posterior(measurement))


def tomography(size: int = 16, n_views: int = 6, noise: float = 0.1, seed: int = 0) -> GaussianBenchmark:
    """Return few parallel projections of a stationary random image as a benchmark.

    The operator is the real one, small enough for closed forms.

    Parameters
    ----------
    size : side of the image in pixels of 1 mm.
    n_views : projections over 180 degrees.
    noise : σ_y in intensity · mm.
    seed : of image and noise.
    """
    prior = StationaryGaussianPrior.matern(torch.full((size, size), 0.5), 0.2, 2.0).dense()
    grid = ImageGrid2D((size, size), 1.0)
    A = Projector(ParallelBeam.sparse(n_views, grid), grid, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    measurement = measured(prior.sample(1, generator)[0, 0], A, noise, generator)
    return GaussianBenchmark(prior, measurement, prior.posterior(measurement))


def lesion_or_not(size: int = 14, every: int = 3, noise: float = 0.03, seed: int = 0) -> MixtureBenchmark:
    """Return a benchmark: images with and without a bright disc in the middle, half of each.

    Around the disc every third pixel is seen, inside none.

    The correlation with what is seen makes one of the two more likely, and leaves the other possible.

    Parameters
    ----------
    size : side of the image in pixels.
    every : one pixel in this many is measured outside the disc.
    noise : σ_y.
    seed : of image and noise.
    """
    axis = torch.arange(size).double() - (size - 1) / 2
    radius2 = axis[:, None] ** 2 + axis[None, :] ** 2
    disc = torch.sigmoid((size / 4) ** 2 - radius2)
    plain = torch.full((size, size), 0.4, dtype=torch.float64)
    means = torch.stack([plain, plain + 0.3 * disc])[:, None]
    prior = GaussianMixturePrior(
        torch.tensor([0.5, 0.5]), means, exponential_covariance(size, size, 0.15, 2.0), name="lesion-or-not"
    )
    seen = torch.zeros(size * size, dtype=torch.bool)
    seen[::every] = True
    seen = seen.reshape(size, size) & (radius2 > (size / 4 - 0.5) ** 2)
    generator = torch.Generator().manual_seed(seed)
    measurement = measured(prior.sample(1, generator)[0, 0], Mask(seen), noise, generator)
    return MixtureBenchmark(prior, measurement, prior.posterior(measurement))
