"""EDM and PaDIS snapshots: pickles of the published make, holding a network of our own making under the
published names.
"""

from __future__ import annotations

import collections
import importlib
import io
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published_song import song, song_weights

from KLIPCore.errors import PriorError
from KLIPCore.priors.convert.edm import read_edm
from KLIPCore.priors.convert.pickle_reader import read_pickle

DDPMPP = {
    "img_resolution": 16,
    "in_channels": 1,
    "out_channels": 1,
    "label_dim": 0,
    "model_channels": 8,
    "channel_mult": [1, 2],
    "channel_mult_emb": 4,
    "num_blocks": 1,
    "attn_resolutions": [8],
    "embedding_type": "positional",
    "channel_mult_noise": 1,
    "encoder_type": "standard",
    "decoder_type": "standard",
    "resample_filter": [1, 1],
}
NCSNPP = {
    **DDPMPP,
    "embedding_type": "fourier",
    "channel_mult_noise": 2,
    "encoder_type": "residual",
    "resample_filter": [1, 3, 3, 1],
}
PYRAMIDS = {
    **NCSNPP,
    "encoder_type": "skip",
    "decoder_type": "skip",
    "channel_mult": [1, 1, 2],
    "num_blocks": 2,
    "attn_resolutions": [4, 8],
}
PADIS = {**DDPMPP, "in_channels": 3}
SHAPES = {"DDPM++": DDPMPP, "NCSN++": NCSNPP, "pyramids": PYRAMIDS, "PaDIS": PADIS}


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Stand-ins for the modules whose names are in a published pickle; only the test's writer needs them."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta: dict) -> None:
        raise AssertionError("reading ran the pickle")

    class EasyDict(dict):
        pass

    for thing, module in ((_reconstruct_persistent_obj, persistence), (EasyDict, util)):
        thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
        setattr(module, thing.__name__, thing)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    persistence.EasyDict = EasyDict
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "dnnlib", types.ModuleType("dnnlib"))
    return persistence


class Persistent:
    """An object that pickles as the published wrapper's do: source text, class name, attributes."""

    def __init__(self, module: types.ModuleType, kind: str, state: dict) -> None:
        self.module, self.kind, self.state = module, kind, state

    def __reduce__(self) -> tuple:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise SystemExit('this source was run')",
            "class_name": self.kind,
            "state": self.state,
        }
        return self.module._reconstruct_persistent_obj, (meta,)


def module_state(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The attributes of a tree of modules that holds these weights."""
    below: dict[str, dict] = {}
    own: dict[str, torch.nn.Parameter] = collections.OrderedDict()
    buffers: dict[str, torch.Tensor] = collections.OrderedDict()
    for name, tensor in weights.items():
        head, dot, rest = name.partition(".")
        if dot:
            below.setdefault(head, {})[rest] = tensor
        elif head in ("freqs", "resample_filter"):
            buffers[head] = tensor
        else:
            own[head] = torch.nn.Parameter(tensor)
    return {
        "training": False,
        "_parameters": own,
        "_buffers": buffers,
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": collections.OrderedDict(),
        "_modules": below,
        "skip_scale": np.sqrt(0.5),
        "eps": 1e-6,
    }


def as_modules(module: types.ModuleType, weights: dict, kind: str, **attributes: Any) -> Persistent:
    state = module_state(weights)
    state["_modules"] = collections.OrderedDict(
        (n, as_modules(module, w, "UNetBlock")) for n, w in state["_modules"].items()
    )
    return Persistent(module, kind, {**state, **attributes})


def snapshot(
    published: types.ModuleType,
    path: Path,
    shape: dict,
    protocol: int = 2,
    outer: str = "EDMPrecond",
    model: str = "SongUNet",
) -> dict:
    """A pickle as EDM's training loop writes it; returns its weights."""
    weights = song_weights(shape)
    inner = as_modules(published, weights, model, _init_args=(), _init_kwargs=published.EasyDict(shape))
    net = Persistent(
        published,
        outer,
        {
            **module_state({}),
            "_modules": collections.OrderedDict(model=inner),
            "sigma_data": 0.5,
            "img_resolution": 16,
        },
    )
    loss = Persistent(published, "EDMLoss", {"P_mean": -1.2, "P_std": 1.2, "sigma_data": 0.5})
    with path.open("wb") as stream:
        pickle.dump(
            {"ema": net, "loss_fn": loss, "augment_pipe": None, "dataset_kwargs": {"path": "x.zip", "xflip": False}},
            stream,
            protocol=protocol,
        )
    return weights


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_same_output_as_the_published_network(
    published: types.ModuleType, tmp_path: Path, name: str, protocol: int
) -> None:
    shape = SHAPES[name]
    weights = snapshot(
        published, tmp_path / "n.pkl", shape, protocol, "Patch_EDMPrecond" if name == "PaDIS" else "EDMPrecond"
    )
    network, origin = read_edm(tmp_path / "n.pkl", scale=1.0, shift=0.0)
    assert origin["sample_size"] == 16
    x, sigma = torch.randn(2, 1, 16, 16), torch.tensor([0.1, 3.0])
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    s = sigma.view(-1, 1, 1, 1)
    seen = x / (0.25 + s**2).sqrt()
    if name == "PaDIS":
        seen = torch.cat([seen, torch.stack([columns, rows])[None].expand(2, -1, -1, -1)], 1)
    with torch.inference_mode():
        raw = song(seen, sigma.log() / 4, weights, shape)
        wanted = 0.25 / (s**2 + 0.25) * x + s * 0.5 / (s**2 + 0.25).sqrt() * raw
        found = network(x, sigma, torch.stack([rows, columns])[None].expand(2, -1, -1, -1))
    assert raw.std() > 0.01
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_intensities_other_than_the_networks_own(published: types.ModuleType, tmp_path: Path) -> None:
    snapshot(published, tmp_path / "n.pkl", DDPMPP)
    own, _ = read_edm(tmp_path / "n.pkl", scale=1.0, shift=0.0)
    ours, _ = read_edm(tmp_path / "n.pkl")
    x, sigma, nowhere = torch.rand(1, 1, 16, 16), torch.tensor([0.3]), torch.zeros(1, 2, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x, sigma, nowhere), (own(2 * x - 1, 2 * sigma, nowhere) + 1) / 2)


