"""From a card's ``network`` entry to a network, and back.

Every network is a module called as ``network(x, sigma, position)`` that returns the denoised images; the
entry's ``kind`` says which class and the other fields are its configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from KLIPCore.errors import PriorError
from KLIPCore.priors.ddpm import DDPMConfig, DDPMUNet
from KLIPCore.priors.diffusers_unet import DiffusersConfig, DiffusersUNet
from KLIPCore.priors.song_unet import SongConfig, SongUNet
from KLIPCore.priors.unet import EDMUNet, UNetConfig

KINDS: dict[str, tuple[type[nn.Module], type[Any]]] = {
    "EDMUNet": (EDMUNet, UNetConfig),
    "DDPMUNet": (DDPMUNet, DDPMConfig),
    "DiffusersUNet": (DiffusersUNet, DiffusersConfig),
    "SongUNet": (SongUNet, SongConfig),
}
"""Kind → (network, its configuration)."""


MOST_BLOCKS, MOST_CHANNELS = 64, 100_000
"""Larger numbers in a card are mistakes or meant ill: no diffusion network has so many blocks or levels, nor
channels or steps.
"""


def network_config(fields: Mapping[str, Any]) -> Any:
    """Return the configuration that a ``network`` entry describes; an entry without ``kind`` is an EDMUNet's.

    Raises
    ------
    PriorError : the kind or a field is unknown.
    """
    kind = fields.get("kind", "EDMUNet")
    if kind not in KINDS:
        raise PriorError(f"A network of the kind '{kind}' is not known.", f"This version knows: {', '.join(KINDS)}.")
    try:
        _check_extent(fields)
        return KINDS[kind][1].from_dict(fields)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise PriorError(
            f"The network's description cannot be used ({str(error)[:200]}).",
            "Use the card written beside the weights by the same version.",
        ) from error


def _check_extent(fields: Mapping[str, Any]) -> None:
    """Refuse a description of a network that would take days to build.

    Raises
    ------
    ValueError : too many blocks, levels or channels.
    """
    for name, value in fields.items():
        most = MOST_BLOCKS if name.endswith("blocks") else MOST_CHANNELS
        numbers = value if isinstance(value, list | tuple) else [value]
        if len(numbers) > MOST_BLOCKS or any(isinstance(n, int | float) and not -most <= n <= most for n in numbers):
            raise ValueError(f"{name} is out of range")


def build_network(config: Any) -> nn.Module:
    """Return a freshly initialised network of a configuration's kind."""
    network, _ = next(pair for pair in KINDS.values() if type(config) is pair[1])
    return network(config)


def network_fields(config: Any) -> dict[str, Any]:
    """Return the card's ``network`` entry for a configuration: the inverse of :func:`network_config`."""
    return {"kind": next(kind for kind, pair in KINDS.items() if type(config) is pair[1]), **asdict(config)}
