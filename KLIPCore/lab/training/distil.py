"""A large network first, then the small one that answers like it: one call of ``klip train``.

A dozen patients do not fill a large network, but a large one learns their answer E[x₀ | x] better than a small one
does from the patients alone. With ``teacher`` in the configuration that network is trained first, in ``OUT/teacher``,
and the configured one then learns from it: at x = x₀ + σz it is shown

    (1 − s) x₀ + s D_teacher(x, σ)                                    s = :data:`SHARE`

in place of x₀. The minimum of the squared error is the same function; its gradient has less noise, because the
teacher's answer is a mean, and x₀ is one draw. Both parts continue where they were stopped. ``teacher: {prior: NAME}``
takes weights that there are: a shipped prior, or the path of a .safetensors file.

References
----------
G. Hinton, O. Vinyals, J. Dean: Distilling the knowledge in a neural network. 2015, arXiv 1503.02531.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.lab.training.config import TrainingConfig
from KLIPCore.lab.training.devices import started_processes
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.ddpm import DDPMConfig
from KLIPCore.priors.networks import network_config
from KLIPCore.priors.unet import UNetPrior

SHARE = 0.75
"""Part of the teacher's answer in what is learned; the rest is the patient, lest the teacher's errors be learned."""

FOLDER = "teacher"
"""Where in the run's folder the teacher is trained."""


def teacher_of(config: TrainingConfig) -> TrainingConfig:
    """Return the training of a configuration's teacher.

    Raises
    ------
    ConfigError : it cannot teach: another window or frame, a DDPM, or a field that there is not.
    """
    try:
        teacher = replace(config, **({"name": f"{config.name}-teacher"} | config.teacher), teacher={})
    except TypeError as error:
        raise ConfigError(
            f"The teacher of {config.name} has a setting that there is not ({str(error)[:120]}).",
            "Under 'teacher' write settings of a training alone, such as network and steps.",
        ) from error
    alike = ("window", "size", "body_fraction", "sources", "validation")
    if any(getattr(teacher, name) != getattr(config, name) for name in alike):
        raise ConfigError(
            f"The teacher of {config.name} is of other data, another window or another frame.",
            f"Under 'teacher' leave out {', '.join(alike)}.",
        )
    _require_edm(teacher.network, config.network)
    return teacher


def _require_edm(*networks: object) -> None:
    """Refuse a DDPM.

    Raises
    ------
    ConfigError : one is.
    """
    if any(isinstance(own, DDPMConfig) for own in networks):
        raise ConfigError("A DDPM neither teaches nor is taught.", "Distil networks of the kind EDMUNet.")


class Teacher:
    """A trained network that answers in the place of patients.

    Parameters
    ----------
    prior : its weights, as :func:`KLIPCore.priors.checkpoint.load_prior` returns them.
    """

    def __init__(self, prior: UNetPrior) -> None:
        self.network, self.card = prior.network, prior.card
        self.mixed = prior.device.type != "cpu"

    @classmethod
    def load(cls, weights: str | Path, device: torch.device) -> Teacher:
        """Return the teacher of these weights (a path, or a shipped prior's name), in full precision."""
        return cls(load_prior(weights, device, "float32"))

    @torch.no_grad()
    def target(self, clean: Tensor, position: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return what is to be learned in place of ``clean`` (B, 1, H, W); see the module.

        Parameters
        ----------
        clean, position, sigma, noise : of a batch, as for :func:`KLIPCore.lab.training.loss.denoising_loss`.
        """
        noisy = clean + sigma.view(-1, 1, 1, 1) * noise
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=self.mixed):
            answer = self.network(noisy.contiguous(memory_format=torch.channels_last), sigma, position)
        return torch.lerp(clean, answer.float(), SHARE)

    def to_dict(self) -> dict[str, Any]:
        """Return what the pupil's card says of it."""
        training = self.card.training
        kept = {name: training.get(name) for name in ("steps", "seconds", "device", "validation_rmse")}
        return {
            "name": self.card.name,
            "sha256": self.card.sha256,
            "network": self.card.network,
            "share": SHARE,
            **kept,
        }


def ready_teacher(config: TrainingConfig, device: torch.device) -> Teacher:
    """Return the teacher whose weights a configuration names.

    Parameters
    ----------
    config : of the pupil.
    device : where the teacher answers.

    Raises
    ------
    ConfigError : it cannot teach: another window or frame, a DDPM, or more is said of it than ``prior``.
    PriorError : there is no such prior.
    """
    if len(config.teacher) > 1:
        raise ConfigError(
            f"The teacher of {config.name} has its weights already, and settings of a training.",
            "Under 'teacher' write prior alone, or leave it out to train one.",
        )
    teacher = Teacher.load(config.teacher["prior"], device)
    alike = ("window", "size", "body_fraction")
    if any(getattr(teacher.card, name) != getattr(config, name) for name in alike):
        raise ConfigError(
            f"The teacher of {config.name}, {teacher.card.name}, has another window or another frame.",
            f"Choose a prior of the same {', '.join(alike)}, or leave prior out to train one.",
        )
    _require_edm(network_config(teacher.card.network), config.network)
    return teacher


def taught(
    config: TrainingConfig,
    out: Path,
    device: torch.device,
    train: Callable[[TrainingConfig, Path], Path],
) -> Teacher | None:
    """Return the configuration's teacher, trained if it is not yet; None where it has none.

    Parameters
    ----------
    config : of the pupil.
    out : folder of the pupil.
    device : where the teacher answers.
    train : trains a configuration in a folder and returns its best weights.

    Raises
    ------
    ConfigError, PriorError : several processes were started, or it cannot teach; and what the training raises.
    """
    if config.teacher and started_processes() > 1:
        raise ConfigError(
            "A teacher and its pupil are trained in one process, and several were started.",
            "Start klip train without a launcher; or train the teacher's network by itself.",
        )
    if not config.teacher:
        return None
    if "prior" in config.teacher:
        return ready_teacher(config, device)
    return Teacher.load(train(teacher_of(config), out / FOLDER), device)
