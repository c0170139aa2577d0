"""From measurements to layers: some slices sampled together, each with its own random numbers and its own sums.

What slices share is the work: every evaluation of the network and every product with A and Aᵀ takes all
samples of all slices at once. What they do not share is chance. A slice's random numbers come from (seed,
slice) alone, and its samples come in groups of :data:`KLIPCore.kl.stopping.GROUP` with a stream each; so
neither the other slices of a batch nor samples drawn later change anything but the rounding.

That makes *stopping early* harmless: with ``sampling.stop_error`` above 0 groups are drawn one after the
other, and a slice whose block map is known well enough (:class:`KLIPCore.kl.stopping.BlockErrors`) draws no
more. It then is what it would have been, had that number of samples been asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.config import LARGE_LAYERS, Config
from KLIPCore.errors import ConfigError
from KLIPCore.kl.accumulate import LayerSum
from KLIPCore.kl.push_sum import PushSum
from KLIPCore.kl.quadrature import antithetic_noise, gauss_legendre_nodes, renoised
from KLIPCore.kl.signed import PIXELS, SCALES_PX, SignedSum
from KLIPCore.kl.soft import soft_share
from KLIPCore.kl.stopping import BlockErrors, GroupedLayerSum, group_sizes
from KLIPCore.maps.information import per_information
from KLIPCore.maps.pushes import Pushes
from KLIPCore.maps.trace import Layer
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import Noise
from KLIPCore.physics.solve import has_closed_form, preconditioned_iterations
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.dds import dds_transitions, warm_start
from KLIPCore.sampling.guidance import prior_and_posterior, proximal_guidance
from KLIPCore.sampling.schedule import geometric
from KLIPCore.volume.units import Window

N_PATH_BINS = 8
"""σ bins of the ``path`` layer, even in ln σ between the chain's first and last level."""

QUICK_CG_ITERATIONS = 12
"""Iterations of the least-squares reconstruction that the chain starts from."""

SIGNS = {"darker": -1, "brighter": 1}
"""Layers that keep one sign of the cold layer's pushes."""

HYPODENSE, HYPERDENSE = LARGE_LAYERS[:2]
"""Layers that keep one sign at larger noise levels, too: the darker one in soft tissue, the brighter one
pixel by pixel.
"""


def slice_generator(seed: int, index: int, purpose: int = 0) -> torch.Generator:
    """The random generator of one slice: depends on nothing but its arguments."""
    mixed = np.random.SeedSequence([seed, index, purpose]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(mixed[0]) << 32 | int(mixed[1]))


def path_edges(config: Config) -> NDArray[np.float64]:
    """(N_PATH_BINS + 1,) rising σ bin edges of the ``path`` layer."""
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
            raise ConfigError(
                "Without HU nobody can tell soft tissue from fat.", "Record other layers than hypodense."
            )
        self.errors = BlockErrors(self.size) if config.sampling.stop_error > 0 else None
        if (
            "path" in config.record.layers or self.signs or HYPODENSE in config.record.layers
        ):  # the signs are measured against the chain's information
            kind = LayerSum if self.errors is None else GroupedLayerSum
            self.sums["path"] = kind("path", path_edges(config), self.size, config.record.cell)

    def stream(self, group: int) -> torch.Generator:
        """Random numbers of a group of samples; the first goes on with the slice's own."""
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
        """Pushes along the chain belong to further samples from now on."""
        if self.errors is not None:
            self.errors.begin_group()
        path = self.sums.get("path")
        if isinstance(path, GroupedLayerSum):
            path.begin_group()

    def add_to_path(self, sigma: float, push: Tensor) -> None:
        """Whitened pushes (n, H, W) of a step of the chain."""
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
        """What was asked for, as it goes into the trace."""
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


def record(denoise: Denoiser, slices: Sequence[SliceRecord]) -> None:
    """Sample some slices of one run and one scanner, and record all layers that are asked for.

    Parameters
    ----------
    denoise : the prior, on (B, H, W).
    slices : as they were made; filled here.
    """
    config = slices[0].config
    sizes = group_sizes(config.sampling.n_samples)
    if config.sampling.stop_error > 0:
        open_slices = list(slices)
        for group in range(len(sizes)):
            _draw(denoise, open_slices, range(group, group + 1))
            open_slices = [s for s in open_slices if not s.known]
            if not open_slices:
                break
    else:
        _draw(denoise, slices, range(len(sizes)))
    if "renoised" in config.record.layers:
        for _, same in groupby(
            sorted(slices, key=lambda s: s.n_samples), key=lambda s: s.n_samples
        ):  # only equal numbers stack
            _renoise(denoise, list(same))
    if {"cold", *LARGE_LAYERS, *SIGNS} & set(config.record.layers):
        _cool(denoise, slices)


