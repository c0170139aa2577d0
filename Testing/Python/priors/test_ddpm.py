"""A DDPM read as a denoiser: the same numbers as the scheduler's own formulas, and Wiener's where the data
are Gaussian.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import stirred
from torch import Tensor

from KLIPCore.errors import PriorError
from KLIPCore.lab.training.start import start_from
from KLIPCore.priors.checkpoint import load_prior, save_prior
from KLIPCore.priors.ddpm import DDPMConfig, DDPMUNet
from KLIPCore.priors.networks import build_network, network_config, network_fields
from KLIPCore.priors.prior import Prior
from KLIPCore.priors.unet import EDMUNet, UNetConfig, position_channels
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window

SMALL = DDPMConfig(channels=(16, 16), n_res_blocks=1, unshuffle=2)
SMALL_EDM = UNetConfig(channels=(16, 16), n_res_blocks=1, unshuffle=2)
SIZE = 16


def card(config: UNetConfig, name: str = "small") -> ModelCard:
    return ModelCard(
        name=name,
        anatomy="none",
        window=Window(0.0, 1.0),
        size=SIZE,
        network=network_fields(config),
        position_channels=config.positions,
    )


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("step", [0, 1, 37, 500, 999])
def test_equals_the_schedulers_own_guess_of_the_image(prediction: str, step: int) -> None:
    network = stirred(DDPMUNet(replace(SMALL, prediction=prediction, scale=2.0, shift=-1.0)))
    x = torch.rand(2, 1, SIZE, SIZE)
    noise, position = torch.randn_like(x), position_channels(SIZE).expand(2, -1, -1, -1)
    steps = torch.full((2,), step)
    noised = network.scheduler.add_noise(2 * x - 1, noise, steps)
    with torch.inference_mode():
        _, theirs = network.scheduler.step(network.predict(noised, steps.float(), position), step, noised)
        sigma = network.vp.sigmas[steps].float() / 2
        ours = network(x + sigma.view(-1, 1, 1, 1) * noise, sigma, position)
    scale = float(theirs.abs().max())
    torch.testing.assert_close(2 * ours - 1, theirs, rtol=0, atol=3e-4 * max(scale, 1.0))


@given(step=st.floats(0, 999))
@settings(max_examples=30, deadline=None)
def test_time_is_the_inverse_of_the_schedule(step: float) -> None:
    vp = DDPMUNet(SMALL).vp
    lower = int(step)
    upper = min(lower + 1, 999)
    log_sigma = torch.lerp(vp.sigmas[lower].log(), vp.sigmas[upper].log(), step - lower)
    assert float(vp.time(log_sigma.exp()[None])) == pytest.approx(step, abs=1e-3)


def test_time_is_held_at_the_ends() -> None:
    assert DDPMUNet(SMALL).vp.time(torch.tensor([0.0, 1e-9, 1e9])).tolist() == [0.0, 0.0, 999.0]


class GaussianDDPM(DDPMUNet):
    """A DDPM whose network is the best there can be for independent pixels N(0.4, 0.2²): it sees only u_t and t."""

    def predict(self, noised: Tensor, time: Tensor, position: Tensor) -> Tensor:
        c, table = self.config, self.vp.sigmas.log()
        lower = time.long().clamp(0, len(table) - 2)
        sigma = torch.lerp(table[lower], table[lower + 1], (time - lower).double()).exp().float().view(-1, 1, 1, 1)
        mean, variance = c.scale * 0.4 + c.shift, (c.scale * 0.2) ** 2
        root = torch.rsqrt(1 + sigma**2)
        clean = mean + variance / (variance + sigma**2) * (noised / root - mean)
        noise = (noised - root * clean) / (root * sigma)
        return noise if c.prediction == "epsilon" else root * noise - root * sigma * clean


@given(log_sigma=st.floats(-5.0, 3.5), prediction=st.sampled_from(["epsilon", "v_prediction"]))
@settings(max_examples=25, deadline=None)
def test_a_perfect_ddpm_is_wieners_denoiser(log_sigma: float, prediction: str) -> None:
    network = GaussianDDPM(replace(SMALL, prediction=prediction, shift=-1.0))
    sigma = torch.tensor([log_sigma]).exp()
    x = 0.4 + torch.randn(1, 1, SIZE, SIZE) * (0.04 + sigma**2).sqrt()
    expected = 0.4 + 0.04 / (0.04 + sigma**2) * (x - 0.4)
    torch.testing.assert_close(network(x, sigma, position_channels(SIZE)), expected, rtol=0, atol=2e-4)


def test_edm_weights_start_a_ddpm_as_the_same_function(tmp_path: Path) -> None:
    edm = stirred(EDMUNet(SMALL_EDM))
    path = save_prior(edm, card(SMALL_EDM), tmp_path, torch.float32)
    ddpm = DDPMUNet(replace(SMALL, positions=True))
    assert "small.safetensors" in start_from(ddpm, path)
    x, position = torch.rand(4, 1, SIZE, SIZE), position_channels(SIZE).expand(4, -1, -1, -1)
    sigma = torch.tensor([0.02, 0.1, 0.5, 2.0])
    noisy = x + sigma.view(-1, 1, 1, 1) * torch.randn_like(x)
    with torch.inference_mode():
        theirs, ours = edm(noisy, sigma, position), ddpm(noisy, sigma, position)
    moved = (theirs - noisy).square().mean((1, 2, 3)).sqrt()
    apart = (ours - theirs).square().mean((1, 2, 3)).sqrt()
    assert (apart < 0.05 * moved).all(), "the time embedding is fitted, everything else is exact"


def test_a_network_without_positions_starts_without_their_columns(tmp_path: Path) -> None:
    giver = stirred(EDMUNet(SMALL_EDM))
    taker = EDMUNet(replace(SMALL_EDM, positions=False))
    start_from(taker, save_prior(giver, card(SMALL_EDM), tmp_path, torch.float32))
    x, sigma, nowhere = torch.rand(1, 1, SIZE, SIZE), torch.tensor([0.2]), torch.zeros(1, 2, SIZE, SIZE)
    with torch.inference_mode():
        torch.testing.assert_close(taker(x, sigma, position_channels(SIZE)), giver(x, sigma, nowhere))


@pytest.mark.parametrize("change", [{"prediction": "epsilon"}, {"shift": -1.0}, {"channels": (16, 32)}])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: dict) -> None:
    path = save_prior(stirred(EDMUNet(SMALL_EDM)), card(SMALL_EDM), tmp_path)
    with pytest.raises(PriorError):
        start_from(DDPMUNet(replace(SMALL, **change)), path)
    ddpm = save_prior(stirred(DDPMUNet(SMALL)), card(SMALL, "ddpm"), tmp_path)
    with pytest.raises(PriorError, match="DDPM"):
        start_from(EDMUNet(replace(SMALL_EDM, positions=False)), ddpm)


@pytest.mark.parametrize(
    "config",
    [SMALL, SMALL_EDM, replace(SMALL_EDM, positions=False), replace(SMALL, prediction="epsilon", positions=True)],
)
def test_every_backbone_comes_back_from_disk_as_a_prior(tmp_path: Path, config: UNetConfig) -> None:
    network = stirred(build_network(config))
    prior = load_prior(save_prior(network, card(config), tmp_path, torch.float32))
    assert isinstance(prior, Prior)
    assert network_config(prior.card.network) == config
    x, sigma = torch.rand(2, 1, SIZE, SIZE), torch.tensor([0.1, 0.3])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(
            prior.denoise(x, sigma),
            network(x, sigma, position_channels(SIZE).expand(2, -1, -1, -1)),
            rtol=0,
            atol=0.02,
        )
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(prior.denoise(x, sigma).sum(), x)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    "fields", [{"kind": "Transformer"}, {"kind": "DDPMUNet", "wings": 2}, {"kind": "DDPMUNet", "prediction": "x"}]
)
def test_unknown_networks_are_refused(fields: dict) -> None:
    with pytest.raises(PriorError):
        network_config(fields)
