"""Training a prior: `klip train CONFIG --data FOLDER -o OUT`.

One process, one device, resumable: every ``save_every`` steps the whole state (weights, running average, optimiser
moments, random generator) is written to ``OUT/state.safetensors`` beside ``OUT/state.json``; a rerun goes on from there.
The learning rate warms up, stays, and falls linearly over the last ``decay_steps``: training can be lengthened or
cut short by changing ``steps`` alone, without having planned it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from KLIPCore.errors import Cancelled, ConfigError
from KLIPCore.priors.checkpoint import save_prior
from KLIPCore.priors.ddpm import DDPMConfig, DDPMUNet
from KLIPCore.priors.networks import build_network, network_config, network_fields
from KLIPCore.priors.prior import ModelCard
from KLIPCore.priors.unet import UNetConfig, position_channels
from KLIPCore.training.augment import Augmentation, sample_patches
from KLIPCore.training.data import DataSource, load_training_set
from KLIPCore.training.loss import denoising_loss, draw_sigma, step_loss, validation_rmse
from KLIPCore.training.start import start_from
from KLIPCore.volume.units import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a training run depends on; one YAML file.

    Attributes
    ----------
    name, anatomy, licence, intended_use : for the model card.
    window : HU interval of intensity 0..1.
    sources, validation : volumes to learn from and to be judged on; never the same patient.
    size, body_fraction : the frame (pixels, fraction).
    patches : (side in pixels, patches per step) pairs, taken in turn: small ones learn texture cheaply, large ones
        teach the middle attention how many places a whole slice has.
    steps, warmup_steps, decay_steps : length of the run and of its learning-rate ramps.
    learning_rate, ema : AdamW's rate and the running average's decay per step.
    sigma_log_mean, sigma_log_std, sigma_min, sigma_max : distribution of noise levels (intensity units).
    save_every : steps between checkpoints.
    n_validation : validation slices.
    seed : of everything random.
    backbone : one of :data:`BACKBONES`, for the card; what it means is in ``network`` and ``patches``.
    network : shape of the network; a :class:`DDPMConfig` makes it a DDPM.
    """

    name: str
    anatomy: str
    window: Window
    sources: tuple[DataSource, ...]
    validation: tuple[DataSource, ...]
    licence: str = ""
    intended_use: str = "Research only; not a medical device."
    size: int = 256
    body_fraction: float = 0.875
    patches: tuple[tuple[int, int], ...] = ((64, 16), (64, 16), (128, 4), (64, 16), (256, 1))
    steps: int = 6000
    warmup_steps: int = 100
    decay_steps: int = 1500
    learning_rate: float = 5e-4
    ema: float = 0.999
    sigma_log_mean: float = -2.0
    sigma_log_std: float = 1.3
    sigma_min: float = 0.004
    sigma_max: float = 5.0
    save_every: int = 200
    n_validation: int = 16
    seed: int = 0
    backbone: str = "patch"
    network: UNetConfig = UNetConfig()
    augmentation: Augmentation = Augmentation()
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """Read a YAML file.

        Raises
        ------
        ConfigError : it is not YAML, or a field is missing or unknown.
        """
        try:
            fields = yaml.safe_load(path.read_text(encoding="utf-8"))
            fields["window"] = Window(**fields["window"])
            for key in ("sources", "validation"):
                fields[key] = tuple(DataSource(**{**s, "cases": tuple(str(c) for c in s.get("cases", ()))}) for s in fields[key])
            if "patches" in fields:
                fields["patches"] = tuple((int(side), int(n)) for side, n in fields["patches"])
            if "network" in fields:
                fields["network"] = network_config(fields["network"])
            if "augmentation" in fields:
                fields["augmentation"] = Augmentation(**fields["augmentation"])
            return cls(**fields)
        except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"The training configuration {path.name} cannot be used ({error}).", "Compare it with configs/train_abdomen.yaml.") from error

    def rate(self, step: int) -> float:
        """Learning rate at a step: warm-up, plateau, linear fall to zero at ``steps``."""
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * min(1.0, max(0.0, (self.steps - step) / self.decay_steps))


