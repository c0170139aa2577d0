"""The laws every linear operator must satisfy, written once.

A new operator is tested by adding a factory to ``OPERATORS`` in ``physics/test_operators.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from KLIPCore.physics.linear import LinearOperator

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Relative to ‖A x‖ ‖y‖; single precision loses about √n · 2⁻²⁴ in a dot product of n terms."""


def random_pair(
    A: LinearOperator, dtype: torch.dtype, batch: tuple[int, ...] = (2,), seed: int = 0
) -> tuple[Tensor, Tensor]:
    """x (*batch, *domain) and y (*batch, *range), standard normal."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*batch, *A.domain_shape, generator=generator, dtype=dtype)
    return x, torch.randn(*batch, *A.range_shape, generator=generator, dtype=dtype)


def adjoint_error(A: LinearOperator, dtype: torch.dtype, seed: int = 0) -> float:
    """max over a batch of |⟨A x, y⟩ − ⟨x, Aᵀ y⟩| / (‖A x‖ ‖y‖), sums in float64."""
    x, y = random_pair(A, dtype, seed=seed)
    ax, aty = A(x).double().flatten(1), A.T(y).double().flatten(1)
    x, y = x.double().flatten(1), y.double().flatten(1)
    return float((((ax * y).sum(1) - (x * aty).sum(1)).abs() / (ax.norm(dim=1) * y.norm(dim=1))).max())


def check_adjoint(A: LinearOperator, dtype: torch.dtype) -> None:
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩."""
    for seed in range(3):
        assert adjoint_error(A, dtype, seed) <= TOLERANCE[dtype]


def check_linear(A: LinearOperator, dtype: torch.dtype) -> None:
    """A(a x + b x') = a A x + b A x', and A 0 = 0."""
    for operator in (A, A.T):
        (x, _), (x2, _) = random_pair(operator, dtype), random_pair(operator, dtype, seed=1)
        left, right = operator(2.5 * x - 0.75 * x2), 2.5 * operator(x) - 0.75 * operator(x2)
        assert float((left - right).norm()) <= 10 * TOLERANCE[dtype] * max(float(right.norm()), 1e-30)
        assert float(operator(x).norm()) > 0  # an operator that gives nothing would pass everything else
        assert torch.count_nonzero(operator(torch.zeros_like(x))) == 0


def check_shapes(A: LinearOperator, dtype: torch.dtype) -> None:
    """Leading dimensions are kept, none at all included; type and input are kept too."""
    for operator in (A, A.T):
        for batch in ((), (1,), (3,), (2, 1), (0,)):
            x, y = random_pair(operator, dtype, batch)
            before = x.clone()
            result = operator(x)
            assert result.shape == y.shape
            assert result.dtype == dtype
            assert torch.equal(x, before)
    assert A.T.T is A


def check_batching(A: LinearOperator, dtype: torch.dtype) -> None:
    """A batch gives what its members give one by one."""
    for operator in (A, A.T):
        x, _ = random_pair(operator, dtype, (3,))
        together, alone = operator(x), torch.stack([operator(member) for member in x])
        assert float((together - alone).norm()) <= 10 * TOLERANCE[dtype] * float(alone.norm())


def check_gradient(A: LinearOperator, dtype: torch.dtype) -> None:
    """The gradient of ½‖A x − y‖² is Aᵀ(A x − y), and gradients can be differentiated again."""
    x, y = random_pair(A, dtype)
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(0.5 * (A(x) - y).square().sum(), x, create_graph=True)
    expected = A.T(A(x.detach()) - y)
    assert float((gradient.detach() - expected).norm()) <= 10 * TOLERANCE[dtype] * float(expected.norm())
    direction = torch.ones_like(x)
    (second,) = torch.autograd.grad((gradient * direction).sum(), x)
    hessian = A.T(A(direction))
    assert float((second - hessian).norm()) <= 10 * TOLERANCE[dtype] * float(hessian.norm())


ALL_LAWS = (check_adjoint, check_linear, check_shapes, check_batching, check_gradient)
