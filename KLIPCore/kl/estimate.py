"""KL(posterior ‖ prior) in nats with a standard error, by re-noised quadrature.

:mod:`KLIPCore.kl.quadrature` derives KL = Σ_k w_k E‖a_k‖² with a = (D_post − D)/σ on posterior samples that are noised
afresh at every node. The sum over nodes is exact to many digits (the integrand is analytic in ln σ); what
remains is the noise of a few samples. Three things keep it small:

*Fresh noise at every node.* The noise then averages out over nodes as well as over samples. (One noise image
common to all nodes, the obvious economy, doubles the error on the benchmarks: its fluctuations add up
coherently along σ.)

*Antithetic pairs* z, −z: whatever is odd in the noise cancels, above all the cross term 2 E[a]·(a − E[a]).

*Stein's identity as a control variate* (:mod:`KLIPCore.kl.stein`): quantities of mean exactly zero, made from
the two denoisers, that take away nearly all that is left, and what is linear in the samples as well. They are
valid only if ``denoise_posterior`` is the true posterior denoiser of the law the samples come from; their mean
is reported as a test of just that.

On the benchmarks (8 samples, 20 nodes) the error of one run falls from 3 % without any of the three to 0.3–0.5
% (docs/method.md).

At temperature τ the states are x̂ + τ (x₀ + σ z − x̂): for a Gaussian the energy is then mean part + τ² ·
variance part, so τ = 1 is the KL, τ = 0 leaves the surprise alone, and lowering τ fades out what is merely
informative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.kl.quadrature import Nodes, antithetic_noise, gauss_legendre_nodes, renoised
from KLIPCore.kl.result import KLEstimate, NodeSums, per_sample
from KLIPCore.kl.stein import SteinControl, posterior_mean
from KLIPCore.maps.blocks import tile_nats
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.prior import Denoiser, Prior, denoiser
from KLIPCore.sampling.guidance import Guidance, guidance_by, prior_and_posterior

ControlVariate = Literal["none", "stein"]

MAP_NODES = gauss_legendre_nodes(8, 0.02, 1.0)
"""Quadrature rule of :func:`kl_map` unless told otherwise: the noise levels at which a prior of windowed
intensity knows anything.
"""


class _Counted:
    """A denoiser that counts the images it is given."""

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise, self.n_images = denoise, 0

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        self.n_images += len(x)
        return self.denoise(x, sigma)


@dataclass(frozen=True)
class EstimateOptions:
    """How the noise of an estimate is drawn, and what its control variate costs.

    Attributes
    ----------
    n_pairs : antithetic noise pairs per sample and node.
    n_probes, probe_spacing : rounds of probes of the control variate's divergence per state, and q: a round
        takes q² of them, each on every q-th pixel, and each costs two evaluations of the prior's denoiser and
        one of the posterior's.
    temperature : τ in [0, 1] (module docstring). The control variate needs τ = 1.
    common_noise : one noise image per sample for all nodes instead of fresh noise at each.

    Raises
    ------
    ConfigError : a temperature out of range, or no noise pair or probe at all.
    """

    n_pairs: int = 1
    n_probes: int = 1
    probe_spacing: int = 3
    temperature: float = 1.0
    common_noise: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 1 or self.n_pairs < 1 or self.n_probes < 1 or self.probe_spacing < 1:
            raise ConfigError(
                "Temperature must lie in [0, 1], and at least one noise pair and probe are needed.",
                "Use the defaults.",
            )


DEFAULT_OPTIONS = EstimateOptions()
"""Fresh noise in one antithetic pair per sample and node, at temperature 1."""


@dataclass(frozen=True)
class Accuracy:
    """When :func:`estimate_kl_to` is content.

    Attributes
    ----------
    relative_error : largest standard error, as a fraction of the estimate.
    n_nodes : nodes of the first estimate.
    n_nodes_max : nodes that are never exceeded.
    """

    relative_error: float = 0.01
    n_nodes: int = 8
    n_nodes_max: int = 128


ONE_PERCENT = Accuracy()
"""The accuracy unless told otherwise."""


def _check(samples: Tensor) -> None:
    if len(samples) < 2:
        raise ConfigError("A standard error needs at least two independent samples.", "Draw more posterior samples.")


def _antithetic(samples: Tensor, n_pairs: int, generator: torch.Generator) -> Tensor:
    """(n · 2 n_pairs, ...) noise in antithetic pairs, those of a sample side by side."""
    drawn = antithetic_noise(tuple(samples.shape), n_pairs, generator, samples.dtype)
    return drawn.to(samples.device).transpose(0, 1).flatten(0, 1)


def _center(
    samples: Tensor, denoise_posterior: Denoiser, nodes: Nodes, control_variate: ControlVariate, center: Tensor | None
) -> Tensor:
    """x̂ of :func:`estimate_kl`, of one sample's shape."""
    if center is not None:
        return center.to(samples)
    if control_variate == "stein":
        return posterior_mean(denoise_posterior, samples, float(nodes.edges[-1]))
    return samples.mean(0)


