"""One number for a whole image: is anything in it unexpected, wherever?

``nats``      the sum over the tested body: the KL of the image's part that was looked at, in nats. It grows
              with the body, and with every
              place that is a little unusual.
``maximum``   the largest block, air included, which is how the published image score is
              taken: it sees one small lesion in a large body,
              and compares between images only at one block size. (The published number itself is
              :func:`KLIPCore.lab.published.score.image_score`.)

Both are read from blocks that are there already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class BlockMap(Protocol):
    """What is needed of :class:`KLIPCore.maps.kl_map.KLMap`.

    Nats of the block at each cell, of each cell, and which cells were tested, all (n, h, w).
    """

    @property
    def nats(self) -> NDArray[np.float32]:
        """Nats of the block centred at each cell."""
        ...

    @property
    def cells(self) -> NDArray[np.float32]:
        """Nats of each cell itself."""
        ...

    @property
    def tested(self) -> NDArray[np.bool_]:
        """Cells inside the body and the region of interest."""
        ...


def body_nats(made: BlockMap) -> NDArray[np.float64]:
    """Return the (n,) nats of each slice: the sum over its tested cells."""
    return np.where(made.tested, made.cells, 0.0).sum((1, 2), dtype=np.float64)


def largest_block(made: BlockMap) -> NDArray[np.float64]:
    """Return the (n,) nats of each slice's largest block, air included."""
    return made.nats.max((1, 2)).astype(np.float64)


IMAGE_SCORES: dict[str, Callable[[BlockMap], NDArray[np.float64]]] = {"nats": body_nats, "maximum": largest_block}
"""The image scores by name."""
