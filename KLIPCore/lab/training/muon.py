"""Muon: momentum whose steps are made orthogonal, for the convolutions and matrices of a network.

A gradient step moves a few directions of a weight matrix a lot and most of them hardly. Muon replaces the momentum
of each matrix by the nearest matrix with orthonormal rows or columns, so that all directions move alike; a network
learns in a fraction of AdamW's steps. A convolution counts as the matrix (output channels, everything else). What is
no matrix (norms, biases), and the first and last layer, stays with AdamW.

References
----------
K. Jordan et al.: Muon: An optimizer for hidden layers in neural networks. 2024.
J. Liu et al.: Muon is scalable for LLM training. 2025, arXiv 2502.16982. (the scale of a step)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from KLIPCore.priors.unet import DTYPES, usual_precision

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration, chosen for a steep slope at zero (Jordan et al.)."""

ITERATIONS = 5
MOMENTUM = 0.95

BETAS = (0.9, 0.99)
"""Of AdamW, alone or for what is no hidden matrix."""

STEP_RMS = 0.2
"""Root mean square of a step's entries before the learning rate: that of AdamW's, so that one rate fits both."""


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return the nearest matrix with orthonormal rows or columns, roughly: its singular values lie in 0.7 … 1.2.

    Parameters
    ----------
    matrix : (m, n).
    """
    a, b, c = NEWTON_SCHULZ
    working = DTYPES[usual_precision(matrix.device)]  # it needs no digits, and is much faster for wide layers
    x = (matrix / (matrix.norm() + 1e-7)).to(working)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return (wide if x.shape[0] <= x.shape[1] else wide.T).to(matrix.dtype)


def is_hidden_matrix(name: str, weight: Tensor) -> bool:
    """Return whether Muon moves a weight: a matrix or convolution that is neither the first nor the last layer."""
    return weight.ndim >= 2 and "conv_in" not in name and not name.startswith("net.out")


class Muon(torch.optim.AdamW):
    """AdamW whose hidden matrices move by Muon, with one learning rate and one state.

    Parameters
    ----------
    network : whose weights are moved.
    lr : learning rate of both.
    """

    def __init__(self, network: nn.Module, lr: float) -> None:
        super().__init__(network.parameters(), lr, betas=BETAS)
        self.hidden = {p for name, p in network.named_parameters() if is_hidden_matrix(name, p)}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight once."""
        gradients = {}
        for group in self.param_groups:
            for p in group["params"]:
                if p in self.hidden and p.grad is not None:
                    self._move(p, group["lr"], group["weight_decay"])
                    gradients[p], p.grad = p.grad, None  # AdamW leaves it alone
        super().step()
        for p, gradient in gradients.items():
            p.grad = gradient

    def _move(self, p: Tensor, lr: float, weight_decay: float) -> None:
        """Take the step of one matrix."""
        state = self.state[p]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        state["step"] += 1
        assert p.grad is not None
        state["exp_avg"].mul_(MOMENTUM).add_(p.grad)
        ahead = (p.grad + MOMENTUM * state["exp_avg"]).reshape(len(p), -1)
        size = STEP_RMS * max(ahead.shape) ** 0.5
        p.mul_(1 - lr * weight_decay).sub_(orthogonalised(ahead).reshape(p.shape), alpha=lr * size)
