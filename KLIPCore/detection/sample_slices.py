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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from KLIPCore.config import LARGE_LAYERS
from KLIPCore.detection.slice_record import HYPERDENSE, HYPODENSE, SliceRecord, large_sum
from KLIPCore.kl.accumulate import LayerSum
from KLIPCore.kl.push_sum import PushSum
from KLIPCore.kl.quadrature import antithetic_noise, gauss_legendre_nodes, renoised
from KLIPCore.kl.signed import SignedSum
from KLIPCore.kl.stopping import group_sizes
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import Noise
from KLIPCore.physics.solve import preconditioned_iterations
from KLIPCore.priors.prior import Denoiser
from KLIPCore.sampling.dds import dds_transitions, warm_start
from KLIPCore.sampling.guidance import prior_and_posterior, proximal_guidance
from KLIPCore.sampling.schedule import geometric

QUICK_CG_ITERATIONS = 12
"""Iterations of the least-squares reconstruction that the chain starts from."""


def steps(denoise: Denoiser, slices: Sequence[SliceRecord]) -> Iterator[Callable[[], None]]:
    """Yield what samples some slices of one run and one scanner, and records all layers that are asked for.

    Parameters
    ----------
    denoise : the prior, on (..., H, W).
    slices : as they were made; filled by the steps.

    Yields
    ------
    One step after the other, each to be called before the next is asked for: which slices need more samples is
    known only then.
    """
    config = slices[0].config
    sizes = group_sizes(config.sampling.n_samples)
    if config.sampling.stop_error > 0:
        open_slices = list(slices)
        for group in range(len(sizes)):
            yield partial(_draw, denoise, open_slices, range(group, group + 1))
            open_slices = [s for s in open_slices if not s.known]
            if not open_slices:
                break
    else:
        yield partial(_draw, denoise, slices, range(len(sizes)))
    if "renoised" in config.record.layers:
        for _, same in groupby(
            sorted(slices, key=lambda s: s.n_samples), key=lambda s: s.n_samples
        ):  # only equal numbers stack
            yield partial(_renoise, denoise, list(same))
    if config.record.cooled:
        yield partial(_cool, denoise, slices)


@dataclass(frozen=True, eq=False)
class StackedNoise:
    """The noise of some slices, stacked as their data are: y (..., S, n_views, n_detectors).

    Attributes
    ----------
    noises : one a slice.
    """

    noises: tuple[Noise, ...]

    def sample(self, y_clean: Tensor, generator: torch.Generator) -> Tensor:
        """Return each slice's noisy measurement."""
        return torch.stack([noise.sample(y_clean[..., s, :, :], generator) for s, noise in enumerate(self.noises)], -3)

    def inverse_variance(self, y: Tensor) -> Tensor:
        """Return each slice's weights, of y's shape."""
        return torch.stack(
            [
                noise.inverse_variance(y[..., s, :, :]).expand(y[..., s, :, :].shape)
                for s, noise in enumerate(self.noises)
            ],
            -3,
        )

    def to(self, device: torch.device | str) -> StackedNoise:
        """Return the same on another device."""
        return StackedNoise(tuple(noise.to(device) for noise in self.noises))


def together(measurements: Sequence[Measurement]) -> Measurement:
    """Return measurements of some slices by one scanner as one, y (S, n_views, n_detectors)."""
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
        denoise, repeated, levels, x, noise, prior_std=s.prior_std, cg_iterations=n_iterations
    ):
        samples = step.denoised
        if "path" in slices[0].sums or slices[0].errors is not None:
            push, sigma = step.whitened_push(), (step.sigma_from * step.sigma_to) ** 0.5
            for place, slice_ in enumerate(slices):
                slice_.add_to_path(sigma, push[:, place])
    for place, slice_ in enumerate(slices):
        slice_.n_evaluations += n * s.n_steps
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
    both = prior_and_posterior(proximal_guidance(denoise, repeated, s.prior_std, n_iterations))
    for node in renoised(samples, nodes, both, lambda: _stacked_noise(slices, len(samples))):
        push = node.whitened()
        for place, slice_ in enumerate(slices):
            slice_.n_evaluations += len(samples)
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
        slice_.signed |= {name: large_sum(slice_, name) for name in (HYPODENSE, HYPERDENSE) if name in r.layers}
        if "pushes" in r.layers:
            slice_.push_sum = PushSum(slice_.mean)
    mean = torch.stack([slice_.mean for slice_ in slices])
    if r.temperature > 0:
        z = torch.stack(
            [antithetic_noise((slice_.size, slice_.size), r.n_pairs, slice_.generator) for slice_ in slices], 1
        ).to(device)
    else:
        z = mean.new_zeros(1, *mean.shape)

    def both(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The prior's denoiser, and the mean for the posterior's."""
        prior_mean = denoise(x, sigma)
        return prior_mean, mean.expand_as(prior_mean)

    for node in renoised(mean, nodes, both, lambda: z, temperature=r.temperature):
        push = node.whitened()
        for place, slice_ in enumerate(slices):
            slice_.n_evaluations += len(z)
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
                slice_.n_evaluations += len(z)
                if slice_.push_sum is not None:
                    slice_.push_sum.add(node.sigma, node.prior_mean[:, place])
                for name in LARGE_LAYERS:
                    if name in slice_.signed:
                        slice_.signed[name].add(node.sigma, push[:, place])
