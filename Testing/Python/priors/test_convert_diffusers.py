"""diffusers' own networks, random and small, against what the converter makes of their folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_networks import stirred

from KLIPCore.errors import PriorError
from KLIPCore.priors.convert.diffusers import diffusers_config, read_diffusers, renamed
from KLIPCore.priors.diffusers_unet import DiffusersUNet

diffusers = pytest.importorskip("diffusers", reason="needs the extra 'convert'")

SHAPES = {
    "modern": {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    },
    "as published by Ho et al.": {
        "block_out_channels": (8, 8, 16),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 2,
        "in_channels": 3,
        "out_channels": 3,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "downsample_padding": 0,
        "attention_head_dim": None,
        "norm_eps": 1e-6,
    },
    "many heads": {
        "block_out_channels": (16, 16),
        "down_block_types": ("AttnDownBlock2D",) * 2,
        "up_block_types": ("AttnUpBlock2D",) * 2,
        "attention_head_dim": 4,
    },
}


def made(folder: Path, shape: str, schedule: dict | None = None) -> tuple:
    """diffusers' network and scheduler, written as diffusers writes them."""
    fields = {
        "sample_size": 16,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        **SHAPES[shape],
    }
    network = stirred(diffusers.UNet2DModel(**fields))
    scheduler = diffusers.DDPMScheduler(clip_sample=False, **(schedule or {}))
    network.save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    return network, scheduler


@pytest.mark.parametrize("shape", SHAPES)
def test_same_output_as_diffusers(tmp_path: Path, shape: str) -> None:
    theirs, _ = made(tmp_path, shape)
    ours, origin = read_diffusers(tmp_path)
    assert origin["sample_size"] == 16
    x = torch.randn(2, ours.config.image_channels, 16, 16)
    times = torch.tensor([3, 777])
    with torch.inference_mode():
        wanted = theirs(x, times).sample
        found = ours.predict(x, times.float(), torch.zeros(2, 2, 16, 16))
    assert wanted.std() > 0.01
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "schedule",
    [
        {},
        {"beta_schedule": "scaled_linear"},
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    ],
)
def test_same_denoised_image_as_diffusers_scheduler(tmp_path: Path, schedule: dict) -> None:
    theirs, scheduler = made(tmp_path, "modern", schedule)
    ours, _ = read_diffusers(tmp_path / "unet")
    image, noise = torch.rand(1, 1, 16, 16), torch.randn(1, 1, 16, 16)
    step = torch.tensor([400])
    noised = scheduler.add_noise(2 * image - 1, noise, step)
    sigma = (1 / scheduler.alphas_cumprod[step] - 1).sqrt() / 2
    with torch.inference_mode():
        wanted = scheduler.step(theirs(noised, step).sample, 400, noised).pred_original_sample
        found = ours(image + sigma * noise, sigma, torch.zeros(1, 2, 16, 16))
    torch.testing.assert_close(2 * found - 1, wanted, rtol=1e-3, atol=1e-3)


def test_older_names_of_attention() -> None:
    named = renamed(
        {
            "mid_block.attentions.0.query.weight": torch.ones(4, 4),
            "mid_block.attentions.0.proj_attn.weight": torch.ones(4, 4, 1, 1),
        }
    )
    assert {n: tuple(t.shape) for n, t in named.items()} == {
        "middle_block.attention.attn.to_q.weight": (4, 4),
        "middle_block.attention.attn.out_proj.weight": (4, 4),
    }


@pytest.mark.parametrize(
    ("changes", "schedule"),
    [
        ({"time_embedding_type": "fourier"}, {}),
        ({"resnet_time_scale_shift": "scale_shift"}, {}),
        ({"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]}, {}),
        ({"out_channels": 2}, {}),
        ({"_class_name": "UNet2DConditionModel"}, {}),
        ({}, {"beta_schedule": "sigmoid"}),
        ({}, {"prediction_type": "sample"}),
    ],
)
def test_what_has_no_counterpart_is_refused(tmp_path: Path, changes: dict, schedule: dict) -> None:
    made(tmp_path, "modern")
    described = json.loads((tmp_path / "unet" / "config.json").read_text())
    with pytest.raises(PriorError) as refused:
        diffusers_config({**described, **changes}, schedule)
    assert refused.value.remedy


def test_a_folder_without_its_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match=r"config\.json"):
        read_diffusers(tmp_path)
    made(tmp_path, "modern")
    (tmp_path / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(PriorError, match="schedule"):
        read_diffusers(tmp_path)


def test_the_shape_of_the_published_face_network() -> None:
    """google/ddpm-celebahq-256's description: every weight finds its place (without the weights, and without
    the memory for them).
    """
    described = {
        "sample_size": 256,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (128, 128, 256, 256, 512, 512),
        "layers_per_block": 2,
        "down_block_types": ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
        "attention_head_dim": None,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "downsample_padding": 0,
        "norm_eps": 1e-6,
    }
    with torch.device("meta"):
        theirs = diffusers.UNet2DModel(**described).state_dict()
        ours = DiffusersUNet(diffusers_config(described, {})).net.state_dict()
    assert {n: t.shape for n, t in renamed(theirs).items()} == {n: t.shape for n, t in ours.items()}
    assert sum(t.numel() for t in ours.values()) == 113_673_219


def sharded(folder: Path) -> dict[str, str]:
    """diffusers' own shards of a small network; the index."""
    theirs, _ = made(folder, "modern")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    theirs.save_pretrained(folder / "unet", max_shard_size="20KB")
    return json.loads(
        (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").read_text(encoding="utf-8")
    )["weight_map"]


def test_shards_give_the_same_network(tmp_path: Path) -> None:
    made(tmp_path / "whole", "modern")
    places = sharded(tmp_path / "parts")
    assert len(set(places.values())) > 2
    whole, parts = (read_diffusers(tmp_path / name)[0].state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_variant_alone_is_read(tmp_path: Path) -> None:
    made(tmp_path, "modern")
    file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert read_diffusers(tmp_path)[1]["sample_size"] == 16


@pytest.mark.parametrize(
    "name",
    ["../../secret.safetensors", "/etc/passwd", "diffusion_pytorch_model-00001-of-00002.safetensors/../../x", 3],
)
def test_an_index_cannot_name_other_files(name: object, tmp_path: Path) -> None:
    places = sharded(tmp_path)
    key = sorted(places)[0]
    text = json.dumps({"weight_map": {**places, key: name}})
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(PriorError, match="not shards beside it"):
        read_diffusers(tmp_path)


def test_missing_shards_and_weights_are_named(tmp_path: Path) -> None:
    places = sharded(tmp_path)
    index = tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    whole = index.read_text(encoding="utf-8")
    index.write_text(
        json.dumps({"weight_map": {**places, "extra.weight": sorted(set(places.values()))[0]}}), encoding="utf-8"
    )
    with pytest.raises(PriorError, match=r"lack 1 weights.*extra\.weight"):
        read_diffusers(tmp_path)
    index.write_text(whole, encoding="utf-8")
    gone = sorted(set(places.values()))[1]
    (tmp_path / "unet" / gone).unlink()
    with pytest.raises(PriorError, match=f"shard {gone}.* is missing"):
        read_diffusers(tmp_path)


def test_no_message_advises_to_unpickle(tmp_path: Path) -> None:
    import pickle

    made(tmp_path, "modern")
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(print))
    with pytest.raises(PriorError) as caught:
        read_diffusers(tmp_path)
    assert "weights_only" not in str(caught.value)
    assert "pickle" not in str(caught.value)
