"""The score networks of Song et al. 2021 (DDPM++ and NCSN++), which PaDIS, EDM and KLIP's score model are.

One family, a few switches. A residual block normalises, convolves, adds what it is told about the noise level,
normalises and convolves again; its sum with the input is divided by √2, so that variance stays where it is
however deep the network. Halving and doubling use a small symmetric filter (box [1, 1] or [1, 3, 3, 1])
instead of strided convolutions. NCSN++ hands the picture itself down beside the features at every resolution
(``pyramid_in``) and adds up its answer from all of them (``pyramid_out``); DDPM++ does neither.

Written from the papers (Song et al. 2021, appendices G and H; Karras et al. 2022, appendix C and F.3 for the
sizes) and checked, through the converters, against independent networks with the published names.

How the raw network F becomes a denoiser is ``frame``:

edm
    D = c_skip x + c_out F(c_in x; ¼ ln σ), Karras et al. 2022, equation 7
score
    F/σ is the score of x in [0, 1], shown to the network as 2x − 1 with ln σ: D = x + σ² · F/σ = x + σ F(2x − 1; ln σ)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from KLIPCore.errors import PriorError

FRAMES = ("edm", "score")


@dataclass(frozen=True)
class SongConfig:
    """Shape of a DDPM++ or NCSN++ and how it is asked.

    Attributes
    ----------
    image_channels : 1 for CT, 3 for photographs.
    channels, attention_levels : feature channels, and whether blocks attend, per resolution level.
    first_channels : features of the first convolution and width of the noise embedding's base.
    n_blocks : residual blocks per level on the way down; one more on the way up.
    noise_width, told_width : size of the noise embedding and of what blocks are told.
    fourier : random Fourier features of the noise level (NCSN++) instead of sines (DDPM++).
    taps : resampling filter, one axis.
    pyramid_in : ``none``, ``skip`` or ``residual``.
    pyramid_out : whether the answer is summed over resolutions.
    frame : ``edm`` or ``score``, see the module.
    sigma_data : of EDM.
    scale, shift : the network's intensity u = scale·x + shift (EDM).
    positions : whether column and row, in that order, are two more input channels (PaDIS).
    patch : side of the patches that the image is denoised in, 0 for the whole image (PaDIS: 56 or 64).
    pad : zeros around the image, which positions span too (PaDIS).
    """

    image_channels: int
    channels: tuple[int, ...]
    attention_levels: tuple[bool, ...]
    first_channels: int
    n_blocks: int
    noise_width: int
    told_width: int
    fourier: bool = False
    taps: tuple[float, ...] = (1.0, 1.0)
    pyramid_in: str = "none"
    pyramid_out: bool = False
    frame: str = "edm"
    sigma_data: float = 0.5
    scale: float = 1.0
    shift: float = 0.0
    positions: bool = False
    patch: int = 0
    pad: int = 0

    def __post_init__(self) -> None:
        if self.frame not in FRAMES or self.pyramid_in not in ("none", "skip", "residual"):
            raise PriorError(
                f"A score network with frame '{self.frame}', pyramid '{self.pyramid_in}' is not known.",
                f"Frames: {', '.join(FRAMES)}.",
            )
        if self.patch % 2 ** (len(self.channels) - 1):
            raise PriorError(
                f"Patches of {self.patch} pixels cannot be halved {len(self.channels) - 1} times.",
                "Choose another patch size.",
            )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build it from a card's ``network`` entry."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items() if k != "kind"}
        return cls(**known)


def filter_of(taps: tuple[float, ...]) -> Tensor:
    """Return the (n, n) separable filter of unit sum."""
    line = torch.tensor(taps, dtype=torch.float32)
    return torch.outer(line, line) / line.sum() ** 2


def halved(x: Tensor, weights: Tensor) -> Tensor:
    """Return filtered, every second pixel kept; zeros outside."""
    n = x.shape[1]
    return F.conv2d(x, weights.to(x).expand(n, 1, -1, -1), stride=2, padding=(weights.shape[-1] - 1) // 2, groups=n)


def doubled(x: Tensor, weights: Tensor) -> Tensor:
    """Return zeros between pixels, filtered, mean kept."""
    n = x.shape[1]
    return F.conv_transpose2d(
        x, 4 * weights.to(x).expand(n, 1, -1, -1), stride=2, padding=(weights.shape[-1] - 1) // 2, groups=n
    )


def group_norm(n_channels: int) -> nn.GroupNorm:
    """Return at most 32 groups of at least four channels."""
    return nn.GroupNorm(min(32, n_channels // 4), n_channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Residual block with optional resampling and self-attention; output (x + h)/√2.

    Parameters
    ----------
    n_in, n_out, n_told : channels in, out, and of what it is told about the noise.
    taps : resampling filter.
    resample : −1 halves, 1 doubles, 0 neither.
    attends : whether self-attention follows.
    """

    def __init__(
        self, n_in: int, n_out: int, n_told: int, taps: tuple[float, ...], resample: int = 0, attends: bool = False
    ) -> None:
        super().__init__()
        self.n_in, self.n_out, self.resample = n_in, n_out, resample
        self.norm_in, self.conv_in = group_norm(n_in), nn.Conv2d(n_in, n_out, 3, padding=1)
        self.told = nn.Linear(n_told, n_out)
        self.norm_out, self.conv_out = group_norm(n_out), nn.Conv2d(n_out, n_out, 3, padding=1)
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out or resample else None
        self.norm_attention = group_norm(n_out) if attends else None
        self.query, self.key, self.value, self.projection = (
            nn.Conv2d(n_out, n_out, 1) if attends else None for _ in range(4)
        )
        self.register_buffer("taps", filter_of(taps), persistent=False)

    def _resampled(self, x: Tensor) -> Tensor:
        weights: Tensor = self.taps  # type: ignore[assignment]
        return halved(x, weights) if self.resample < 0 else doubled(x, weights) if self.resample > 0 else x

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Return denoised images (B, C, H, W) from noisy ones.

        Noise levels are (B,) in intensity units, positions (B, 2, H, W).
        """
        h = self.conv_in(self._resampled(F.silu(self.norm_in(x))))
        h = self.conv_out(F.silu(self.norm_out(h + self.told(told)[:, :, None, None])))
        x = self._resampled(x)
        x = ((self.shortcut(x) if self.shortcut is not None else x) + h) * math.sqrt(0.5)
        if self.norm_attention is None:
            return x
        normed = self.norm_attention(x)
        q, k, v = (layer(normed).flatten(2).transpose(1, 2)[:, None] for layer in (self.query, self.key, self.value))  # type: ignore[misc]
        attended = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x.shape)
        out: Tensor = (x + self.projection(attended)) * math.sqrt(0.5)  # type: ignore[misc]
        return out


class SongUNet(nn.Module):
    """A DDPM++ or NCSN++ as a denoiser D(x; σ, position).

    Parameters
    ----------
    config : its shape.
    """

    def __init__(self, config: SongConfig) -> None:
        super().__init__()
        self.config = c = config
        n_in = c.image_channels + 2 * c.positions
        if c.fourier:
            self.register_buffer("frequencies", torch.randn(c.noise_width // 2) * 16)
        self.told_1, self.told_2 = nn.Linear(c.noise_width, c.told_width), nn.Linear(c.told_width, c.told_width)
        self.register_buffer("taps", filter_of(c.taps), persistent=False)

        def block(n: int, m: int, resample: int = 0, attends: bool = False) -> ResidualBlock:
            return ResidualBlock(n, m, c.told_width, c.taps, resample, attends)

        self.first = nn.Conv2d(n_in, c.first_channels, 3, padding=1)
        self.halving, self.picture_in, self.down = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        n, n_picture, passed = c.first_channels, n_in, [c.first_channels]
        for level, width in enumerate(c.channels):
            if level:
                self.halving.append(block(n, n, resample=-1))
                if c.pyramid_in == "skip":
                    self.picture_in.append(nn.Conv2d(n_picture, n, 1))
                elif c.pyramid_in == "residual":
                    self.picture_in.append(nn.Conv2d(n_picture, n, 3))
                    n_picture = n
                passed.append(n)
            row = nn.ModuleList()
            for _ in range(c.n_blocks):
                row.append(block(n, width, attends=c.attention_levels[level]))
                n = width
                passed.append(n)
            self.down.append(row)
        self.middle = nn.ModuleList([block(n, n, attends=True), block(n, n)])
        self.up, self.doubling = nn.ModuleList(), nn.ModuleList()
        self.picture_norm, self.picture_out = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(c.channels))):
            if level < len(c.channels) - 1:
                self.doubling.append(block(n, n, resample=1))
            row = nn.ModuleList()
            for m in range(c.n_blocks + 1):
                row.append(
                    block(n + passed.pop(), c.channels[level], attends=c.attention_levels[level] and m == c.n_blocks)
                )
                n = c.channels[level]
            self.up.append(row)
            if c.pyramid_out or level == 0:
                self.picture_norm.append(group_norm(n))
                self.picture_out.append(nn.Conv2d(n, c.image_channels, 3, padding=1))

    @property
    def multiple(self) -> int:
        """Image sides must be divisible by this number of pixels."""
        return int(2 ** (len(self.config.channels) - 1))

    def raw(self, picture: Tensor, noise: Tensor) -> Tensor:
        """Return F, (B, image_channels, H, W).

        Its input is (B, n, H, W) channels and the noise level as the network is told it (B,).
        """
        c, weights = self.config, self.taps
        told = F.silu(self.told_2(F.silu(self.told_1(self._noise_vector(noise)))))
        h = self.first(picture)
        passed = [h]
        for level, row in enumerate(self.down):
            if level:
                h = self.halving[level - 1](h, told)
                if c.pyramid_in == "skip":
                    picture = halved(picture, weights)  # type: ignore[arg-type]
                    h = h + self.picture_in[level - 1](picture)
                elif c.pyramid_in == "residual":
                    h = picture = (h + self._halving_convolution(self.picture_in[level - 1], picture)) * math.sqrt(0.5)
                passed.append(h)
            for layer in row:  # type: ignore[attr-defined]
                h = layer(h, told)
                passed.append(h)
        for layer in self.middle:
            h = layer(h, told)
        answer: Tensor | None = None
        for place, row in enumerate(self.up):
            if place:
                h = self.doubling[place - 1](h, told)
            for layer in row:  # type: ignore[attr-defined]
                h = layer(torch.cat([h, passed.pop()], 1), told)
            if c.pyramid_out or place == len(self.up) - 1:
                at = place if c.pyramid_out else 0
                part = self.picture_out[at](F.silu(self.picture_norm[at](h)))
                answer = part if answer is None else doubled(answer, weights) + part  # type: ignore[arg-type]
        assert answer is not None
        return answer.float()

    def _halving_convolution(self, layer: nn.Module, x: Tensor) -> Tensor:
        """A 3×3 convolution and the filter as one operation: zeros are put around once, outside both."""
        weights: Tensor = self.taps  # type: ignore[assignment]
        pad = 1 + (weights.shape[-1] - 1) // 2
        x = F.conv2d(x, layer.weight, padding=pad)  # type: ignore[arg-type]
        n = x.shape[1]
        return F.conv2d(x, weights.to(x).expand(n, 1, -1, -1), stride=2, groups=n) + layer.bias[:, None, None]  # type: ignore[index, operator]

    def _noise_vector(self, noise: Tensor) -> Tensor:
        c = self.config
        if c.fourier:
            angles = 2 * math.pi * noise[:, None] * self.frequencies  # type: ignore[operator]
        else:
            half = c.noise_width // 2
            angles = noise[:, None] * 10000.0 ** (
                -torch.arange(half, device=noise.device, dtype=noise.dtype) / (half - 1)
            )
        return torch.cat([angles.sin(), angles.cos()], 1)

    def forward(self, x: Tensor, sigma: Tensor, position: Tensor) -> Tensor:
        """Return denoised images (B, C, H, W) from noisy ones.

        Noise levels are (B,) in intensity units, positions (B, 2, H, W).
        """
        c = self.config
        if not c.patch:
            return self._denoised(x, sigma, self._positions(position))
        side = x.shape[-1] + 2 * c.pad
        n = side // c.patch
        if n * c.patch < x.shape[-1] + c.pad:
            raise PriorError(
                f"Patches of {c.patch} do not cover {x.shape[-1]} pixels with a margin of {c.pad}.",
                "Convert with another patch or margin.",
            )
        inner = slice(0, n * c.patch)
        padded = F.pad(x, (c.pad,) * 4)[..., inner, inner]
        axis = torch.linspace(-1, 1, side, device=x.device, dtype=x.dtype)[inner]
        rows, columns = torch.meshgrid(axis, axis, indexing="ij")
        where = torch.stack([columns, rows])[None].expand(len(x), -1, -1, -1) if c.positions else padded[:, :0]
        tiles = self._denoised(_tiled(padded, c.patch), sigma.repeat_interleave(n * n), _tiled(where, c.patch))
        whole = (
            tiles.reshape(len(x), n, n, -1, c.patch, c.patch)
            .permute(0, 3, 1, 4, 2, 5)
            .reshape(len(x), -1, n * c.patch, n * c.patch)
        )
        return whole[..., c.pad : c.pad + x.shape[-2], c.pad : c.pad + x.shape[-1]]

    def _positions(self, position: Tensor) -> Tensor:
        """Ours are (row, column) of the image, theirs (column, row) of the image with its margin."""
        if not self.config.positions:
            return position[:, :0]
        side = position.shape[-1]
        return position.flip(1) * ((side - 1) / (side + 2 * self.config.pad - 1))

    def _denoised(self, x: Tensor, sigma: Tensor, where: Tensor) -> Tensor:
        c = self.config
        s = sigma.view(-1, 1, 1, 1)
        if c.frame == "score":
            return x + s * self.raw(torch.cat([2 * x - 1, where], 1), sigma.log())
        u, s = c.scale * x + c.shift, c.scale * s
        root = torch.sqrt(s**2 + c.sigma_data**2)
        answer = self.raw(torch.cat([u / root, where], 1), (c.scale * sigma).log() / 4)
        clean = c.sigma_data**2 / root**2 * u + s * c.sigma_data / root * answer
        return (clean - c.shift) / c.scale


def _tiled(x: Tensor, patch: int) -> Tensor:
    """(B·n·n, C, patch, patch) tiles of (B, C, n·patch, n·patch)."""
    b, n = len(x), x.shape[-1] // patch
    return x.reshape(b, -1, n, patch, n, patch).permute(0, 2, 4, 1, 3, 5).reshape(b * n * n, -1, patch, patch)
