"""A preconditioner that does not help where it is needed: the proximal step solved in the Fourier domain first.

For a full parallel-beam scan AᵀA is nearly a convolution (with 1/r, so 1/|ω| in frequency), and a circulant matrix with its transfer
function, inverted by two FFTs, is the textbook preconditioner of  I + r² AᵀWA  (Clinthorne et al., IEEE Trans. Med. Imaging 12, 78,
1993). At low noise levels, where r is small, it is good. At the levels that decide a KL map it is wrong where it matters: between the
few sampled views AᵀA is far smaller than the convolution claims, the matrix there is not what it is divided by, and the first iterations go
astray. Measured here at equal iterations against plain conjugate gradients, so that nobody has to wonder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from KLIPCore.bench.table import Section
from KLIPCore.physics.geometry import ImageGrid2D, ParallelBeam
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import conjugate_gradients
from KLIPCore.sampling.dds import prior_variance

N_ITERATIONS = 8
"""Of both, as in a proximal step."""

EXACT_ITERATIONS = 300
"""Of plain conjugate gradients in float64: the solution that both are compared with."""


def transfer_function(A: Projector) -> Tensor:
    """(H, W // 2 + 1) non-negative: the circulant matrix nearest AᵀA at the middle of the image."""
    h, w = A.domain_shape
    point = torch.zeros(h, w, dtype=A.dtype)
    point[h // 2, w // 2] = 1.0
    spread = A.T(A(point))
    return torch.fft.rfft2(torch.roll(spread, (-(h // 2), -(w // 2)), (0, 1))).real.clamp_min(0)


def preconditioned(apply: Callable[[Tensor], Tensor], b: Tensor, inverse: Callable[[Tensor], Tensor], n_iterations: int) -> Tensor:
    """Preconditioned conjugate gradients for one (H, W) right-hand side (Saad, "Iterative methods", algorithm 9.1)."""
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
    """Relative errors of the correction after :data:`N_ITERATIONS`, plain and preconditioned, for a correction that is white noise.

    Parameters
    ----------
    n_views, size : parallel views over half a turn; side of the image in pixels of 1.5 mm.
    sigma : noise level of the chain; decides r.
    noise : σ_y as a fraction of a body's line integral.
    prior_std : σ_d.
    """
    grid = ImageGrid2D((size, size), 1.5)
    A = Projector(ParallelBeam.sparse(n_views, grid), grid, dtype=torch.float64)
    weight = prior_variance(sigma, prior_std) / (noise * 0.5 * 0.875 * size * grid.pixel_mm) ** 2
    difference = 0.05 * torch.randn(size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    b = weight * A.T(A(difference))

    def matrix(d: Tensor) -> Tensor:
        return d + weight * A.T(A(d))

    denominator = 1 + weight * transfer_function(A)

    def inverse(d: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(d) / denominator, s=d.shape)

    exact = conjugate_gradients(matrix, b, EXACT_ITERATIONS, batch_dims=0, relative_tolerance=1e-4)
    plain = conjugate_gradients(matrix, b, N_ITERATIONS, batch_dims=0)
    fourier = preconditioned(matrix, b, inverse, N_ITERATIONS)
    r = prior_variance(sigma, prior_std) ** 0.5
    errors = {"plain": float((plain - exact).norm() / exact.norm()), "preconditioned": float((fourier - exact).norm() / exact.norm())}
    return {"name": f"{n_views} views, r = {r:.2f}", "views": n_views, "r": r, **errors}


def preconditioner_section(size: int = 256, views: tuple[int, ...] = (24, 60)) -> Section:
    """The table of the negative result, at a low and at a middle noise level."""
    rows = tuple(compare(n, size, sigma) for n in views for sigma in (0.03, 0.11))
    return Section("preconditioner", ("plain", "preconditioned"), rows, heading=f"relative error after {N_ITERATIONS} iterations, {size}²")
