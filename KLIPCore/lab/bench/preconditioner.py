"""Three ways to a proximal step, compared: plain conjugate gradients, a convolution that misleads, and the
scan's rotation average.

For a full parallel-beam scan AᵀA is nearly a convolution (with 1/r, so 1/|ω| in frequency), and a circulant
matrix with its transfer function, inverted by two FFTs, is the textbook preconditioner of  I + r² AᵀWA  (Clinthorne et
al., IEEE Trans. Med. Imaging 12, 78,
1993). At the levels that decide a KL map it is wrong where it matters: between the few sampled views AᵀA is
far smaller than the convolution claims. Among the *rays* no such gap exists. A D Aᵀ, averaged over the scan's
turns (:mod:`KLIPCore.physics.rotation`), is what guidance uses.

Each is compared with the exact minimum of its own problem: the last one holds the prior for certain outside a disc.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from KLIPCore.lab.bench.measure import timed
from KLIPCore.lab.bench.table import Section
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.rotation import disc
from KLIPCore.physics.solve import conjugate_gradients, preconditioned_iterations, proximal_step
from KLIPCore.sampling.guidance import prior_variance
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

N_ITERATIONS = 8
"""Plain ones, as in a proximal step."""

EXACT_ITERATIONS = 300
"""Of conjugate gradients, plain or preconditioned, in float64: the minimum that all are compared with."""


def transfer_function(A: Projector) -> Tensor:
    """Return the (H, W // 2 + 1) non-negative: the circulant matrix nearest AᵀA at the middle of the image."""
    h, w = A.domain_shape
    point = torch.zeros(h, w, dtype=A.dtype)
    point[h // 2, w // 2] = 1.0
    spread = A.T(A(point))
    return torch.fft.rfft2(torch.roll(spread, (-(h // 2), -(w // 2)), (0, 1))).real.clamp_min(0)


def preconditioned(
    apply: Callable[[Tensor], Tensor], b: Tensor, inverse: Callable[[Tensor], Tensor], n_iterations: int
) -> Tensor:
    """Return the solution for one (H, W) right-hand side by preconditioned conjugate gradients.

    See Saad, "Iterative methods", algorithm 9.1.
    """
    x, r = torch.zeros_like(b), b.clone()
    z = inverse(r)
    p, rz = z.clone(), (r * z).sum()
    for _ in range(n_iterations):
        m_p = apply(p)
        step = rz / (p * m_p).sum()
        x, r = x + step * p, r - step * m_p
        z = inverse(r)
        rz_next = (r * z).sum()
        p, rz = z + rz_next / rz * p, rz_next
    return x


def compare(n_views: int, size: int, sigma: float, noise: float = 0.002, prior_std: float = 0.12) -> dict[str, Any]:
    """Return relative errors of the correction inside the disc, and the time of plain and closed form.

    Corrections are as rough as a denoiser's.

    Parameters
    ----------
    n_views, size : parallel views over half a turn; side of the image in pixels of 1.5 mm.
    sigma : noise level of the chain; decides r.
    noise : σ_y as a fraction of a body's line integral.
    prior_std : σ_d.
    """
    grid = ImageGrid2D((size, size), 1.5)
    A = Projector(ParallelBeam.sparse(n_views, grid), grid, dtype=torch.float64)
    closed = A.preconditioned()
    inside = torch.from_numpy(disc(grid))
    model = GaussianNoise(noise * 0.5 * 0.875 * size * grid.pixel_mm)
    variance = prior_variance(sigma, prior_std)
    generator = torch.Generator().manual_seed(0)
    rough = torch.randn(2, size, size, generator=generator, dtype=torch.float64)
    truth = 0.1 * inside * torch.nn.functional.avg_pool2d(rough, 3, 1, 1)
    plain = Measurement(model.sample(A(truth), generator), A, noise=model, simulated=True)
    quick = replace(plain, A=closed)
    start = torch.zeros_like(truth)
    weight = variance / model.sigma**2
    few = preconditioned_iterations(quick, N_ITERATIONS)
    whole = conjugate_gradients(
        lambda d: d + weight * A.T(A(d)), weight * A.T(plain.y), EXACT_ITERATIONS, relative_tolerance=1e-4
    )
    in_disc = proximal_step(quick, start, variance, EXACT_ITERATIONS // 3)

    def error(x: Tensor, exact: Tensor) -> float:
        return float((inside * (x - exact)).norm() / (inside * exact).norm())

    single = Projector(A.geometry, grid)
    both = [replace(plain, y=plain.y.float(), A=operator) for operator in (single, single.preconditioned())]
    seconds = [
        timed(
            partial(proximal_step, m, start.float(), variance, preconditioned_iterations(m, N_ITERATIONS)), 0.3
        ).seconds
        for m in both
    ]
    return {
        "name": f"{n_views} views, r = {variance**0.5:.2f}",
        "views": n_views,
        "r": variance**0.5,
        "few": few,
        "plain": error(proximal_step(plain, start, variance, N_ITERATIONS), whole),
        "convolution": error(_by_convolution(plain, weight, N_ITERATIONS), whole),
        "rotation": error(proximal_step(quick, start, variance, few), in_disc),
        "plain_seconds": seconds[0],
        "rotation_seconds": seconds[1],
        "time_ratio": seconds[0] / seconds[1],
    }


def _by_convolution(measurement: Measurement, weight: float, n_iterations: int) -> Tensor:
    """The correction, preconditioned by the projector's transfer function."""
    A = measurement.A
    assert isinstance(A, Projector)
    denominator = 1 + weight * transfer_function(A)
    made = [
        preconditioned(
            lambda d: d + weight * A.T(A(d)),
            b,
            lambda d: torch.fft.irfft2(torch.fft.rfft2(d) / denominator, s=d.shape),
            n_iterations,
        )
        for b in weight * A.T(measurement.y)
    ]
    return torch.stack(made)


def preconditioner_section(size: int = 256, views: tuple[int, ...] = (24, 60)) -> Section:
    """Return the table, at a low and at a middle noise level."""
    rows = tuple(compare(n, size, sigma) for n in views for sigma in (0.03, 0.11))
    few = rows[0]["few"]
    note = (
        f"{N_ITERATIONS} iterations plain and with the convolution, {few} with the rotation average; two images, "
        "float32 where timed."
    )
    columns = ("plain", "convolution", "rotation", "plain_seconds", "rotation_seconds", "time_ratio")
    return Section("preconditioner", columns, rows, (note,), heading=f"relative error, {size}²")
