"""Posterior samples from a prior and a measurement, in one call.

What the other modules of this package offer in parts, put together as ``klip detect`` does: a quick
reconstruction plus noise at the first level, ancestral steps down a schedule of noise levels
(:func:`KLIPCore.sampling.reverse.reverse_transitions`, σ_d = 0), each guided by the measurement
(:mod:`KLIPCore.sampling.guidance`). The last step's posterior mean is the sample.

    prior = load_prior()
    grid = ImageGrid2D((256, 256), 1.45)
    A = Projector(ParallelBeam.sparse(60, grid), grid)
    measurement = Measurement(y, A, noise=GaussianNoise(0.8), simulated=False)
    samples = sample_posterior(prior, measurement, n_samples=4)
    nats = kl_map(samples, prior, measurement)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.solve import preconditioned_iterations
from KLIPCore.priors.prior import Prior, denoiser
from KLIPCore.sampling.dds import warm_start
from KLIPCore.sampling.guidance import PRIOR_STD, Guidance, guidance_by
from KLIPCore.sampling.reverse import falling, reverse_transitions, seeded_noise
from KLIPCore.sampling.schedule import geometric
from KLIPCore.sampling.transition import Transition

SIGMA_START, SIGMA_END, N_STEPS = 0.4, 0.01, 10
"""The schedule unless told otherwise: ten steps, even in ln σ, from where a CT reconstruction of some sixty
views leaves off.
"""

QUICK_ITERATIONS = 12
"""Plain conjugate-gradient iterations of the reconstruction that the chain starts from."""


@overload
def sample_posterior(
    prior: Prior,
    measurement: Measurement,
    *,
    n_samples: int = ...,
    sigmas: Sequence[float] | None = ...,
    guidance: str | Guidance = ...,
    prior_std: float = ...,
    seed: int = ...,
    return_transitions: Literal[False] = ...,
) -> Tensor: ...


@overload
def sample_posterior(
    prior: Prior,
    measurement: Measurement,
    *,
    n_samples: int = ...,
    sigmas: Sequence[float] | None = ...,
    guidance: str | Guidance = ...,
    prior_std: float = ...,
    seed: int = ...,
    return_transitions: Literal[True],
) -> tuple[Tensor, list[Transition]]: ...


def sample_posterior(
    prior: Prior,
    measurement: Measurement,
    *,
    n_samples: int = 4,
    sigmas: Sequence[float] | None = None,
    guidance: str | Guidance = "dds",
    prior_std: float = PRIOR_STD,
    seed: int = 0,
    return_transitions: bool = False,
) -> Tensor | tuple[Tensor, list[Transition]]:
    """Draw independent samples of p(x₀ | y).

    Parameters
    ----------
    prior : of single-channel images of the operator's domain (H, W).
    measurement : the data, y without batch dimension.
    n_samples : samples, drawn together.
    sigmas : falling noise levels, intensity units, such as those of :mod:`KLIPCore.sampling.schedule`; ten
        from 0.4 to 0.01 when None. The first must lie well above what the measurement leaves open (a pixel
        that no datum sees starts at 0), the last below what is of interest.
    guidance : a name of :data:`KLIPCore.sampling.guidance.METHODS` (``dds``, ``pigdm``, ``projection``,
        ``dps``), or a method made already.
    prior_std : σ_d, local spread of clean images, of a method given by name.
    seed : decides every sample, on every device.
    return_transitions : whether the chain's steps are returned, too: what :func:`KLIPCore.kl.path.path_kl` adds up.

    Returns
    -------
    samples : (n_samples, H, W) on the measurement's device, of its type.
    transitions : where asked for, one :class:`~KLIPCore.sampling.transition.Transition` a step.

    Raises
    ------
    ConfigError : no samples, an operator on something else than (H, W), several measurements at once, levels
        that do not fall, or an unknown method.
    """
    y, A = measurement.y, measurement.A
    if n_samples < 1:
        raise ConfigError(f"{n_samples} samples cannot be drawn.", "Ask for at least one.")
    if len(A.domain_shape) != 2 or tuple(y.shape) != tuple(A.range_shape):
        raise ConfigError(
            f"Data of shape {tuple(y.shape)} by {A!r} are not one measurement of one image.",
            "Give one y of the operator's range, and an operator on (H, W).",
        )
    levels = falling(geometric(SIGMA_START, SIGMA_END, N_STEPS).tolist() if sigmas is None else sigmas)
    guide = guidance_by(guidance, denoiser(prior), measurement, prior_std) if isinstance(guidance, str) else guidance
    noise = seeded_noise((n_samples, *A.domain_shape), torch.Generator().manual_seed(seed), y.dtype, y.device)
    start = warm_start(measurement, levels[0], preconditioned_iterations(measurement, QUICK_ITERATIONS), noise())[1]
    samples, transitions = start, []
    for step in reverse_transitions(guide, levels, start, noise, data_std=0.0):
        samples = step.denoised
        if return_transitions:
            transitions.append(step)
    return (samples, transitions) if return_transitions else samples
