"""Weights converted once against weights converted by autocast in every evaluation: the same numbers."""

from __future__ import annotations

import copy

import torch

from KLIPCore.priors.unet import EDMUNet, UNetConfig, UNetPrior
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window


def test_converted_once_is_converted_every_time() -> None:
    network = EDMUNet(UNetConfig(channels=(16, 32)))
    with torch.no_grad():
        for p in network.parameters():  # MONAI starts its last convolution at zero
            p.add_(0.05 * torch.randn_like(p))
    plain = copy.deepcopy(network).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    prior = UNetPrior(network, ModelCard("tiny", "nothing", Window(-160, 240), size=32))
    x, sigma = torch.randn(2, 1, 32, 32), torch.tensor([0.1, 1.0])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        expected = plain(
            x.contiguous(memory_format=torch.channels_last), sigma, prior.position.expand(2, -1, -1, -1)
        ).float()
    torch.testing.assert_close(prior.denoise(x, sigma), expected, rtol=0, atol=0)
    assert {p.dtype for p in prior.network.parameters()} == {
        torch.bfloat16,
        torch.float32,
    }  # norms keep their precision


def test_gradients_reach_the_image() -> None:
    prior = UNetPrior(EDMUNet(UNetConfig(channels=(16, 16))), ModelCard("tiny", "nothing", Window(-160, 240), size=32))
    x = torch.randn(1, 1, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(prior.denoise(x, torch.tensor([0.5])).sum(), x)
    assert gradient.dtype == torch.float32
    assert bool(gradient.abs().sum() > 0)
