"""Blocks of any size are sums of cells: against loops over pixels; bands: against the identity they resolve."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.kl.bands import DEFAULT_CUTOFFS, band_masks, band_names, cell_sums, split_bands
from KLIPCore.maps.blocks import BlockSize, block_nats, masked_blocks, tile_nats
from KLIPCore.maps.image_score import IMAGE_SCORES


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
            share = (
                covered(place[0], centre[0], depth)
                * covered(place[1], centre[1], block)
                * covered(place[2], centre[2], block)
            )
            expected[centre] += share * cells[place]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_a_block_as_large_as_the_image_holds_all_nats() -> None:
    cells = np.random.default_rng(0).random((1, 7, 7)).astype(np.float32)
    assert block_nats(cells, 7.0)[0, 3, 3] == pytest.approx(float(cells.sum()), rel=1e-6)


@pytest.mark.parametrize(("block", "depth"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 0.0), (float("nan"), 1.0)])
def test_empty_blocks_are_refused(block: float, depth: float) -> None:
    with pytest.raises(ConfigError, match="positive size"):
        block_nats(np.ones((1, 2, 2)), block, depth)


sizes = {
    "seed": st.integers(0, 1000),
    "block": st.one_of(st.floats(1.0, 6.0), st.sampled_from([1.0, 2.0, 3.0, 5.0])),
    "depth": st.one_of(st.floats(1.0, 4.0), st.sampled_from([1.0, 2.0])),
    "shape": st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
}


@given(**sizes)
@settings(max_examples=40, deadline=None)
def test_tiles_against_brute_force_and_they_add_up(
    seed: int, block: float, depth: float, shape: tuple[int, int, int]
) -> None:
    cells = np.random.default_rng(seed).random(shape).astype(np.float32)
    found = tile_nats(cells, block, depth)
    lengths = (depth, block, block)
    assert found.shape == tuple(int(np.ceil(n / length - 1e-9)) for n, length in zip(shape, lengths, strict=True))
    expected = np.zeros(found.shape)
    for tile in np.ndindex(found.shape):
        for place in np.ndindex(shape):
            share = 1.0
            for i, p, length in zip(tile, place, lengths, strict=True):
                share *= max(0.0, min((i + 1) * length, p + 1) - max(i * length, p))
            expected[tile] += share * cells[place]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
    assert float(found.sum()) == pytest.approx(float(cells.sum()), rel=1e-5)


@given(**sizes, overlapping=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_mask_and_its_opposite_share_a_block(
    seed: int, block: float, depth: float, shape: tuple[int, int, int], overlapping: bool
) -> None:
    """Nats inside and outside add up to the block's; so do the shares, to the part of the block that is in
    the image at all.
    """
    rng = np.random.default_rng(seed)
    cells, organ = rng.random(shape).astype(np.float32), rng.random(shape) < 0.5
    both = [
        masked_blocks(cells, mask, block, depth, overlapping=overlapping) for mask in (organ, ~organ, np.ones(shape))
    ]
    cut = block_nats if overlapping else tile_nats
    np.testing.assert_allclose(both[0].nats + both[1].nats, cut(cells, block, depth), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both[0].share + both[1].share, both[2].share, rtol=1e-5, atol=1e-6)
    assert float(both[2].share.max()) <= 1
    np.testing.assert_array_equal(both[0].tested(0.3), both[0].share >= 0.3)


def test_blocks_of_an_organ() -> None:
    """A tile of an organ's size placed on it holds the organ's nats, all of them; parts of cells count in part."""
    cells = np.arange(1.0, 37.0).reshape(1, 6, 6)
    organ = np.zeros((1, 6, 6), bool)
    organ[0, 2:4, 2:4] = True
    tiles = masked_blocks(cells, organ, 2, overlapping=False)
    assert tiles.nats[0, 1, 1] == cells[0, 2:4, 2:4].sum() == tiles.nats.sum()
    assert tiles.share[0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    around = masked_blocks(cells, organ, 3)
    assert around.share[0, 2, 2] == pytest.approx(4 / 9)
    assert not around.tested().any()
    half = masked_blocks(cells, 0.5 * organ, 2, overlapping=False)
    assert half.nats[0, 1, 1] == pytest.approx(0.5 * tiles.nats[0, 1, 1])
    with pytest.raises(ConfigError, match="does not fit"):
        masked_blocks(cells, organ[0], 2)


def test_sizes_in_mm_and_in_voxels() -> None:
    """Cells of 6 mm on voxels of 5 × 0.75 × 0.75 mm."""
    assert BlockSize(12.0).in_cells(6.0, (5.0, 0.75)) == (2.0, 1.0)
    assert BlockSize(15.0, 20.0).in_cells(6.0, (5.0, 0.75)) == (2.5, 4.0)
    assert BlockSize(32, 3, "voxels").in_cells(6.0, (5.0, 0.75)) == (4.0, 3.0)
    assert BlockSize(1, unit="voxels").in_cells(6.0, (5.0, 0.75)) == (1.0, 1.0)  # never smaller than a cell
    for bad in (BlockSize(0.0), BlockSize(5.0, -1.0), BlockSize(float("nan"))):
        with pytest.raises(ConfigError, match="positive size"):
            bad.in_cells(6.0, (5.0, 0.75))
    with pytest.raises(ConfigError, match="positive size"):
        tile_nats(np.ones((1, 2, 2)), 0.0)


def test_a_whole_study_takes_milliseconds() -> None:
    """100 slices of 64 × 64 cells, 3-D blocks inside a mask, both kinds; the best of several tries, in time
    of the processor, which others who work on it do not lengthen.
    """
    cells = np.random.default_rng(0).random((100, 64, 64)).astype(np.float32)
    for overlapping in (True, False):
        seconds = []
        for _ in range(7):
            started = time.process_time()
            masked_blocks(cells, cells > 0.3, 2.6, 2.2, overlapping=overlapping)
            seconds.append(time.process_time() - started)
        assert min(seconds) < 0.1


@dataclass
class Made:
    """A map of three slices."""

    nats: np.ndarray
    cells: np.ndarray
    tested: np.ndarray


def test_image_scores_by_name() -> None:
    cells = np.random.default_rng(0).random((3, 5, 5)).astype(np.float32)
    tested = np.zeros(cells.shape, bool)
    tested[:, 1:4, 1:4] = True
    cells[1, 0, 0] = 100.0  # in the air
    made = Made(block_nats(cells, 3.0), cells, tested)
    np.testing.assert_allclose(IMAGE_SCORES["nats"](made), [float(c[1:4, 1:4].sum()) for c in cells], rtol=1e-6)
    largest = IMAGE_SCORES["maximum"](made)
    assert largest[1] > 100
    for n in (0, 2):
        assert largest[n] == pytest.approx(
            max(cells[n, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].sum() for i in range(5) for j in range(5)),
            rel=1e-6,
        )


@pytest.mark.parametrize("shape", [(16, 16), (12, 20), (15, 9)])
@pytest.mark.parametrize("cutoffs", [DEFAULT_CUTOFFS, (3.0,), (4.0, 6.0, 9.0)])
def test_bands_resolve_the_identity(shape: tuple[int, int], cutoffs: tuple[float, ...]) -> None:
    masks = band_masks(*shape, cutoffs)
    assert masks.shape == (len(cutoffs) + 1, shape[0], shape[1] // 2 + 1)
    torch.testing.assert_close(masks.square().sum(0), torch.ones(masks.shape[1:]), rtol=0, atol=1e-6)
    u = torch.randn(3, *shape)
    torch.testing.assert_close(
        split_bands(u, cutoffs).square().sum((-3, -2, -1)), u.square().sum((-2, -1)), rtol=1e-5, atol=0
    )
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
