"""How much of an image a scan measured at all: the diagonal of P = A⁺A, and the same for blocks.

Every image is the sum of a part that the scan sees, P x, and one that it cannot see, (1 − P) x: two images that
differ in the second alone give the same data. What a reconstruction shows of the second part comes from its
method, not from the patient. With the pseudo-inverse damped by λ, a fraction of ‖A‖²,

    P = Aᵀ (A Aᵀ + λ)⁻¹ A = (Aᵀ A + λ)⁻¹ Aᵀ A ,

and the *measured share* of a unit pattern u (a pixel, or the even block 1_B/√|B|) is uᵀ P u. It lies between 0 and 1,
and as λ → 0, where P is a projection, it is ‖P u‖² (Backus & Gilbert's resolution, Rodgers' averaging kernel).
The *null-space share* is what is left to 1. Singular values of A well below √λ count as not measured.

One solve answers one pattern. For all patterns at once, probes with random signs ε give an unbiased estimate,

    uᵢᵀ P uᵢ = E[ εᵢ uᵢᵀ P Σ_j ε_j u_j ] ,     variance Σ_{j≠i} (uᵢᵀ P u_j)² ,

(Hutchinson 1990), and patterns that lie apart may share a probe at little cost (Tang & Saad 2012): neighbours, whose
products are the largest, get probes of their own. On small images everything is written out and exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import LinearOperator
from KLIPCore.physics.solve import conjugate_gradients

DAMPING = 1e-4
"""λ as a part of ‖A‖²: singular values below a hundredth of the largest count for less than half."""

EXACT_PIXELS = 2048
"""Images of at most so many pixels are answered exactly."""


@dataclass(frozen=True, eq=False)
class Shares:
    """Measured shares of some patterns.

    Attributes
    ----------
    measured : the share of each, 0 to 1 up to the error.
    error : its standard error; 0 where it is exact up to the solver's tolerance.
    damping : λ as a part of ‖A‖².
    exact : whether nothing was estimated by probes.
    """

    measured: Tensor
    error: Tensor
    damping: float
    exact: bool

    @property
    def null_space(self) -> Tensor:
        """What the scan does not see of each: 1 − measured."""
        return 1.0 - self.measured


class RangeProjection:
    """P = (Aᵀ A + λ)⁻¹ Aᵀ A, applied by conjugate gradients.

    Parameters
    ----------
    A : the scan.
    damping : λ > 0 as a part of ‖A‖².
    tolerance : at which the solves end, relative to their right-hand sides.
    n_iterations : of each solve at most.

    Raises
    ------
    ConfigError : the damping is not positive.
    """

    def __init__(
        self, A: LinearOperator, damping: float = DAMPING, *, tolerance: float = 1e-4, n_iterations: int = 400
    ) -> None:
        if not 0 < damping < 1:
            raise ConfigError(f"A damping of {damping:g} is no part of the operator's square.", "Use 1e-8 to 1e-2.")
        self.A, self.damping, self.tolerance, self.n_iterations = A, damping, tolerance, n_iterations
        self.weight = damping * A.norm(tolerance=1e-2) ** 2

    def __call__(self, x: Tensor) -> Tensor:
        """P x for images x (B, *domain_shape)."""
        one = x.new_ones(())
        with torch.no_grad():
            return conjugate_gradients(
                lambda d: self.A.normal(d, one) + self.weight * d,
                self.A.normal(x, one),
                self.n_iterations,
                relative_tolerance=self.tolerance,
            )


def dense_projection(A: LinearOperator, damping: float = DAMPING) -> Tensor:
    """Return P written out, (n, n) float64, for images of few pixels.

    Parameters
    ----------
    A : the scan.
    damping : λ as a part of ‖A‖².
    """
    n = math.prod(A.domain_shape)
    device = A._device() or torch.device("cpu")
    units = torch.eye(n, dtype=torch.float64, device=device).reshape(n, *A.domain_shape)
    columns = A(units).reshape(n, -1)
    values, vectors = torch.linalg.eigh(columns @ columns.T)  # of Aᵀ A
    values = values.clamp_min(0.0)
    return (vectors * (values / (values + damping * values[-1]))) @ vectors.T


def pixel_shares(
    A: LinearOperator,
    damping: float = DAMPING,
    *,
    n_probes: int = 32,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Shares:
    """Measured share of every pixel.

    Parameters
    ----------
    A : the scan.
    damping : λ as a part of ‖A‖².
    n_probes : probes of random signs where the image is too large for an exact answer; 0 asks for the exact one.
    generator : CPU generator of the signs.
    dtype : of the arithmetic.

    Returns
    -------
    Shares of shape ``A.domain_shape``.
    """
    n = math.prod(A.domain_shape)
    if n <= EXACT_PIXELS or n_probes == 0:
        diagonal = dense_projection(A, damping).diagonal().reshape(A.domain_shape)
        return Shares(diagonal, torch.zeros_like(diagonal), damping, True)
    P = RangeProjection(A, damping)
    signs = _signs((n_probes, *A.domain_shape), generator, dtype).to(A._device() or "cpu")
    each = torch.cat([part * P(part) for part in signs.split(8)])
    return _estimate(each, damping)


def block_shares(
    A: LinearOperator,
    labels: Tensor,
    damping: float = DAMPING,
    *,
    colours: Tensor | None = None,
    n_rounds: int = 3,
    generator: torch.Generator | None = None,
) -> Shares:
    """Measured share of every block of a tiling, by probes.

    Parameters
    ----------
    A : the scan.
    labels : (*domain_shape) block of each pixel, 1 to K; 0 belongs to none.
    damping : λ as a part of ‖A‖².
    colours : (K,) blocks of one colour share a probe; None: all do.
    n_rounds : probes of each colour, at least 2.
    generator : CPU generator of the signs.

    Returns
    -------
    Shares of shape (K,).

    Raises
    ------
    ConfigError : fewer than two rounds, which leave no standard error.
    """
    if n_rounds < 2:
        raise ConfigError("A standard error needs at least two rounds of probes.", "Ask for n_rounds=2 or more.")
    k = int(labels.max())
    kind = torch.zeros(k, dtype=torch.int64) if colours is None else colours.to(torch.int64).cpu()
    flat = labels.flatten().to(torch.int64)
    size = torch.bincount(flat, minlength=k + 1)[1:].clamp_min(1).double()
    P = RangeProjection(A, damping)
    dtype = torch.float32 if A._device() is None or getattr(A, "dtype", None) != torch.float64 else torch.float64
    values = torch.zeros(n_rounds, k, dtype=torch.float64)
    for colour in kind.unique().tolist():
        signs = _signs((n_rounds, k), generator, torch.float64) * (kind == colour)
        unit = signs / size.sqrt()
        padded = torch.cat([torch.zeros(n_rounds, 1, dtype=torch.float64), unit], 1)
        probes = padded[:, flat].reshape(n_rounds, *labels.shape).to(dtype)
        seen = P(probes).flatten(1).double().cpu()
        summed = torch.zeros(n_rounds, k + 1, dtype=torch.float64).index_add_(1, flat.cpu(), seen)[:, 1:]
        values += summed * unit
    return _estimate(values, damping)


def mask_shares(A: LinearOperator, masks: Sequence[Tensor] | Tensor, damping: float = DAMPING) -> Shares:
    """Measured share 1_Bᵀ P 1_B / |B| of each of some masks, by one solve each; ‖P 1_B‖²/|B| as λ → 0.

    Parameters
    ----------
    A : the scan.
    masks : boolean images; an empty one has no share (NaN).
    damping : λ as a part of ‖A‖².

    Returns
    -------
    Shares of shape (number of masks,).
    """
    stack = torch.stack([mask.to(torch.bool) for mask in masks])
    dtype = torch.float64 if getattr(A, "dtype", None) == torch.float64 else torch.float32
    units = stack.to(dtype)
    if math.prod(A.domain_shape) <= EXACT_PIXELS:
        flat = units.flatten(1).double()
        seen = flat @ dense_projection(A, damping).to(flat.device)
    else:
        flat = units.flatten(1)
        P = RangeProjection(A, damping)
        seen = torch.cat([P(part) for part in units.split(8)]).flatten(1)
    shares = ((flat * seen).sum(1) / flat.sum(1)).double()
    return Shares(shares, torch.zeros_like(shares), damping, True)


def tiling(shape: tuple[int, int], edge: int, apart: int = 3) -> tuple[Tensor, Tensor]:
    """Square blocks side by side, and colours that keep neighbours out of one probe.

    Parameters
    ----------
    shape : (H, W) of the image.
    edge : of a block in pixels; those at the far rims may be smaller.
    apart : blocks of one colour are so many blocks apart.

    Returns
    -------
    labels (H, W) from 1, row by row, and colours (K,) from 0.
    """
    rows, columns = -(-shape[0] // edge), -(-shape[1] // edge)
    r, c = torch.arange(shape[0]) // edge, torch.arange(shape[1]) // edge
    labels = 1 + r[:, None] * columns + c[None, :]
    colour = (torch.arange(rows) % apart)[:, None] * apart + (torch.arange(columns) % apart)[None, :]
    return labels, colour.flatten()


def _signs(shape: tuple[int, ...], generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator).to(dtype) * 2 - 1


def _estimate(each: Tensor, damping: float) -> Shares:
    """Mean and standard error over the first dimension."""
    return Shares(each.mean(0), each.std(0) / math.sqrt(len(each)), damping, False)
