"""Undersampled Fourier transform: what magnetic resonance imaging measures.

Complex numbers are two real channels (real, imaginary), so that the inner product, and with it the transpose, are the
real ones: ⟨u, v⟩ = Re u·v̄. The transform is the unitary one, and frequency zero lies in the middle of the mask, at
(H//2, W//2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import LinearOperator, size_text


class UndersampledFourier(LinearOperator):
    """Fourier coefficients of an image where a mask is True, 0 elsewhere: → (2, H, W).

    Attributes
    ----------
    mask : (H, W) bool, True where k-space is sampled; frequency zero at (H//2, W//2).
    complex_image : whether images are complex, (2, H, W), or real, (H, W).
    """

    def __init__(self, mask: Tensor, *, complex_image: bool = False) -> None:
        """Sample k-space at ``mask``.

        Raises
        ------
        ConfigError : the mask is not a boolean (H, W) array that samples anything.
        """
        if mask.dtype != torch.bool or mask.ndim != 2 or not bool(mask.any()):
            raise ConfigError(
                "A k-space mask must be a boolean (H, W) array that samples something.",
                "True marks measured frequencies.",
            )
        self.mask, self.complex_image = mask, complex_image
        self.range_shape = (2, *mask.shape)
        self.domain_shape = (2, *mask.shape) if complex_image else tuple(mask.shape)

    def __repr__(self) -> str:
        kind, share = "complex" if self.complex_image else "real", 100 * float(self.mask.float().mean())
        return (
            f"UndersampledFourier({size_text(tuple(self.mask.shape))} {kind} pixels, {share:.3g} % of the frequencies)"
        )

    def _apply(self, x: Tensor) -> Tensor:
        image = torch.complex(x[:, 0], x[:, 1]) if self.complex_image else torch.complex(x, torch.zeros_like(x))
        k = torch.fft.fftshift(torch.fft.fft2(image, norm="ortho"), dim=(-2, -1)) * self.mask
        return torch.stack([k.real, k.imag], dim=1)

    def _apply_transpose(self, y: Tensor) -> Tensor:
        k = torch.complex(y[:, 0].contiguous(), y[:, 1].contiguous()) * self.mask
        image = torch.fft.ifft2(torch.fft.ifftshift(k, dim=(-2, -1)), norm="ortho")
        return torch.stack([image.real, image.imag], dim=1) if self.complex_image else image.real.contiguous()


def cartesian_mask(
    shape: tuple[int, int], acceleration: float, generator: torch.Generator, centre_fraction: float = 0.08
) -> Tensor:
    """Return a mask of whole columns of k-space.

    Measured are the middle ones, and random others until they are 1/acceleration of all.

    Parameters
    ----------
    shape : (H, W).
    acceleration : W over the number of measured columns, ≥ 1.
    generator : CPU random generator.
    centre_fraction : part of the columns around frequency zero that is always measured.

    Returns
    -------
    (H, W) bool.
    """
    if not acceleration >= 1:
        raise ConfigError(
            f"An acceleration of {acceleration} would measure more than everything.", "Give a number of at least 1."
        )
    width = shape[1]
    n_centre = max(1, round(centre_fraction * width))
    n_all = max(n_centre, round(width / acceleration))
    first = width // 2 - n_centre // 2
    chosen = torch.zeros(width, dtype=torch.bool)
    chosen[first : first + n_centre] = True
    others = (~chosen).nonzero().squeeze(1)
    chosen[others[torch.randperm(len(others), generator=generator)[: n_all - n_centre]]] = True
    return chosen.expand(shape).clone()
