"""From base cells to blocks of any size: sums, never new samples.

Nats add up over pixels, so a block's KL is the sum of its cells' nats. Blocks overlap here: every cell is the centre of
one, of any edge length, cells at its rim counting by the fraction covered. A map of overlapping blocks has no preferred
grid and reads like an image; it must not be summed (each nat is in many blocks), which is why the density goes along.
"""

from __future__ import annotations

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
    """Nats of the block centred at each cell.

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
