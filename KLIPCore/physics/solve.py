"""Linear solves with an operator and its transpose: conjugate gradients, and the two problems built on them.

The measurement enters a diffusion sampler as a small, well-posed problem (docs/method.md, "Guidance"; Chung et al.,
"Decomposed diffusion sampling", ICLR 2024): given the prior's estimate x̂₀ with uncertainty r²,

    x̂ = argmin ‖x − x̂₀‖² / (2 r²) + ½ Σ w (y − A x)²        ⇔        (I + r² Aᵀ W A)(x̂ − x̂₀) = r² Aᵀ W (y − A x̂₀) .

It is symmetric and positive definite, so conjugate gradients solve it with one A and one Aᵀ an iteration and nothing
is differentiated through. Everything is batched; each sample has its own step sizes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import ClosedForm
from KLIPCore.physics.measurement import Measurement

ITERATIONS_SAVED = 4
"""Plain iterations that one preconditioned one stands for: cheaper, and at 60 views nearer the minimum, too
(docs/performance.md has the figures).
"""

ROUNDING = 8.0
"""A residual below so many units of rounding is noise; a further step would follow it into A's null space."""


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    n_iterations: int,
    x0: Tensor | None = None,
    *,
    batch_dims: int = 1,
    relative_tolerance: float = 0.0,
) -> Tensor:
    """Solve M x = b for a symmetric positive definite M (Hestenes & Stiefel 1952), samples independent of one another.

    Parameters
    ----------
    apply : M, acting on tensors of b's shape, each sample by itself.
    b : right-hand sides; the first ``batch_dims`` dimensions count samples.
    n_iterations : iterations, each one ``apply``.
    x0 : start; zeros when None (which saves one ``apply``).
    batch_dims : number of leading dimensions that are samples.
    relative_tolerance : a sample stays as it is once its ‖b − M x‖ is at most this part of ‖b‖.

    Returns
    -------
    x of b's shape. A sample whose residual has vanished stays as it is.
    """
    if n_iterations < 0:
        raise ConfigError(f"{n_iterations} iterations cannot be done.", "Ask for a whole number of at least 0.")

    def dot(u: Tensor, v: Tensor) -> Tensor:
        product = torch.linalg.vecdot(u.flatten(batch_dims), v.flatten(batch_dims))
        return product.reshape(*b.shape[:batch_dims], *([1] * (b.ndim - batch_dims)))

    x = torch.zeros_like(b) if x0 is None else x0.clone()
    r = b.clone() if x0 is None else b - apply(x)
    p = r.clone()
    rr = dot(r, r)
    enough = relative_tolerance**2 * dot(b, b)
    for i in range(n_iterations):
        if relative_tolerance > 0 and bool((rr <= enough).all()):
            break
        m_p = apply(p)
        curvature = dot(p, m_p)
        alive = (rr > enough) & (curvature > 0)  # 0/0 once a sample has converged exactly
        step = torch.where(alive, rr / torch.where(alive, curvature, 1.0), 0.0)
        x = torch.addcmul(x, step, p)
        if i + 1 == n_iterations:
            break
        r = torch.addcmul(r, step, m_p, value=-1)
        rr_next = dot(r, r)
        p = torch.addcmul(r, torch.where(alive, rr_next / torch.where(alive, rr, 1.0), 0.0), p)
        rr = rr_next
    return x


def _batch_dims(measurement: Measurement, x: Tensor) -> int:
    return x.ndim - len(measurement.A.domain_shape)


def has_closed_form(measurement: Measurement) -> bool:
    """Return whether its proximal steps start from one: the operator has it, and one weight holds for all data."""
    return measurement.A.closed_form is not None and measurement.weights.numel() == 1


def preconditioned_iterations(measurement: Measurement, n_plain: int) -> int:
    """Return how many iterations of :func:`proximal_step` do for a measurement what ``n_plain`` plain ones do.

    Parameters
    ----------
    measurement : data, operator and weights.
    n_plain : iterations without a closed form.

    Returns
    -------
    ``n_plain`` itself, or a quarter of it (:data:`ITERATIONS_SAVED`), one at least, where proximal steps start
    from a closed form.
    """
    return max(1, round(n_plain / ITERATIONS_SAVED)) if has_closed_form(measurement) else n_plain


