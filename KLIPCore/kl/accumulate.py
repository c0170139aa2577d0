"""Adding up nats while a sampler runs: whitened pushes in, a :class:`KLIPCore.maps.trace.Layer` out.

Only sums are kept, so memory does not grow with the number of steps. Kept apart from the trace itself because
a trace is read, mapped and shown in places that have no torch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.kl.bands import DEFAULT_CUTOFFS, cell_sums, split_bands
from KLIPCore.maps.trace import Layer


class LayerSum:
    """Adds up whitened pushes into a :class:`Layer`.

    Parameters
    ----------
    name : the layer's name.
    edges : (K + 1,) σ bin edges, rising.
    size : image side in pixels.
    cell : side of the base cells in pixels.
    cutoffs : band cutoffs in pixels.
    """

    def __init__(
        self, name: str, edges: NDArray[np.float64], size: int, cell: int, cutoffs: tuple[float, ...] = DEFAULT_CUTOFFS
    ) -> None:
        self.name, self.edges, self.cell, self.cutoffs = name, np.asarray(edges, float), cell, cutoffs
        shape = (len(edges) - 1, len(cutoffs) + 1, size // cell, size // cell)
        self.energy = torch.zeros(shape)
        self.mean = torch.zeros(shape)
        self.n_independent = 0

    def add(self, sigma: float, push: Tensor, antithetic: bool = False) -> None:
        """Add the pushes of one node or transition.

        Parameters
        ----------
        sigma : its noise level; pushes outside the edges count in the nearest bin.
        push : (n, H, W) whitened pushes, one a sample.
        antithetic : consecutive samples are pairs z, −z and count as one independent sample.
        """
        k = int(np.clip(np.searchsorted(self.edges, sigma) - 1, 0, len(self.energy) - 1))
        bands = split_bands(push, self.cutoffs)
        self.energy[k] += cell_sums(bands.square().mean(0), self.cell).cpu()
        independent = bands.reshape(-1, 2, *bands.shape[1:]).mean(1) if antithetic else bands
        n = len(independent)
        squares = cell_sums(independent.sum(0).square(), self.cell)
        if n > 1:
            squares = (squares - cell_sums(independent.square().sum(0), self.cell)) / (n * (n - 1))
        self.mean[k] += squares.cpu()
        self.n_independent = n

    def layer(self) -> Layer:
        """Return what was added so far."""
        return Layer(self.name, self.edges, self.energy.numpy(), self.mean.numpy(), self.n_independent)
