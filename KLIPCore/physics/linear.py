"""Linear measurement operators: A, its exact transpose, and what every one of them must satisfy.

A CT scan, a blur, an undersampled Fourier transform are all ``y = A x + noise``. Samplers only ever need ``A(x)`` and
``A.T(y)``, and everything built on them (conjugate gradients, gradients of the likelihood) is right only if
the second is the *exact* transpose of the first, ``⟨A x, y⟩ = ⟨x, Aᵀ y⟩``, in the arithmetic actually used.
Every operator is handed to the same laws in ``Testing/Python/laws.py``.

Operators act on batches: leading dimensions are kept, trailing ones are ``domain_shape`` or ``range_shape``.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
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
        """(I + c A D Aᵀ)⁻¹ y for y (..., *range_shape) and c that broadcasts to it."""
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
        """Aᵀ (w · A x) for x of shape (..., *domain_shape) and weights that broadcast to A x; operators that
        can do it in one go override this.
        """
        return self.T(w * self(x))

    @property
    def T(self) -> LinearOperator:  # noqa: N802  (the mathematical symbol)
        """The transpose, itself an operator."""
        return Transpose(self)

    def to(self, device: torch.device | str) -> Self:
        """The same operator with its tensors, and those of the operators it is made of, on another device."""
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
