"""One slice, from measurement to trace: the expensive part, and all of it.

For every slice the same five steps, each seeded by (seed, slice) alone, so that the order of slices, an interruption or
another selection changes nothing:

1. simulate the scan from the loaded slice, on a finer grid, with noise;
2. draw posterior samples by warm-started DDS, recording the chain's whitened pushes (layer ``path``);
3. re-noise the samples at quadrature nodes, temperature 1 (layer ``renoised``);
4. re-noise their mean at a low temperature, antithetic noise (layer ``cold``, and its signs ``darker`` and ``brighter``);
5. if asked for, do 1 to 4 with a twin: what the prior makes of the reconstruction when left alone (layers ``twin-…``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.config import Config
from KLIPCore.framing import FramedStudy
from KLIPCore.kl.accumulate import LayerSum
from KLIPCore.kl.quadrature import antithetic_noise, gauss_legendre_nodes, whitened_push
from KLIPCore.kl.signed import SignedSum, per_information
from KLIPCore.kl.trace import Layer, SliceTrace
from KLIPCore.physics.dose import WindowedCT
from KLIPCore.physics.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam
from KLIPCore.physics.measurement import Measurement, simulate
from KLIPCore.physics.noise import GaussianNoise, Noise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import proximal_step
from KLIPCore.priors.prior import Prior
from KLIPCore.sampling.dds import dds_transitions, prior_variance, unguided_sample, warm_start
from KLIPCore.sampling.schedule import geometric

N_PATH_BINS = 8
"""σ bins of the ``path`` layer, even in ln σ between the chain's first and last level."""

QUICK_CG_ITERATIONS = 12
"""Iterations of the least-squares reconstruction that the chain starts from."""

SIGNS = {"darker": -1, "brighter": 1}
"""Layers that keep one sign of the cold layer's pushes."""

TWIN_SIGMA = 0.3
"""Level from which the prior runs back alone to make a twin: high enough to forget a lesion, low enough to keep the organs."""


@dataclass
class Scanner:
    """The simulated scanner and the prior, shared by all slices.

    Attributes
    ----------
    config : the run's settings.
    prior : the denoiser.
    A, A_fine : projectors on the reconstruction's and on the finer simulation grid.
    noise_sigma : σ_y of Gaussian noise in intensity·mm.
    device : where it all runs.
    n_evaluations : network evaluations (images) so far.
    """

    config: Config
    prior: Prior
    A: Projector
    A_fine: Projector
    noise_sigma: float
    device: torch.device
    n_evaluations: int = 0

    @classmethod
    def build(cls, config: Config, prior: Prior, pixel_mm: float, device: torch.device) -> Scanner:
        """Set up the projectors for frames with pixels of ``pixel_mm``."""
        card = prior.card
        image = ImageGrid2D((card.size, card.size), pixel_mm)
        geometry = scan_geometry(config, image)
        A = Projector(geometry, image).to(device)
        A_fine = Projector(geometry, image.refined(config.measurement.finer))
        reference = 0.5 * card.body_fraction * card.size * pixel_mm  # soft tissue (intensity 0.5) across a body's width
        return cls(config, prior, A, A_fine, config.measurement.noise * reference, device)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """D(x, σ) of (B, H, W) images."""
        self.n_evaluations += len(x)
        return self.prior.denoise(x[:, None], torch.full((len(x),), float(sigma), device=x.device))[:, 0]

    def noise_model(self, body: Tensor) -> Noise:
        """The noise of a slice whose body mask is (H, W)."""
        photons = self.config.measurement.photons
        if photons is None:
            return GaussianNoise(self.noise_sigma)
        return WindowedCT.of_body(self.prior.card.window, self.A, body).noise(photons)


def scan_geometry(config: Config, image: ImageGrid2D) -> Geometry:
    """The simulated scanner's rays."""
    m = config.measurement
    if m.geometry == "fan":
        return FanBeam.sparse(m.n_views, image, arc_deg=m.arc)
    return ParallelBeam.sparse(m.n_views, image, arc_deg=m.arc)


def slice_generator(seed: int, index: int, purpose: int = 0) -> torch.Generator:
    """The random generator of one slice: depends on nothing but its arguments."""
    mixed = np.random.SeedSequence([seed, index, purpose]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(mixed[0]) << 32 | int(mixed[1]))


def measure_slice(scanner: Scanner, study: FramedStudy, index: int, generator: torch.Generator) -> Measurement:
    """Simulate the scan of slice ``index``; a fresh ``slice_generator(seed, index)`` gives the very data that its trace is made from."""
    fine = torch.from_numpy(study.intensity(index, scanner.prior.card, factor=scanner.config.measurement.finer))
    noise = scanner.noise_model(torch.from_numpy(study.mask(index)).to(scanner.device))
    simulated = simulate(fine, scanner.A_fine, scanner.A.to("cpu"), noise.to("cpu"), generator).to(scanner.device)
    return Measurement(simulated.y, scanner.A, noise, True, "simulated from the loaded volume")


