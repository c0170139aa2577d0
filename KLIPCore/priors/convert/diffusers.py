"""diffusers' ``UNet2DModel`` folders.

Such a folder holds ``config.json`` and ``diffusion_pytorch_model.safetensors`` (or ``.bin``), directly or
below ``unet/``, and the training schedule in ``scheduler_config.json``, directly or below ``scheduler/``.
Large networks come in shards, several files that ``diffusion_pytorch_model.safetensors.index.json`` lists; a
variant (``.fp16.``) is taken where there is nothing else. diffusers itself is not needed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from KLIPCore.errors import PriorError
from KLIPCore.priors.diffusers_unet import DiffusersConfig, DiffusersUNet
from KLIPCore.volume.untrusted import read_json

SCHEDULES = {"linear": "linear_beta", "scaled_linear": "scaled_linear_beta", "squaredcos_cap_v2": "cosine"}
"""diffusers' name of a schedule → MONAI's."""

SUFFIXES = (".safetensors", ".bin")
SHARD = re.compile(r"diffusion_pytorch_model(\.[A-Za-z0-9_]+)?-\d{5}-of-\d{5}(\.[A-Za-z0-9_]+)?\.(safetensors|bin)")
"""How diffusers calls the parts of a network; no folder can be hidden in such a name."""

UNCHANGED = {
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,),
    "mid_block_type": ("UNetMidBlock2D",),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "act_fn": ("silu", "swish"),
    "attn_norm_num_groups": (None,),
    "resnet_time_scale_shift": ("default",),
    "add_attention": (True,),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "mid_block_scale_factor": (1,),
}
"""Settings that MONAI's blocks have no counterpart for, and the values that mean what they do anyway."""

RENAMED = (
    (r"^time_embedding\.linear_1", "time_embed.0"),
    (r"^time_embedding\.linear_2", "time_embed.2"),
    (r"^conv_norm_out", "out.0"),
    (r"^conv_out", "out.2.conv"),
    (r"^conv_in", "conv_in.conv"),
    (r"^mid_block\.resnets\.0", "middle_block.resnet_1"),
    (r"^mid_block\.resnets\.1", "middle_block.resnet_2"),
    (r"^mid_block\.attentions\.0", "middle_block.attention"),
    (r"\.downsamplers\.0\.conv", ".downsampler.op.conv"),
    (r"\.upsamplers\.0\.conv", ".upsampler.postconv.conv"),
    (r"\.conv1\.", ".conv1.conv."),
    (r"\.conv2\.", ".conv2.conv."),
    (r"\.conv_shortcut\.", ".skip_connection.conv."),
    (r"\.group_norm\.", ".norm."),
    (r"\.(to_q|query)\.", ".attn.to_q."),
    (r"\.(to_k|key)\.", ".attn.to_k."),
    (r"\.(to_v|value)\.", ".attn.to_v."),
    (r"\.(to_out\.0|proj_attn)\.", ".attn.out_proj."),
)
"""Pattern in diffusers' name of a weight → MONAI's; the older names of attention too."""


def read_diffusers(folder: Path) -> tuple[DiffusersUNet, dict[str, Any]]:
    """Return the network of a folder, and what the card should say of its origin.

    Raises
    ------
    PriorError : files are missing, or the network has parts that have no counterpart here; the message names them.
    """
    config_path = _first(folder, "config.json", "unet/config.json")
    try:
        described = read_json(config_path)
        scheduler = _scheduler(folder)
        network = DiffusersUNet(diffusers_config(described, scheduler))
        network.net.load_state_dict(renamed(_weights(config_path.parent)))
    except PriorError:
        raise
    except (
        Exception
    ) as error:  # what the file makes json, torch and safetensors raise; their texts may advise to unpickle
        raise PriorError(
            f"{folder.name} cannot be converted ({_clause(error)}).",
            "Give a folder that diffusers' UNet2DModel.save_pretrained wrote.",
        ) from error
    size = described.get("sample_size")
    return network, {
        "format": "diffusers UNet2DModel",
        "version": described.get("_diffusers_version", ""),
        "sample_size": size,
    }


