"""One slice on its way from measurement to layers: its data, its random numbers, its samples and its sums.

:mod:`KLIPCore.detection.sample_slices` fills the records of several slices together. A slice's random numbers come
from (seed, slice) alone: see :func:`slice_generator`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.config import LARGE_LAYERS, Config
from KLIPCore.errors import ConfigError
from KLIPCore.kl.accumulate import LayerSum
from KLIPCore.kl.push_sum import PushSum
from KLIPCore.kl.quadrature import gauss_legendre_nodes
from KLIPCore.kl.signed import PIXELS, SCALES_PX, SignedSum
from KLIPCore.kl.soft import soft_share
from KLIPCore.kl.stopping import BlockErrors, GroupedLayerSum
from KLIPCore.maps.information import per_information
from KLIPCore.maps.pushes import Pushes
from KLIPCore.maps.trace import Layer
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.solve import has_closed_form
from KLIPCore.volume.units import Window

N_PATH_BINS = 8
"""σ bins of the ``path`` layer, even in ln σ between the chain's first and last level."""

SIGNS = {"darker": -1, "brighter": 1}
"""Layers that keep one sign of the cold layer's pushes."""

HYPODENSE, HYPERDENSE = LARGE_LAYERS[:2]
"""Layers that keep one sign at larger noise levels, too: the darker one in soft tissue, the brighter one
pixel by pixel.
"""


def slice_generator(seed: int, index: int, purpose: int = 0) -> torch.Generator:
    """Return the random generator of one slice: depends on nothing but its arguments."""
    mixed = np.random.SeedSequence([seed, index, purpose]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(mixed[0]) << 32 | int(mixed[1]))


def path_edges(config: Config) -> NDArray[np.float64]:
    """Return the (N_PATH_BINS + 1,) rising σ bin edges of the ``path`` layer."""
    return np.geomspace(config.sampling.sigma_end, config.sampling.sigma_start, N_PATH_BINS + 1)


class SliceRecord:
    """One slice on its way from measurement to layers.

    Parameters
    ----------
    config : the run's settings.
    index : the slice, counted from the feet.
    measurement : its data (n_views, n_detectors).
    generator : its random numbers, as the measurement left them.
    twin : whether it is the slice's twin, which has streams of its own.
    window : HU that intensities 0 and 1 stand for, which tell soft tissue from fat; only the layer ``hypodense`` asks.
    """

    def __init__(
        self,
        config: Config,
        index: int,
        measurement: Measurement,
        generator: torch.Generator,
        twin: bool = False,
        window: Window | None = None,
    ) -> None:
        self.config, self.index, self.measurement, self.generator, self.twin = (
            config,
            index,
            measurement,
            generator,
            twin,
        )
        self.size = int(measurement.A.domain_shape[-1])
        self.n_evaluations = 0
        self.groups: list[Tensor] = []
        self.sums: dict[str, LayerSum] = {}
        self.signed: dict[str, SignedSum] = {}
        self.push_sum: PushSum | None = None
        self.signs = {name: sign for name, sign in SIGNS.items() if name in config.record.layers}
        self.window = window
        if HYPODENSE in config.record.layers and window is None:
            raise ConfigError("Soft tissue cannot be told from fat without HU.", "Record other layers than hypodense.")
        self.errors = BlockErrors(self.size) if config.sampling.stop_error > 0 else None
        if (
            "path" in config.record.layers or self.signs or HYPODENSE in config.record.layers
        ):  # the signs are measured against the chain's information
            kind = LayerSum if self.errors is None else GroupedLayerSum
            self.sums["path"] = kind("path", path_edges(config), self.size, config.record.cell)

    def stream(self, group: int) -> torch.Generator:
        """Return random numbers of a group of samples; the first goes on with the slice's own."""
        return (
            self.generator
            if group == 0
            else slice_generator(self.config.sampling.seed, self.index, 2 * group + self.twin)
        )

    @property
    def samples(self) -> Tensor:
        """(n, H, W) all samples so far."""
        return torch.cat(self.groups)

    @property
    def n_samples(self) -> int:
        """How many these are."""
        return sum(len(group) for group in self.groups)

    @property
    def mean(self) -> Tensor:
        """(H, W) posterior mean: that of the samples."""
        return self.samples.mean(0)

    @property
    def relative_error(self) -> float | None:
        """Of the block map, where it was asked for."""
        return None if self.errors is None else self.errors.relative()

    @property
    def known(self) -> bool:
        """Whether no further samples are needed."""
        return self.errors is not None and self.errors.relative() <= self.config.sampling.stop_error

    def begin_group(self) -> None:
        """Count pushes along the chain as those of further samples from now on."""
        if self.errors is not None:
            self.errors.begin_group()
        path = self.sums.get("path")
        if isinstance(path, GroupedLayerSum):
            path.begin_group()

    def add_to_path(self, sigma: float, push: Tensor) -> None:
        """Add the whitened pushes (n, H, W) of a step of the chain."""
        if self.errors is not None:
            self.errors.add(push)
        if "path" in self.sums:
            self.sums["path"].add(sigma, push)

    def _seen(self) -> NDArray[np.bool_] | None:
        """(h, w) cells that data correct; None for all."""
        closed, n = self.measurement.A.closed_form, self.size // self.config.record.cell
        if closed is None or not has_closed_form(self.measurement):
            return None
        return np.asarray(closed.support.cpu().reshape(n, self.config.record.cell, n, -1).amin((1, 3)).numpy() > 0)

    def layers(self) -> dict[str, Layer]:
        """Return what was asked for, as it goes into the trace."""
        r = self.config.record
        made = {name: total.layer() for name, total in self.sums.items()}
        if self.signed:
            weight = per_information(made["path"], r.cell, self._seen()) if "path" in made else None
            made |= {name: total.layer(None if name == HYPERDENSE else weight) for name, total in self.signed.items()}
        return {name: made[name] for name in r.layers if name != "pushes"}

    @property
    def pushes(self) -> Pushes | None:
        """The mean pushes, where they were asked for."""
        return None if self.push_sum is None else self.push_sum.done()


def large_sum(slice_: SliceRecord, name: str) -> SignedSum:
    """Return an empty layer of :data:`KLIPCore.config.LARGE_LAYERS` of a slice whose samples are drawn.

    Its bins, and for ``hypodense`` the share of soft tissue in the posterior mean.
    """
    r = slice_.config.record
    edges = gauss_legendre_nodes(r.n_nodes, r.sigma_lo, r.sigma_hi).edges
    if r.n_large:
        edges = np.concatenate([edges, gauss_legendre_nodes(r.n_large, r.sigma_hi, r.sigma_large).edges[1:]])
    if name == HYPERDENSE:
        return SignedSum(name, 1, edges, slice_.size, r.cell, PIXELS)
    assert slice_.window is not None  # refused when it was made
    none, full = ((hu - slice_.window.lo_hu) / slice_.window.width_hu for hu in r.soft_hu)
    return SignedSum(name, -1, edges, slice_.size, r.cell, SCALES_PX[:1], soft_share(slice_.mean, none, full))
