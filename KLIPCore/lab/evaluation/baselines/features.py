"""What healthy slices look like to the prior's own network: a Gaussian of the features at its bottleneck.

At its coarsest level a U-Net describes a patch of the image by some hundred numbers. They are taken where they enter
the network's middle, whose attention would mix the patches of a slice. Fitted to patches of healthy slices, a
Gaussian says how far a patch is from them, by Mahalanobis' distance (Lee, Lee, Lee & Shin, "A simple unified framework
for detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018; Defard et al., "PaDiM", ICPR 2021,
fit one for every place of an image, for which there are too few healthy slices here).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from KLIPCore.errors import ConfigError, PriorError
from KLIPCore.priors.prior import Denoiser, Prior, denoiser

SIGMA = 0.1
"""Noise level that the network is told; no noise is added."""

RIDGE = 1e-3
"""Part of the mean variance that is added to every feature's, so that the covariance can be inverted."""

MIDDLES = ("middle_block", "mid_block")
"""Names of the middle of a U-Net in the libraries that networks come from."""


def middle_of(prior: Prior) -> nn.Module:
    """Return the middle of the prior's network.

    Raises
    ------
    PriorError : it has none that is known by name.
    """
    network = getattr(prior, "network", None)
    for name, module in network.named_modules() if isinstance(network, nn.Module) else ():
        if name.rpartition(".")[2] in MIDDLES:
            return module
    raise PriorError(
        f"The prior {prior.card.name} has no known bottleneck to take features from.",
        "Leave the baseline mahalanobis out, or use a U-Net prior.",
    )


def bottleneck_features(prior: Prior, denoise: Denoiser, image: Tensor) -> NDArray[np.float64]:
    """Return the (F, h, w) features of an (H, W) image that enter the network's middle, told :data:`SIGMA`.

    Parameters
    ----------
    prior : whose network.
    denoise : how it is asked; the way through which evaluations are counted.
    image : windowed intensity.
    """
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        kept.append(named["hidden_states"] if "hidden_states" in named else given[0])

    handle = middle_of(prior).register_forward_pre_hook(keep, with_kwargs=True)
    try:
        denoise(image[None], SIGMA)
    finally:
        handle.remove()
    return np.asarray(kept[0][0].detach().float().cpu().numpy(), np.float64)


def shrunk(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which patches of a grid of that shape lie in the (H, W) mask with more than half of them."""
    rows, columns = (n // m for n, m in zip(mask.shape, shape, strict=True))
    return np.asarray(mask.reshape(shape[0], rows, shape[1], columns).mean((1, 3)) > 0.5, bool)


@dataclass(frozen=True, eq=False)
class PatchGaussian:
    """A Gaussian of feature vectors.

    Attributes
    ----------
    mean : (F,).
    covariance : (F, F), made positive definite.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    _whitener: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_whitener", np.linalg.inv(np.linalg.cholesky(self.covariance)))

    @classmethod
    def fit(cls, vectors: NDArray[np.floating]) -> Self:
        """Fit it to (n, F) vectors.

        Raises
        ------
        ConfigError : there are not more vectors than features.
        """
        n, n_features = vectors.shape
        if n <= n_features:
            raise ConfigError(
                f"{n} healthy patches are too few for {n_features} features.", "Name more reference scans or slices."
            )
        covariance = np.cov(np.asarray(vectors, np.float64).T)
        ridge = RIDGE * np.trace(covariance) / n_features
        return cls(vectors.mean(0, dtype=np.float64), covariance + ridge * np.eye(n_features))

    def distance(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the (h, w) squared Mahalanobis distances of (F, h, w) features."""
        off = features - self.mean[:, None, None]
        return np.asarray(np.square(np.tensordot(self._whitener, off, 1)).sum(0), np.float64)


@dataclass(frozen=True, eq=False)
class Health:
    """A prior's network and what healthy patches look like to it.

    Attributes
    ----------
    prior : whose network.
    gaussian : of the features of healthy patches.
    """

    prior: Prior
    gaussian: PatchGaussian

    @classmethod
    def of(cls, prior: Prior, slices: list[tuple[Tensor, NDArray[np.bool_]]]) -> Health:
        """Fit it to healthy (H, W) images and their bodies' masks, made as those that are scored.

        Raises
        ------
        PriorError : the prior has no bottleneck.
        ConfigError : there are too few slices.
        """
        vectors = []
        for image, body in slices:
            features = bottleneck_features(prior, denoiser(prior), image)
            vectors.append(features[:, shrunk(body, features.shape[1:])].T)
        return cls(prior, PatchGaussian.fit(np.concatenate(vectors)))

    @property
    def mark(self) -> str:
        """What tells this Gaussian from others, for kept results."""
        return hashlib.sha256(self.gaussian.mean.tobytes() + self.gaussian.covariance.tobytes()).hexdigest()[:16]

    def distance(self, denoise: Denoiser, image: Tensor) -> NDArray[np.float32]:
        """Return (H, W): the squared distance of the patch that each pixel of an image belongs to."""
        distance = self.gaussian.distance(bottleneck_features(self.prior, denoise, image))
        rows, columns = (n // m for n, m in zip(image.shape, distance.shape, strict=True))
        return np.asarray(np.kron(distance, np.ones((rows, columns))), np.float32)
