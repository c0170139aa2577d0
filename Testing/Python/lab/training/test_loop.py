"""Training itself, on ellipses: it learns, it is resumed bit for bit, it says what it did, on one process
and on two.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from busy import longest
from PIL import Image
from safetensors.torch import load_file
from tiny import SIZE, YAML, made_patients, tiny_config

from KLIPCore.errors import Cancelled, ConfigError, PriorError, ResourceError, optional
from KLIPCore.lab.training.config import BACKBONES, OPTIMISERS, PATCHES, TrainingConfig, with_backbone, with_steps
from KLIPCore.lab.training.data import load_training_set
from KLIPCore.lab.training.devices import WORLD_SIZES, started_processes
from KLIPCore.lab.training.loop import train
from KLIPCore.lab.training.loss import validation_rmse
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.ddpm import DDPMConfig
from KLIPCore.priors.networks import build_network
from KLIPCore.priors.unet import position_channels

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_patients(tmp_path_factory.mktemp("patients"))


def same(a: Path, b: Path) -> bool:
    one, other = load_file(a), load_file(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


BACKBONE_CHANGES = {
    "patch": {},
    "whole": {"network": replace(tiny_config().network, positions=False), "patches": ((SIZE, 8),)},
    "ddpm": {"network": DDPMConfig(channels=(8, 16), n_res_blocks=1), "patches": ((SIZE, 8),)},
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_learns_in_the_same_loop(patients: Path, tmp_path: Path, backbone: str) -> None:
    config = tiny_config(
        backbone=backbone, steps=90, decay_steps=30, ema=0.8, save_every=30, **BACKBONE_CHANGES[backbone]
    )
    told: list[tuple[int, int, float]] = []
    prior = load_prior(train(config, patients, tmp_path, progress=lambda *line: told.append(line)))
    history = prior.card.training["history"]
    assert told[-1][:2] == (90, 90)
    assert [entry["step"] for entry in history] == [30, 60, 90]
    held_out, _, _ = load_training_set(patients, config.validation, config.window, config.size, config.body_fraction)
    fresh = validation_rmse(
        build_network(config.network),
        torch.from_numpy(held_out[:4]).float().div(255)[:, None],
        position_channels(SIZE),
    )
    assert history[-1]["validation"] < 0.9 * np.mean([error / sigma for sigma, error in fresh.items()])
    x = torch.rand(1, 1, SIZE, SIZE)
    assert torch.isfinite(prior.denoise(x, torch.tensor([0.3]))).all()
    assert prior.card.position_channels == (backbone == "patch")


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_stopped_run_goes_on_to_the_same_weights(patients: Path, tmp_path: Path, optimiser: str) -> None:
    config = tiny_config(steps=16, save_every=8, optimiser=optimiser)
    train(config, patients, tmp_path / "whole")

    def stop(step: int, n: int, loss: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Cancelled, match="step 10") as told:
        train(config, patients, tmp_path / "stopped", progress=stop)
    assert "continue" in told.value.remedy
    assert signal.getsignal(signal.SIGTERM) != stop
    train(config, patients, tmp_path / "stopped")
    assert same(tmp_path / "whole" / "state.safetensors", tmp_path / "stopped" / "state.safetensors")
    assert same(tmp_path / "whole" / "tiny.safetensors", tmp_path / "stopped" / "tiny.safetensors")


def test_patches_come_in_turn_and_whole_slices_at_the_end(patients: Path, tmp_path: Path) -> None:
    config = tiny_config(whole_from=4, steps=6)
    assert [config.patch(step) for step in range(6)] == [(16, 8), (32, 2), (16, 8), (32, 2), (SIZE, 1), (SIZE, 1)]
    train(config, patients, tmp_path / "whole")
    train(replace(config, whole_from=None), patients, tmp_path / "patches")
    assert not same(tmp_path / "whole" / "tiny.safetensors", tmp_path / "patches" / "tiny.safetensors")


def test_resuming_and_lengthening(patients: Path, tmp_path: Path) -> None:
    config = tiny_config(decay_steps=1)
    train(with_steps(config, 3), patients, tmp_path)
    before = json.loads((tmp_path / "state.json").read_text())
    train(with_steps(config, 6), patients, tmp_path)
    after = json.loads((tmp_path / "state.json").read_text())
    assert (before["step"], after["step"]) == (3, 6)
    assert after["history"][0] == before["history"][0]
    assert after["seconds"] > before["seconds"]


def test_a_state_of_another_network_is_refused(patients: Path, tmp_path: Path) -> None:
    train(tiny_config(steps=3), patients, tmp_path)
    with pytest.raises(PriorError, match="continued"):
        train(tiny_config(network=replace(tiny_config().network, channels=(16, 16))), patients, tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(PriorError, match="continued"):
        train(tiny_config(), patients, tmp_path)


def test_what_a_run_leaves_behind(patients: Path, tmp_path: Path) -> None:
    first = train(tiny_config(name="first"), patients, tmp_path / "a")
    train(tiny_config(name="second"), patients, tmp_path / "b", init=first)
    out = tmp_path / "b"
    assert sorted(p.name for p in out.iterdir()) == [
        "curve.png",
        "denoised.png",
        "drawn.png",
        "second.json",
        "second.md",
        "second.safetensors",
        "state.json",
        "state.safetensors",
    ]
    card = load_prior(out / "second.safetensors").card
    assert card.training["initialised_from"] == "first.safetensors"
    assert card.pixel_mm_range[0] == pytest.approx(335 / (0.875 * SIZE), rel=0.02), (
        "the spacing is known, so the range is measured"
    )
    assert [e["file"] for e in card.training["data"]] == ["p0.nii.gz", "p1.nii.gz"]
    assert set(card.training["validation_rmse"]) == {"0.02", "0.05", "0.1", "0.2", "0.4", "0.8"}
    assert card.training["history"][-1]["rmse"].keys() == card.training["validation_rmse"].keys()
    page = (out / "second.md").read_text(encoding="utf-8")
    for part in (
        "ellipses",
        "-160 to 240 HU",
        "p2.nii.gz",
        "5 × 2.5 × 2.5",
        "first.safetensors",
        "![Loss",
        card.sha256,
        "error (HU)",
    ):
        assert part in page
    denoised = np.asarray(Image.open(out / "denoised.png"))
    assert denoised.shape == (4 * (SIZE + 1) - 1, 7 * (SIZE + 1) - 1)
    assert denoised.std() > 10
    assert np.asarray(Image.open(out / "drawn.png")).shape == (SIZE, 4 * (SIZE + 1) - 1)


def test_configurations_that_cannot_work_are_refused(patients: Path, tmp_path: Path) -> None:
    config = tiny_config()
    with pytest.raises(ConfigError, match="held out"):
        train(replace(config, validation=config.sources), patients, tmp_path)
    with pytest.raises(ConfigError, match="fit"):
        train(replace(config, patches=((18, 1), (64, 1))), patients, tmp_path)
    with pytest.raises(ConfigError, match="backbone"):
        with_backbone(config, "transformer")
    with pytest.raises(PriorError, match="channels"):
        replace(tiny_config().network, channels=(8, 12))
    for text in ("name: [", "name: x", YAML + "wings: 2\n", YAML.replace("channels", "canals")):
        (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
        with pytest.raises((ConfigError, PriorError)):
            TrainingConfig.load(tmp_path / "c.yaml")


def test_a_configuration_file_and_its_backbones(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(YAML, encoding="utf-8")
    config = TrainingConfig.load(tmp_path / "c.yaml")
    assert config.sources[0].cases == ("p0", "p1")
    assert with_backbone(config, None) is with_backbone(config, "patch") is config
    whole, ddpm = with_backbone(config, "whole"), with_backbone(config, "ddpm")
    assert (whole.name, ddpm.name) == ("tiny-whole", "tiny-ddpm")
    assert isinstance(ddpm.network, DDPMConfig)
    assert not whole.network.positions
    assert whole.patches == ddpm.patches == ((32, 1),)
    assert whole.network.channels == ddpm.network.channels == config.network.channels
    assert with_backbone(whole, "patch").network == config.network
    assert with_backbone(whole, "patch").patches == PATCHES
    for path in sorted((REPOSITORY / "configs").glob("train_*.yaml")):
        TrainingConfig.load(path)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", "PORT"],
    "accelerate": [
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--main_process_port",
        "PORT",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ],
    "accelerate --cpu": [
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--main_process_port",
        "PORT",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ],
}
"""What starts two processes on the CPU (the last one does not: it leaves that to MPI)."""


def launched(launcher: str, folder: Path, patients: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """``klip train`` as a launcher starts it; without a user's own launcher configuration."""
    (folder / "c.yaml").write_text(YAML, encoding="utf-8")
    port = str(free_port())
    start = [
        sys.executable,
        "-m",
        *(port if word == "PORT" else word for word in LAUNCHERS[launcher]),
        "-m",
        "KLIPCore.cli",
        "train",
    ]
    command = [
        str(folder / "c.yaml"),
        "--data",
        str(patients),
        "-o",
        str(folder / "out"),
        "--device",
        "cpu",
        "--progress",
        "none",
        *more,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(folder)}
    return subprocess.run(
        [*start, *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=longest(300)
    )


@pytest.mark.slow
def test_two_processes_train_one_prior_and_another_launcher_goes_on(patients: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs the extra 'train'")
    state = tmp_path / "out" / "state.json"
    for launcher, more, steps in (("accelerate", (), [2, 4]), ("torchrun", ("--steps", "6"), [2, 4, 6])):
        done = launched(launcher, tmp_path, patients, *more)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("Best weights") == 1
        assert [e["step"] for e in json.loads(state.read_text(encoding="utf-8"))["history"]] == steps
    assert load_prior(tmp_path / "out" / "tiny.safetensors").card.training["processes"] == 2


@pytest.mark.slow
def test_a_launcher_that_starts_one_process_instead_of_two_is_noticed(patients: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs the extra 'train'")
    done = launched("accelerate --cpu", tmp_path, patients)
    assert done.returncode != 0
    assert "started one" in done.stderr
    assert "--multi_gpu" in done.stderr


@pytest.mark.parametrize("name", WORLD_SIZES)
def test_every_launchers_way_of_counting_is_understood(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for other in WORLD_SIZES:
        monkeypatch.delenv(other, raising=False)
    assert started_processes() == 1
    monkeypatch.setenv(name, "3")
    assert started_processes() == 3


def test_several_processes_without_the_package_say_so(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ResourceError, match="accelerate") as missing:
        train(tiny_config(), patients, tmp_path)
    assert "klipcore[train]" in missing.value.remedy
    with pytest.raises(ResourceError, match="no_such_package"):
        optional("no_such_package", "convert")
