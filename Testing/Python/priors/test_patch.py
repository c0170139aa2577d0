"""Patches put side by side: every pixel once, at every offset, each told where it lies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.priors.patch import PatchDenoiser


def pixelwise(patches: Tensor, sigma: float, places: Tensor) -> Tensor:
    """The exact denoiser of independent pixels N(0.3, 0.04): what lies around does not matter."""
    return 0.3 + 0.04 / (0.04 + sigma**2) * (patches - 0.3)


@pytest.mark.parametrize(("size", "patch", "pad"), [(256, 56, 24), (16, 5, 4), (20, 8, 4)])
def test_independent_pixels_do_not_notice_the_patches(size: int, patch: int, pad: int) -> None:
    denoise = PatchDenoiser(pixelwise, size, patch=patch, pad=pad)
    x = torch.randn(2, size + 2 * pad, size + 2 * pad, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros_like(x)
    inside = (slice(None), slice(pad, -pad), slice(pad, -pad))
    expected[inside] = pixelwise(x[inside], 0.2, x)
    for _ in range(20):
        torch.testing.assert_close(denoise(x, 0.2), expected)


def test_every_patch_is_told_where_it_lies() -> None:
    """A denoiser that answers with its place paints the coordinates, whatever the offset."""
    x = torch.zeros(1, 24, 24)
    axis = ((torch.arange(24) / 23 - 0.5) * 2)[4:-4]
    for channel, expected in ((0, axis.expand(16, 16)), (1, axis[:, None].expand(16, 16))):
        denoise = PatchDenoiser(lambda patches, sigma, places, c=channel: places[:, c], 16, patch=5, pad=4)
        for _ in range(10):
            torch.testing.assert_close(denoise(x, 0.1)[0, 4:-4, 4:-4], expected)


def test_seams_move() -> None:
    """Patch means in place of pixels: another image at another offset."""
    denoise = PatchDenoiser(
        lambda patches, sigma, places: patches.mean((1, 2), keepdim=True).expand_as(patches), 16, patch=5, pad=4
    )
    x = torch.randn(1, 24, 24, generator=torch.Generator().manual_seed(0))
    assert len({float(denoise(x, 0.1).square().sum()) for _ in range(20)}) > 5


def test_gradients_flow() -> None:
    x = torch.randn(1, 24, 24, requires_grad=True)
    PatchDenoiser(pixelwise, 16, patch=5, pad=4)(x, 0.2).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0, 4:-4, 4:-4], torch.full((16, 16), 0.5))
    assert float(x.grad.sum()) == pytest.approx(128.0)


@pytest.mark.parametrize(("size", "patch", "pad"), [(256, 64, 24), (256, 56, 0), (16, 5, 8), (0, 5, 4)])
def test_patches_that_do_not_cover_are_refused(size: int, patch: int, pad: int) -> None:
    with pytest.raises(ConfigError, match="do not cover"):
        PatchDenoiser(pixelwise, size, patch=patch, pad=pad)
