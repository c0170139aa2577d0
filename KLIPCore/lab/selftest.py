"""Does it compute the truth on *this* computer? Checks against known answers, on the user's own device, in
under a minute.

Installation can go wrong quietly: another torch build, another GPU, single precision where double was meant, a
damaged file of weights. So the checks are not whether code runs but whether numbers are right: scanner
operators against their transposes and closed-form line integrals, the KL in nats against its closed form,
samplers against an exact posterior, the shipped prior against its hash and against what a denoiser must do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from KLIPCore.errors import KlipError
from KLIPCore.kl.estimate import estimate_kl
from KLIPCore.kl.gaussian import GaussianKL
from KLIPCore.kl.path import path_kl
from KLIPCore.kl.quadrature import gauss_legendre_nodes
from KLIPCore.lab.benchmarks import inpainting, tomography
from KLIPCore.physics.ellipses import Ellipse, EllipsePhantom
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import proximal_step
from KLIPCore.priors.checkpoint import DEFAULT_PRIOR, load_prior
from KLIPCore.priors.gaussian import likelihood_score
from KLIPCore.priors.prior import denoiser
from KLIPCore.sampling.guidance import exact_guidance
from KLIPCore.sampling.reverse import reverse_transitions, seeded_noise
from KLIPCore.sampling.schedule import geometric
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam


class SelfTest(NamedTuple):
    """One check's outcome.

    Attributes
    ----------
    name : what was checked.
    passed : whether the numbers are right.
    detail : the numbers, or what went wrong and what to do.
    """

    name: str
    passed: bool
    detail: str


def run_selftest(device: torch.device | str = "cpu") -> list[SelfTest]:
    """Run every check on ``device``; a check that breaks is reported, not raised."""
    where = torch.device(device)
    return [_guarded(name, check, where) for name, check in CHECKS.items()]


def _guarded(name: str, check: Callable[[torch.device], tuple[bool, str]], device: torch.device) -> SelfTest:
    started = time.monotonic()
    try:
        passed, detail = check(device)
    except KlipError as error:
        passed, detail = False, f"{error.message} {error.remedy}"
    except Exception as error:  # whatever a broken installation raises is the finding
        passed, detail = False, f"{type(error).__name__}: {error}"
    return SelfTest(name, passed, f"{detail} ({time.monotonic() - started:.1f} s)")


def _exact(device: torch.device) -> torch.device:
    """Where double precision is to be had: the device itself, or the CPU for Apple's GPUs."""
    return torch.device("cpu") if device.type == "mps" else device


GRID = ImageGrid2D((96, 96), 2.0)
GEOMETRIES: dict[str, Geometry] = {"parallel": ParallelBeam.sparse(45, GRID), "fan": FanBeam.sparse(45, GRID)}


def _transpose(device: torch.device) -> tuple[bool, str]:
    worst = 0.0
    for geometry in GEOMETRIES.values():
        A = Projector(geometry, GRID).to(device)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, *A.domain_shape, generator=generator).to(device)
        y = torch.randn(2, *A.range_shape, generator=generator).to(device)
        ax, aty = A(x).cpu().double().flatten(1), A.T(y).cpu().double().flatten(1)
        x, y = x.cpu().double().flatten(1), y.cpu().double().flatten(1)
        error = ((ax * y).sum(1) - (x * aty).sum(1)).abs() / (ax.norm(dim=1) * y.norm(dim=1))
        worst = max(worst, float(error.max()))
    return worst < 1e-6, f"⟨Ax, y⟩ and ⟨x, Aᵀy⟩ differ by {worst:.1e} of their size"


