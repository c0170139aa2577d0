"""A network of twice the channels that answers like a trained one, to go on learning from there.

Every channel becomes two alike, next to each other, so that groups of the normalisations, sums and concatenations stay
what they were. What reads a pair reads each with a weight of its own whose sum is the old weight: their difference is
drawn at random, and so the two soon learn different things.

    W'[2i + a, 2j + b] = W[i, j] / 2 ± δ_iaj        + for b = 0, − for b = 1

Heads of the attention are doubled as a whole, since a head's channels are a sum over which the softmax is taken. Of
the noise level's embedding, whose frequencies are a geometric series, every second one is the narrow network's.

References
----------
T. Chen, I. Goodfellow, J. Shlens: Net2Net: Accelerating learning via knowledge transfer. 2016, arXiv 1511.05641.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from KLIPCore.priors.unet import HEAD_CHANNELS, UNetConfig

SPREAD = 0.5
"""Standard deviation of δ, as a part of the root mean square of the halved weights."""

FIRST, LAST, EMBEDDING = "net.conv_in.conv.", "net.out.2.conv.", "net.time_embed.0.weight"
"""Layers that read the image, write the answer, and read the embedded noise level."""

HEADS = ("attn.to_q.", "attn.to_k.", "attn.to_v.")
"""Layers whose output is arranged in heads, and is read by :data:`AFTER_HEADS`."""

AFTER_HEADS = "attn.out_proj.weight"


def is_twice(wide: UNetConfig, narrow: UNetConfig) -> bool:
    """Return whether a network is another one with every channel doubled."""
    return wide == replace(narrow, channels=tuple(2 * n for n in narrow.channels), positions=wide.positions)


def widened(tensors: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Return the weights of the network of twice the channels.

    Parameters
    ----------
    tensors : weights of a :class:`KLIPCore.priors.unet.EDMUNet`, by name.
    seed : of the differences δ.
    """
    generator = torch.Generator().manual_seed(seed)
    return {name: _wide(name, tensor.float(), generator) for name, tensor in tensors.items()}


def _wide(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return one weight or bias."""
    if not name.startswith(LAST):
        tensor = _pairs(tensor, 0, HEAD_CHANNELS if any(part in name for part in HEADS) else 1)
    if tensor.ndim == 1 or name.startswith(FIRST):
        return tensor
    if name == EMBEDDING:
        return torch.stack((tensor, torch.zeros_like(tensor)), 2).flatten(1)
    block = HEAD_CHANNELS if name.endswith(AFTER_HEADS) else 1
    half = _pairs(tensor, 1, block) / 2
    delta = SPREAD * half.square().mean().sqrt() * torch.randn(tensor.shape, generator=generator)
    first = torch.arange(half.shape[1]) // block % 2 == 0
    sign = torch.where(first, 1.0, -1.0).view(1, -1, *[1] * (half.ndim - 2))
    return half + sign * _pairs(delta, 1, block)


def _pairs(tensor: Tensor, dim: int, block: int) -> Tensor:
    """Return ``tensor`` with every ``block`` of entries along ``dim`` twice, one after the other."""
    index = torch.arange(tensor.shape[dim]).view(-1, block).repeat_interleave(2, 0).flatten()
    return tensor.index_select(dim, index)
