"""From base cells to blocks of any size: sums, never new samples.

Nats add up over pixels, so a block's KL is the sum of its cells' nats. Blocks overlap here: every cell is the
centre of one, of any edge length, cells at its rim counting by the fraction covered. A map of overlapping
blocks has no preferred grid and reads like an image; it must not be summed (each nat is in many blocks), which
is why the density goes along.

Tiles are the other choice: blocks side by side from the first voxel on, each nat in exactly one, so that tiles
add up to the image. Either kind may be restricted to a mask (the body, an organ): a block then holds the nats
of its part inside, and says how large a part that is. All of it is separable sums over cells and takes
milliseconds for a whole study.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError


def _kernel(length_in_cells: float) -> NDArray[np.float32]:
    """1-D box of a real length, centred: ones, with fractions at both ends; at least one cell."""
    length = max(1.0, float(length_in_cells))
    reach = int(np.ceil((length - 1) / 2 - 1e-9))
    distance = np.abs(np.arange(-reach, reach + 1))
    return np.clip(length / 2 - distance + 0.5, 0, 1).astype(np.float32)


def block_nats(cells: NDArray[np.floating], block_cells: float, depth_slices: float = 1.0) -> NDArray[np.float32]:
    """Return nats of the block centred at each cell.

    Parameters
    ----------
    cells : (D, h, w) nats per base cell.
    block_cells : in-plane edge of a block in cells; a block is never smaller than a cell.
    depth_slices : extent across slices; 1 keeps slices apart.

    Returns
    -------
    (D, h, w) float32; outside the array there are no nats.

    Raises
    ------
    ConfigError : a size is not positive.
    """
    if not (block_cells > 0 and depth_slices > 0):
        raise ConfigError("A block needs a positive size.", "Choose a block of at least one voxel.")
    out = np.asarray(cells, np.float32)
    for axis, length in ((0, depth_slices), (1, block_cells), (2, block_cells)):
        kernel = _kernel(length)
        if len(kernel) > 1:
            out = ndi.correlate1d(out, kernel, axis=axis, mode="constant", cval=0.0)
    return out


@dataclass(frozen=True)
class BlockSize:
    """A block as a person names it.

    Attributes
    ----------
    edge : in-plane edge.
    depth : extent across slices; 0 is one slice.
    unit : of both, ``mm`` or ``voxels`` of the study.
    """

    edge: float
    depth: float = 0.0
    unit: Literal["mm", "voxels"] = "mm"

    def in_cells(self, cell_mm: float, voxel_mm: tuple[float, float]) -> tuple[float, float]:
        """Return the (edge in cells, depth in slices) for the functions here; neither is smaller than 1.

        Parameters
        ----------
        cell_mm : edge of a base cell.
        voxel_mm : the study's slice spacing and in-plane voxel edge.

        Raises
        ------
        ConfigError : the edge is not positive, or the depth negative.
        """
        if not (self.edge > 0 and self.depth >= 0):
            raise ConfigError("A block needs a positive size.", "Choose a block of at least one voxel.")
        slice_mm, pixel_mm = voxel_mm
        edge_mm = self.edge if self.unit == "mm" else self.edge * pixel_mm
        depth = self.depth / slice_mm if self.unit == "mm" else self.depth
        return max(1.0, edge_mm / cell_mm), max(1.0, depth)


def tile_nats(cells: NDArray[np.floating], block_cells: float, depth_slices: float = 1.0) -> NDArray[np.float32]:
    """Return nats of blocks laid side by side, the first at the first cell; they add up to the nats of all cells.

    Parameters
    ----------
    cells : (D, h, w) nats per base cell.
    block_cells : in-plane edge in cells, any real number from 1 on; cells at a border are split by the part covered.
    depth_slices : extent across slices.

    Returns
    -------
    (⌈D / depth⌉, ⌈h / edge⌉, ⌈w / edge⌉) float32; the last tile of an axis may be cut off by the array.

    Raises
    ------
    ConfigError : a size is not positive.
    """
    if not (block_cells > 0 and depth_slices > 0):
        raise ConfigError("A block needs a positive size.", "Choose a block of at least one voxel.")
    out = np.asarray(cells, np.float64)
    for axis, length in ((0, depth_slices), (1, block_cells), (2, block_cells)):
        out = np.moveaxis(
            np.tensordot(_tiling(out.shape[axis], max(1.0, float(length))), out, axes=(1, axis)), 0, axis
        )
    return out.astype(np.float32)


def _tiling(n: int, length: float) -> NDArray[np.float64]:
    """(tiles, n) the part of cell j that lies in tile i, for tiles of a real length that cover n cells."""
    first = np.arange(max(1, int(np.ceil(n / length - 1e-9))))[:, None] * length
    cell = np.arange(n)[None, :]
    return np.clip(np.minimum(first + length, cell + 1) - np.maximum(first, cell), 0, 1)


@dataclass(frozen=True, eq=False)
class MaskedBlocks:
    """Blocks of what lies inside a mask.

    Attributes
    ----------
    nats : nats of the block's part inside.
    share : part of the block that lies inside, 0 to 1; what a block sticks out of the image counts as outside.
    """

    nats: NDArray[np.float32]
    share: NDArray[np.float32]

    def tested(self, minimum: float = 0.5) -> NDArray[np.bool_]:
        """Return blocks of which at least this part lies inside."""
        return self.share >= minimum


def masked_blocks(
    cells: NDArray[np.floating],
    inside: NDArray,
    block_cells: float,
    depth_slices: float = 1.0,
    *,
    overlapping: bool = True,
) -> MaskedBlocks:
    """Return blocks of the cells inside a mask, such as the body or an organ.

    Parameters
    ----------
    cells : (D, h, w) nats per base cell.
    inside : (D, h, w) bool, or the part of each cell inside, 0 to 1.
    block_cells, depth_slices : as in :func:`block_nats`.
    overlapping : a block at every cell (:func:`block_nats`), or side by side (:func:`tile_nats`).

    Raises
    ------
    ConfigError : a size is not positive, or the mask has another shape.
    """
    part = np.asarray(inside, np.float32)
    if part.shape != np.shape(cells):
        raise ConfigError(
            f"A mask of {part.shape} does not fit cells of {np.shape(cells)}.",
            "Give the mask on the trace's base cells.",
        )
    cut = block_nats if overlapping else tile_nats
    volume = max(1.0, float(depth_slices)) * max(1.0, float(block_cells)) ** 2
    share = cut(part, block_cells, depth_slices) / np.float32(volume)
    return MaskedBlocks(
        cut(np.asarray(cells, np.float32) * part, block_cells, depth_slices), np.minimum(share, 1.0).astype(np.float32)
    )