@dataclass(frozen=True, eq=False)
class StackedNoise:
    """The noise of some slices, stacked as their data are: y (..., S, n_views, n_detectors).

    Attributes
    ----------
    noises : one a slice.
    """

    noises: tuple[Noise, ...]

    def sample(self, y_clean: Tensor, generator: torch.Generator) -> Tensor:
        """Each slice's noisy measurement."""
        return torch.stack([noise.sample(y_clean[..., s, :, :], generator) for s, noise in enumerate(self.noises)], -3)

    def inverse_variance(self, y: Tensor) -> Tensor:
        """Each slice's weights, of y's shape."""
        return torch.stack(
            [
                noise.inverse_variance(y[..., s, :, :]).expand(y[..., s, :, :].shape)
                for s, noise in enumerate(self.noises)
            ],
            -3,
        )

    def to(self, device: torch.device | str) -> StackedNoise:
        """The same on another device."""
        return StackedNoise(tuple(noise.to(device) for noise in self.noises))


def together(measurements: Sequence[Measurement]) -> Measurement:
    """Measurements of some slices by one scanner as one, y (S, n_views, n_detectors)."""
    first = measurements[0]
    same = all(m.noise == first.noise for m in measurements)
    noise = first.noise if same else StackedNoise(tuple(m.noise for m in measurements))
    return Measurement(
        torch.stack([m.y for m in measurements]),
        first.A,
        noise=noise,
        simulated=first.simulated,
        description=first.description,
    )


def _repeated(measurement: Measurement, n: int) -> Measurement:
    """The same data for n samples, y (n, …)."""
    return Measurement(
        measurement.y.expand(n, *measurement.y.shape),
        measurement.A,
        noise=measurement.noise,
        simulated=measurement.simulated,
    )


def _many(denoise: Denoiser, slices: Iterable[SliceRecord]) -> Denoiser:
    """The prior on (n, S, H, W), its evaluations counted."""

    def on_all(x: Tensor, sigma: float) -> Tensor:
        for s in slices:
            s.n_evaluations += len(x)
        return denoise(x.flatten(0, 1), sigma).unflatten(0, x.shape[:2])

    return on_all


def _stacked_noise(slices: Sequence[SliceRecord], n: int) -> Tensor:
    """(n, S, H, W) fresh noise from each slice's own stream."""
    drawn = [torch.randn(n, s.size, s.size, generator=s.generator) for s in slices]
    return torch.stack(drawn, 1).to(slices[0].measurement.y.device)


def _draw(denoise: Denoiser, slices: Sequence[SliceRecord], groups: range) -> None:
    """Posterior samples of these groups by warm-started DDS; the chain's pushes go into layer ``path``."""
    config = slices[0].config
    s = config.sampling
    sizes = [group_sizes(s.n_samples)[group] for group in groups]
    n, device = sum(sizes), slices[0].measurement.y.device
    streams = [[slice_.stream(group) for group in groups] for slice_ in slices]
    measurement = together([slice_.measurement for slice_ in slices])

    def noise() -> Tensor:
        """(n, S, H, W) from each slice's streams."""
        drawn = [
            torch.cat(
                [
                    torch.randn(size, slice_.size, slice_.size, generator=stream)
                    for size, stream in zip(sizes, own, strict=True)
                ]
            )
            for slice_, own in zip(slices, streams, strict=True)
        ]
        return torch.stack(drawn, 1).to(device)

    for slice_ in slices:
        slice_.begin_group()
    if len(slices) == 1:  # not as a stack of one: it would round otherwise
        one = slices[0].measurement
        x = warm_start(one, s.sigma_start, preconditioned_iterations(one, QUICK_CG_ITERATIONS), noise()[:, 0])[1][
            :, None
        ]
    else:
        x = warm_start(
            measurement, s.sigma_start, preconditioned_iterations(measurement, QUICK_CG_ITERATIONS), noise()
        )[1]
    levels = [float(sigma) for sigma in geometric(s.sigma_start, s.sigma_end, s.n_steps)]
    samples = x
    repeated = _repeated(measurement, n)
    n_iterations = preconditioned_iterations(repeated, s.cg_iterations)
    for step in dds_transitions(
        _many(denoise, slices), repeated, levels, x, noise, prior_std=s.prior_std, cg_iterations=n_iterations
    ):
        samples = step.denoised
        if "path" in slices[0].sums or slices[0].errors is not None:
            push, sigma = step.whitened_push(), (step.sigma_from * step.sigma_to) ** 0.5
            for place, slice_ in enumerate(slices):
                slice_.add_to_path(sigma, push[:, place])
    for place, slice_ in enumerate(slices):
        slice_.groups.append(samples[:, place])


