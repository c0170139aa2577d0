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
