"""Song et al.'s score models in Flax checkpoints: what KLIP's own score model is published as.

Two forms occur. Older ones are a single msgpack file; newer ones a folder that Orbax wrote, in which every
array is a zarr array in a tensorstore database. Both are plain data and are read as such: with ``msgpack`` and
``tensorstore``, without JAX, Flax or Orbax.

A Flax checkpoint does not say which network it belongs to; weights are named in the order in which the
network's code made them (``ResnetBlockBigGANpp_17``). For an NCSN++ that order and the arrays' sizes give the
shape away: how many levels, how many blocks, how wide. Two things they do not tell, and are assumed as
published: the resampling filter [1, 3, 3, 1] and the frame (images in 0..1, answer divided by σ). At which
levels blocks attend must be said when any but the middle does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.errors import PriorError, optional
from KLIPCore.priors.song_unet import SongConfig, SongUNet

Tree = dict[str, Any]

BLOCK, ATTENTION = "ResnetBlockBigGANpp", "AttnBlockpp"
PARTS = {
    "GroupNorm_0": "norm_in",
    "Conv_0": "conv_in",
    "Dense_0": "told",
    "GroupNorm_1": "norm_out",
    "Conv_1": "conv_out",
    "Conv_2": "shortcut",
}
ATTENTION_PARTS = {
    "GroupNorm_0": "norm_attention",
    "NIN_0": "query",
    "NIN_1": "key",
    "NIN_2": "value",
    "NIN_3": "projection",
}


def read_flax(
    path: Path, attention_levels: tuple[int, ...] = (), taps: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)
) -> tuple[SongUNet, dict[str, Any]]:
    """Return the averaged network of a checkpoint, and what the card should say of its origin.

    Parameters
    ----------
    path : an Orbax folder, or a msgpack file; a folder of ``checkpoint_N`` folders or files stands for its latest.
    attention_levels : levels (0 is the image's own resolution) whose blocks attend; the middle always does.
    taps : resampling filter.

    Raises
    ------
    PriorError : it is no checkpoint, or of another network than an NCSN++.
    ResourceError : a package is missing.
    """
    path = latest(path)
    arrays = read_orbax(path) if path.is_dir() else read_msgpack(path)
    tree: Tree = arrays.get("params_ema") or arrays.get("params") or arrays
    try:
        config = song_config(tree, attention_levels, taps)
        network = SongUNet(config)
        network.load_state_dict(renamed(tree, config))
    except (KeyError, IndexError, RuntimeError, ValueError, AttributeError) as error:
        raise PriorError(
            f"{path.name} is not an NCSN++ that can be converted ({type(error).__name__}: {error}).",
            "Give a checkpoint of an NCSN++ with BigGAN blocks, and --attention-level where blocks attend.",
        ) from error
    form = "Orbax" if path.is_dir() else "msgpack"
    return network.eval(), {
        "format": f"Flax checkpoint ({form})",
        "averaged": "params_ema" in arrays,
        "assumed": {"taps": list(taps), "frame": "score"},
    }


def latest(path: Path) -> Path:
    """Return ``path``, or the ``checkpoint_N`` with the highest N below it.

    Raises
    ------
    PriorError : nothing is there.
    """
    if not path.exists():
        raise PriorError(f"There is nothing at {path.name}.", "Give the path of a checkpoint.")
    below = (
        sorted(
            (p for p in path.glob("checkpoint_*") if p.name.split("_")[1].isdigit()),
            key=lambda p: int(p.name.split("_")[1]),
        )
        if path.is_dir()
        else []
    )
    return below[-1] if below else path


def read_orbax(folder: Path) -> Tree:
    """Return the arrays of a folder that Orbax wrote, as a tree by name.

    In one database (OCDBT) or one folder an array, zarr 2 or 3.

    Raises
    ------
    PriorError : it holds no arrays, or they cannot be read.
    """
    ts = optional("tensorstore", "convert")
    base = f"file://{folder.resolve()}/"
    one_database = (folder / "manifest.ocdbt").is_file()
    kvstore: dict[str, Any] = (
        {"driver": "ocdbt", "base": base} if one_database else {"driver": "file", "path": f"{folder.resolve()}/"}
    )
    try:
        keys = [key.decode() for key in ts.KvStore.open(kvstore).result().list().result()]
        found = {}
        for key in keys:
            name, _, last = key.rpartition("/")
            driver = {".zarray": "zarr", "zarr.json": "zarr3"}.get(last)
            if driver is not None and name.split(".")[0] in ("params_ema", "params"):
                where = (
                    {**kvstore, "path": f"{name}/"}
                    if one_database
                    else {"driver": "file", "path": f"{folder.resolve()}/{name}/"}
                )
                found[name] = np.asarray(ts.open({"driver": driver, "kvstore": where}).result().read().result())
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise PriorError(
            f"{folder.name} cannot be read as an Orbax checkpoint ({type(error).__name__}).",
            "Copy the whole folder again.",
        ) from error
    if not found:
        raise PriorError(
            f"{folder.name} holds no arrays called params_ema or params.",
            "Give the folder checkpoint_N that Orbax wrote.",
        )
    return nested(found)


def nested(flat: Mapping[str, NDArray[Any]]) -> Tree:
    """Return ``{'a.b': x}`` as ``{'a': {'b': x}}``."""
    tree: Tree = {}
    for name, array in flat.items():
        *above, last = name.split(".")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[last] = array
    return tree


def read_msgpack(path: Path) -> Tree:
    """Return the arrays of a file that Flax's serialization wrote.

    Raises
    ------
    PriorError : it is something else.
    """
    msgpack = optional("msgpack", "convert")

    def array(code: int, data: bytes) -> Any:
        if code not in (1, 3):  # Flax: 1 an array, 3 a NumPy number, both as (shape, dtype, bytes)
            return None
        shape, kind, raw = msgpack.unpackb(data, raw=False)
        kind = np.dtype(kind)
        if kind.hasobject:
            raise ValueError("an array of objects")
        return np.frombuffer(raw, kind).reshape(shape)

    try:
        tree = msgpack.unpackb(path.read_bytes(), ext_hook=array, raw=False, strict_map_key=False)
    except Exception as error:  # msgpack has a dozen ways to say no
        raise PriorError(
            f"{path.name} is not a Flax checkpoint ({type(error).__name__}).",
            "Give the file checkpoint_N that Flax wrote.",
        ) from error
    if not isinstance(tree, dict):
        raise PriorError(f"{path.name} is not a Flax checkpoint.", "Give the file checkpoint_N that Flax wrote.")
    return tree


def count(tree: Tree, kind: str) -> int:
    """Return how many ``kind_0 .. kind_(n−1)`` there are."""
    return sum(name.startswith(f"{kind}_") for name in tree)


def song_config(tree: Tree, attention_levels: tuple[int, ...], taps: tuple[float, ...]) -> SongConfig:
    """Return the shape of an NCSN++ with its picture handed down and its answer summed up, from its arrays.

    Raises
    ------
    ValueError, KeyError : the arrays are not those of such a network.
    """
    n_levels = count(tree, "Combine") + 1
    n_blocks, odd = divmod(count(tree, BLOCK) - 3 * n_levels, 2 * n_levels)
    if (
        odd
        or n_blocks < 1
        or n_levels < 2
        or "GaussianFourierProjection_0" not in tree
        or count(tree, "GroupNorm") != n_levels
    ):
        raise ValueError("its blocks do not add up to an NCSN++ with input and output pyramids")
    attends = tuple(level in attention_levels for level in range(n_levels))
    if count(tree, ATTENTION) != 1 + sum(attends) * (n_blocks + 1):
        raise ValueError(
            f"it has {count(tree, ATTENTION)} attention blocks, which does not fit attention at the levels "
            f"{list(attention_levels)}"
        )
    first = tree["Conv_0"]["kernel"]
    widths = tuple(
        int(tree[f"{BLOCK}_{level * (n_blocks + 1)}"]["Conv_0"]["kernel"].shape[-1]) for level in range(n_levels)
    )
    return SongConfig(
        image_channels=int(first.shape[2]),
        channels=widths,
        attention_levels=attends,
        first_channels=int(first.shape[3]),
        n_blocks=n_blocks,
        noise_width=2 * int(tree["GaussianFourierProjection_0"]["W"].shape[0]),
        told_width=int(tree["Dense_0"]["kernel"].shape[1]),
        fourier=True,
        taps=tuple(float(t) for t in taps),
        pyramid_in="skip",
        pyramid_out=True,
        frame="score",
    )


def renamed(tree: Tree, config: SongConfig) -> dict[str, Tensor]:
    """Return flax's arrays in PyTorch's layouts under our names.

    Walks the network in the order in which its code made it.
    """
    out: dict[str, Tensor] = {
        "frequencies": torch.tensor(np.asarray(tree["GaussianFourierProjection_0"]["W"], np.float32))
    }
    made = {BLOCK: 0, ATTENTION: 0}

    def put(name: str, leaf: Tree) -> None:
        for kind, array in leaf.items():
            data = torch.tensor(np.asarray(array, np.float32))
            if kind in ("kernel", "W"):
                data = data.permute(3, 2, 0, 1) if data.ndim == 4 else data.T
                data = data[:, :, None, None] if kind == "W" else data
                out[f"{name}.weight"] = data.contiguous()
            else:  # some versions of Flax keep a normalisation's (1, 1, 1, C)
                out[f"{name}.{'weight' if kind == 'scale' else 'bias'}"] = data.flatten()

    def block(name: str) -> None:
        for theirs, leaf in tree[f"{BLOCK}_{made[BLOCK]}"].items():
            put(f"{name}.{PARTS[theirs]}", leaf)
        made[BLOCK] += 1

    def attention(name: str) -> None:
        for theirs, leaf in tree[f"{ATTENTION}_{made[ATTENTION]}"].items():
            put(f"{name}.{ATTENTION_PARTS[theirs]}", leaf)
        made[ATTENTION] += 1

    n_levels = len(config.channels)
    put("told_1", tree["Dense_0"])
    put("told_2", tree["Dense_1"])
    put("first", tree["Conv_0"])
    for level in range(n_levels):
        for index in range(config.n_blocks):
            block(f"down.{level}.{index}")
            if config.attention_levels[level]:
                attention(f"down.{level}.{index}")
        if level < n_levels - 1:
            block(f"halving.{level}")
            put(f"picture_in.{level}", tree[f"Combine_{level}"]["Conv_0"])
    block("middle.0")
    attention("middle.0")
    block("middle.1")
    for place in range(n_levels):
        for index in range(config.n_blocks + 1):
            block(f"up.{place}.{index}")
        if config.attention_levels[n_levels - 1 - place]:
            attention(f"up.{place}.{config.n_blocks}")
        put(f"picture_norm.{place}", tree[f"GroupNorm_{place}"])
        put(f"picture_out.{place}", tree[f"Conv_{place + 1}"])
        if place < n_levels - 1:
            block(f"doubling.{place}")
    return out


def describe(path: Path) -> str:
    """Return the names and sizes of a checkpoint's weights as JSON, for somebody whose network is another."""
    tree = read_orbax(latest(path)) if latest(path).is_dir() else read_msgpack(latest(path))

    def sizes(node: Any) -> Any:
        return {k: sizes(v) for k, v in node.items()} if isinstance(node, dict) else list(np.shape(node))

    return json.dumps(sizes(tree.get("params_ema") or tree.get("params") or tree), indent=1)