def _line_integrals(device: torch.device) -> tuple[bool, str]:
    phantom = EllipsePhantom((Ellipse(1.0, 4.0, -6.0, 70.0, 50.0, 20.0), Ellipse(-0.5, -20.0, 10.0, 18.0, 12.0)))
    worst = 0.0
    for geometry in GEOMETRIES.values():
        fine = GRID.refined(2)
        image = torch.from_numpy(phantom.image(fine)).float()
        projected = Projector(geometry, fine).to(device)(image.to(device)).cpu().double()
        exact = torch.from_numpy(phantom.sinogram(geometry)).double()
        worst = max(worst, float((projected - exact).norm() / exact.norm()))
    return worst < 0.01, f"projections of ellipses differ from their closed form by {100 * worst:.2f} %"


def _proximal(device: torch.device) -> tuple[bool, str]:
    b = tomography(size=16, n_views=6)
    where = _exact(device)
    measurement = b.measurement.to(where)
    isotropic = torch.full((1, 16, 16), 0.5, dtype=torch.float64, device=where)
    found = proximal_step(measurement, isotropic, 0.04, 300).cpu().flatten()
    columns = b.measurement.A(torch.eye(256, dtype=torch.float64).reshape(256, 16, 16)).flatten(1)
    weights = float(b.measurement.weights)
    system = torch.eye(256, dtype=torch.float64) / 0.04 + weights * columns @ columns.T
    start = torch.full((256,), 0.5, dtype=torch.float64)
    exact = torch.linalg.solve(system, start / 0.04 + weights * columns @ b.measurement.y.flatten())
    error = float((found - exact).norm() / (exact - start).norm())
    return error < 1e-6, f"conjugate gradients and a dense solve differ by {error:.1e}"


def _quadrature(device: torch.device) -> tuple[bool, str]:
    b, where = inpainting(), _exact(device)
    prior, posterior = b.prior.to(where), b.posterior.to(where)
    exact = GaussianKL(b.posterior, b.prior)
    generator = torch.Generator().manual_seed(0)
    samples = b.posterior.sample(16, generator)[:, 0].to(where)
    nodes = gauss_legendre_nodes(24, 1e-3, 10.0)
    made = estimate_kl(samples, denoiser(prior), denoiser(posterior), nodes, generator, control_variate="stein")
    truth = exact.window(1e-3, 10.0)
    close = abs(made.nats - truth) < 4 * made.standard_error and made.standard_error < 0.01 * truth
    unseen = float(made.map[12:].abs().max())
    detail = (
        f"{made.nats:.2f} ± {made.standard_error:.2f} nats, closed form {truth:.2f}; {unseen:.0e} nats a pixel "
        "where nothing was measured"
    )
    return close and unseen < 1e-8, detail


def _chain(device: torch.device) -> tuple[bool, str]:
    b, where = inpainting(size=8, unseen_rows=2), _exact(device)
    prior, posterior = b.prior.to(where), b.posterior.to(where)
    guidance = exact_guidance(denoiser(prior), likelihood_score(prior, posterior))
    sigmas = [float(s) for s in geometric(2.0, 0.02, 100)]
    n = 400
    noise = seeded_noise((n, 8, 8), torch.Generator().manual_seed(0), torch.float64, where)
    start = posterior.sample(n, torch.Generator().manual_seed(1))[:, 0] + sigmas[0] * noise()
    path = path_kl(reverse_transitions(guidance, sigmas, start, noise))
    truth = GaussianKL(b.posterior, b.prior).window(sigmas[-1], sigmas[0])
    spread = (b.posterior.covariance.diagonal() + sigmas[-1] ** 2).sqrt()
    z = float(((path.final.cpu().mean(0).flatten() - b.posterior.mean.flatten()) / spread * math.sqrt(n)).abs().max())
    ratio = path.nats / truth
    return (
        0.97 < ratio < 1.10 and z < 5,
        f"a chain of 100 steps counts {path.nats:.1f} nats, closed form {truth:.1f}; its means are right to {z:.1f} "
        "standard errors in the worst of 64 pixels",
    )


