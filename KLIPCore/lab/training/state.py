"""What a training run needs to go on: networks, optimiser, random generator, counters; one safetensors file.

The counters stand in that file's own header, so that weights and counters are always of the same step, whenever the
run was interrupted. ``state.json`` beside it says the same to people and programs; nothing is continued from it
unless the header, as that of earlier versions, has no counters.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from KLIPCore.errors import ConfigError, OutputError, PriorError

STATE = "state.safetensors"
"""Name of the file in the run's folder."""

COUNTERS = "counters"
"""Name of its header's entry."""


def has_state(folder: Path) -> bool:
    """Return whether a folder holds a run that can be continued."""
    return (folder / STATE).is_file()


@dataclass
class TrainingState:
    """A run at some step.

    Attributes
    ----------
    network, average : the network that learns, and its running average, which is what is kept.
    optimiser : of the network.
    generator : of everything random in the first process.
    step, seconds : done so far.
    best : best validation figure so far.
    started_from : weights the run started from, in words.
    history : one entry per checkpoint.
    identity : what the run learns from, by name (data, window …): a run goes on with nothing else.
    """

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.AdamW
    generator: torch.Generator
    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    started_from: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    identity: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write :data:`STATE` and ``state.json``; an interrupted save leaves a state that can be continued.

        Raises
        ------
        OutputError : they cannot be written, as on a full disk; the last state stays.
        """
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        names = [n for n, _ in self.network.named_parameters()]
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{key}.{names[index]}": torch.as_tensor(value) for key, value in moments.items()}
        tensors["generator"] = self.generator.get_state()
        counters = json.dumps(
            {
                "step": self.step,
                "seconds": self.seconds,
                "best": self.best,
                "history": self.history,
                "started_from": self.started_from,
                "identity": self.identity,
            }
        )
        part, told = folder / f"{STATE}.part", folder / "state.json.part"
        try:
            save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, part, {COUNTERS: counters})
            told.write_text(counters, encoding="utf-8")
            part.replace(folder / STATE)
            told.replace(folder / "state.json")
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"The state of step {self.step} cannot be written to {folder.name}.",
                "Make room on the disk, then run the same command again: it goes on from the last state.",
            ) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
                told.unlink(missing_ok=True)

    def restore(self, folder: Path) -> None:
        """Continue from what :meth:`save` wrote.

        Raises
        ------
        PriorError : the state is damaged, or of another network.
        ConfigError : the run learned from something else (:attr:`identity`).
        """
        try:
            tensors, counters = load_file(folder / STATE), _counters(folder)
            begun_with = dict(counters.get("identity", {}))
            self.network.load_state_dict(
                {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
            )
            self.average.load_state_dict(
                {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
            )
            state: dict[int, dict[str, torch.Tensor]] = {}
            for index, (name, _) in enumerate(self.network.named_parameters()):
                moments = {
                    key: tensors[f"adam.{key}.{name}"]
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"adam.{key}.{name}" in tensors
                }
                if moments:
                    state[index] = moments
            saved = self.optimiser.state_dict()
            saved["state"] = state  # type: ignore[typeddict-item]
            self.optimiser.load_state_dict(saved)
            self.generator.set_state(tensors["generator"])
            self.step, self.seconds = counters["step"], counters["seconds"]
            self.best, self.history = counters["best"], counters["history"]
            self.started_from = counters.get("started_from", "")
        except (OSError, KeyError, RuntimeError, ValueError, SafetensorError) as error:
            raise PriorError(
                f"The training state in {folder.name} cannot be continued ({type(error).__name__}).",
                "Train with the configuration it was begun with, or into an empty folder.",
            ) from error
        differing = [name for name, value in self.identity.items() if begun_with.get(name, value) != value]
        if differing:
            raise ConfigError(
                f"The training in {folder.name} was begun with another {' and another '.join(differing)}.",
                "Train with the configuration and the data it was begun with, or into an empty folder.",
            )


def _counters(folder: Path) -> dict[str, Any]:
    """Return the counters of a state: its header's, or those beside it, where an earlier version wrote it."""
    with safe_open(str(folder / STATE), "pt") as stored:
        text = (stored.metadata() or {}).get(COUNTERS)
    counters = json.loads(text if text is not None else (folder / "state.json").read_text(encoding="utf-8"))
    if not isinstance(counters, dict):
        raise ValueError("the counters are no object")
    return counters
