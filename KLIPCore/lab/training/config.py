"""What a training run depends on: one YAML file, and the three backbones that can be trained from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from KLIPCore.errors import ConfigError
from KLIPCore.lab.training.augment import Augmentation
from KLIPCore.lab.training.data import DataSource
from KLIPCore.priors.ddpm import DDPMConfig
from KLIPCore.priors.networks import network_config
from KLIPCore.priors.unet import UNetConfig
from KLIPCore.settings import RecordConfig
from KLIPCore.volume.units import Window
from KLIPCore.volume.untrusted import read_yaml

OPTIMISERS = ("adamw", "muon")
"""AdamW, or :class:`KLIPCore.lab.training.muon.Muon`, which takes fewer steps and a rate some times larger."""

PATCHES = ((64, 16), (64, 16), (128, 4), (64, 16), (256, 1))
"""Sides in pixels of a step's patches and how many there are, where a configuration does not say."""

REQUIRED = ("name", "anatomy", "window", "sources", "validation")
"""What every configuration says."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a training run depends on; one YAML file.

    Attributes
    ----------
    name, anatomy, licence, intended_use : for the model card.
    window : HU interval of intensity 0..1.
    sources, validation : volumes to learn from and to be judged on; never the same patient.
    mixed : whether several anatomies are meant (:func:`KLIPCore.lab.training.checks.judge_set`).
    size, body_fraction : the frame (pixels, fraction).
    patches : (side in pixels, patches per step) pairs, taken in turn: small ones learn texture cheaply, large ones
        teach the middle attention how many places a whole slice has.
    whole_from : step from which a step sees one whole slice; None: never. Patches alone do not teach how a whole
        body looks under much noise.
    steps, warmup_steps, decay_steps : length of the run and of its learning-rate ramps.
    optimiser : one of :data:`OPTIMISERS`.
    learning_rate, ema : the optimiser's rate and the running average's decay per step.
    sigma_log_mean, sigma_log_std, sigma_min, sigma_max : distribution of noise levels (intensity units).
    temperature_probability, temperature : how often an image gets the noise √temperature · σ in place of the σ that
        the network is told, as where the score asks (:attr:`KLIPCore.settings.RecordConfig.temperature`), and that
        temperature.
    save_every : steps between checkpoints.
    pictures_every : steps between pictures of what the prior has learned; rounded up to a checkpoint, 0 draws
        them at the end only.
    n_validation : validation slices.
    seed : of everything random.
    backbone : one of :data:`BACKBONES`, for the card; what it means is in ``network`` and ``patches``.
    network : shape of the network; a :class:`DDPMConfig` makes it a DDPM.
    teacher : what a larger network does otherwise (``network``, ``steps`` …), which is trained first and then
        distilled into this one (:mod:`KLIPCore.lab.training.distil`), or ``prior``: the weights of a teacher that
        there is; empty for none.
    """

    name: str
    anatomy: str
    window: Window
    sources: tuple[DataSource, ...]
    validation: tuple[DataSource, ...]
    mixed: bool = False
    licence: str = ""
    intended_use: str = "Research only; not a medical device."
    size: int = 256
    body_fraction: float = 0.875
    patches: tuple[tuple[int, int], ...] = PATCHES
    whole_from: int | None = None
    steps: int = 6000
    warmup_steps: int = 100
    decay_steps: int = 1500
    optimiser: str = "adamw"
    learning_rate: float = 5e-4
    ema: float = 0.999
    sigma_log_mean: float = -2.0
    sigma_log_std: float = 1.3
    sigma_min: float = 0.004
    sigma_max: float = 5.0
    temperature_probability: float = 0.0
    temperature: float = RecordConfig().temperature
    save_every: int = 200
    pictures_every: int = 1000
    n_validation: int = 16
    seed: int = 0
    backbone: str = "patch"
    network: UNetConfig = UNetConfig()
    augmentation: Augmentation = Augmentation()
    teacher: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise ConfigError(
                f"There is no optimiser called '{self.optimiser}'.", f"Choose one of: {', '.join(OPTIMISERS)}."
            )
        counts = ("steps", "warmup_steps", "decay_steps", "save_every", "n_validation")
        none = [name for name in counts if getattr(self, name) < 1] + ([] if self.patches else ["patches"])
        if none:
            raise ConfigError(f"A training without {' and '.join(none)} is none.", "Give numbers of 1 at least.")
        if not (0 <= self.temperature_probability <= 1 and 0 <= self.temperature <= 1):
            raise ConfigError("Temperature and its probability lie between 0 and 1.", "Leave both out for none.")
        if self.temperature_probability and isinstance(self.network, DDPMConfig):
            raise ConfigError("A DDPM knows no temperature.", "Leave out temperature_probability.")

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """Read a YAML file.

        Raises
        ------
        ConfigError : it is not YAML, or a field is missing or unknown.
        """
        try:
            fields = read_yaml(path)
        except ValueError as error:
            raise _unusable(path.name, error) from error
        return cls.from_fields(fields, path.name)

    @classmethod
    def from_fields(cls, fields: Any, source: str) -> TrainingConfig:
        """Return the training that a YAML file's fields describe.

        Parameters
        ----------
        fields : as they were read.
        source : what to call them where they are wrong.

        Raises
        ------
        ConfigError : a field is missing, unknown or not what it should be.
        """
        known = {own.name for own in dataclass_fields(cls)}
        try:
            if not isinstance(fields, dict):
                raise ValueError("it holds no settings")
            if unknown := sorted(map(str, fields.keys() - known)):
                raise ValueError(f"there is no setting called {', '.join(unknown)}")
            if absent := [name for name in REQUIRED if not fields.get(name)]:
                raise ValueError(f"{', '.join(absent)} must be given")
            made = {**fields, "window": Window(**fields["window"])}
            for key in ("sources", "validation"):
                made[key] = tuple(DataSource.from_dict(s) for s in fields[key])
            made["teacher"] = dict(fields.get("teacher", {}))
            for part in (made, made["teacher"]):
                if "network" in part:
                    part["network"] = network_config(part["network"])
                if "patches" in part:
                    part["patches"] = tuple((int(side), int(n)) for side, n in part["patches"])
            if "augmentation" in fields:
                made["augmentation"] = Augmentation(**fields["augmentation"])
            return cls(**made)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise _unusable(source, error) from error

    def patch(self, step: int) -> tuple[int, int]:
        """Return the side of the patches of a step in pixels, and how many there are."""
        if self.whole_from is not None and step >= self.whole_from:
            return self.size, 1
        return self.patches[step % len(self.patches)]

    def rate(self, step: int) -> float:
        """Return the learning rate at a step: warm-up, plateau, linear fall to zero at ``steps``."""
        return (
            self.learning_rate
            * min(1.0, (step + 1) / self.warmup_steps)
            * min(1.0, max(0.0, (self.steps - step) / self.decay_steps))
        )


