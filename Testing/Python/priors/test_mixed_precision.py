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
    prior = UNetPrior(network, ModelCard("tiny", "nothing", Window(-160, 240), size=32), precision="bfloat16")
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


def test_a_prior_leaves_the_network_it_was_given_as_it_is() -> None:
    network = EDMUNet(UNetConfig(channels=(16, 16))).train()
    before = copy.deepcopy(network.state_dict())
    prior = UNetPrior(network, ModelCard("tiny", "nothing", Window(-160, 240), size=32))
    assert prior.network is not network
    assert network.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.no_grad():
        for p in network.parameters():
            p.zero_()  # and the prior keeps its own
    assert any(bool(p.any()) for p in prior.network.parameters())


def test_a_prior_that_owns_its_network_makes_no_copy() -> None:
    network = EDMUNet(UNetConfig(channels=(16, 16)))
    assert UNetPrior(network, ModelCard("tiny", "nothing", Window(-160, 240), size=32), own=True).network is network
