"""Fewer, larger pixels: super-resolution problems.

A coarse pixel measures the mean of the fine pixels in it, as a detector does.
"""

from __future__ import annotations

import torch.nn.functional
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import LinearOperator, size_text


class Downsample(LinearOperator):
    """Means of ``factor`` × ``factor`` blocks: (H, W) → (H/factor, W/factor).

    Attributes
    ----------
    factor : fine pixels along each side of a coarse one.
    """

    def __init__(self, shape: tuple[int, int], factor: int) -> None:
        """Coarsen images of ``shape``.

        Raises
        ------
        ConfigError : the factor does not divide both sides.
        """
        if factor < 1 or shape[0] % factor or shape[1] % factor:
            raise ConfigError(
                f"An image of {shape} pixels cannot be coarsened {factor} times.",
                "Use a factor that divides both sides.",
            )
        self.factor = factor
        self.domain_shape = tuple(shape)
        self.range_shape = (shape[0] // factor, shape[1] // factor)

    def __repr__(self) -> str:
        return f"Downsample({size_text(self.domain_shape)} to {size_text(self.range_shape)} pixels)"

    def _apply(self, x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x[:, None], self.factor)[:, 0]

    def _apply_transpose(self, y: Tensor) -> Tensor:
        spread = y.repeat_interleave(self.factor, dim=-2).repeat_interleave(self.factor, dim=-1)
        return spread / self.factor**2
