"""The shipped prior: MONAI's diffusion U-Net behind a pixel-unshuffle, under EDM preconditioning.

Pixel-unshuffle (each 2×2 square becomes four channels) puts the network on a grid of half the size: four times
cheaper per slice, at no loss of resolution. Only the middle block attends; the rest is local, so the network
is trained mostly on patches and applied to whole slices, and two position channels tell it which part of the
body it looks at. :mod:`KLIPCore.priors.networks` finds the class that a card names.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from KLIPCore.errors import PriorError
from KLIPCore.priors.precond import c_in, c_noise, c_out, c_skip
from KLIPCore.volume.model_card import ModelCard

NORM_GROUPS, HEAD_CHANNELS = 8, 16
"""Groups of the group normalisation, and channels of an attention head."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions that a network can compute in, by name."""


@dataclass(frozen=True)
class UNetConfig:
    """Shape of the network.

    Attributes
    ----------
    channels : feature channels per resolution level.
    n_res_blocks : residual blocks per level.
    unshuffle : side of the squares folded into channels.
    positions : whether row and column are given as two more channels; a network that always sees whole slices
        can do without.
    """

    channels: tuple[int, ...] = (64, 128, 192)
    n_res_blocks: int = 1
    unshuffle: int = 2
    positions: bool = True

    def __post_init__(self) -> None:
        if (
            not self.channels
            or any(n % NORM_GROUPS for n in self.channels)
            or self.channels[-1] % HEAD_CHANNELS
            or self.n_res_blocks < 1
        ):
            raise PriorError(
                f"A network with channels {self.channels} and {self.n_res_blocks} blocks a level cannot be built.",
                f"Take multiples of {NORM_GROUPS}, of {HEAD_CHANNELS} for the last level, and at least one block.",
            )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build it from a card's or a configuration's ``network`` entry.

        Raises
        ------
        TypeError : a field is unknown.
        """
        return cls(
            **{
                **{k: v for k, v in fields.items() if k != "kind"},
                "channels": tuple(fields.get("channels", cls.channels)),
            }
        )

    @property
    def multiple(self) -> int:
        """Image sides must be divisible by this number of pixels."""
        return int(self.unshuffle * 2 ** (len(self.channels) - 1))


def folded_unet(config: UNetConfig) -> nn.Module:
    """Return MONAI's diffusion U-Net on a grid folded by ``config.unshuffle``.

    It has two position channels more where they are asked for.
    """
    from monai.networks.nets import DiffusionModelUNet  # heavy: only when a network is really built

    n_folded = config.unshuffle**2
    return DiffusionModelUNet(
        spatial_dims=2,
        in_channels=n_folded + 2 * config.positions,
        out_channels=n_folded,
        num_res_blocks=config.n_res_blocks,
        channels=config.channels,
        attention_levels=(False,) * len(config.channels),
        norm_num_groups=NORM_GROUPS,
        num_head_channels=HEAD_CHANNELS,
        # never forms the 1024 × 1024 weights of a slice: a third less time a slice on a CPU, the same
        # numbers
        use_flash_attention=True,
    )


def fold(x: Tensor, position: Tensor, config: UNetConfig) -> Tensor:
    """Return the (B, 1, H, W) images and (B, 2, H, W) positions as the channels that :func:`folded_unet` takes."""
    image = F.pixel_unshuffle(x, config.unshuffle)
    return torch.cat([image, F.avg_pool2d(position, config.unshuffle)], 1) if config.positions else image


def position_channels(size: int) -> Tensor:
    """Return the (1, 2, size, size) row and column of every pixel, −1 to 1, in that order."""
    axis = torch.linspace(-1.0, 1.0, size)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"))[None]


class EDMUNet(nn.Module):
    """D(x; σ, position): preconditioned denoiser of single-channel images.

    Parameters
    ----------
    config : shape of the network.
    """

    mixed_precision = True

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or UNetConfig()
        self.net = folded_unet(self.config)

    @property
    def multiple(self) -> int:
        """Image sides must be divisible by this number of pixels."""
        return self.config.multiple

    def forward(self, x: Tensor, sigma: Tensor, position: Tensor) -> Tensor:
        """Return denoised images (B, 1, H, W) from noisy ones, noise levels (B,) and positions (B, 2, H, W)."""
        s = sigma.view(-1, 1, 1, 1)
        raw = self.net(fold(c_in(s) * x, position, self.config), c_noise(sigma))
        return c_skip(s) * x + c_out(s) * F.pixel_shuffle(raw.float(), self.config.unshuffle)


def usual_precision(device: torch.device) -> str:
    """Return what is fastest as a rule for a network that was trained in bfloat16.

    That on GPUs and on processors with instructions for it, else float32.
    """
    if device.type != "cpu":
        return "bfloat16"
    has = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    wide = "AVX512" in torch.backends.cpu.get_cpu_capability()  # less where ATEN_CPU_CAPABILITY says so
    return "bfloat16" if wide and any(ask is not None and ask() for ask in has) else "float32"


class UNetPrior:
    """A network with its card, as a :class:`KLIPCore.priors.prior.Prior`.

    Parameters
    ----------
    network : the trained network: :class:`EDMUNet`, or another module called as (x, sigma, position) that
        returns the denoised images.
    card : what it was trained for.
    device : where it runs.
    own : whether the prior may keep the very network and convert it in place, which saves a copy; it is nobody
        else's then. Otherwise the prior works with a copy of its own, and the network given stays as it is.
    precision : of convolutions and linear layers, one of :data:`DTYPES`; None: for a network that was trained in
        bfloat16 (``mixed_precision``) the :func:`usual_precision` of the device, float32 for others. A network that
        was converted once does not get its digits back.
    channels_last : whether the channels of a pixel lie beside each other in memory.
    place : another device that the network computes on, if any: images come from ``device`` and go back there.

    Raises
    ------
    PriorError : there is no such precision.
    """

    def __init__(
        self,
        network: nn.Module,
        card: ModelCard,
        *,
        device: torch.device | str = "cpu",
        own: bool = False,
        precision: str | None = None,
        channels_last: bool = True,
        place: torch.device | str = "",
    ) -> None:
        self._card = card
        self.device = torch.device(device)
        self.place = torch.device(place) if place else self.device
        self.native = "bfloat16" if getattr(network, "mixed_precision", False) else "float32"
        self.precision = precision or (usual_precision(self.place) if self.native != "float32" else self.native)
        if self.precision not in DTYPES:
            raise PriorError(f"There is no precision called '{precision}'.", f"Choose one of: {', '.join(DTYPES)}.")
        self.channels_last = channels_last
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        network = network if own else copy.deepcopy(network)
        self.network = network.eval().requires_grad_(False).to(device=self.place, memory_format=self._layout)  # type: ignore[call-overload]
        if self.mixed:  # what autocast would otherwise do again in every evaluation, with the same result
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.to(DTYPES[self.precision])
        self.position = position_channels(card.size).to(self.place)

    @property
    def mixed(self) -> bool:
        """Whether convolutions and linear layers have fewer digits than the rest."""
        return self.precision != "float32"

    @property
    def card(self) -> ModelCard:
        """What the prior was trained for."""
        return self._card

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return E[x₀ | x₀ + σ z = x] for (B, 1, H, W) images of the card's size; float32 in and out.

        Gradients flow when ``x`` requires them (DPS, ΠGDM need them) and are not recorded otherwise.
        """
        position = self.position.expand(len(x), -1, -1, -1)
        with (
            torch.set_grad_enabled(x.requires_grad),
            torch.autocast(
                self.place.type, DTYPES[self.precision] if self.mixed else torch.bfloat16, enabled=self.mixed
            ),
        ):
            given = x.to(self.place).contiguous(memory_format=self._layout)
            denoised: Tensor = self.network(given, sigma.to(given), position)
            return denoised.float().to(x.device)
