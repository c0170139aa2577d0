"""Linear measurement operators: A, its exact transpose, and what every one of them must satisfy.

A CT scan, a blur, an undersampled Fourier transform are all ``y = A x + noise``. Samplers only ever need ``A(x)`` and
``A.T(y)``, and everything built on them (conjugate gradients, gradients of the likelihood) is right only if
the second is the *exact* transpose of the first, ``⟨A x, y⟩ = ⟨x, Aᵀ y⟩``, in the arithmetic actually used.
Every operator is handed to the same laws in ``Testing/Python/laws.py``.

Operators act on batches: leading dimensions are kept, trailing ones are ``domain_shape`` or ``range_shape``.

They compose as on paper: ``A @ B`` applies B first, ``A + B``, ``A - B``, ``-A`` and ``2 * A`` are what they
say, ``A.T`` is the transpose (and ``A.H`` the same: spaces are real, complex numbers two channels),
``A.norm()`` the largest singular value. What comes out is an operator like any other, its transpose as exact
as those of its parts.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.rows import RowMatrix


class ClosedForm(Protocol):
    """(I + c A D Aᵀ)⁻¹ of an operator, or nearly, for D pixels of which it holds."""

    support: Tensor
    """(H, W) D: 1 where it holds, 0 elsewhere."""

    def solve(self, y: Tensor, c: Tensor | float) -> Tensor:
        """Return the (I + c A D Aᵀ)⁻¹ y for y (..., *range_shape) and c that broadcasts to it."""
        ...


class LinearOperator(ABC):
    """A matched pair ``A`` and ``Aᵀ``, inside torch autograd.

    Attributes
    ----------
    domain_shape : trailing shape of x, e.g. ``(H, W)``.
    range_shape : trailing shape of y, e.g. ``(n_views, n_detectors)``.
    closed_form : of A D Aᵀ, where the operator has one and was asked for it; proximal steps use it.
    """

    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]
    closed_form: ClosedForm | None = None
    __array_ufunc__ = None  # numpy's numbers leave products with an operator to it

    @abstractmethod
    def _apply(self, x: Tensor) -> Tensor:
        """A on (B, *domain_shape) → (B, *range_shape), outside autograd."""

    @abstractmethod
    def _apply_transpose(self, y: Tensor) -> Tensor:
        """Aᵀ on (B, *range_shape) → (B, *domain_shape), outside autograd."""

    def __call__(self, x: Tensor) -> Tensor:
        """A x for x of shape (..., *domain_shape); differentiable, its gradient being Aᵀ.

        Raises
        ------
        ConfigError : the trailing shape is not ``domain_shape``.
        """
        return _batched(self, x, self.domain_shape, self.range_shape, transpose=False)

    def normal(self, x: Tensor, w: Tensor) -> Tensor:
        """Return Aᵀ (w · A x) for x of shape (..., *domain_shape) and weights that broadcast to A x.

        Operators that can do it in one go override this.
        """
        return self.T(w * self(x))

    @property
    def T(self) -> LinearOperator:  # noqa: N802  (the mathematical symbol)
        """The transpose, itself an operator."""
        return Transpose(self)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        """The adjoint: the transpose, because every space here is real."""
        return self.T

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        """Return a B, which applies B first.

        Raises
        ------
        ConfigError : B's range is not A's domain.
        """
        return Product(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __add__(self, other: LinearOperator) -> LinearOperator:
        """Return a + B.

        Raises
        ------
        ConfigError : the two have other domains or ranges.
        """
        return Sum(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        """Return a − B; errors as for the sum."""
        return Sum(self, Scaled(-1.0, other)) if isinstance(other, LinearOperator) else NotImplemented

    def __mul__(self, factor: float) -> LinearOperator:
        """Return c A for a real number c."""
        return Scaled(float(factor), self) if isinstance(factor, Real) else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> LinearOperator:
        return Scaled(-1.0, self)

    def norm(self, *, tolerance: float = 1e-3, max_iterations: int = 1000, seed: int = 0) -> float:
        """Return ‖A‖, the largest singular value, by the power method on AᵀA.

        Parameters
        ----------
        tolerance : stop at a unit vector v with ‖AᵀA v − λ v‖ ≤ tolerance · λ, λ = ‖A v‖². √λ is never above
            ‖A‖, and AᵀA has an eigenvalue within ``tolerance`` · λ: ‖A‖ itself, but for a start without any
            part in its direction.
        max_iterations : products with A and Aᵀ at most.
        seed : of the random start.

        Raises
        ------
        ConfigError : not accurate enough after so many iterations.
        """
        start = torch.randn(self.domain_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        v = (start / start.norm()).to(self._device() or "cpu")
        for _ in range(max_iterations):
            w = self.T(self(v))
            value = float((v * w).sum())
            if float((w - value * v).norm()) <= tolerance * value or value == 0:
                return math.sqrt(value)
            v = w / w.norm()
        raise ConfigError(
            f"The norm of {self!r} is not known to {tolerance:g} after {max_iterations} iterations.",
            "Allow more iterations, or a larger tolerance.",
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({size_text(self.domain_shape)} to {size_text(self.range_shape)})"

    def _device(self) -> torch.device | None:
        """Where its tensors lie; None where it has none."""
        for value in vars(self).values():
            found = (
                value._device()
                if isinstance(value, LinearOperator | RowMatrix)
                else value.device
                if isinstance(value, Tensor)
                else None
            )
            if found is not None:
                return found
        return None

    def to(self, device: torch.device | str) -> Self:
        """Return the same operator with its tensors, and those of the operators it is made of, on another device."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor | LinearOperator | RowMatrix):
                setattr(moved, name, value.to(device))
        return moved