def _renoise(denoise: Denoiser, slices: Sequence[SliceRecord]) -> None:
    """Layer ``renoised``: samples noised again at quadrature nodes, temperature 1. All slices have equally
    many samples.
    """
    config = slices[0].config
    s, r = config.sampling, config.record
    nodes = gauss_legendre_nodes(r.n_nodes, r.sigma_lo, r.sigma_hi)
    for slice_ in slices:
        slice_.sums["renoised"] = LayerSum("renoised", nodes.edges, slice_.size, r.cell)
    samples = torch.stack([slice_.samples for slice_ in slices], 1)
    repeated = _repeated(together([slice_.measurement for slice_ in slices]), len(samples))
    n_iterations = preconditioned_iterations(repeated, s.cg_iterations)
    both = prior_and_posterior(proximal_guidance(_many(denoise, slices), repeated, s.prior_std, n_iterations))
    for node in renoised(samples, nodes, both, lambda: _stacked_noise(slices, len(samples))):
        push = node.whitened()
        for place, slice_ in enumerate(slices):
            slice_.sums["renoised"].add(node.sigma, push[:, place])


def _cool(denoise: Denoiser, slices: Sequence[SliceRecord]) -> None:
    """Layer ``cold`` and its signs: the samples' mean noised again at a low temperature, antithetic noise."""
    config, device = slices[0].config, slices[0].measurement.y.device
    r = config.record
    nodes = gauss_legendre_nodes(r.n_nodes, r.sigma_lo, r.sigma_hi)
    for slice_ in slices:
        slice_.sums["cold"] = LayerSum("cold", nodes.edges, slice_.size, r.cell)
        slice_.signed = {
            name: SignedSum(name, sign, nodes.edges, slice_.size, r.cell) for name, sign in slice_.signs.items()
        }
        slice_.signed |= {name: _large_sum(slice_, name) for name in (HYPODENSE, HYPERDENSE) if name in r.layers}
        if "pushes" in r.layers:
            slice_.push_sum = PushSum(slice_.mean)
    mean = torch.stack([slice_.mean for slice_ in slices])
    if r.temperature > 0:
        z = torch.stack(
            [antithetic_noise((slice_.size, slice_.size), r.n_pairs, slice_.generator) for slice_ in slices], 1
        ).to(device)
    else:
        z = mean.new_zeros(1, *mean.shape)
    evaluate = _many(denoise, slices)

    def both(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The prior's denoiser, and the mean for the posterior's."""
        prior_mean = evaluate(x, sigma)
        return prior_mean, mean.expand_as(prior_mean)

    for node in renoised(mean, nodes, both, lambda: z, temperature=r.temperature):
        push = node.whitened()
        for place, slice_ in enumerate(slices):
            slice_.sums["cold"].add(node.sigma, push[:, place], antithetic=len(z) > 1)
            if slice_.push_sum is not None:
                slice_.push_sum.add(node.sigma, node.prior_mean[:, place])
            for total in slice_.signed.values():
                total.add(node.sigma, push[:, place])
    if r.large and r.n_large:
        large = gauss_legendre_nodes(r.n_large, r.sigma_hi, r.sigma_large)
        for node in renoised(mean, large, both, lambda: z, temperature=r.temperature):
            push = node.whitened()
            for place, slice_ in enumerate(slices):
                if slice_.push_sum is not None:
                    slice_.push_sum.add(node.sigma, node.prior_mean[:, place])
                for name in LARGE_LAYERS:
                    if name in slice_.signed:
                        slice_.signed[name].add(node.sigma, push[:, place])


def _large_sum(slice_: SliceRecord, name: str) -> SignedSum:
    """An empty layer of :data:`KLIPCore.config.LARGE_LAYERS` of a slice whose samples are drawn: its bins, and
    for ``hypodense`` the share of soft tissue in the posterior mean."""
    r = slice_.config.record
    edges = gauss_legendre_nodes(r.n_nodes, r.sigma_lo, r.sigma_hi).edges
    if r.n_large:
        edges = np.concatenate([edges, gauss_legendre_nodes(r.n_large, r.sigma_hi, r.sigma_large).edges[1:]])
    if name == HYPERDENSE:
        return SignedSum(name, 1, edges, slice_.size, r.cell, PIXELS)
    assert slice_.window is not None  # refused when it was made
    none, full = ((hu - slice_.window.lo_hu) / slice_.window.width_hu for hu in r.soft_hu)
    return SignedSum(name, -1, edges, slice_.size, r.cell, SCALES_PX[:1], soft_share(slice_.mean, none, full))