def _unusable(source: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"The training configuration {source} cannot be used ({str(error)[:200]}).",
        "Compare it with configs/train_abdomen.yaml.",
    )


BACKBONES = {"patch": 5e-4, "whole": 2e-4, "ddpm": 2e-4}
"""AdamW's learning rate for each backbone: patches with positions (PaDIS), whole slices under EDM, whole slices under
DDPM.
"""


def with_backbone(config: TrainingConfig, backbone: str | None) -> TrainingConfig:
    """Return ``config`` for another backbone of the same width on the same data, named after it.

    It learns by AdamW, at the backbone's rate of :data:`BACKBONES`. Unchanged when ``backbone`` is None or its own.

    Raises
    ------
    ConfigError : no such backbone.
    """
    if backbone is None or backbone == config.backbone:
        return config
    if backbone not in BACKBONES:
        raise ConfigError(f"There is no backbone called '{backbone}'.", f"Choose one of: {', '.join(BACKBONES)}.")
    width = {name: getattr(config.network, name) for name in ("channels", "n_res_blocks", "unshuffle")}
    patches = backbone == "patch"
    return replace(
        config,
        name=f"{config.name}-{backbone}",
        backbone=backbone,
        network=DDPMConfig(**width) if backbone == "ddpm" else UNetConfig(**width, positions=patches),
        patches=PATCHES if patches else ((config.size, 1),),
        optimiser="adamw",
        learning_rate=BACKBONES[backbone],
    )


def with_steps(config: TrainingConfig, steps: int | None) -> TrainingConfig:
    """Return ``config`` with another length, unchanged when ``steps`` is None."""
    return config if steps is None else replace(config, steps=steps)