@dataclass
class _State:
    """What a resumed run needs: networks, optimiser, generator, counters."""

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.AdamW
    generator: torch.Generator
    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    started_from: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        names = [n for n, _ in self.network.named_parameters()]
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{key}.{names[index]}": torch.as_tensor(value) for key, value in moments.items()}
        tensors["generator"] = self.generator.get_state()
        part = folder / "state.safetensors.part"
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, part)
        counters = {"step": self.step, "seconds": self.seconds, "best": self.best, "history": self.history, "started_from": self.started_from}
        (folder / "state.json.part").write_text(json.dumps(counters), encoding="utf-8")
        part.replace(folder / "state.safetensors")
        (folder / "state.json.part").replace(folder / "state.json")

    def restore(self, folder: Path) -> None:
        tensors = load_file(folder / "state.safetensors")
        counters = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        self.network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
        self.average.load_state_dict({k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")})
        names = [n for n, _ in self.network.named_parameters()]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for index, name in enumerate(names):
            moments = {key: tensors[f"adam.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq") if f"adam.{key}.{name}" in tensors}
            if moments:
                state[index] = moments
        saved = self.optimiser.state_dict()
        saved["state"] = state
        self.optimiser.load_state_dict(saved)
        self.generator.set_state(tensors["generator"])
        self.step, self.seconds = counters["step"], counters["seconds"]
        self.best, self.history = counters["best"], counters["history"]
        self.started_from = counters.get("started_from", "")


def train(config: TrainingConfig, data: Path, out: Path, init: Path | None = None, progress: Callable[[int, int, float], None] | None = None) -> Path:
    """Train until ``config.steps`` and return the path of the best weights.

    Parameters
    ----------
    config : what to train.
    data : folder below which the sources lie.
    out : folder for state, the best prior and its card; resumed when it holds a state.
    init : weights to start from, when there is no state to resume.
    progress : called with (step, steps, mean loss) every ten steps.

    Raises
    ------
    ConfigError, EmptyInputError : the configuration or the data cannot be used.
    PriorError : ``init`` does not fit the network.
    """
    out.mkdir(parents=True, exist_ok=True)
    slices, entries = load_training_set(data, config.sources, config.window, config.size, config.body_fraction)
    held_out, held_out_entries = load_training_set(data, config.validation, config.window, config.size, config.body_fraction)
    stack = torch.from_numpy(slices)
    pick = np.linspace(0, len(held_out) - 1, config.n_validation).round().astype(int)
    clean = torch.from_numpy(held_out[pick]).float().div(255)[:, None]
    position = position_channels(config.size)

    torch.manual_seed(config.seed)
    network = build_network(config.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    resuming = (out / "state.json").is_file()
    started_from = start_from(network, init) if init is not None and not resuming else ""
    average = build_network(config.network)
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, betas=(0.9, 0.99))
    state = _State(network, average, optimiser, torch.Generator().manual_seed(config.seed), started_from=started_from)
    if resuming:
        state.restore(out)
        log.info("resumed at step %d", state.step)

    def card(step: int, validation: dict[float, float]) -> ModelCard:
        training = {
            "command": "klip train",
            "config": {k: v for k, v in asdict(config).items() if k not in ("sources", "validation", "network")},
            "data": entries,
            "validation_data": held_out_entries,
            "steps": step,
            "seconds": round(state.seconds),
            "initialised_from": state.started_from,
            "backbone": config.backbone,
            "validation_rmse": {f"{s:g}": round(e, 5) for s, e in validation.items()},
            "history": state.history,
        }
        return ModelCard(
            name=config.name, anatomy=config.anatomy, window=config.window, size=config.size, body_fraction=config.body_fraction,
            sigma_min=config.sigma_min, sigma_max=config.sigma_max, position_channels=config.network.positions,
            network=network_fields(config.network), training=training, licence=config.licence, intended_use=config.intended_use,
        )  # fmt: skip

    losses: list[float] = []
    started = time.monotonic()
    before = state.seconds
    try:
        while state.step < config.steps:
            for group in optimiser.param_groups:
                group["lr"] = config.rate(state.step)
            side, n = config.patches[state.step % len(config.patches)]
            patches, where = sample_patches(stack, position, n, side, config.augmentation, state.generator)
            if isinstance(network, DDPMUNet):
                loss = step_loss(network, patches, where, state.generator)
            else:
                sigma = draw_sigma(n, config.sigma_log_mean, config.sigma_log_std, config.sigma_min, config.sigma_max, state.generator)
                loss = denoising_loss(network, patches, where, sigma, state.generator)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            decay = min(config.ema, (1 + state.step) / (10 + state.step))
            with torch.no_grad():
                for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
                    mean.lerp_(weight, 1 - decay)
            losses.append(float(loss.detach()))
            state.step += 1
            state.seconds = before + time.monotonic() - started
            if progress and state.step % 10 == 0:
                progress(state.step, config.steps, float(np.mean(losses[-100:])))
            if state.step % config.save_every == 0 or state.step == config.steps:
                validation = validation_rmse(average, clean, position)
                figure = float(np.mean([error / s for s, error in validation.items()]))
                state.history.append({"step": state.step, "loss": round(float(np.mean(losses[-config.save_every :])), 5), "validation": round(figure, 5)})
                log.info("step %d loss %.5f validation %s", state.step, state.history[-1]["loss"], validation)
                if figure < state.best:
                    state.best = figure
                    save_prior(average, card(state.step, validation), out)
                state.save(out)
    except KeyboardInterrupt:
        state.save(out)
        raise Cancelled(f"Stopped at step {state.step}.", "Run the same command again to continue.") from None
    return out / f"{config.name}.safetensors"


BACKBONES: dict[str, dict[str, Any]] = {
    "patch": {},
    "whole": {"network": UNetConfig(positions=False), "patches": ((256, 1),), "learning_rate": 2e-4},
    "ddpm": {"network": DDPMConfig(), "patches": ((256, 1),), "learning_rate": 2e-4},
}
"""What each backbone changes in a configuration: patches with positions (PaDIS), whole slices under EDM, whole slices under DDPM."""


def with_backbone(config: TrainingConfig, backbone: str | None) -> TrainingConfig:
    """``config`` for another backbone on the same data, named after it; unchanged when ``backbone`` is None or its own.

    Raises
    ------
    ConfigError : no such backbone.
    """
    if backbone is None or backbone == config.backbone:
        return config
    if backbone not in BACKBONES:
        raise ConfigError(f"There is no backbone called '{backbone}'.", f"Choose one of: {', '.join(BACKBONES)}.")
    return replace(config, name=f"{config.name}-{backbone}", backbone=backbone, **BACKBONES[backbone])


def with_steps(config: TrainingConfig, steps: int | None) -> TrainingConfig:
    """``config`` with another length, unchanged when ``steps`` is None."""
    return config if steps is None else replace(config, steps=steps)
