"""Blocks of any size are sums of cells: against loops over pixels; bands: against the identity they resolve."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.kl.bands import DEFAULT_CUTOFFS, band_masks, band_names, cell_sums, split_bands
from KLIPCore.kl.blocks import block_nats


def covered(position: int, centre: int, length: float) -> float:
    """Length of the unit cell at ``position`` that lies in the interval of ``length`` around ``centre``'s middle."""
    lo, hi = centre - length / 2, centre + length / 2
    return max(0.0, min(hi, position + 0.5) - max(lo, position - 0.5))


@given(
    seed=st.integers(0, 1000),
    block=st.one_of(st.floats(0.2, 6.0), st.sampled_from([1.0, 2.0, 3.0, 5.0])),
    depth=st.one_of(st.floats(0.2, 4.0), st.sampled_from([1.0, 2.0, 3.0])),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
)
@settings(max_examples=50, deadline=None)
def test_blocks_against_brute_force(seed: int, block: float, depth: float, shape: tuple[int, int, int]) -> None:
    cells = np.random.default_rng(seed).random(shape).astype(np.float32)
    found = block_nats(cells, block, depth)
    block, depth = max(block, 1.0), max(depth, 1.0)  # never smaller than a cell
    expected = np.zeros(shape)
    for centre in np.ndindex(shape):
        for place in np.ndindex(shape):
            share = covered(place[0], centre[0], depth) * covered(place[1], centre[1], block) * covered(place[2], centre[2], block)
            expected[centre] += share * cells[place]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_a_block_as_large_as_the_image_holds_all_nats() -> None:
    cells = np.random.default_rng(0).random((1, 7, 7)).astype(np.float32)
    assert block_nats(cells, 7.0)[0, 3, 3] == pytest.approx(float(cells.sum()), rel=1e-6)


@pytest.mark.parametrize(("block", "depth"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 0.0), (float("nan"), 1.0)])
def test_empty_blocks_are_refused(block: float, depth: float) -> None:
    with pytest.raises(ConfigError, match="positive size"):
        block_nats(np.ones((1, 2, 2)), block, depth)


@pytest.mark.parametrize("shape", [(16, 16), (12, 20), (15, 9)])
@pytest.mark.parametrize("cutoffs", [DEFAULT_CUTOFFS, (3.0,), (4.0, 6.0, 9.0)])
def test_bands_resolve_the_identity(shape: tuple[int, int], cutoffs: tuple[float, ...]) -> None:
    masks = band_masks(*shape, cutoffs)
    assert masks.shape == (len(cutoffs) + 1, shape[0], shape[1] // 2 + 1)
    torch.testing.assert_close(masks.square().sum(0), torch.ones(masks.shape[1:]), rtol=0, atol=1e-6)
    u = torch.randn(3, *shape)
    torch.testing.assert_close(split_bands(u, cutoffs).square().sum((-3, -2, -1)), u.square().sum((-2, -1)), rtol=1e-5, atol=0)
    assert len(band_names(cutoffs)) == len(cutoffs) + 1


@pytest.mark.parametrize(("wavelength", "band"), [(2.5, 0), (5.66, 1), (11.3, 2), (22.6, 3), (64.0, 4)])
def test_a_wave_falls_into_the_band_of_its_wavelength(wavelength: float, band: int) -> None:
    """A wave in the middle of a band's octave has nearly all its nats there."""
    n = 128
    cycles = round(n / wavelength)
    wave = torch.cos(2 * torch.pi * cycles * torch.arange(n) / n).expand(n, n)
    energy = split_bands(wave, (4.0, 8.0, 16.0, 32.0)).square().sum((-2, -1))
    assert float(energy[band] / energy.sum()) > 0.95


def test_cells_hold_what_their_pixels_hold() -> None:
    image = torch.arange(64.0).reshape(8, 8)
    cells = cell_sums(image, 4)
    assert float(cells[0, 1]) == float(image[:4, 4:].sum())
    assert float(cells.sum()) == float(image.sum())