def trace_slice(scanner: Scanner, study: FramedStudy, index: int, twin: bool = False) -> SliceTrace:
    """Measure, sample and record slice ``index`` (counted from the feet).

    Returns
    -------
    the slice's trace; its ``info`` holds seconds, network evaluations, data misfit and PSNR against the loaded slice.
    """
    started, before = time.monotonic(), scanner.n_evaluations
    config = scanner.config
    generator = slice_generator(config.sampling.seed, index)
    truth = torch.from_numpy(study.intensity(index, scanner.prior.card))
    measurement = measure_slice(scanner, study, index, generator)
    layers, reconstruction = _record(scanner, measurement, generator)
    if twin:
        again = slice_generator(config.sampling.seed, index, purpose=1)
        healthy = _twin(scanner, reconstruction, again)
        noise = measurement.noise
        y = noise.sample(scanner.A(healthy), again)
        of_twin, _ = _record(scanner, Measurement(y, scanner.A, noise, True, "twin"), again)
        layers |= {f"twin-{name}": layer for name, layer in of_twin.items()}
    error = float(((reconstruction.cpu() - truth) ** 2).mean())
    misfit = float((measurement.weights * measurement.residual(reconstruction).square()).mean())
    info = {
        "seconds": round(time.monotonic() - started, 3),
        "network_evaluations": scanner.n_evaluations - before,
        "psnr_db": round(-10 * float(np.log10(max(error, 1e-12))), 2),
        "data_misfit": round(misfit, 3),
    }
    return SliceTrace(index, layers, reconstruction.cpu().numpy(), info)


def trace_measurement(scanner: Scanner, measurement: Measurement, index: int = 0) -> SliceTrace:
    """Sample and record data that a real scanner measured: steps 2 to 4, with nothing simulated.

    Parameters
    ----------
    scanner : its projector is ``measurement.A``.
    measurement : in windowed intensity · mm.
    index : slice number, which with the run's seed decides all randomness.
    """
    started, before = time.monotonic(), scanner.n_evaluations
    layers, reconstruction = _record(scanner, measurement, slice_generator(scanner.config.sampling.seed, index))
    misfit = float((measurement.weights * measurement.residual(reconstruction).square()).mean())
    info = {
        "seconds": round(time.monotonic() - started, 3),
        "network_evaluations": scanner.n_evaluations - before,
        "data_misfit": round(misfit, 3),
    }
    return SliceTrace(index, layers, reconstruction.cpu().numpy(), info)


def path_edges(config: Config) -> NDArray[np.float64]:
    """(N_PATH_BINS + 1,) rising σ bin edges of the ``path`` layer."""
    return np.geomspace(config.sampling.sigma_end, config.sampling.sigma_start, N_PATH_BINS + 1)


def _record(scanner: Scanner, measurement: Measurement, generator: torch.Generator) -> tuple[dict[str, Layer], Tensor]:
    """Steps 2 to 4: layers and posterior mean (H, W)."""
    config, card, device = scanner.config, scanner.prior.card, scanner.device
    s, r = config.sampling, config.record
    shape = (s.n_samples, card.size, card.size)

    def noise() -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    sums: dict[str, LayerSum] = {}
    signs = {name: sign for name, sign in SIGNS.items() if name in r.layers}
    if "path" in r.layers or signs:  # the signs are measured against the chain's information
        sums["path"] = LayerSum("path", path_edges(config), card.size, r.cell)
    _, x = warm_start(measurement, s.sigma_start, QUICK_CG_ITERATIONS, noise())
    repeated = Measurement(measurement.y.expand(s.n_samples, *measurement.y.shape), measurement.A, measurement.noise, measurement.simulated)
    samples = x
    for step in dds_transitions(scanner.denoise, repeated, list(geometric(s.sigma_start, s.sigma_end, s.n_steps)), x, s.prior_std, s.cg_iterations, noise):
        samples = step.denoised
        if "path" in sums:
            sums["path"].add((step.sigma_from * step.sigma_to) ** 0.5, step.whitened_push())
    mean = samples.mean(0)

    nodes = gauss_legendre_nodes(r.n_nodes, r.sigma_lo, r.sigma_hi)
    if "renoised" in r.layers:
        sums["renoised"] = LayerSum("renoised", nodes.edges, card.size, r.cell)
        for sigma, weight in zip(nodes.sigma, nodes.weight, strict=True):
            prior_mean = scanner.denoise(samples + sigma * noise(), sigma)  # fresh noise a node: common noise doubles the error of the sum
            posterior_mean = proximal_step(repeated, prior_mean, prior_variance(float(sigma), s.prior_std), s.cg_iterations)
            sums["renoised"].add(float(sigma), whitened_push(posterior_mean, prior_mean, float(sigma), float(weight)))
    signed = {name: SignedSum(name, sign, nodes.edges, card.size, r.cell) for name, sign in signs.items()}
    if "cold" in r.layers or signs:
        sums["cold"] = LayerSum("cold", nodes.edges, card.size, r.cell)
        n_pairs = r.n_pairs if r.temperature > 0 else 1
        z = antithetic_noise(shape[1:], n_pairs, generator).to(device) if r.temperature > 0 else torch.zeros(2, *shape[1:], device=device)[:1]
        for sigma, weight in zip(nodes.sigma, nodes.weight, strict=True):
            prior_mean = scanner.denoise(mean + r.temperature * float(sigma) * z, float(sigma))
            push = whitened_push(mean.expand_as(prior_mean), prior_mean, float(sigma), float(weight))
            sums["cold"].add(float(sigma), push, antithetic=len(z) > 1)
            for total in signed.values():
                total.add(float(sigma), push)
    layers = {name: s.layer() for name, s in sums.items()}
    if signed:
        weight = per_information(layers["path"], r.cell)
        layers |= {name: total.layer(weight) for name, total in signed.items()}
    return {name: layers[name] for name in r.layers}, mean


def _twin(scanner: Scanner, reconstruction: Tensor, generator: torch.Generator) -> Tensor:
    """(H, W) what the prior makes of a reconstruction, left alone from a middle noise level."""
    s = scanner.config.sampling

    def noise() -> Tensor:
        return torch.randn(1, *reconstruction.shape, generator=generator).to(reconstruction.device)

    sigmas = list(geometric(TWIN_SIGMA, s.sigma_end, s.n_steps))
    return unguided_sample(scanner.denoise, sigmas, reconstruction[None] + TWIN_SIGMA * noise(), noise)[0]
