"""A teacher and its pupil in one call."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import NETWORK, SIZE, YAML, made_patients, tiny_config
from typer.testing import CliRunner

from KLIPCore.cli.application import app
from KLIPCore.errors import Cancelled, ConfigError, PriorError
from KLIPCore.lab.training.config import TrainingConfig
from KLIPCore.lab.training.distil import SHARE, Teacher, teacher_of
from KLIPCore.lab.training.loop import train
from KLIPCore.lab.training.loss import denoising_loss
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.ddpm import DDPMConfig
from KLIPCore.priors.networks import build_network
from KLIPCore.priors.unet import UNetConfig, position_channels

REPOSITORY = Path(__file__).resolve().parents[4]
TEACHER = {"network": replace(NETWORK, channels=(16, 32)), "steps": 6}


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_patients(tmp_path_factory.mktemp("patients"))


def test_one_call_trains_teacher_and_pupil(patients: Path, tmp_path: Path) -> None:
    text = YAML + "teacher: {network: {channels: [16, 32], n_res_blocks: 1, unshuffle: 2}, steps: 6}\n"
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    line = ["train", str(tmp_path / "c.yaml"), "--data", str(patients), "-o", str(tmp_path / "out"), "--device", "cpu"]
    done = CliRunner().invoke(app, [*line, "--progress", "none"])
    assert done.exit_code == 0, done.output
    pupil = load_prior(tmp_path / "out" / "tiny.safetensors").card
    teacher = load_prior(tmp_path / "out" / "teacher" / "tiny-teacher.safetensors").card
    assert teacher.network["channels"] == [16, 32]
    assert pupil.network["channels"] == [8, 16]
    assert teacher.training["history"][-1]["step"] == 6
    assert pupil.training["history"][-1]["step"] == 4
    assert pupil.training["teacher"]["sha256"] == teacher.sha256
    assert "teacher" not in teacher.training
    again = CliRunner().invoke(app, [*line, "--progress", "none", "--steps", "6"])  # both parts continue
    assert again.exit_code == 0, again.output
    assert load_prior(tmp_path / "out" / "teacher" / "tiny-teacher.safetensors").card.sha256 == teacher.sha256


def test_a_stopped_teacher_continues(patients: Path, tmp_path: Path) -> None:
    config = tiny_config(teacher=TEACHER, steps=3)

    def stop(step: int, n: int, loss: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    long = replace(config, teacher=TEACHER | {"steps": 12, "decay_steps": 4})
    with pytest.raises(Cancelled, match="step 10"):
        train(long, patients, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out" / "tiny.safetensors").exists()
    assert train(long, patients, tmp_path / "out").is_file()


def test_a_pupil_is_shown_what_the_teacher_says(patients: Path, tmp_path: Path) -> None:
    weights = train(tiny_config(network=TEACHER["network"], steps=3), patients, tmp_path / "t")
    teacher = Teacher.load(weights, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    shape = (2, 1, SIZE, SIZE)
    clean, noise = torch.rand(shape, generator=generator), torch.randn(shape, generator=generator)
    where, sigma = position_channels(SIZE).expand(2, -1, -1, -1), torch.tensor([0.1, 0.4])
    target = teacher.target(clean, where, sigma, noise)
    with torch.no_grad():
        answer = teacher.network(clean + sigma.view(-1, 1, 1, 1) * noise, sigma, where)
    torch.testing.assert_close(target, (1 - SHARE) * clean + SHARE * answer, atol=1e-4, rtol=1e-3)
    pupil = build_network(NETWORK)
    batch = (clean, where, sigma, noise)
    with torch.no_grad():
        taught, own, same = (denoising_loss(pupil, *batch, wanted) for wanted in (target, None, clean))
    assert float(taught) != pytest.approx(float(own), rel=1e-3)
    assert float(same) == float(own)


def test_weights_that_there_are_teach(patients: Path, tmp_path: Path) -> None:
    weights = train(tiny_config(network=TEACHER["network"], steps=3), patients, tmp_path / "t")
    pupil = train(tiny_config(name="pupil", teacher={"prior": str(weights)}), patients, tmp_path / "p")
    assert load_prior(pupil).card.training["teacher"]["sha256"] == load_prior(weights).card.sha256
    assert not (tmp_path / "p" / "teacher").exists()
    alone = train(tiny_config(name="pupil"), patients, tmp_path / "alone")
    assert load_prior(alone).card.sha256 != load_prior(pupil).card.sha256
    with pytest.raises(ConfigError, match="has its weights already"):
        train(tiny_config(teacher={"prior": str(weights), "steps": 3}), patients, tmp_path / "n")
    with pytest.raises(ConfigError, match="another window or another frame"):
        train(tiny_config(teacher={"prior": "discs-128"}), patients, tmp_path / "n")
    ddpm = DDPMConfig(channels=(8, 16), n_res_blocks=1)
    with pytest.raises(ConfigError, match="DDPM"):
        train(tiny_config(network=ddpm, teacher={"prior": str(weights)}), patients, tmp_path / "n")
    with pytest.raises(PriorError, match="no prior called"):
        train(tiny_config(teacher={"prior": "nobody"}), patients, tmp_path / "n")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"layers": 3}, "a setting that there is not"),
        ({"size": 64}, "another frame"),
        ({"network": DDPMConfig(channels=(8, 16), n_res_blocks=1)}, "DDPM"),
    ],
)
def test_who_cannot_teach_is_refused(patients: Path, tmp_path: Path, fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        train(tiny_config(teacher=fields), patients, tmp_path)


def test_several_processes_do_not_teach(patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="in one process"):
        train(tiny_config(teacher=TEACHER), patients, tmp_path)


def test_the_committed_teacher_is_as_large_as_it_says() -> None:
    config = TrainingConfig.load(REPOSITORY / "configs" / "train_abdomen_distilled.yaml")
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in build_network(own.network).parameters()) for own in (teacher_of(config), config)
        ]
        shipped = sum(p.numel() for p in build_network(UNetConfig(positions=False)).parameters())
    assert 35e6 < sizes[0] < 60e6
    assert sizes[1] == shipped
