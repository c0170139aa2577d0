"""Blur by a known point-spread function: deblurring problems.

A x = x ∗ k with zeros beyond the border, of the image's own size. The transpose is the correlation with the
same kernel (for a symmetric kernel the blur itself), written with torch's convolution and its transpose, which
are exact partners.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import LinearOperator, size_text


class Blur(LinearOperator):
    """Convolution of (H, W) images with a small kernel, zero border.

    Attributes
    ----------
    kernel : (h, w) float64 point-spread function, odd sides; its middle is the origin.
    """

    def __init__(self, shape: tuple[int, int], kernel: Tensor) -> None:
        """Blur images of ``shape`` by ``kernel``.

        Raises
        ------
        ConfigError : the kernel is not two-dimensional with odd sides.
        """
        if kernel.ndim != 2 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
            raise ConfigError(
                f"A blur kernel of shape {tuple(kernel.shape)} has no middle.",
                "Give a two-dimensional kernel with odd sides.",
            )
        self.kernel = kernel.double()
        self.domain_shape = self.range_shape = tuple(shape)
        self._padding = (kernel.shape[0] // 2, kernel.shape[1] // 2)

    def __repr__(self) -> str:
        return f"Blur({size_text(self.domain_shape)} pixels, kernel of {size_text(tuple(self.kernel.shape))})"

    def _apply(self, x: Tensor) -> Tensor:
        k = self.kernel.flip(0, 1).to(x)[None, None]  # torch's convolution does not mirror its kernel
        return torch.nn.functional.conv2d(x[:, None], k, padding=self._padding)[:, 0]

    def _apply_transpose(self, y: Tensor) -> Tensor:
        k = self.kernel.flip(0, 1).to(y)[None, None]
        return torch.nn.functional.conv_transpose2d(y[:, None], k, padding=self._padding)[:, 0]


class GaussianBlur(LinearOperator):
    """Gaussian blur of (H, W) images, rows and columns one after the other, zero border.

    Attributes
    ----------
    sigma : standard deviation in pixels.
    """

    def __init__(self, shape: tuple[int, int], sigma: float, *, truncate: float = 4.0) -> None:
        """Blur images of ``shape``.

        Parameters
        ----------
        shape : (H, W).
        sigma : standard deviation in pixels, > 0.
        truncate : the kernel ends at so many standard deviations.

        Raises
        ------
        ConfigError : σ is not positive.
        """
        if not sigma > 0:
            raise ConfigError(f"A blur of σ = {sigma} pixels is none.", "Give a positive σ, or use Identity.")
        self.sigma = sigma
        radius = max(1, math.ceil(truncate * sigma))
        t = torch.arange(-radius, radius + 1, dtype=torch.float64)
        profile = torch.exp(-0.5 * (t / sigma) ** 2)
        profile = profile / profile.sum()
        self._down, self._across = Blur(shape, profile[:, None]), Blur(shape, profile[None, :])
        self.domain_shape = self.range_shape = tuple(shape)

    def __repr__(self) -> str:
        return f"GaussianBlur({size_text(self.domain_shape)} pixels, sigma {self.sigma:g} pixels)"

    def _apply(self, x: Tensor) -> Tensor:
        return self._across._apply(self._down._apply(x))

    def _apply_transpose(self, y: Tensor) -> Tensor:
        return self._down._apply_transpose(self._across._apply_transpose(y))
