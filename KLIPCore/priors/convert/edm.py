"""EDM's and PaDIS's network snapshots (``network-snapshot-NNNNNN.pkl``).

Such a pickle holds, under ``ema``, an object of the class ``EDMPrecond`` (or PaDIS's ``Patch_EDMPrecond``)
with the source text of its own class beside its weights; ordinary unpickling runs that text. Here the text is
not even looked at: the weights are read by :mod:`KLIPCore.priors.convert.pickle_reader` and put into
:class:`KLIPCore.priors.song_unet.SongUNet`, which was written here. What the weights must be called is known
from the published names; what has no place is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from KLIPCore.errors import PriorError
from KLIPCore.priors.convert.pickle_reader import Thing, read_pickle, tensors_of
from KLIPCore.priors.song_unet import SongConfig, SongUNet

BLOCK = {
    "norm0": "norm_in", "conv0": "conv_in", "affine": "told", "norm1": "norm_out", "conv1": "conv_out",
    "skip": "shortcut", "norm2": "norm_attention", "proj": "projection",
}  # fmt: skip
"""Parts of a residual block: the published name → the name here."""

TOP = {"map_layer0": "told_1", "map_layer1": "told_2"}


def read_edm(
    path: Path, patch: int = 0, pad: int = 0, scale: float | None = None, shift: float | None = None
) -> tuple[SongUNet, dict[str, Any]]:
    """Return the network of a snapshot, and what the card should say of its origin.

    Parameters
    ----------
    path : the ``.pkl``.
    patch, pad : PaDIS: side of the patches in which images are denoised and margin of zeros, in pixels; 0 asks
        whole images.
    scale, shift : the network's intensity u = scale·x + shift; by default 1 and 0 for networks with positions
        (PaDIS was trained on 0..1), 2 and −1 otherwise (EDM: −1..1).

    Raises
    ------
    PriorError : the file is something else, would run code, or holds parts that have no counterpart here.
    """
    found = read_pickle(path)
    outer = found.get("ema") if isinstance(found, dict) else found
    if not isinstance(outer, Thing) or outer.kind not in ("EDMPrecond", "Patch_EDMPrecond"):
        kind = outer.kind if isinstance(outer, Thing) else type(outer).__name__
        raise PriorError(
            f"{path.name} holds a {kind}, not a network under EDM's preconditioning.",
            "Give an EDM or PaDIS network snapshot.",
        )
    inner = outer.state.get("_modules", {}).get("model")
    if not isinstance(inner, Thing) or inner.kind != "SongUNet":
        kind = inner.kind if isinstance(inner, Thing) else "nothing known"
        raise PriorError(
            f"The snapshot's network is a {kind}; only SongUNet (DDPM++, NCSN++) has a counterpart here.",
            "Convert a DDPM++ or NCSN++ snapshot.",
        )
    shape = inner.state.get("_init_kwargs") or {}
    try:
        config = edm_config(shape, float(outer.state.get("sigma_data", 0.5)), patch, pad, scale, shift)
        network = SongUNet(config)
        network.load_state_dict(renamed(tensors_of(inner), int(shape["img_resolution"]), config))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise PriorError(
            f"{path.name} cannot be converted ({error}).",
            "Give an EDM or PaDIS network snapshot as its training wrote it.",
        ) from error
    return network.eval(), {"format": f"{outer.kind} pickle", "sample_size": int(shape["img_resolution"])}


def edm_config(
    shape: dict[str, Any], sigma_data: float, patch: int, pad: int, scale: float | None, shift: float | None
) -> SongConfig:
    """Return the configuration that a ``SongUNet`` was constructed with; what is not named has the published default.

    Raises
    ------
    PriorError : a part has no counterpart here.
    """
    if shape.get("label_dim", 0) or shape.get("implicit_mlp"):
        raise PriorError(
            "The network is conditioned on classes or coordinates of its own.", "Convert an unconditional network."
        )
    n_in, n_out = int(shape["in_channels"]), int(shape["out_channels"])
    if n_in - n_out not in (0, 2):
        raise PriorError(
            f"A network of {n_in} input and {n_out} output channels is not known.",
            "Convert one with as many of both, or with two positions.",
        )
    positions = n_in - n_out == 2
    model, resolution = int(shape.get("model_channels", 128)), int(shape["img_resolution"])
    multiples = list(shape.get("channel_mult", [1, 2, 2, 2]))
    wanted = {int(r) for r in shape.get("attn_resolutions", [16])}
    return SongConfig(
        image_channels=n_out,
        channels=tuple(model * int(m) for m in multiples),
        attention_levels=tuple(resolution >> level in wanted for level in range(len(multiples))),
        first_channels=model,
        n_blocks=int(shape.get("num_blocks", 4)),
        noise_width=model * int(shape.get("channel_mult_noise", 1)),
        told_width=model * int(shape.get("channel_mult_emb", 4)),
        fourier=shape.get("embedding_type", "positional") == "fourier",
        taps=tuple(float(t) for t in shape.get("resample_filter", [1, 1])),
        pyramid_in={"standard": "none"}.get(
            shape.get("encoder_type", "standard"), shape.get("encoder_type", "standard")
        ),
        pyramid_out=shape.get("decoder_type", "standard") == "skip",
        sigma_data=sigma_data,
        scale=scale if scale is not None else 1.0 if positions else 2.0,
        shift=shift if shift is not None else 0.0 if positions else -1.0,
        positions=positions,
        patch=patch,
        pad=pad,
    )


def renamed(tensors: dict[str, Tensor], resolution: int, config: SongConfig) -> dict[str, Tensor]:
    """Return the published names of a SongUNet's weights turned into ours, float32.

    Raises
    ------
    ValueError : a name is unknown.
    """
    out: dict[str, Tensor] = {}
    last = len(config.channels) - 1
    for name, tensor in tensors.items():
        if name.endswith("resample_filter") or name.startswith("map_augment"):
            continue  # the filter is known from the configuration; augmentation labels are zero in use
        if name == "map_noise.freqs":
            out["frequencies"] = tensor.float()
            continue
        head, _, rest = name.partition(".")
        if head in TOP:
            out[f"{TOP[head]}.{rest}"] = tensor.float()
            continue
        match = re.fullmatch(
            r"(enc|dec)\.(\d+)x\d+_(conv|down|aux_skip|aux_residual|block|in|up|aux_norm|aux_conv)(\d*)\.(.+)", name
        )
        if match is None:
            raise ValueError(f"the weight {name} has no place")
        side, size, role, index, part = match.groups()
        level = (resolution // int(size)).bit_length() - 1
        place = last - level
        at = place if config.pyramid_out else 0
        module = {
            ("enc", "conv"): "first",
            ("enc", "down"): f"halving.{level - 1}",
            ("enc", "aux_skip"): f"picture_in.{level - 1}",
            ("enc", "aux_residual"): f"picture_in.{level - 1}",
            ("enc", "block"): f"down.{level}.{index}",
            ("dec", "in"): f"middle.{index}",
            ("dec", "up"): f"doubling.{place - 1}",
            ("dec", "block"): f"up.{place}.{index}",
            ("dec", "aux_norm"): f"picture_norm.{at}",
            ("dec", "aux_conv"): f"picture_out.{at}",
        }[side, role]
        piece, _, kind = part.rpartition(".")
        if piece == "qkv":  # one convolution for all three, channel by channel
            for j, ours in enumerate(("query", "key", "value")):
                out[f"{module}.{ours}.{kind}"] = tensor.reshape(-1, 3, *tensor.shape[1:])[:, j].float().contiguous()
        else:
            out[f"{module}.{BLOCK[piece]}.{kind}" if piece else f"{module}.{kind}"] = tensor.float()
    return out