def proximal_step(measurement: Measurement, x_hat: Tensor, r2: float | Tensor, n_iterations: int = 8) -> Tensor:
    """Return argmin ‖x − x̂‖²/(2 r²) + ½ Σ w (y − A x)², by conjugate gradients from x̂ (DDS).

    With a preconditioned projector (:meth:`KLIPCore.physics.projector.Projector.preconditioned`) and one
    weight for all data the problem is solved in data space, from a closed form that is nearly right;
    :func:`preconditioned_iterations` says how few iterations that takes. Then the prior counts as certain
    outside the disc that the closed form is of: pixels there stay as they are.

    Parameters
    ----------
    measurement : data, operator and weights.
    x_hat : (..., *domain_shape) the prior's estimates.
    r2 : variance r² > 0 of the prior's estimates: a number, or one per sample of x̂'s first dimension(s).
    n_iterations : iterations, all of which are done; more approach the exact minimum. Measured on a chain's
        own corrections, 60 parallel views of 256² and σ_y = 0.2 % of a body's line integral: 8 plain ones
        leave 18 % of the correction undone at r = 0.11 (11 % of what is coarser than 4 pixels), 9 % at r =
        0.03; 2 preconditioned ones leave 8 % (2 %) and 5 %, at a third of the cost.

    Returns
    -------
    x of x̂'s shape and type.

    Raises
    ------
    ConfigError : a variance that is not positive, or a negative number of iterations.
    """
    if n_iterations < 0:
        raise ConfigError(f"{n_iterations} iterations cannot be done.", "Ask for a whole number of at least 0.")
    variance = torch.as_tensor(r2, dtype=x_hat.dtype, device=x_hat.device)
    if not bool((variance > 0).all()):
        raise ConfigError("The prior's variance r² must be positive.", "Use σ² σ_d² / (σ² + σ_d²) of the noise level.")
    variance = variance.reshape(*variance.shape, *([1] * (x_hat.ndim - variance.ndim)))
    A, w = measurement.A, measurement.weights
    with torch.no_grad():
        if A.closed_form is not None and has_closed_form(measurement):
            return x_hat + _correction(measurement, x_hat, variance, A.closed_form, n_iterations)
        b = variance * A.T(w * measurement.residual(x_hat))
        return x_hat + conjugate_gradients(
            lambda d: d + variance * A.normal(d, w), b, n_iterations, batch_dims=_batch_dims(measurement, x_hat)
        )


def _correction(
    measurement: Measurement, x_hat: Tensor, variance: Tensor, closed_form: ClosedForm, n_iterations: int
) -> Tensor:
    """c D Aᵀ z with (I + c A D Aᵀ) z = y − A x̂, c = r² w, by conjugate gradients preconditioned by A's closed form.

    (Saad, "Iterative methods for sparse linear systems", algorithm 9.1.) Iteration by iteration the correction
    itself is added up, because D Aᵀ of the direction is at hand; curvature is its norm, ⟨p, p⟩ + c ‖D Aᵀ p‖²,
    so that the last iteration needs no A.
    """
    A, support = measurement.A, closed_form.support.to(x_hat.dtype)
    c = variance * measurement.weights.reshape(())

    def dot(u: Tensor, v: Tensor) -> Tensor:
        product = torch.linalg.vecdot(u.flatten(-2), v.flatten(-2))
        return product[..., None, None]

    r = measurement.residual(x_hat)
    q = closed_form.solve(r, c)
    p, rq = q, dot(r, q)
    made = torch.zeros_like(x_hat)
    for i in range(n_iterations):
        back = A.T(p).mul_(support)
        curvature = dot(p, p) + c * dot(back, back)
        step = torch.where(
            curvature > 0, rq / torch.where(curvature > 0, curvature, 1.0), 0.0
        )  # 0/0 once a sample has converged exactly
        made = torch.addcmul(made, c * step, back)
        if i + 1 == n_iterations:
            break
        r = r - step * (p + c * A(back))
        q = closed_form.solve(r, c)
        rq_next = dot(r, q)
        p = torch.addcmul(q, torch.where(rq > 0, rq_next / torch.where(rq > 0, rq, 1.0), 0.0), p)
        rq = rq_next
    return made


def least_squares(
    measurement: Measurement, n_iterations: int = 20, damping: float = 0.0, x0: Tensor | None = None
) -> Tensor:
    """Return argmin ½ Σ w (y − A x)² + ½ damping ‖x‖², by conjugate gradients on the normal equations.

    Stopped early it is a regularised reconstruction: few iterations give smooth images, many fit the noise.

    Parameters
    ----------
    measurement : data (..., *range_shape), operator and weights.
    n_iterations : iterations.
    damping : Tikhonov weight, in the unit of Aᵀ W A.
    x0 : (..., *domain_shape) start; zeros when None.

    Returns
    -------
    x (..., *domain_shape).
    """
    if damping < 0:
        raise ConfigError(f"A damping of {damping} is negative.", "Use 0 or a positive number.")
    A, w, y = measurement.A, measurement.weights, measurement.y
    with torch.no_grad():
        b = A.T(w * y)
        return conjugate_gradients(
            lambda d: A.normal(d, w) + damping * d,
            b,
            n_iterations,
            x0,
            batch_dims=b.ndim - len(A.domain_shape),
            relative_tolerance=ROUNDING * torch.finfo(b.dtype).eps,
        )