def _seeds(device: torch.device) -> tuple[bool, str]:
    A = Projector(GEOMETRIES["parallel"], GRID).to(device)
    draws = [
        GaussianNoise(0.1).sample(A(torch.ones(GRID.shape, device=device)), torch.Generator().manual_seed(s)).cpu()
        for s in (1, 1, 2)
    ]
    same, other = torch.equal(draws[0], draws[1]), torch.equal(draws[0], draws[2])
    return (
        same and not other,
        "a seed gives the same scan twice, another seed another"
        if same and not other
        else "seeds do not decide the noise",
    )


def body_phantom(size: int) -> Tensor:
    """Return the (size, size) float32 a schematic abdominal slice in windowed intensity.

    Fat, wall, organs, aorta, spine.
    """
    grid = ImageGrid2D((size, size), 256.0 / size)
    ellipses = (
        Ellipse(0.06, 0.0, 0.0, 112.0, 80.0),  # fat
        Ellipse(0.36, 0.0, 0.0, 98.0, 67.0),  # soft tissue
        Ellipse(0.14, -45.0, -10.0, 42.0, 38.0),  # liver
        Ellipse(0.12, 58.0, 12.0, 22.0, 30.0),  # spleen
        Ellipse(0.3, 6.0, 22.0, 9.0, 9.0),  # aorta
        Ellipse(0.3, 0.0, 44.0, 18.0, 14.0),  # spine
    )
    return torch.from_numpy(EllipsePhantom(ellipses).image(grid)).float().clamp(0, 1)


def _shipped_prior(device: torch.device) -> tuple[bool, str]:
    prior = load_prior(DEFAULT_PRIOR, device)
    size = prior.card.size
    clean = body_phantom(size).to(device)
    sigmas = torch.tensor([0.02, 0.1, 0.3], device=device)
    z = torch.randn(3, 1, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    denoised = prior.denoise(clean + sigmas.view(-1, 1, 1, 1) * z, sigmas)
    error = (denoised - clean).square().mean((1, 2, 3)).sqrt().cpu() / sigmas.cpu()
    detail = f"{prior.card.name}, hash as on its card; noise of σ 0.02, 0.1, 0.3 is left at " + ", ".join(
        f"{100 * e:.0f} %" for e in error.tolist()
    )
    sane = (
        bool(torch.isfinite(denoised).all())
        and float(error[0]) < 0.9
        and float(error[1]) < 0.6
        and float(error[2]) < 0.4
    )
    if device.type != "cpu":
        there = load_prior(DEFAULT_PRIOR, "cpu").denoise((clean + sigmas.view(-1, 1, 1, 1) * z).cpu(), sigmas.cpu())
        difference = float((there - denoised.cpu()).square().mean().sqrt())
        sane = sane and difference < 0.01
        detail += f"; {difference:.1e} from the CPU's answer"
    return sane, detail


def _reconstruction(device: torch.device) -> tuple[bool, str]:
    """The whole of physics in single precision, as a run uses it: a scan of the phantom, inverted."""
    image = body_phantom(GRID.shape[0])
    A = Projector(ParallelBeam.sparse(120, GRID), GRID).to(device)
    noise = GaussianNoise(0.05)
    y = noise.sample(A(image.to(device)), torch.Generator().manual_seed(0))
    found = proximal_step(
        Measurement(y, A, noise=noise, simulated=True), torch.zeros_like(image, device=device)[None], 0.1, 40
    )[0].cpu()
    error = float((found - image).norm() / image.norm())
    return error < 0.1, f"120 noisy projections of a schematic abdomen are inverted to {100 * error:.1f} %"


CHECKS: dict[str, Callable[[torch.device], tuple[bool, str]]] = {
    "projector and its transpose": _transpose,
    "line integrals": _line_integrals,
    "proximal step": _proximal,
    "reconstruction": _reconstruction,
    "seeds": _seeds,
    "KL by quadrature": _quadrature,
    "KL along a chain": _chain,
    "shipped prior": _shipped_prior,
}
"""Every check by the name the user reads."""