class Transpose(LinearOperator):
    """Aᵀ as an operator: :attr:`LinearOperator.T`."""

    def __init__(self, operator: LinearOperator) -> None:
        self.operator = operator
        self.domain_shape, self.range_shape = operator.range_shape, operator.domain_shape

    def _apply(self, x: Tensor) -> Tensor:
        return self.operator._apply_transpose(x)

    def _apply_transpose(self, y: Tensor) -> Tensor:
        return self.operator._apply(y)

    @property
    def T(self) -> LinearOperator:  # noqa: N802
        """The operator this is the transpose of."""
        return self.operator

    def __repr__(self) -> str:
        return (
            f"({self.operator!r}).T" if isinstance(self.operator, Product | Sum | Scaled) else f"{self.operator!r}.T"
        )


class Product(LinearOperator):
    """A B: B first, then A."""

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        if tuple(first.domain_shape) != tuple(second.range_shape):
            raise ConfigError(
                f"{first!r} cannot follow {second!r}: it takes {size_text(first.domain_shape)}, not "
                f"{size_text(second.range_shape)}.",
                "In A @ B the range of B must be the domain of A.",
            )
        self.first, self.second = first, second
        self.domain_shape, self.range_shape = second.domain_shape, first.range_shape

    def _apply(self, x: Tensor) -> Tensor:
        return self.first._apply(self.second._apply(x))

    def _apply_transpose(self, y: Tensor) -> Tensor:
        return self.second._apply_transpose(self.first._apply_transpose(y))

    def __repr__(self) -> str:
        return " @ ".join(
            f"({part!r})" if isinstance(part, Sum | Scaled) else repr(part) for part in (self.first, self.second)
        )


class Sum(LinearOperator):
    """A + B."""

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        if (tuple(first.domain_shape), tuple(first.range_shape)) != (
            tuple(second.domain_shape),
            tuple(second.range_shape),
        ):
            raise ConfigError(
                f"{first!r} and {second!r} have other domains or ranges and no sum.",
                "Add operators between the same two spaces.",
            )
        self.first, self.second = first, second
        self.domain_shape, self.range_shape = first.domain_shape, first.range_shape

    def _apply(self, x: Tensor) -> Tensor:
        return self.first._apply(x) + self.second._apply(x)

    def _apply_transpose(self, y: Tensor) -> Tensor:
        return self.first._apply_transpose(y) + self.second._apply_transpose(y)

    def __repr__(self) -> str:
        return f"{self.first!r} + {self.second!r}"


class Scaled(LinearOperator):
    """c A for a real number c."""

    def __init__(self, factor: float, operator: LinearOperator) -> None:
        self.factor, self.operator = factor, operator
        self.domain_shape, self.range_shape = operator.domain_shape, operator.range_shape

    def _apply(self, x: Tensor) -> Tensor:
        return self.factor * self.operator._apply(x)

    def _apply_transpose(self, y: Tensor) -> Tensor:
        return self.factor * self.operator._apply_transpose(y)

    def __repr__(self) -> str:
        return f"{self.factor:g} * {f'({self.operator!r})' if isinstance(self.operator, Sum) else repr(self.operator)}"


def size_text(shape: tuple[int, ...]) -> str:
    """Return a shape for people: ``256 x 256``."""
    return " x ".join(str(n) for n in shape)


class _Apply(torch.autograd.Function):
    """Forward A, backward Aᵀ: reconciles an operator with autograd once, for all of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: LinearOperator, transpose: bool) -> Tensor:
        ctx.operator, ctx.transpose = operator, transpose
        return operator._apply_transpose(x) if transpose else operator._apply(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _Apply.apply(grads[0].contiguous(), ctx.operator, not ctx.transpose), None, None


def _batched(
    operator: LinearOperator, x: Tensor, domain: tuple[int, ...], rng: tuple[int, ...], transpose: bool
) -> Tensor:
    n = len(domain)
    if tuple(x.shape[-n:]) != tuple(domain):
        raise ConfigError(
            f"{type(operator).__name__} takes arrays ending in {tuple(domain)}, not {tuple(x.shape)}.",
            "Use data of this operator's geometry.",
        )
    lead = x.shape[:-n]
    if 0 in lead:
        return x.new_zeros(*lead, *rng)
    flat = x.reshape(-1, *domain)
    return _Apply.apply(flat, operator, transpose).reshape(*lead, *rng)