def diffusers_config(described: dict[str, Any], scheduler: dict[str, Any]) -> DiffusersConfig:
    """Return the configuration that ``config.json`` and ``scheduler_config.json`` describe.

    Raises
    ------
    PriorError : a part has no counterpart here.
    """
    if described.get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise PriorError(
            f"{described['_class_name']} is not an unconditional image network.", "Convert a UNet2DModel."
        )
    for name, known in UNCHANGED.items():
        if described.get(name, known[0]) not in known:
            raise PriorError(
                f"The network sets {name} to {described[name]!r}, which has no counterpart here.",
                "Convert a plain UNet2DModel.",
            )
    down, up = list(described["down_block_types"]), list(described["up_block_types"])
    attends = [kind == "AttnDownBlock2D" for kind in down]
    if not set(down) <= {"DownBlock2D", "AttnDownBlock2D"} or up != [
        "AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)
    ]:
        raise PriorError(
            f"Blocks {down} and {up} have no counterpart here.",
            "Convert a network of (Attn)DownBlock2D and their mirror image.",
        )
    if described["in_channels"] != described["out_channels"]:
        raise PriorError(
            "The network's output has other channels than its input (a learned variance?).",
            "Convert a network that predicts the noise or v alone.",
        )
    channels = tuple(described["block_out_channels"])
    head = described.get("attention_head_dim", 8)
    kind = scheduler.get("beta_schedule", "linear")
    if kind not in SCHEDULES or scheduler.get("trained_betas") is not None or scheduler.get("rescale_betas_zero_snr"):
        raise PriorError(f"The noise schedule '{kind}' has no counterpart here.", f"Known are {', '.join(SCHEDULES)}.")
    return DiffusersConfig(
        image_channels=described["in_channels"],
        channels=channels,
        attention_levels=tuple(attends),
        head_channels=tuple(head or c for c in channels),
        n_res_blocks=described["layers_per_block"],
        norm_groups=described.get("norm_num_groups", 32),
        norm_eps=described.get("norm_eps", 1e-5),
        cosine_first=described.get("flip_sin_to_cos", True),
        freq_shift=described.get("freq_shift", 0),
        pad_both=described.get("downsample_padding", 1) == 1,
        prediction=scheduler.get("prediction_type", "epsilon"),
        schedule=SCHEDULES[kind],
        n_steps=scheduler.get("num_train_timesteps", 1000),
        beta_start=scheduler.get("beta_start", 1e-4),
        beta_end=scheduler.get("beta_end", 2e-2),
    )


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return diffusers' weights under MONAI's names, float32.

    A convolution of one pixel that attention once was becomes linear.
    """
    out = {}
    for name, tensor in tensors.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        out[name] = (tensor.flatten(1) if ".attn." in name and tensor.ndim == 4 else tensor).float()
    return out


def _scheduler(folder: Path) -> dict[str, Any]:
    for place in ("scheduler/scheduler_config.json", "scheduler_config.json", "../scheduler/scheduler_config.json"):
        if (folder / place).is_file():
            return read_json(folder / place)
    raise PriorError(
        f"{folder.name} has no scheduler_config.json, without which its noise levels are unknown.",
        "Put the training schedule beside it.",
    )


def _weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder, from one file or from its shards.

    Raises
    ------
    PriorError : there are none, or a shard is missing or lies elsewhere.
    """
    index = next((file for file in sorted(folder.glob("diffusion_pytorch_model*.index*.json"))), None)
    whole = [
        folder / name
        for name in ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
        if (folder / name).is_file()
    ]
    if not whole and index is None:
        whole = [
            file
            for file in sorted(folder.glob("diffusion_pytorch_model.*.*"))
            if SHARD.fullmatch(file.name) is None and file.suffix in SUFFIXES
        ]
    if whole:
        return _tensors(whole[0])
    if index is None:
        raise PriorError(
            f"{folder.name} has no diffusion_pytorch_model.safetensors.",
            "Give a folder that diffusers' UNet2DModel.save_pretrained wrote.",
        )
    places = read_json(index).get("weight_map", {})
    if not isinstance(places, dict) or not all(
        isinstance(name, str) and SHARD.fullmatch(name) for name in places.values()
    ):
        raise PriorError(
            f"{index.name} names files that are not shards beside it.",
            "Copy the folder again; its index lists the files of one network.",
        )
    found: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        if not (folder / name).is_file():
            raise PriorError(
                f"The shard {name} that {index.name} lists is missing.",
                "Copy all files of the network into one folder.",
            )
        shard = _tensors(folder / name)
        found |= {key: tensor for key, tensor in shard.items() if places.get(key) == name}
    missing = sorted(set(places) - set(found))
    if missing:
        raise PriorError(
            f"The shards lack {len(missing)} weights that {index.name} lists, {missing[0][:80]} first.",
            "Copy the shards again.",
        )
    return found


def _tensors(file: Path) -> dict[str, Tensor]:
    """The weights in one file; of a .bin only tensors, nothing in it is run."""
    return (
        load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu", weights_only=True)
    )


def _clause(error: Exception) -> str:
    """What is wrong in a few words; of torch's unpickler the kind alone, since it goes on to advise what is unsafe."""
    text = " ".join(str(error).split())
    return type(error).__name__ if not text or "weights_only" in text or "pickle" in text.lower() else text[:200]


def _first(folder: Path, *places: str) -> Path:
    for place in places:
        if (folder / place).is_file():
            return folder / place
    raise PriorError(
        f"{folder.name} has no {places[0]}.", "Give a folder that diffusers' UNet2DModel.save_pretrained wrote."
    )
