"""Total variation: the reconstruction that assumes patients are made of flat pieces.

    x̂ = argmin  ½ Σ w (y − A x)² + λ TV(x) ,      TV(x) = Σ_pixels |∇x|      (optionally x ≥ 0)

The classic answer to few views (Sidky & Pan, Phys. Med. Biol. 53, 4777, 2008), and here a baseline: a prior that knows
edges but no anatomy. Solved with the primal-dual method of Chambolle & Pock (J. Math. Imaging Vis. 40, 120,
2011) with the diagonal step sizes of Pock & Chambolle (ICCV 2011, α = 1), which need no operator norm: one
over the row and column sums.
"""

from __future__ import annotations

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement


def gradient(x: Tensor) -> Tensor:
    """Return forward differences along rows and columns, 0 at the far border.

    (..., H, W) → (2, ..., H, W), per pixel.
    """
    g = x.new_zeros(2, *x.shape)
    g[0, ..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    g[1, ..., :, :-1] = x[..., :, 1:] - x[..., :, :-1]
    return g


def gradient_transpose(g: Tensor) -> Tensor:
    """Return the exact transpose of :func:`gradient` (minus the divergence): (2, ..., H, W) → (..., H, W)."""
    x = torch.zeros_like(g[0])
    x[..., 1:, :] += g[0, ..., :-1, :]
    x[..., :-1, :] -= g[0, ..., :-1, :]
    x[..., :, 1:] += g[1, ..., :, :-1]
    x[..., :, :-1] -= g[1, ..., :, :-1]
    return x


def total_variation(x: Tensor) -> Tensor:
    """Return Σ |∇x| over the image, isotropic: (..., H, W) → (...)."""
    return gradient(x).square().sum(0).sqrt().sum((-2, -1))


def tv_reconstruction(
    measurement: Measurement,
    weight: float,
    n_iterations: int = 200,
    nonnegative: bool = True,
    x0: Tensor | None = None,
) -> Tensor:
    """Return argmin ½ Σ w (y − A x)² + weight · TV(x).

    Parameters
    ----------
    measurement : data (..., *range_shape), an operator on (H, W) images with non-negative entries (a
        projector), weights.
    weight : λ ≥ 0, in nats per unit of image intensity.
    n_iterations : iterations, each one A and one Aᵀ.
    nonnegative : whether x ≥ 0 is imposed.
    x0 : (..., H, W) start; zeros when None.

    Returns
    -------
    (..., H, W) reconstruction.

    Raises
    ------
    ConfigError : the weight is negative, or the operator does not act on images.
    """
    if not weight >= 0:
        raise ConfigError(f"A total-variation weight of {weight} is negative.", "Use 0 or a positive number.")
    A, y = measurement.A, measurement.y
    if len(A.domain_shape) != 2:
        raise ConfigError("Total variation is written for two-dimensional images.", "Reconstruct slice by slice.")
    with torch.no_grad():
        root = measurement.weights.sqrt().expand_as(y)  # work with √w A and √w y, whose noise is 1
        data = root * y
        lead = y.shape[: y.ndim - len(A.range_shape)]
        x = y.new_zeros(*lead, *A.domain_shape) if x0 is None else x0.clone()
        rows = root * A(torch.ones_like(x))
        columns = A.T(root)
        # Three scales must meet for the steps to be of use: columns of √w A, differences between pixels, and
        # the image itself.
        # beta brings the differences to the size of the projections, kappa (a typical grey value) the image
        # to the duals.
        beta = float(columns.mean()) / 4.0
        back_projected = A.T(root * data) / A.T(root * rows).clamp_min(1e-20)
        kappa = max(float(back_projected.abs().mean()), 1e-12)
        sigma_data = torch.where(rows > 0, 1.0 / rows.clamp_min(1e-20), 0.0) / kappa
        tau = kappa / (columns + 4.0 * beta)  # four differences touch a pixel
        sigma_gradient = 0.5 / (beta * kappa)  # two pixels make a difference
        p, q = torch.zeros_like(y), torch.zeros_like(gradient(x))
        ahead = x.clone()
        for _ in range(n_iterations):
            p = (p + sigma_data * (root * A(ahead) - data)) / (1.0 + sigma_data)
            q = q + sigma_gradient * beta * gradient(ahead)
            length = q.square().sum(0).sqrt()
            q = q * (weight / beta / length.clamp_min(1e-20)).clamp_max(1.0)
            step = x - tau * (A.T(root * p) + beta * gradient_transpose(q))
            if nonnegative:
                step = step.clamp_min(0.0)
            ahead, x = 2.0 * step - x, step
    return x
