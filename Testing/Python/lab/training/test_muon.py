"""Muon: what it makes of a matrix, which weights it moves, and by how much."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_config
from torch import nn

from KLIPCore.errors import ConfigError
from KLIPCore.lab.training.muon import STEP_RMS, Muon, is_hidden_matrix, orthogonalised
from KLIPCore.priors.networks import build_network
from KLIPCore.priors.unet import UNetConfig


@pytest.mark.parametrize("shape", [(24, 216), (64, 16), (32, 32)])
def test_a_matrix_becomes_nearly_orthogonal_and_keeps_its_directions(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    s = torch.linalg.svdvals(orthogonalised(matrix))
    assert 0.5 < float(s.min()) <= float(s.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    overlap = (left @ right) * orthogonalised(matrix)
    assert float(overlap.sum()) > 0.8 * min(shape)  # the polar factor would give min(shape)


def test_the_first_and_last_layer_and_what_is_no_matrix_stay_with_adamw() -> None:
    network = build_network(UNetConfig(channels=(8, 16)))
    hidden = {name for name, p in network.named_parameters() if is_hidden_matrix(name, p)}
    assert hidden
    assert all(p.ndim >= 2 for name, p in network.named_parameters() if name in hidden)
    assert {"net.conv_in.conv.weight", "net.out.2.conv.weight"} <= {n for n, _ in network.named_parameters()} - hidden


def test_a_step_has_the_size_of_the_rate_whatever_the_gradient() -> None:
    network = nn.Sequential(nn.Linear(64, 64, bias=False))
    before = network[0].weight.detach().clone()
    for scale in (1e-4, 1e4):
        nn.init.zeros_(network[0].weight).data.add_(before)
        optimiser = Muon(network, lr=0.01)
        network[0].weight.grad = scale * torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
        optimiser.step()
        moved = network[0].weight.detach() - before * (1 - 0.01 * optimiser.param_groups[0]["weight_decay"])
        assert float(moved.square().mean().sqrt()) == pytest.approx(0.01 * STEP_RMS, rel=0.15)
        assert network[0].weight.grad is not None


def test_another_optimiser_is_refused() -> None:
    with pytest.raises(ConfigError, match="no optimiser called 'sgd'"):
        tiny_config(optimiser="sgd")
