"""Adapting a prior to a site: fine-tuning on its own healthy scans, judged on scans that were held back.

A prior is adapted to what differs between sites without being disease: scanner, kernel, dose, contrast phase. The
scans are checked first (:func:`KLIPCore.runs.guard.klip_guard`); a part of them is never learned from, and by their
denoising error before and after the new weights are kept or not. What was learned from other patients is partly
forgotten; how much, these scans do not show.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, EmptyInputError, PriorError
from KLIPCore.export.files import write_bytes
from KLIPCore.lab.training.card import model_card
from KLIPCore.lab.training.config import TrainingConfig
from KLIPCore.lab.training.data import DataSource, read_slices
from KLIPCore.lab.training.loop import train
from KLIPCore.lab.training.loss import validation_rmse
from KLIPCore.priors.checkpoint import check_prior_name, load_prior, save_prior
from KLIPCore.priors.ddpm import DDPMConfig
from KLIPCore.priors.networks import network_config
from KLIPCore.priors.unet import UNetConfig, UNetPrior, position_channels
from KLIPCore.runs.guard import DOES_NOT_FIT, klip_guard
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.untrusted import read_json

LEAST_SCANS = 4
"""With fewer, nothing is left to learn from once some are held back."""

HELD_BACK = 4
"""Every fourth scan is held back."""

LEAST_GAIN = 0.01
"""By how much the error must fall on average before new weights are kept: less is not worth a new reference."""

LEARNING_RATE, EMA = 5e-5, 0.99
"""A quarter of the rate of training, and a running average that a few hundred steps can fill."""


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What an adaptation did.

    Attributes
    ----------
    path : Path or None
        The adapted weights; None where they were hardly better, and so were not kept.
    before, after : dict of σ → error
        Root-mean-square denoising error of the scans held back, intensity.
    learned, held_back : int
        Scans.
    notes : tuple of str
        What the check of the scans said, and did not refuse.
    """

    path: Path | None
    before: dict[float, float]
    after: dict[float, float]
    learned: int
    held_back: int
    notes: tuple[str, ...]

    @property
    def change(self) -> float:
        """Mean relative change of the error over noise levels; negative is better."""
        return float(np.mean([self.after[s] / self.before[s] - 1 for s in self.before]))

    def table(self) -> str:
        """Return before and after by noise level, as a Markdown table."""
        rows = [
            f"| {s:g} | {b:.5f} | {self.after[s]:.5f} | {100 * (self.after[s] / b - 1):+.1f} % |"
            for s, b in self.before.items()
        ]
        return "\n".join(["| σ | error before | after | change |", "| --- | --- | --- | --- |", *rows])


def adapt(
    folder: Path,
    out: Path,
    *,
    prior: str | Path,
    name: str = "",
    steps: int = 300,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int, float], None] | None = None,
) -> Adaptation:
    """Fine-tune a prior on a site's own healthy scans.

    Parameters
    ----------
    folder : Path
        Holds one file or DICOM folder for each patient, and nothing else.
    out : Path
        Gets ``NAME.safetensors`` and its card; a stopped run continues in it.
    prior : str or Path
        Shipped name, or ``.safetensors`` file.
    name : str
        Of the adapted prior; the prior's own with ``-adapted`` when empty.
    steps : int
        Training steps of one slice each.
    device : torch.device or str
    progress : callable
        Called with (step, steps, mean loss).

    Raises
    ------
    EmptyInputError : there are fewer than :data:`LEAST_SCANS` scans.
    ConfigError : a scan does not fit the prior, two are the same, or ``out`` holds another adaptation.
    InputError : a scan cannot be read.
    PriorError : the prior cannot be loaded, or is of a kind that is not trained here.
    Cancelled : it was stopped; it can be continued.
    """
    given = load_prior(prior, device, "float32")
    name = name or f"{given.card.name}-adapted"
    check_prior_name(name)
    scans = _scans(folder)
    notes = _checked(scans, prior)
    config = _configuration(given, name, scans, steps)
    held_back, digests = _stack(config.validation[0], folder, given.card)
    _, learned_digests = _stack(config.sources[0], folder, given.card)
    _refuse_twins(scans, [*learned_digests, *digests])
    _remember(out, {"prior": given.card.sha256, "steps": steps, "name": name, "scans": [*learned_digests, *digests]})
    before = _error(given, held_back)
    weights = train(config, folder, out / "training", _weights_of(given, out), progress, device)
    adapted = load_prior(weights, device, "float32")
    done = Adaptation(
        None, before, _error(adapted, held_back), len(config.sources[0].cases), len(config.validation[0].cases), notes
    )
    if done.change > -LEAST_GAIN:
        return done
    path = save_prior(adapted.network, _card(adapted.card, given.card, done), out)
    page = out / f"{name}.md"
    page.write_text(model_card(load_prior(path).card, out) + "\n" + done.table() + "\n", encoding="utf-8")
    return replace(done, path=path)


def _scans(folder: Path) -> list[Path]:
    """Return the scans of a folder, sorted by name."""
    if not folder.is_dir():
        raise EmptyInputError(f"{folder} is not a folder.", "Name a folder that holds one scan for each patient.")
    scans = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if len(scans) < LEAST_SCANS:
        raise EmptyInputError(
            f"{folder.name} holds {len(scans)} scan{'' if len(scans) == 1 else 's'}; {LEAST_SCANS} are the least.",
            "Give one file or DICOM folder for each of at least four healthy patients: every fourth is held back "
            "to judge by.",
        )
    return scans