def estimate_kl(
    samples: Tensor,
    denoise_prior: Denoiser,
    denoise_posterior: Denoiser,
    nodes: Nodes,
    generator: torch.Generator,
    *,
    control_variate: ControlVariate = "none",
    center: Tensor | None = None,
    options: EstimateOptions = DEFAULT_OPTIONS,
) -> KLEstimate:
    """Estimate KL(p(x₀|y) ‖ p(x₀)), restricted to the nodes' σ interval, from independent posterior samples.

    Parameters
    ----------
    samples : (n, ...) posterior samples, n ≥ 2, independent of one another.
    denoise_prior : D(x, σ) of a batch.
    denoise_posterior : D_post(x, σ) = E[x₀ | x_σ, y], or an approximation of it (:mod:`KLIPCore.sampling.guidance`).
    nodes : quadrature rule in ln σ.
    generator : CPU random generator of the noise.
    control_variate : ``stein`` only when ``denoise_posterior`` is exact for the samples' law; ``none`` otherwise.
    center : x̂, of one sample's shape. For temperatures below 1 the samples' mean when None; for the control
        variate the *exact* posterior mean, which the posterior denoiser is asked for (at a very large σ) when None.
    options : noise, probes and temperature.

    Raises
    ------
    ConfigError : fewer than two samples, or a control variate at a temperature other than 1.
    """
    _check(samples)
    if control_variate == "stein" and options.temperature != 1:
        raise ConfigError(
            "Stein's identity holds for the posterior itself, at temperature 1.",
            "Use control_variate='none' below temperature 1.",
        )
    n, n_pairs, temperature = len(samples), options.n_pairs, options.temperature
    prior = _Counted(denoise_prior)
    middle = _center(samples, denoise_posterior, nodes, control_variate, center)

    def both(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        return prior(x, sigma), denoise_posterior(x, sigma)

    common = _antithetic(samples, n_pairs, generator) if options.common_noise else None

    def noise() -> Tensor:
        return _antithetic(samples, n_pairs, generator) if common is None else common

    points = (middle + temperature * (samples - middle)).repeat_interleave(2 * n_pairs, 0)
    sums = NodeSums(samples, nodes)
    for node in renoised(points, nodes, both, noise, temperature=temperature):
        zero = None
        if control_variate == "stein":
            control = SteinControl(prior, denoise_posterior, middle, node.sigma)
            zero = control.zero(
                node.states, node.prior_mean, node.posterior_mean, generator, options.n_probes, options.probe_spacing
            )
            zero = per_sample(zero, n) + control.linear(samples)
        sums.add(node, zero)
    return sums.estimate(prior.n_images)


def kl_map(
    samples: Tensor,
    prior: Prior,
    measurement: Measurement,
    *,
    nodes: Nodes | None = None,
    part: Literal["energy", "mean", "variance"] = "energy",
    guidance: str | Guidance = "dds",
    block_px: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Return the nats per pixel or block of what a measurement says of one image.

    KL(posterior ‖ prior), by :func:`estimate_kl`'s quadrature.

    Parameters
    ----------
    samples : (n, H, W) posterior samples, n ≥ 2, as :func:`KLIPCore.sampling.posterior.sample_posterior` returns them.
    prior : the prior they were drawn with, of single-channel images.
    measurement : the data, y without batch dimension.
    nodes : quadrature rule in ln σ, which is also the σ interval the nats are of; :data:`MAP_NODES` when None.
    part : ``energy`` for the whole KL; ``mean`` for the nats of the mean push, what the prior did not expect
        (de-biased, so it may be slightly negative where there is none); ``variance`` for the rest, what the
        measurement says whatever it shows.
    guidance : what stands for the posterior's denoiser: a name of :data:`KLIPCore.sampling.guidance.METHODS`,
        or a method made already.
    block_px : side of the blocks whose nats are added up, in pixels from 1 on.
    seed : of the noise.

    Returns
    -------
    (H, W) float64 nats per pixel on the CPU, or (⌈H / block⌉, ⌈W / block⌉) of blocks side by side. Their sum
    is the estimate of the KL.

    Raises
    ------
    ConfigError : fewer than two samples, an unknown part or method, or a block smaller than a pixel.
    """
    _check(samples)
    if part not in ("energy", "mean", "variance") or not block_px >= 1:
        raise ConfigError(
            f"There is no map of the part '{part}' in blocks of {block_px} pixels.",
            "Choose energy, mean or variance, and blocks from 1 pixel on.",
        )
    guide = guidance_by(guidance, denoiser(prior), measurement) if isinstance(guidance, str) else guidance
    rule = MAP_NODES if nodes is None else nodes
    generator = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return _antithetic(samples, 1, generator)

    sums = NodeSums(samples, rule)
    for node in renoised(samples.repeat_interleave(2, 0), rule, prior_and_posterior(guide), noise):
        sums.add(node, None)
    made = sums.estimate(2 * len(samples) * len(rule.sigma))
    nats = {"energy": made.map, "mean": made.mean_map, "variance": made.map - made.mean_map}[part]
    return nats if block_px == 1 else torch.from_numpy(tile_nats(nats[None].numpy(), block_px)[0]).double()


def estimate_kl_to(
    samples: Tensor,
    denoise_prior: Denoiser,
    denoise_posterior: Denoiser,
    interval: tuple[float, float],
    generator: torch.Generator,
    *,
    accuracy: Accuracy = ONE_PERCENT,
    control_variate: ControlVariate = "none",
    options: EstimateOptions = DEFAULT_OPTIONS,
) -> KLEstimate:
    """Estimate the KL of an interval of σ by :func:`estimate_kl`, with nodes doubled until it is accurate enough.

    It is, once the standard error is small enough and doubling the nodes changed nothing that the two standard
    errors do not explain (so that the quadrature itself has converged). More nodes average the noise but not the
    samples: if the largest number of nodes is reached first, the standard error that is returned says so, and
    only more samples help.

    Parameters
    ----------
    samples, denoise_prior, denoise_posterior, generator, control_variate, options : as in :func:`estimate_kl`.
    interval : lowest and highest σ, intensity units.
    accuracy : when to stop.

    Returns
    -------
    The last estimate.
    """
    previous: KLEstimate | None = None
    n_nodes = accuracy.n_nodes
    while True:
        made = estimate_kl(
            samples,
            denoise_prior,
            denoise_posterior,
            gauss_legendre_nodes(n_nodes, *interval),
            generator,
            control_variate=control_variate,
            options=options,
        )
        if previous is not None:
            settled = abs(made.nats - previous.nats) <= 2 * math.hypot(made.standard_error, previous.standard_error)
            if settled and made.standard_error <= accuracy.relative_error * abs(made.nats):
                return made
        if 2 * n_nodes > accuracy.n_nodes_max:
            return made
        previous, n_nodes = made, 2 * n_nodes
