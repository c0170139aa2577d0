"""A network of twice the channels starts as the very function that the narrow one has learned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from KLIPCore.errors import PriorError
from KLIPCore.lab.training.start import start_from
from KLIPCore.lab.training.widen import is_twice, widened
from KLIPCore.priors.checkpoint import save_prior
from KLIPCore.priors.networks import network_fields
from KLIPCore.priors.unet import EDMUNet, UNetConfig, position_channels
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window

NARROW = UNetConfig(channels=(8, 16, 32))
WIDE = UNetConfig(channels=(16, 32, 64))


def learned(config: UNetConfig, seed: int = 0) -> EDMUNet:
    """A network none of whose weights is zero or one, as a fresh one's last layers and norms are."""
    torch.manual_seed(seed)
    network = EDMUNet(config)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return network


def answer(network: EDMUNet) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 1, 32, 32, generator=generator)
    position = position_channels(32).expand(2, -1, -1, -1)
    with torch.inference_mode():
        return network(x, torch.tensor([0.05, 0.7]), position)


@pytest.mark.parametrize("positions", [True, False])
def test_the_wide_network_is_the_same_function(positions: bool) -> None:
    shape = {"positions": positions}
    narrow = learned(UNetConfig(channels=(8, 16, 32), **shape))
    wide = EDMUNet(UNetConfig(channels=(16, 32, 64), **shape))
    wide.load_state_dict(widened(narrow.state_dict()))
    torch.testing.assert_close(answer(wide), answer(narrow), rtol=0, atol=2e-5)
    assert float((answer(wide) - answer(learned(wide.config))).abs().max()) > 0.01


def test_twins_are_read_differently_so_that_they_part() -> None:
    wide = widened(learned(NARROW).state_dict())
    for name in ("net.middle_block.resnet_1.conv1.conv.weight", "net.out.2.conv.weight"):
        weight = wide[name]
        assert float((weight[:, ::2] - weight[:, 1::2]).abs().min()) > 0
    again, other = widened(learned(NARROW).state_dict()), widened(learned(NARROW).state_dict(), seed=1)
    assert all(torch.equal(wide[name], again[name]) for name in wide)
    assert not torch.equal(wide["net.out.2.conv.weight"], other["net.out.2.conv.weight"])


def test_twice_means_every_channel_and_nothing_else() -> None:
    assert is_twice(WIDE, NARROW)
    assert not is_twice(NARROW, NARROW)
    assert not is_twice(UNetConfig(channels=(16, 32, 32)), NARROW)
    assert not is_twice(UNetConfig(channels=(16, 32, 64), n_res_blocks=2), NARROW)


def test_a_training_starts_from_a_prior_of_half_the_channels(tmp_path: Path) -> None:
    narrow = learned(NARROW)
    window = Window(-125.0, 275.0)
    card = ModelCard(name="narrow", anatomy="discs", window=window, size=32, network={"channels": [8, 16, 32]})
    weights = save_prior(narrow, card, tmp_path)
    narrow.load_state_dict(load_file(weights))  # it keeps fewer digits
    wide = EDMUNet(WIDE)
    assert "every channel made two" in start_from(wide, weights)
    torch.testing.assert_close(answer(wide), answer(narrow), rtol=0, atol=2e-5)
    without = EDMUNet(UNetConfig(channels=(16, 32, 64), positions=False))
    assert start_from(without, weights).endswith("without its position channels")
    with pytest.raises(PriorError, match="does not fit"):
        start_from(EDMUNet(UNetConfig(channels=(32, 64, 128))), weights)


def test_position_channels_that_are_new_say_nothing_at_first(tmp_path: Path) -> None:
    without = learned(UNetConfig(channels=(8, 16, 32), positions=False))
    card = ModelCard("plain", "ellipses", Window(-160.0, 240.0), size=32, network=network_fields(without.config))
    weights = save_prior(without, card, tmp_path, torch.float32)
    network = EDMUNet(NARROW)
    assert start_from(network, weights).endswith("with position channels that say nothing yet")
    torch.testing.assert_close(answer(network), answer(without), rtol=0, atol=1e-6)