def _checked(scans: Sequence[Path], prior: str | Path) -> tuple[str, ...]:
    """Return what the check of the scans noted; refuse those that do not fit the prior."""
    notes: list[str] = []
    refused: list[str] = []
    for number, scan in enumerate(scans, 1):
        try:
            verdict = klip_guard(scan, str(prior))
        except PriorError as error:  # no reference: nothing to check by
            return (f"Whether the scans fit was not checked. {error.message}",)
        for reason in verdict.reasons:
            told = f"scan {number} ({scan.name}): {reason.sentence}"
            (refused if reason.verdict == DOES_NOT_FIT else notes).append(told)
    if refused:
        raise ConfigError(
            f"These scans do not fit the prior. {' '.join(refused)}",
            "A prior is adapted to scanner and protocol, not to another anatomy: take these scans out.",
        )
    return tuple(notes)


def _configuration(given: UNetPrior, name: str, scans: Sequence[Path], steps: int) -> TrainingConfig:
    """Return the training of an adaptation: every fourth scan is held back."""
    card, network = given.card, network_config(given.card.network)
    if not isinstance(network, UNetConfig | DDPMConfig):
        raise PriorError(
            f"{card.name} is a converted network, which cannot be trained here.",
            "Adapt a prior that klip train made.",
        )
    side = 64 if isinstance(network, UNetConfig) and network.positions else card.size
    names = [escape(scan.name) for scan in scans]
    held_back, learned = names[HELD_BACK - 1 :: HELD_BACK], [n for k, n in enumerate(names, 1) if k % HELD_BACK]
    own = DataSource("the site's own scans", "{case}", tuple(learned), oriented=True, licence="the site's own")
    return TrainingConfig(
        name=name,
        anatomy=f"{card.anatomy}; adapted to a site's own scans",
        window=card.window,
        sources=(own,),
        validation=(replace(own, name="held back", cases=tuple(held_back)),),
        licence=f"{card.licence}; adapted on scans of a site, whose consent sharing needs",
        intended_use=card.intended_use,
        size=card.size,
        body_fraction=card.body_fraction,
        patches=((side, max(1, min(16, (card.size // side) ** 2))),),
        steps=steps,
        warmup_steps=max(1, steps // 20),
        decay_steps=max(1, steps // 2),
        learning_rate=LEARNING_RATE,
        ema=EMA,
        sigma_min=card.sigma_min,
        sigma_max=card.sigma_max,
        save_every=max(1, steps // 4),
        pictures_every=0,
        backbone=str(card.training.get("backbone", "whole")),
        network=network,
    )


def _stack(source: DataSource, folder: Path, card: ModelCard) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the framed slices of a source, (N, size, size), and a digest of each scan's."""
    stacks = [
        read_slices(path, source, card.window, card.size, card.body_fraction).slices for path in source.files(folder)
    ]
    return np.concatenate(stacks), [hashlib.sha256(stack.tobytes()).hexdigest() for stack in stacks]


def _refuse_twins(scans: Sequence[Path], digests: Sequence[str]) -> None:
    """Refuse scans whose slices are the same: one would be learned from and held back."""
    if len(set(digests)) < len(digests):
        raise ConfigError(
            f"{len(digests) - len(set(digests)) + 1} of the {len(scans)} scans hold the same slices.",
            "Give every patient once.",
        )


def _remember(out: Path, fields: dict[str, Any]) -> None:
    """Write what is adapted to what; refuse a folder that holds another adaptation."""
    file = out / "adaptation.json"
    try:
        before = read_json(file) if file.exists() else fields
    except (OSError, ValueError):  # damaged: nobody can say what it was
        before = {}
    if before != fields:
        raise ConfigError(
            f"{out.name} holds an adaptation of other scans, another prior, name or number of steps.",
            "Choose another folder, or empty this one.",
        )
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(file, json.dumps(fields, indent=2).encode())


def _weights_of(given: UNetPrior, out: Path) -> Path:
    """Write the weights to start from into the folder, in full precision, and return their path."""
    return save_prior(given.network, given.card, out / "training" / "start", torch.float32)


def _error(prior: UNetPrior, slices: NDArray[np.uint8]) -> dict[float, float]:
    """Return the denoising error of up to 32 slices, evenly spread, by noise level."""
    pick = np.linspace(0, len(slices) - 1, min(len(slices), 32)).round().astype(int)
    clean = torch.from_numpy(slices[pick]).float().div(255)[:, None].to(prior.device)
    return validation_rmse(prior.network, clean, position_channels(prior.card.size).to(prior.device))


def _card(made: ModelCard, given: ModelCard, done: Adaptation) -> ModelCard:
    """Return the card of an adapted prior: scans by number, for their names may be people's."""
    training = {key: value for key, value in made.training.items() if key != "notes"}  # which name scans
    for key, words in (("data", "scan"), ("validation_data", "scan held back")):
        training[key] = [entry | {"file": f"{words} {k}"} for k, entry in enumerate(training[key], 1)]
    training["config"] = {k: v for k, v in training["config"].items() if k not in ("sources", "validation")}
    training |= {
        "command": "klip priors adapt",
        "adapted_from": {"name": given.name, "sha256": given.sha256, "data": given.training.get("data", [])},
        "error_before": {f"{s:g}": round(e, 5) for s, e in done.before.items()},
        "error_after": {f"{s:g}": round(e, 5) for s, e in done.after.items()},
    }
    return replace(made, training=training)
