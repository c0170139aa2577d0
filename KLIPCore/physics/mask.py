"""Seeing only some of the pixels: inpainting, and its limit, denoising.

A pixel either is measured or is not, so the range holds the measured ones only, as a vector: noise and likelihood then
count exactly what was seen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import LinearOperator, size_text


class Identity(LinearOperator):
    """A x = x: denoising."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.domain_shape = self.range_shape = tuple(shape)

    def __repr__(self) -> str:
        return f"Identity({size_text(self.domain_shape)})"

    def _apply(self, x: Tensor) -> Tensor:
        return x.clone()

    def _apply_transpose(self, y: Tensor) -> Tensor:
        return y.clone()


class Mask(LinearOperator):
    """The pixels where a mask is True, in C order: inpainting is measuring the others' absence.

    Attributes
    ----------
    mask : (*domain_shape) bool, True where a pixel is seen.
    """

    def __init__(self, mask: Tensor) -> None:
        """Keep the pixels of ``mask``.

        Raises
        ------
        ConfigError : the mask is not boolean or shows nothing.
        """
        if mask.dtype != torch.bool or not bool(mask.any()):
            raise ConfigError(
                "An inpainting mask must be boolean and show at least one pixel.",
                "True marks the pixels that were seen.",
            )
        self.mask = mask
        self.domain_shape = tuple(mask.shape)
        self._index = mask.flatten().nonzero().squeeze(1)
        self.range_shape = (len(self._index),)

    def __repr__(self) -> str:
        return f"Mask({self.range_shape[0]} of {size_text(self.domain_shape)} pixels)"

    def _apply(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, self._index]

    def _apply_transpose(self, y: Tensor) -> Tensor:
        full = y.new_zeros(len(y), self.mask.numel())
        full[:, self._index] = y
        return full.reshape(-1, *self.domain_shape)
