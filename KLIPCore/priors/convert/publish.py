"""One call for all formats: find out what a checkpoint is, convert it, write weights and card, and load them
again to be sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from KLIPCore.errors import ConfigError, OutputError, PriorError
from KLIPCore.priors.checkpoint import check_prior_name, load_prior, save_prior
from KLIPCore.priors.convert.diffusers import read_diffusers
from KLIPCore.priors.convert.edm import read_edm
from KLIPCore.priors.convert.flax import read_flax
from KLIPCore.priors.diffusers_unet import DiffusersUNet
from KLIPCore.priors.networks import network_fields
from KLIPCore.priors.song_unet import SongUNet
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window

FORMATS = ("diffusers", "edm", "flax")


@dataclass(frozen=True)
class Wanted:
    """What a checkpoint does not say of itself, for its card.

    Attributes
    ----------
    name : of the prior.
    window : HU interval of intensity 0..1.
    size : side of its square in pixels; None takes what the checkpoint says.
    anatomy, licence, intended_use : in words.
    sigma : noise levels it was trained on, in intensity units; None takes the format's usual ones.
    patch, pad : see :func:`KLIPCore.priors.convert.edm.read_edm`.
    attention_levels : see :func:`KLIPCore.priors.convert.flax.read_flax`.
    """

    name: str
    window: Window
    size: int | None = None
    anatomy: str = "not stated"
    licence: str = "that of the checkpoint; not stated"
    intended_use: str = "Research only; not a medical device."
    sigma: tuple[float, float] | None = None
    patch: int = 0
    pad: int = 0
    attention_levels: tuple[int, ...] = ()


def format_of(source: Path) -> str:
    """Return ``diffusers``, ``edm`` or ``flax``, from how the files are called.

    Raises
    ------
    PriorError : none of them.
    """
    if source.suffix in (".pkl", ".pickle"):
        return "edm"
    if (source / "config.json").is_file() or (source / "unet" / "config.json").is_file():
        return "diffusers"
    orbax = any((source / name).exists() for name in ("manifest.ocdbt", "_METADATA", "_CHECKPOINT_METADATA"))
    if (
        orbax
        or source.name.startswith("checkpoint_")
        or any(source.glob("checkpoint_*"))
        or source.suffix in (".msgpack", ".flax")
    ):
        return "flax"
    if not source.exists():
        raise PriorError(f"There is nothing at {source}.", "Check the path of the checkpoint.")
    raise PriorError(
        f"{source.name} is not a checkpoint of a known format.",
        "Give an EDM or PaDIS .pkl, a diffusers UNet2DModel folder, or a Flax checkpoint, or say --format.",
    )


def convert(source: Path, out: Path, wanted: Wanted, kind: str | None = None, overwrite: bool = False) -> Path:
    """Convert a checkpoint and return the path of the ``.safetensors``, with the card beside it.

    Parameters
    ----------
    source : the checkpoint.
    out : folder for weights and card.
    wanted : what the checkpoint does not say.
    kind : one of :data:`FORMATS`, or None to find out.
    overwrite : replace a prior of that name.

    Raises
    ------
    PriorError : it cannot be converted, or does not come back as it went.
    ConfigError : the name is no file's, the format is unknown, or the size is not said anywhere.
    OutputError : a prior of that name is there, or the folder cannot be written.
    """
    check_prior_name(wanted.name)
    there = [name for suffix in (".safetensors", ".json") if (out / (name := wanted.name + suffix)).exists()]
    if there and not overwrite:
        raise OutputError(
            f"{out} holds {' and '.join(there)} already.",
            "Choose another --name or folder, or replace that prior with --overwrite.",
        )
    kind = kind or format_of(source)
    network: Any
    if kind == "diffusers":
        network, origin = read_diffusers(source)
    elif kind == "edm":
        network, origin = read_edm(source, wanted.patch, wanted.pad)
    elif kind == "flax":
        network, origin = read_flax(source, wanted.attention_levels)
    else:
        raise ConfigError(f"The format '{kind}' is not known.", f"Choose one of: {', '.join(FORMATS)}.")
    size = wanted.size or origin.get("sample_size")
    if not isinstance(size, int):
        raise ConfigError("The checkpoint does not say the side of its images.", "Give --size in pixels.")
    if size % network.multiple:
        raise ConfigError(
            f"This network needs sides that {network.multiple} divides, not {size}.", "Give another --size."
        )
    lo, hi = wanted.sigma or usual_sigma(network)
    card = ModelCard(
        name=wanted.name,
        anatomy=wanted.anatomy,
        window=wanted.window,
        size=size,
        position_channels=getattr(network.config, "positions", False),
        sigma_min=lo,
        sigma_max=hi,
        network=network_fields(network.config),
        licence=wanted.licence,
        intended_use=wanted.intended_use,
        training={"command": "klip priors convert", "converted_from": {"file": source.name, **origin}},
    )
    path = save_prior(network, card, out, torch.float32)
    _check(network.eval(), path, size, (lo * hi) ** 0.5)
    return path


def usual_sigma(network: Any) -> tuple[float, float]:
    """Return noise levels, in intensity units, at which networks of this kind are commonly trained."""
    if isinstance(network, DiffusersUNet):
        return float(network.vp.sigmas[0]) / network.scale, float(network.vp.sigmas[-1]) / network.scale
    if network.config.frame == "edm":
        return 0.002 / network.config.scale, 80.0 / network.config.scale
    return 0.01, 128.0  # KLIP's score model


def _check(network: Any, path: Path, size: int, sigma: float) -> None:
    """The prior from disk must say what the network in memory says."""
    prior = load_prior(path)
    generator = torch.Generator().manual_seed(0)
    tiled = isinstance(network, SongUNet) and network.config.patch > 0
    side = size if size <= 128 or tiled else 16 * network.multiple
    x = 0.5 + sigma * torch.randn(1, network.config.image_channels, side, side, generator=generator)
    level, nowhere = torch.tensor([sigma]), torch.zeros(1, 2, side, side)
    with torch.inference_mode():
        here, there = network(x, level, nowhere), prior.network(x, level, nowhere)
    if not torch.isfinite(here).all() or not torch.allclose(here, there, rtol=1e-4, atol=1e-4):
        raise PriorError(
            "The converted network does not say the same after being written.",
            "Its weights may be damaged; get the checkpoint again.",
        )
