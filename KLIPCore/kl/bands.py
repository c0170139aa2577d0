"""Scale bands: the same nats, sorted by size.

The noise of a transition is white, so ‖δ‖² / 2v is the same sum in every orthonormal basis, not only over
pixels. Texture and edges live at short wavelengths, lesions at the length of their own diameter: sorted by
wavelength, nats tell them apart. The pyramid here splits a push u by radial Fourier masks H_b,

    Σ_b |H_b(f)|² = 1   ⟹   Σ_b ‖H_b u‖² = ‖u‖²      (a Parseval frame: nats add up over bands exactly)

with raised-cosine flanks in log frequency (Simoncelli & Freeman 1995; Portilla & Simoncelli 2000). Smooth
masks keep each band's energy near the place that caused it, which sharp ones do not, and are free of a
wavelet's preferred positions and directions. A band's share is uᵀ P_b u / 2v with P_b = H_bᵀ H_b and Σ P_b =
1: a resolution of the identity.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import torch
from torch import Tensor

DEFAULT_CUTOFFS = (4.0, 8.0, 16.0, 32.0, 64.0)
"""Wavelengths in pixels between neighbouring bands: six bands, 2–4 px first, above 64 px last."""


@lru_cache(maxsize=16)
def band_masks(height: int, width: int, cutoffs: tuple[float, ...] = DEFAULT_CUTOFFS) -> Tensor:
    """Return amplitude masks H_b on the half spectrum of :func:`torch.fft.rfft2`.

    Parameters
    ----------
    height, width : image size in pixels.
    cutoffs : wavelengths in pixels, rising.

    Returns
    -------
    (len(cutoffs) + 1, height, width // 2 + 1) float32, finest band first; their squares add up to 1.
    """
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(width, dtype=torch.float64)[None, :]
    frequency = torch.sqrt(fy**2 + fx**2)
    octave = torch.log2(frequency.clamp_min(1e-12))
    low_pass = [torch.ones_like(frequency)]
    for wavelength in cutoffs:
        t = (octave + torch.log2(torch.tensor(wavelength, dtype=torch.float64)) + 0.5).clamp(0, 1)
        low_pass.append(torch.cos(0.5 * torch.pi * t) ** 2)
    low_pass.append(torch.zeros_like(frequency))
    return torch.stack([(a - b).clamp_min(0).sqrt() for a, b in itertools.pairwise(low_pass)]).float()


def split_bands(u: Tensor, cutoffs: tuple[float, ...] = DEFAULT_CUTOFFS) -> Tensor:
    """Return the bands (..., n_bands, H, W) of u (..., H, W).

    Their squares sum to those of u over the whole image (periodic edges).
    """
    height, width = u.shape[-2:]
    masks = band_masks(height, width, cutoffs).to(u.device)
    spectrum = torch.fft.rfft2(u.contiguous())  # PyTorch 2.6 fails on tensors that are expanded
    return torch.fft.irfft2(spectrum[..., None, :, :] * masks, s=(height, width))


def cell_sums(values: Tensor, cell: int) -> Tensor:
    """Return the (..., H, W) → (..., H / cell, W / cell): sums over cells of ``cell`` × ``cell`` pixels."""
    *lead, height, width = values.shape
    return values.reshape(*lead, height // cell, cell, width // cell, cell).sum((-3, -1))


def band_names(cutoffs: tuple[float, ...] = DEFAULT_CUTOFFS) -> list[str]:
    """Return the names of the bands, by wavelength in pixels."""
    edges = [2.0, *cutoffs]
    return [f"{lo:g}–{hi:g} px" for lo, hi in itertools.pairwise(edges)] + [f"> {edges[-1]:g} px"]
