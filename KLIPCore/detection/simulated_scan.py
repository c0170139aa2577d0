"""One slice, from measurement to trace: the expensive part, and all of it.

For every slice the same four steps, each seeded by (seed, slice) alone, so that the order of slices, an
interruption or another selection changes nothing:

1. simulate the scan from the loaded slice, on a finer grid, with noise;
2. draw posterior samples by warm-started DDS, recording the chain's whitened pushes (layer ``path``);
3. re-noise the samples at quadrature nodes, temperature 1 (layer ``renoised``);
4. re-noise their mean at a low temperature, antithetic noise (layer ``cold``, and its signs ``darker`` and
   ``brighter``).
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from KLIPCore.config import Config
from KLIPCore.detection.batching import Batches
from KLIPCore.detection.sample_slices import steps
from KLIPCore.detection.slice_record import SliceRecord, slice_generator
from KLIPCore.errors import Cancelled
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.physics.dose import WindowedCT
from KLIPCore.physics.measurement import Measurement, simulate
from KLIPCore.physics.noise import GaussianNoise, Noise
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.prior import Prior, as_images
from KLIPCore.volume.framed_study import FramedStudy
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam


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
    batches : how many images the network takes at once.
    halt : set from another thread, ends the work at the next evaluation.
    """

    config: Config
    prior: Prior
    A: Projector
    A_fine: Projector
    noise_sigma: float
    device: torch.device
    n_evaluations: int = 0
    batches: Batches = field(default_factory=Batches)
    halt: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def build(cls, config: Config, prior: Prior, pixel_mm: float, device: torch.device) -> Scanner:
        """Set up the projectors for frames with pixels of ``pixel_mm``."""
        card = prior.card
        image = ImageGrid2D((card.size, card.size), pixel_mm)
        geometry = scan_geometry(config, image)
        A = Projector(geometry, image)
        if config.sampling.preconditioned:
            A = A.preconditioned()
        A = A.to(device)
        A_fine = Projector(geometry, image.refined(config.measurement.finer))
        reference = (
            0.5 * card.body_fraction * card.size * pixel_mm
        )  # soft tissue (intensity 0.5) across a body's width
        return cls(config, prior, A, A_fine, config.measurement.noise * reference, device)

    def operator_for(self, study: FramedStudy) -> Projector:
        """Return A, without its closed form where a body of the study reaches beyond the disc of that form.

        Data correct nothing there.

        One answer for all slices of a study: their nats are compared with each other.
        """
        if self.A.closed_form is None or study.reach <= 0.5 * self.prior.card.size:
            return self.A
        made = copy.copy(self.A)
        made.closed_form = None
        return made

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """Return D(x, σ) of (..., H, W) images.

        Raises
        ------
        Cancelled : somebody set :attr:`halt`.
        """
        if self.halt.is_set():
            raise Cancelled("Stopped.")
        images, sigmas = as_images(x, sigma)
        self.n_evaluations += len(images)
        return self.batches.run(self.prior.denoise, images, sigmas).reshape(x.shape)

    def noise_model(self, body: Tensor) -> Noise:
        """Return the noise of a slice whose body mask is (H, W)."""
        photons = self.config.measurement.photons
        if photons is None:
            return GaussianNoise(self.noise_sigma)
        return WindowedCT.of_body(self.prior.card.window, self.A, body).noise(photons)


def scan_geometry(config: Config, image: ImageGrid2D) -> Geometry:
    """Return the simulated scanner's rays."""
    m = config.measurement
    if m.geometry == "fan":
        return FanBeam.sparse(m.n_views, image, arc_deg=m.arc)
    return ParallelBeam.sparse(m.n_views, image, arc_deg=m.arc)


def measure_slice(scanner: Scanner, study: FramedStudy, index: int, generator: torch.Generator) -> Measurement:
    """Simulate the scan of slice ``index``.

    A fresh ``slice_generator(seed, index)`` gives the very data that its trace is made from.
    """
    fine = torch.from_numpy(study.intensity(index, scanner.prior.card, factor=scanner.config.measurement.finer))
    noise = scanner.noise_model(torch.from_numpy(study.mask(index)).to(scanner.device))
    simulated = simulate(fine, scanner.A_fine, scanner.A.to("cpu"), noise.to("cpu"), generator).to(scanner.device)
    return Measurement(
        simulated.y,
        scanner.operator_for(study),
        noise=noise,
        simulated=True,
        description="simulated from the loaded volume",
    )


def trace_slice(scanner: Scanner, study: FramedStudy, index: int) -> SliceTrace:
    """Measure, sample and record slice ``index`` (counted from the feet).

    Returns
    -------
    the slice's trace; its ``info`` holds seconds, network evaluations, samples drawn, data misfit and PSNR
    against the loaded slice, and with ``stop_error`` the relative error of its block map.
    """
    return trace_slices(scanner, study, [index])[0]


def trace_slices(scanner: Scanner, study: FramedStudy, indices: Sequence[int]) -> list[SliceTrace]:
    """Measure, sample and record some slices at once: their images fill the network's batches together.

    Parameters
    ----------
    scanner : shared by all.
    study : the framed study.
    indices : slices, counted from the feet.

    Returns
    -------
    their traces, in order; each as :func:`trace_slice` makes it alone (up to rounding), with its share of the seconds.
    """
    started = time.monotonic()
    config, seed = scanner.config, scanner.config.sampling.seed
    slices = []
    for index in indices:
        generator = slice_generator(seed, index)
        slices.append(
            SliceRecord(
                config,
                index,
                measure_slice(scanner, study, index, generator),
                generator,
                window=scanner.prior.card.window,
            )
        )
    for step in steps(scanner.denoise, slices):
        step()
    seconds = (time.monotonic() - started) / len(slices)
    return [_trace(scanner, study, s, seconds) for s in slices]


def _trace(scanner: Scanner, study: FramedStudy, s: SliceRecord, seconds: float) -> SliceTrace:
    """The finished record of a slice as a trace."""
    mean = s.mean
    truth = torch.from_numpy(study.intensity(s.index, scanner.prior.card))
    error = float(((mean.cpu() - truth) ** 2).mean())
    misfit = float((s.measurement.weights * s.measurement.residual(mean).square()).mean())
    info = {
        "seconds": round(seconds, 3),
        "network_evaluations": s.n_evaluations,
        "samples": s.n_samples,
        "psnr_db": round(-10 * float(np.log10(max(error, 1e-12))), 2),
        "data_misfit": round(misfit, 3),
    }
    if s.relative_error is not None:
        info["block_error"] = round(s.relative_error, 4)
    return SliceTrace(s.index, s.layers(), mean.cpu().numpy(), info, s.pushes)
