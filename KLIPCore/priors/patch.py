"""A prior over patches as a prior over images (PaDIS; Hu, Song, Xu, Shen & Fessler, NeurIPS 2024).

A patch prior has seen small squares and where they lay, never an image. The image is padded by ``pad`` pixels
that are known to be 0, a grid of adjoining patches is laid over it with a random offset, each patch is
denoised with its place as a further input, and the patches are put side by side. The offset changes at every
call, so that no seam stays where it is:

    log p(x) = mean over offsets of Σ over patches log p_patch(x_patch, place) + const

One call is one term of that mean. The published networks (56-pixel patches, padding 24) need a quarter of the
memory of a whole image's, and are learnt from a quarter of the data.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError

DenoisePatches = Callable[[Tensor, float, Tensor], Tensor]
"""(P, p, p) noisy patches, σ and their (P, 2, p, p) columns and rows in −1..1 → (P, p, p) denoised."""


class PatchDenoiser:
    """D(x, σ) of padded images from a patch denoiser; a :class:`KLIPCore.priors.prior.Denoiser`.

    Parameters
    ----------
    denoise : the patch prior.
    size : side of the image in pixels, without padding.
    patch : p, side of the patches.
    pad : padding on every side; it leaves room for the offset.
    generator : CPU random generator of the offsets.

    Raises
    ------
    ConfigError : patches and padding that do not cover the image at every offset.
    """

    def __init__(
        self,
        denoise: DenoisePatches,
        size: int,
        *,
        patch: int = 56,
        pad: int = 24,
        generator: torch.Generator | None = None,
    ) -> None:
        self.denoise, self.size, self.patch, self.pad = denoise, size, patch, pad
        self.generator = generator or torch.Generator().manual_seed(0)
        self.n = size // patch + 1
        if min(size, patch, pad) < 1 or size + 2 * pad < self.n * patch + pad - 1 or self.n * patch < size + pad:
            raise ConfigError(
                f"{self.n} × {self.n} patches of {patch} pixels do not cover an image of {size} with {pad} around it.",
                "PaDIS uses 56 and 24 for images of 256.",
            )
        side = size + 2 * pad
        axis = (torch.arange(side) / (side - 1) - 0.5) * 2
        self.places = torch.stack([axis.expand(side, side), axis[:, None].expand(side, side)])

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """(B, size + 2 pad, size + 2 pad) noisy padded images → denoised, 0 in the padding; differentiable."""
        p, n = self.patch, self.n
        top, left = (int(v) for v in torch.randint(0, self.pad, (2,), generator=self.generator))
        rows, columns = slice(top, top + n * p), slice(left, left + n * p)

        def cut(image: Tensor) -> Tensor:
            """(B, h, w) → (B · n², p, p)."""
            return image[:, rows, columns].unfold(1, p, p).unfold(2, p, p).reshape(-1, p, p)

        places = torch.stack([cut(axis[None]) for axis in self.places.to(x)], 1).repeat(len(x), 1, 1, 1)
        clean = self.denoise(cut(x), sigma, places)
        whole = clean.reshape(len(x), n, n, p, p).permute(0, 1, 3, 2, 4).reshape(len(x), n * p, n * p)
        first_row, first_column = self.pad - top, self.pad - left
        inside = whole[:, first_row : first_row + self.size, first_column : first_column + self.size]
        return torch.nn.functional.pad(inside, (self.pad,) * 4)
