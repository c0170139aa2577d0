"""The shipped prior: MONAI's diffusion U-Net behind a pixel-unshuffle, under EDM preconditioning.

Pixel-unshuffle (each 2×2 square becomes four channels) puts the network on a grid of half the size: four times
cheaper per slice, at no loss of resolution. Only the middle block attends; the rest is local, so the network is trained
mostly on patches and applied to whole slices, and two position channels tell it which part of the body it looks at.
This is the only module that imports MONAI's networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from KLIPCore.priors.precond import c_in, c_noise, c_out, c_skip
from KLIPCore.priors.prior import ModelCard


@dataclass(frozen=True)
class UNetConfig:
    """Shape of the network.

    Attributes
    ----------
    channels : feature channels per resolution level.
    n_res_blocks : residual blocks per level.
    unshuffle : side of the squares folded into channels.
    """

    channels: tuple[int, ...] = (64, 128, 192)
    n_res_blocks: int = 1
    unshuffle: int = 2

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> UNetConfig:
        """From a card's or a configuration's ``network`` entry."""
        return cls(tuple(fields["channels"]), int(fields["n_res_blocks"]), int(fields["unshuffle"]))


def position_channels(size: int) -> Tensor:
    """(1, 2, size, size) row and column of every pixel, −1 to 1, in that order."""
    axis = torch.linspace(-1.0, 1.0, size)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"))[None]


class EDMUNet(nn.Module):
    """D(x; σ, position): preconditioned denoiser of single-channel images.

    Parameters
    ----------
    config : shape of the network.
    """

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        from monai.networks.nets import DiffusionModelUNet  # heavy: only when a network is really built

        self.config = config or UNetConfig()
        n_folded = self.config.unshuffle**2
        self.net = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=n_folded + 2,
            out_channels=n_folded,
            num_res_blocks=self.config.n_res_blocks,
            channels=self.config.channels,
            attention_levels=(False,) * len(self.config.channels),
            norm_num_groups=8,
            num_head_channels=16,
        )

    @property
    def multiple(self) -> int:
        """Image sides must be divisible by this number of pixels."""
        return int(self.config.unshuffle * 2 ** (len(self.config.channels) - 1))

    def forward(self, x: Tensor, sigma: Tensor, position: Tensor) -> Tensor:
        """Denoised images (B, 1, H, W) from noisy ones, noise levels (B,) and positions (B, 2, H, W)."""
        s = sigma.view(-1, 1, 1, 1)
        folded = torch.cat([F.pixel_unshuffle(c_in(s) * x, self.config.unshuffle), F.avg_pool2d(position, self.config.unshuffle)], 1)
        raw = self.net(folded, c_noise(sigma))
        return c_skip(s) * x + c_out(s) * F.pixel_shuffle(raw.float(), self.config.unshuffle)


class UNetPrior:
    """:class:`EDMUNet` with its card, as a :class:`KLIPCore.priors.prior.Prior`.

    Parameters
    ----------
    network : the trained network.
    card : what it was trained for.
    device : where it runs; bfloat16 autocast is used where the device computes in it natively.
    """

    def __init__(self, network: EDMUNet, card: ModelCard, device: torch.device | str = "cpu") -> None:
        self._card = card
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.position = position_channels(card.size).to(self.device)

    @property
    def card(self) -> ModelCard:
        """What the prior was trained for."""
        return self._card

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x₀ | x₀ + σ z = x] for (B, 1, H, W) images of the card's size; float32 in and out.

        Gradients flow when ``x`` requires them (DPS, ΠGDM need them) and are not recorded otherwise.
        """
        position = self.position.expand(len(x), -1, -1, -1)
        with torch.set_grad_enabled(x.requires_grad), torch.autocast(self.device.type, torch.bfloat16):
            return self.network(x.contiguous(memory_format=torch.channels_last), sigma.to(x), position).float()


def network_fields(config: UNetConfig) -> dict[str, object]:
    """The card's ``network`` entry for a configuration."""
    return {"kind": "EDMUNet", **asdict(config)}