def test_patches_are_what_the_network_says_of_each_alone(published: types.ModuleType, tmp_path: Path) -> None:
    snapshot(published, tmp_path / "n.pkl", PADIS, outer="Patch_EDMPrecond")
    tiled, _ = read_edm(tmp_path / "n.pkl", patch=8, pad=4)
    alone, _ = read_edm(tmp_path / "n.pkl")
    x, sigma = torch.rand(1, 1, 16, 16), torch.tensor([0.2])
    axis = torch.linspace(-1, 1, 24)
    where = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))[None]
    padded = torch.nn.functional.pad(x, (4,) * 4)
    with torch.inference_mode():
        found = tiled(x, sigma, torch.zeros(1, 2, 16, 16))
        corner = alone(padded[..., 8:16, :8], sigma, where[..., 8:16, :8])
    torch.testing.assert_close(found[..., 4:12, :4], corner[..., :, 4:])


class RunsCommand:
    """What a hostile pickle looks like: unpickling it calls whatever it says."""

    def __init__(self, what: Any, *args: Any) -> None:
        self.what, self.args = what, args

    def __reduce__(self) -> tuple:
        return self.what, self.args


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "what", [os.mkdir, eval, exec, getattr, importlib.import_module, torch.load, torch.hub.load, np.load, io.open]
)
def test_hostile_pickles_are_refused_and_not_run(tmp_path: Path, what: Any, protocol: int) -> None:
    trap, path = tmp_path / "trap", tmp_path / "n.pkl"
    argument = str(trap) if what is os.mkdir else f"open({str(trap)!r}, 'w')"
    path.write_bytes(pickle.dumps({"ema": RunsCommand(what, argument)}, protocol=protocol))
    with pytest.raises(PriorError, match="not run") as refused:
        read_edm(path)
    assert "trust" in refused.value.remedy
    assert not trap.exists()


def test_a_trap_inside_a_tensors_bytes_is_refused(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "n.pkl"
    inner = io.BytesIO()
    torch.save({"x": RunsCommand(os.mkdir, str(trap))}, inner)
    path.write_bytes(pickle.dumps({"ema": RunsCommand(torch.storage._load_from_bytes, inner.getvalue())}))
    with pytest.raises(PriorError):
        read_edm(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("offset", "size", "stride"), [(2, (1000,), (1,)), (0, (10**9,), (0,)), (-1, (2,), (1,)), (3, (2,), (1,))]
)
def test_a_tensor_may_not_reach_beyond_its_storage(tmp_path: Path, offset: int, size: tuple, stride: tuple) -> None:
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
    )
    wrong = RunsCommand(
        torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, collections.OrderedDict()
    )
    (tmp_path / "n.pkl").write_bytes(pickle.dumps(wrong))
    with pytest.raises(PriorError, match="beyond"):
        read_pickle(tmp_path / "n.pkl")


@given(data=st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "n.pkl"
    path.write_bytes(data)
    with pytest.raises(PriorError):
        read_edm(path)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda below: (
            st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3) | st.tuples(below, below)
        ),
        max_leaves=8,
    ),
    protocol=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_plain_values_come_back(tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int) -> None:
    path = tmp_path_factory.mktemp("plain") / "n.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert read_pickle(path) == value


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tensors_arrays_and_numbers_come_back(tmp_path: Path, protocol: int) -> None:
    value = {
        "t": torch.randn(3, 4)[1:, ::2].T,
        "half": torch.randn(3).half(),
        "number": np.float64(2.5),
        "set": {1, 2},
        "odd": collections.OrderedDict(a=1),
    }
    (tmp_path / "n.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
    found = read_pickle(tmp_path / "n.pkl")
    torch.testing.assert_close(found["t"], value["t"])
    torch.testing.assert_close(found["half"], value["half"])
    assert found["number"] == 2.5
    assert set(found["set"]) == {1, 2}
    assert found["odd"] == {"a": 1}


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ({**DDPMPP, "label_dim": 10}, {}),
        ({**DDPMPP, "implicit_mlp": True}, {}),
        ({**DDPMPP, "in_channels": 6}, {}),
        (DDPMPP, {"model": "DhariwalUNet"}),
        (DDPMPP, {"outer": "VPPrecond"}),
        ({**DDPMPP, "num_blocks": 2}, {"given": DDPMPP}),
    ],
)
def test_other_networks_are_refused(published: types.ModuleType, tmp_path: Path, shape: dict, names: dict) -> None:
    weights_of = names.pop("given", None)
    if weights_of:  # weights of one network with the description of another
        inner = as_modules(published, song_weights(weights_of), "SongUNet", _init_kwargs=shape)
        net = Persistent(published, "EDMPrecond", {"_modules": {"model": inner}, "sigma_data": 0.5})
        (tmp_path / "n.pkl").write_bytes(pickle.dumps({"ema": net}))
    else:
        snapshot(published, tmp_path / "n.pkl", shape, **names)
    with pytest.raises(PriorError):
        read_edm(tmp_path / "n.pkl")
