"""When enough samples have been drawn: the standard error of the block map, while it is being made.

The nats of a block, e_i, differ from one posterior sample i to the next. After n of them the map shows ē = Σ
e_i / n, with a standard error s / √n that the samples tell themselves. :class:`BlockErrors` adds both up over
all blocks,

    relative error  =  √( Σ_b s_b² / n )  /  √( Σ_b ē_b² ) ,

the root mean square error of the map over its root mean square. With a thousand blocks it is known well from
four samples, which is what makes stopping by it harmless: a rule that stopped on the luck of a few draws would
prefer draws that happen to agree, and bias the map.

Samples come in groups, each with random numbers of its own (:data:`GROUP`), so that stopping after n samples
gives what asking for n gives. :class:`GroupedLayerSum` is the layer for samples that come so: the mean part
needs the sum of *all* samples' pushes at each step, and these arrive a chain at a time. It therefore keeps one
image a step, the only place where something grows with the number of steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.kl.accumulate import LayerSum
from KLIPCore.kl.bands import cell_sums, split_bands
from KLIPCore.maps.trace import Layer

GROUP = 4
"""Samples that share a stream of random numbers and are drawn together; the fewest that a standard error is
taken from.
"""

BLOCK_PX = 8
"""Edge in frame pixels of the blocks whose error counts: some 12 mm, the default of the map."""


def group_sizes(n_samples: int) -> list[int]:
    """Return the sizes of the groups that make up so many samples: all :data:`GROUP` but the last."""
    return [min(GROUP, n_samples - start) for start in range(0, n_samples, GROUP)]


class BlockErrors:
    """Nats of every block and sample, as they come, and how well their mean is known.

    Parameters
    ----------
    size : image side in pixels; blocks are as large as divides it, :data:`BLOCK_PX` at most.
    """

    def __init__(self, size: int) -> None:
        self.block = next(edge for edge in range(min(BLOCK_PX, size), 0, -1) if size % edge == 0)
        self.groups: list[Tensor] = []

    def begin_group(self) -> None:
        """Count pushes as those of further samples from now on."""
        self.groups.append(torch.zeros(0))

    def add(self, push: Tensor) -> None:
        """Add the whitened pushes (n, H, W) of one step of the present group."""
        nats = cell_sums(push.square(), self.block).cpu()
        self.groups[-1] = nats if not len(self.groups[-1]) else self.groups[-1] + nats

    @property
    def n_samples(self) -> int:
        """Samples so far."""
        return sum(len(group) for group in self.groups)

    def relative(self) -> float:
        """Return the root mean square standard error of the map over its root mean square.

        Infinite for fewer than two samples, 0 for a map of zeros.
        """
        if self.n_samples < 2:
            return float("inf")
        nats = torch.cat(self.groups).double()
        error = nats.var(0).sum() / self.n_samples
        power = nats.mean(0).square().sum()
        return float((error / power).sqrt()) if power > 0 else 0.0


class GroupedLayerSum(LayerSum):
    """As :class:`LayerSum`, for samples that come a group at a time, every group making the same steps.

    Call :meth:`begin_group`, then :meth:`add` once a step, for each group.
    """

    n_samples = 0
    _step = 0

    def begin_group(self) -> None:
        """Count pushes as those of further samples from now on."""
        if not self.n_samples:
            self.sums: list[tuple[int, Tensor]] = []  # σ bin and Σ push of every step
        self._step = 0

    def add(self, sigma: float, push: Tensor, antithetic: bool = False) -> None:
        """Add the whitened pushes (n, H, W) of one step of the present group.

        Raises
        ------
        ConfigError : antithetic pairs were given; they are one independent sample together and belong in one batch.
        """
        if antithetic:
            raise ConfigError("Pairs of opposite noise do not come in groups.", "Add them to a LayerSum.")
        k = int(np.clip(np.searchsorted(self.edges, sigma) - 1, 0, len(self.energy) - 1))
        if self._step == 0:
            self.n_samples += len(push)
        self.energy[k] += cell_sums(
            split_bands(push, self.cutoffs).square().sum(0), self.cell
        ).cpu()  # over n in layer()
        total = push.sum(0).cpu()
        if self._step == len(self.sums):
            self.sums.append((k, total))
        else:
            self.sums[self._step] = (k, self.sums[self._step][1] + total)
        self._step += 1

    def layer(self) -> Layer:
        """Return what was added so far, as one :class:`LayerSum` of all samples would have it."""
        n = self.n_samples
        mean = torch.zeros_like(self.mean)
        for k, total in self.sums:
            mean[k] += cell_sums(split_bands(total, self.cutoffs).square(), self.cell)
        if n > 1:
            mean = (mean - self.energy) / (n * (n - 1))
        return Layer(self.name, self.edges, (self.energy / n).numpy(), mean.numpy(), n)
