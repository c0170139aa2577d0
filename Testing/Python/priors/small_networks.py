"""Networks small enough for tests, with weights that make them do something."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def stirred(network: Network, seed: int = 0, spread: float = 0.15) -> Network:
    """The network with random weights everywhere: a fresh diffusion network's last convolutions are zero,
    and would hide every mistake.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = spread * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(
                1 + noise if "norm" in name.lower() and name.endswith("weight") and parameter.ndim == 1 else noise
            )
    return network.eval()
