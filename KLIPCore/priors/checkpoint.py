"""Weights on disk: ``NAME.safetensors`` and ``NAME.json``, never a pickle.

The JSON is the :class:`~KLIPCore.volume.model_card.ModelCard`; its ``sha256`` must match the weights, so that
a result's provenance names exactly one network. The shipped default lives in :mod:`KLIPCore.priors.zoo`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import warnings
from contextlib import suppress
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from KLIPCore.errors import ConfigError, OutputError, PriorError
from KLIPCore.priors.networks import build_network, network_config
from KLIPCore.priors.unet import UNetPrior
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.untrusted import read_json

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a prior may be called: it becomes the name of two files."""
LONGEST_TENSOR_LIST = 8 << 20
"""Bytes of the header of a .safetensors file; the shipped priors' have 60 000."""

NETWORK = "network"
"""Entry of that header: the card's network, so that a card of another kind of network with equal shapes is noticed."""

DEFAULT_PRIOR = "abdomen-ct-256"
"""Name of the prior that is loaded when none is named."""


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def save_prior(network: nn.Module, card: ModelCard, folder: Path, dtype: torch.dtype = torch.float16) -> Path:
    """Write weights and card beside each other and return the weights' path.

    Both are written under a temporary name first: an interrupted save leaves the old pair intact.

    Raises
    ------
    ConfigError : the card's name is no name of a file.
    OutputError : they cannot be written.
    """
    check_prior_name(card.name)
    path = folder / f"{card.name}.safetensors"
    partial, partial_card = folder / f"{card.name}.safetensors.part", folder / f"{card.name}.json.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.detach().to(dtype).contiguous().cpu() for name, tensor in network.state_dict().items()},
            partial,
            {NETWORK: json.dumps(card.network, sort_keys=True)},
        )
        card = replace(card, sha256=file_sha256(partial))
        partial_card.write_text(json.dumps(card.to_dict(), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
        partial_card.replace(folder / f"{card.name}.json")
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"The prior {card.name} cannot be written to {folder}.",
            "Choose a folder you may write to, with space left.",
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
            partial_card.unlink(missing_ok=True)
    return path


def check_prior_name(name: str) -> None:
    """Refuse names that would lie in another folder, or that no file can have.

    Raises
    ------
    ConfigError : it is one.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"A prior cannot be called {name[:60]!r}.",
            "Use letters, digits, '-', '_' and '.', at most 100, a letter or digit first.",
        )


def load_prior(
    name_or_path: str | Path = DEFAULT_PRIOR,
    device: torch.device | str = "cpu",
    precision: str | None = None,
    channels_last: bool = True,
) -> UNetPrior:
    """Return a shipped prior by name, or anybody's by the path of its ``.safetensors``.

    Parameters
    ----------
    name_or_path : which.
    device, precision, channels_last : how it computes, as for :class:`KLIPCore.priors.unet.UNetPrior`.
        :func:`KLIPCore.detection.precision.load_fastest` finds out what is fastest on this computer.

    Raises
    ------
    PriorError : no such prior, a card that does not match, or damaged weights.
    """
    path = Path(name_or_path)
    if path.suffix == ".safetensors":
        return UNetPrior(*_load(path), device=device, own=True, precision=precision, channels_last=channels_last)
    shipped = files("KLIPCore.priors.zoo") / f"{name_or_path}.safetensors"
    if not shipped.is_file():
        names = ", ".join(
            sorted(
                f.name.removesuffix(".safetensors")
                for f in files("KLIPCore.priors.zoo").iterdir()
                if f.name.endswith(".safetensors")
            )
        )
        raise PriorError(
            f"There is no prior called '{name_or_path}'.",
            f"Choose one of: {names}; or give the path of a .safetensors file.",
        )
    with as_file(shipped) as real, as_file(files("KLIPCore.priors.zoo") / f"{name_or_path}.json"):
        return UNetPrior(*_load(real), device=device, own=True, precision=precision, channels_last=channels_last)


def shipped_cards() -> list[ModelCard]:
    """Return the cards of all priors in the package."""
    cards = sorted(
        (f for f in files("KLIPCore.priors.zoo").iterdir() if f.name.endswith(".json")),
        key=lambda f: f.name.removesuffix(".json"),
    )
    return [ModelCard.from_dict(json.loads(f.read_text(encoding="utf-8"))) for f in cards]


def _load(path: Path) -> tuple[nn.Module, ModelCard]:
    """A network in float32 and its card; see :func:`load_prior`."""
    card_path = path.with_suffix(".json")
    if not path.is_file() or not card_path.is_file():
        raise PriorError(
            f"The prior needs {path.name} and {card_path.name} side by side.",
            "Give the path of the .safetensors file with its model card beside it.",
        )
    try:
        card = ModelCard.from_dict(read_json(card_path))
        _check_hash(card, path)
        _check_tensors(path)
        network, tensors = build_network(_fitting(card, path)), load_file(path)
        _check_shapes(network, tensors, card, path)
        network.load_state_dict(tensors)  # float16 on disk; copied into the network's own float32
    except (
        SafetensorError,
        OSError,
        ValueError,
        RuntimeError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
        MemoryError,
    ) as error:
        raise PriorError(
            f"{path.name} cannot be loaded ({type(error).__name__}).",
            "Copy weights and card again, or choose another prior.",
        ) from error
    return network, card


def _check_hash(card: ModelCard, path: Path) -> None:
    """Refuse weights that a card does not name by their hash.

    Raises
    ------
    PriorError : the card has none, or that of another file.
    """
    found = file_sha256(path)
    if not card.sha256:
        raise PriorError(
            f"The model card of {path.name} does not say which weights it describes (sha256 is empty).",
            f'Copy the card again; or, if you know that the two belong together, write "sha256": "{found}" into it.',
        )
    if card.sha256 != found:
        raise PriorError(
            f"{path.name} is not the file its model card describes (hash differs).",
            "Copy weights and card again, from the same place.",
        )


def _check_shapes(network: nn.Module, tensors: dict[str, torch.Tensor], card: ModelCard, path: Path) -> None:
    """Refuse weights of another network than the card's.

    Raises
    ------
    PriorError : the file says so, or layers are missing, left over, or of another shape.
    """
    with safe_open(str(path), "pt") as stored:
        told = (stored.metadata() or {}).get(NETWORK)  # older files do not say
    if told is not None and json.loads(told) != json.loads(json.dumps(card.network)):
        raise PriorError(
            f"{path.name} was saved as another network than its card describes.",
            "Copy weights and card again, from the same place.",
        )
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    other = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    if other:
        raise PriorError(
            f"{path.name} holds the weights of another network than its card describes "
            f"({len(other)} of {len(wanted.keys() | given.keys())} tensors differ, e.g. {other[0][:80]}).",
            "Copy weights and card again, from the same place; a published network needs klip priors convert.",
        )


def _check_tensors(path: Path) -> None:
    """Refuse a file whose header says to be longer than any header, or than the file.

    Raises
    ------
    ValueError : it is one.
    """
    with path.open("rb") as stream:
        start = stream.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(LONGEST_TENSOR_LIST, path.stat().st_size - 8):
        raise ValueError("its header is of an impossible length")


def _fitting(card: ModelCard, path: Path) -> Any:
    """The network's configuration, if the file has room for its weights: a network of a terabyte is built by
    four digits.

    Raises
    ------
    PriorError : it has not.
    ValueError : the network has layers without weights.
    """
    import einops.layers.torch  # noqa: F401 - MONAI would, below, where PyTorch 2.6 cannot load what that needs

    config = network_config(card.network)
    with torch.device("meta"), warnings.catch_warnings():  # shapes without memory
        warnings.simplefilter("ignore")  # of layers without weights; the file is refused by its size
        sizes = [math.prod(p.shape) for p in build_network(config).parameters()]
    n = sum(sizes)
    if 0 in sizes:
        raise ValueError("its card describes layers without weights")
    if n > path.stat().st_size:  # a byte for a weight at least
        raise PriorError(
            f"{path.name} holds the weights of another network than its card describes (fewer than that one has).",
            "Copy weights and card again, from the same place; a published network needs klip priors convert.",
        )
    return config
