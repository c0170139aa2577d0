"""Flax's checkpoints of a score model, against the Flax network that they belong to."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import PriorError
from KLIPCore.priors.convert.flax import describe, read_flax, renamed, song_config
from KLIPCore.priors.song_unet import SongUNet

jax = pytest.importorskip("jax", reason="needs the test extra 'convert'")
flax = pytest.importorskip("flax", reason="needs the test extra 'convert'")
ocp = pytest.importorskip("orbax.checkpoint", reason="needs the test extra 'convert'")
pytest.importorskip("tensorstore", reason="needs the extra 'convert'")

from flax_song import NCSNpp  # noqa: E402  (needs Flax)

SIZE = 16
NETWORKS = {
    "as published": (NCSNpp(first=8, widths=(8, 8, 16), n_blocks=2), ()),
    "attending": (NCSNpp(first=8, widths=(8, 16), n_blocks=1, attends=(8,)), (1,)),
}


@functools.cache
def made(name: str) -> tuple[Any, dict, tuple[int, ...]]:
    """A random network's score, its parameters and the levels whose blocks attend."""
    network, levels = NETWORKS[name]
    given = (np.zeros((2, SIZE, SIZE, 1), np.float32), np.ones(2, np.float32))
    shapes = jax.eval_shape(network.init, jax.random.PRNGKey(0), *given)[
        "params"
    ]  # its own initialisation takes a minute to compile
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda a: (random.normal(0, 1 / np.sqrt(max(np.prod(a.shape[:-1]), 4)), a.shape)).astype(np.float32), shapes
    )
    score = jax.jit(lambda params, x, sigma: network.apply({"params": params}, x, sigma)).lower(params, *given)
    return (
        score.compile({"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}),
        params,
        levels,
    )


def saved(folder: Path, params: dict, form: str) -> Path:
    """A checkpoint with everything a training state has."""
    tree = {
        "step": np.int32(7),
        "lr": 2e-4,
        "params_ema": params,
        "params": jax.tree.map(lambda a: a * 0, params),
        "rng": np.arange(2, dtype=np.uint32),
    }
    path = folder / "checkpoint_3"
    if form == "msgpack":
        folder.mkdir(exist_ok=True)
        path.write_bytes(flax.serialization.msgpack_serialize(flax.serialization.to_state_dict(tree)))
        return folder
    logging.disable(logging.WARNING)
    try:
        options = {"use_ocdbt": form != "orbax, folders", "use_zarr3": form == "orbax, zarr 3"}
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)) as writer:
            writer.save(path.resolve(), args=ocp.args.PyTreeSave(tree))
    finally:
        logging.disable(logging.NOTSET)
    return folder


@pytest.mark.parametrize("form", ["orbax", "orbax, folders", "orbax, zarr 3", "msgpack"])
@pytest.mark.parametrize("name", NETWORKS)
def test_same_score_as_the_flax_network(tmp_path: Path, name: str, form: str) -> None:
    theirs, params, levels = made(name)
    ours, origin = read_flax(saved(tmp_path / "run", params, form), attention_levels=levels)
    assert origin["averaged"]
    x = np.random.default_rng(0).normal(0.5, 1, (2, SIZE, SIZE, 1)).astype(np.float32)
    sigma = np.array([0.05, 2.0], np.float32)
    score = np.asarray(theirs(params, x, sigma))
    wanted = torch.from_numpy(x + sigma[:, None, None, None] ** 2 * score).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found = ours(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(sigma), torch.zeros(2, 2, SIZE, SIZE))
    assert np.std(score * sigma[:, None, None, None]) > 0.01
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_shape_of_the_published_score_model() -> None:
    """KLIP's NCSN++ for 512² CT (nf 32, multiples 1 1 2 2 2 2 2, two blocks): recognised from its arrays,
    and every one finds its place.
    """
    network = NCSNpp(first=32, widths=(32, 32, 64, 64, 64, 64, 64), n_blocks=2, attends=(20,))
    given = (np.zeros((1, 512, 512, 1), np.float32), np.ones(1, np.float32))
    tree = jax.tree.map(
        lambda a: np.zeros(a.shape, np.float32), jax.eval_shape(network.init, jax.random.PRNGKey(0), *given)["params"]
    )
    config = song_config(tree, (), (1.0, 3.0, 3.0, 1.0))
    assert (config.channels, config.n_blocks, config.first_channels) == ((32, 32, 64, 64, 64, 64, 64), 2, 32)
    assert not any(config.attention_levels)
    SongUNet(config).load_state_dict(renamed(tree, config))


def test_the_latest_of_several_is_taken(tmp_path: Path) -> None:
    _, params, _ = made("as published")
    folder = saved(tmp_path / "run", params, "msgpack")
    (folder / "checkpoint_20").write_bytes(
        flax.serialization.msgpack_serialize({"params_ema": jax.tree.map(lambda a: np.asarray(a) * 0, dict(params))})
    )
    network, _ = read_flax(folder)
    assert not any(p.abs().sum() for p in network.parameters())


def test_attention_that_was_not_said_is_refused(tmp_path: Path) -> None:
    _, params, _ = made("attending")
    with pytest.raises(PriorError, match="attention"):
        read_flax(saved(tmp_path / "run", params, "msgpack"))


def test_other_networks_are_refused_and_described(tmp_path: Path) -> None:
    _, params, _ = made("as published")
    other = {k: v for k, v in params.items() if not k.startswith("Combine")}
    folder = saved(tmp_path / "run", other, "msgpack")
    with pytest.raises(PriorError, match=r"NCSN\+\+"):
        read_flax(folder)
    assert '"GaussianFourierProjection_0"' in describe(folder)


@given(data=st.binary(max_size=40))
@settings(max_examples=30, deadline=None)
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "checkpoint_0"
    path.write_bytes(data)
    with pytest.raises(PriorError):
        read_flax(path)


def test_folders_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PriorError):
        read_flax(tmp_path)
    with pytest.raises(PriorError):
        read_flax(tmp_path / "nowhere")
    (tmp_path / "manifest.ocdbt").write_bytes(b"nothing")
    with pytest.raises(PriorError):
        read_flax(tmp_path)
