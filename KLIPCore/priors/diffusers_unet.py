"""Networks that were published as diffusers' ``UNet2DModel``, on MONAI's blocks.

MONAI's diffusion U-Net and diffusers' are cousins: the same residual blocks, attention and resampling under
other names. What differs is small and is settled here: how the step number becomes a vector (order of sine and
cosine, highest frequency) and whether a downsampling convolution pads both sides or only right and below, as
Ho et al.'s own code did. So weights convert one to one (:mod:`KLIPCore.priors.convert.diffusers`) and nothing
of diffusers is needed to use them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from KLIPCore.errors import PriorError
from KLIPCore.priors.ddpm import PREDICTIONS, VPDenoiser, scheduler_of


@dataclass(frozen=True)
class DiffusersConfig:
    """Shape of a ``UNet2DModel`` and the schedule it was trained with.

    Attributes
    ----------
    image_channels : 1 for CT, 3 for photographs.
    channels, attention_levels : feature channels, and whether blocks attend, per resolution level.
    n_res_blocks, norm_groups, norm_eps : of the residual blocks.
    head_channels : channels per attention head and level.
    cosine_first, freq_shift : of the time embedding.
    pad_both : downsampling pads both sides; otherwise only right and below.
    prediction, schedule, n_steps, beta_start, beta_end : see :class:`KLIPCore.priors.ddpm.DDPMConfig`.
    scale, shift : the network's intensity u = scale·x + shift; published ones expect −1..1.
    """

    image_channels: int
    channels: tuple[int, ...]
    attention_levels: tuple[bool, ...]
    head_channels: tuple[int, ...]
    n_res_blocks: int = 2
    norm_groups: int = 32
    norm_eps: float = 1e-5
    cosine_first: bool = True
    freq_shift: float = 0.0
    pad_both: bool = True
    prediction: str = "epsilon"
    schedule: str = "linear_beta"
    n_steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    scale: float = 2.0
    shift: float = -1.0

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise PriorError(
                f"A network that predicts '{self.prediction}' is not known.",
                f"Use one that predicts {' or '.join(PREDICTIONS)}.",
            )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build it from a card's ``network`` entry."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items() if k != "kind"}
        return cls(**known)


def time_vector(time: Tensor, width: int, cosine_first: bool, freq_shift: float) -> Tensor:
    """Return the (B, width) sinusoidal embedding of step numbers (B,): Ho et al. 2020 after Vaswani et al. 2017."""
    half = width // 2
    frequencies = torch.exp(
        -math.log(10000.0) * torch.arange(half, device=time.device, dtype=torch.float32) / (half - freq_shift)
    )
    angles = time[:, None].float() * frequencies
    halves = [angles.cos(), angles.sin()] if cosine_first else [angles.sin(), angles.cos()]
    return torch.cat(halves, 1)


class DiffusersUNet(VPDenoiser):
    """A published DDPM as a denoiser of (B, C, H, W) images in [0, 1] (or windowed intensity).

    Parameters
    ----------
    config : shape and schedule.
    """

    def __init__(self, config: DiffusersConfig) -> None:
        from monai.networks.nets import DiffusionModelUNet  # heavy: only when a network is really built

        c = config
        super().__init__(scheduler_of(c.schedule, c.n_steps, c.beta_start, c.beta_end, c.prediction), c.scale, c.shift)
        self.config = config
        self.net: Any = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=c.image_channels,
            out_channels=c.image_channels,
            num_res_blocks=c.n_res_blocks,
            channels=c.channels,
            attention_levels=c.attention_levels,
            norm_num_groups=c.norm_groups,
            norm_eps=c.norm_eps,
            num_head_channels=c.head_channels,
        )
        down_blocks: Any = self.net.down_blocks
        for block in [] if c.pad_both else down_blocks:
            if block.downsampler is not None:
                convolution = block.downsampler.op.conv
                convolution.padding = (0, 0)
                block.downsampler.op = nn.Sequential(OrderedDict(pad=nn.ZeroPad2d((0, 1, 0, 1)), conv=convolution))

    @property
    def multiple(self) -> int:
        """Image sides must be divisible by this number of pixels."""
        return int(2 ** (len(self.config.channels) - 1))

    def predict(self, noised: Tensor, time: Tensor, position: Tensor) -> Tensor:
        """See :meth:`VPDenoiser.predict`; positions are not used."""
        c, net = self.config, self.net
        told = net.time_embed(time_vector(time, c.channels[0], c.cosine_first, c.freq_shift).to(noised.dtype))
        h = net.conv_in(noised)
        passed = [h]
        for block in net.down_blocks:
            h, more = block(hidden_states=h, temb=told)
            passed += more
        h = net.middle_block(hidden_states=h, temb=told)
        for block in net.up_blocks:
            n = len(block.resnets)
            h = block(hidden_states=h, res_hidden_states_list=passed[-n:], temb=told)
            del passed[-n:]
        out: Tensor = net.out(h)
        return out.float()
