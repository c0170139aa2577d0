"""A second DDPM++/NCSN++, to hold ours against: a plain function of weights under their published names.

Nothing of the library is used. Filters are written out (insert zeros, pad, correlate, take every second),
attention is three loops' worth of einsum, and the order of things is the papers'.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def correlate(x: Tensor, taps: list[float], gain: float = 1.0) -> Tensor:
    """Every channel with the outer product of the taps, only where they fit."""
    line = np.outer(taps, taps) / np.sum(taps) ** 2 * gain
    kernel = torch.tensor(line, dtype=x.dtype)[None, None]
    return torch.cat([F.conv2d(x[:, c : c + 1], kernel) for c in range(x.shape[1])], 1)


def down(x: Tensor, taps: list[float]) -> Tensor:
    pad = (len(taps) - 1) // 2
    return correlate(F.pad(x, (pad, pad, pad, pad)), taps)[:, :, ::2, ::2]


def up(x: Tensor, taps: list[float]) -> Tensor:
    b, c, h, w = x.shape
    spread = torch.zeros(b, c, 2 * h, 2 * w)
    spread[:, :, ::2, ::2] = x
    n = len(taps)
    return correlate(F.pad(spread, (n // 2, (n - 1) // 2) * 2), taps, gain=4.0)


def norm(x: Tensor, w: Weights, name: str) -> Tensor:
    n = min(32, x.shape[1] // 4)
    g = x.reshape(len(x), n, -1)
    g = (g - g.mean(2, keepdim=True)) / (g.var(2, keepdim=True, unbiased=False) + 1e-6).sqrt()
    return g.reshape(x.shape) * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def conv(x: Tensor, w: Weights, name: str) -> Tensor:
    kernel = w[f"{name}.weight"]
    return F.conv2d(x, kernel, w[f"{name}.bias"], padding=kernel.shape[-1] // 2)


def block(x: Tensor, told: Tensor, w: Weights, name: str, taps: list[float], resample: str = "") -> Tensor:
    change = {"": lambda t: t, "up": lambda t: up(t, taps), "down": lambda t: down(t, taps)}[resample]
    h = conv(change(F.silu(norm(x, w, f"{name}.norm0"))), w, f"{name}.conv0")
    h = h + (told @ w[f"{name}.affine.weight"].T + w[f"{name}.affine.bias"])[:, :, None, None]
    h = conv(F.silu(norm(h, w, f"{name}.norm1")), w, f"{name}.conv1")
    x = change(x)
    x = (h + (conv(x, w, f"{name}.skip") if f"{name}.skip.weight" in w else x)) / math.sqrt(2)
    if f"{name}.qkv.weight" in w:
        b, c, height, width = x.shape
        qkv = conv(norm(x, w, f"{name}.norm2"), w, f"{name}.qkv").reshape(b, c, 3, height * width)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        weights = (torch.einsum("bci,bcj->bij", q, k) / math.sqrt(c)).softmax(2)
        x = (x + conv(torch.einsum("bij,bcj->bci", weights, v).reshape(x.shape), w, f"{name}.proj")) / math.sqrt(2)
    return x


def song(x: Tensor, noise: Tensor, w: Weights, shape: dict) -> Tensor:
    """The network's raw answer; ``shape`` are the published constructor's arguments."""
    taps, res = shape["resample_filter"], shape["img_resolution"]
    if shape["embedding_type"] == "fourier":
        angle = 2 * math.pi * noise[:, None] * w["map_noise.freqs"][None]
    else:
        half = shape["model_channels"] * shape["channel_mult_noise"] // 2
        angle = noise[:, None] * torch.tensor([10000 ** (-i / (half - 1)) for i in range(half)])
    told = torch.cat([angle.sin(), angle.cos()], 1)
    for layer in ("map_layer0", "map_layer1"):
        told = F.silu(told @ w[f"{layer}.weight"].T + w[f"{layer}.bias"])
    levels = range(len(shape["channel_mult"]))
    skips, picture = [], x
    for level in levels:
        r = f"{res >> level}x{res >> level}"
        if level == 0:
            x = conv(x, w, f"enc.{r}_conv")
        else:
            x = block(x, told, w, f"enc.{r}_down", taps, "down")
            if shape["encoder_type"] == "skip":
                picture = down(picture, taps)
                x = x + conv(picture, w, f"enc.{r}_aux_skip")
            elif shape["encoder_type"] == "residual":  # filter and convolution commute where zeros are outside both
                edge = 1 + (len(taps) - 1) // 2
                kernel = w[f"enc.{r}_aux_residual.weight"]
                picture = (
                    correlate(F.conv2d(F.pad(picture, (edge,) * 4), kernel), taps)[:, :, ::2, ::2]
                    + w[f"enc.{r}_aux_residual.bias"][:, None, None]
                )
                x = picture = (x + picture) / math.sqrt(2)
        skips.append(x)
        for i in range(shape["num_blocks"]):
            x = block(x, told, w, f"enc.{r}_block{i}", taps)
            skips.append(x)
    answer: Tensor | int = 0
    for level in reversed(levels):
        r = f"{res >> level}x{res >> level}"
        if level == levels[-1]:
            x = block(block(x, told, w, f"dec.{r}_in0", taps), told, w, f"dec.{r}_in1", taps)
        else:
            x = block(x, told, w, f"dec.{r}_up", taps, "up")
        for i in range(shape["num_blocks"] + 1):
            x = block(torch.cat([x, skips.pop()], 1), told, w, f"dec.{r}_block{i}", taps)
        if shape["decoder_type"] == "skip" or level == 0:
            answer = up(answer, taps) if isinstance(answer, Tensor) else answer
            answer = answer + conv(F.silu(norm(x, w, f"dec.{r}_aux_norm")), w, f"dec.{r}_aux_conv")
    assert isinstance(answer, Tensor)
    return answer


def song_weights(shape: dict, seed: int = 0) -> Weights:
    """Random weights under the published names and of the published sizes."""
    generator = torch.Generator().manual_seed(seed)
    w: Weights = {}

    def add(name: str, *size: int) -> None:
        w[f"{name}.weight"] = torch.randn(size, generator=generator) / math.sqrt(math.prod(size[1:]) or 1) + (
            len(size) == 1
        )
        w[f"{name}.bias"] = 0.1 * torch.randn(size[0], generator=generator)

    def add_block(name: str, n: int, m: int, attends: bool, resample: bool = False) -> None:
        (
            add(f"{name}.norm0", n),
            add(f"{name}.conv0", m, n, 3, 3),
            add(f"{name}.affine", m, told),
            add(f"{name}.norm1", m),
            add(f"{name}.conv1", m, m, 3, 3),
        )
        if resample:
            w[f"{name}.conv0.resample_filter"] = torch.zeros(1)
        if n != m or resample:
            add(f"{name}.skip", m, n, 1, 1)
        if attends:
            add(f"{name}.norm2", m), add(f"{name}.qkv", 3 * m, m, 1, 1), add(f"{name}.proj", m, m, 1, 1)

    model, res, mult = shape["model_channels"], shape["img_resolution"], shape["channel_mult"]
    told, width = model * shape["channel_mult_emb"], model * shape["channel_mult_noise"]
    if shape["embedding_type"] == "fourier":
        w["map_noise.freqs"] = torch.randn(width // 2, generator=generator)
    add("map_layer0", told, width), add("map_layer1", told, told)
    n, n_picture, passed = model, shape["in_channels"], [model]
    for level, m in enumerate(mult):
        r, attends = f"{res >> level}x{res >> level}", (res >> level) in shape["attn_resolutions"]
        if level == 0:
            add(f"enc.{r}_conv", model, shape["in_channels"], 3, 3)
        else:
            add_block(f"enc.{r}_down", n, n, False, True)
            if shape["encoder_type"] != "standard":
                side = 1 if shape["encoder_type"] == "skip" else 3
                add(f"enc.{r}_aux_{shape['encoder_type']}", n, n_picture, side, side)
                n_picture = n if shape["encoder_type"] == "residual" else n_picture
            passed.append(n)
        for i in range(shape["num_blocks"]):
            add_block(f"enc.{r}_block{i}", n, model * m, attends)
            n = model * m
            passed.append(n)
    for level, m in reversed(list(enumerate(mult))):
        r, attends = f"{res >> level}x{res >> level}", (res >> level) in shape["attn_resolutions"]
        if level == len(mult) - 1:
            add_block(f"dec.{r}_in0", n, n, True), add_block(f"dec.{r}_in1", n, n, False)
        else:
            add_block(f"dec.{r}_up", n, n, False, True)
        for i in range(shape["num_blocks"] + 1):
            add_block(f"dec.{r}_block{i}", n + passed.pop(), model * m, attends and i == shape["num_blocks"])
            n = model * m
        if shape["decoder_type"] == "skip" or level == 0:
            add(f"dec.{r}_aux_norm", n), add(f"dec.{r}_aux_conv", shape["out_channels"], n, 3, 3)
    return w
