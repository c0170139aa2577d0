"""What a training run needs to go on: networks, optimiser, random generator, counters; in safetensors and JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from KLIPCore.errors import PriorError


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

    def save(self, folder: Path) -> None:
        """Write ``state.safetensors`` and ``state.json``; an interrupted save leaves the old pair."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        names = [n for n, _ in self.network.named_parameters()]
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{key}.{names[index]}": torch.as_tensor(value) for key, value in moments.items()}
        tensors["generator"] = self.generator.get_state()
        part = folder / "state.safetensors.part"
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, part)
        counters = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "history": self.history,
            "started_from": self.started_from,
        }
        (folder / "state.json.part").write_text(json.dumps(counters), encoding="utf-8")
        part.replace(folder / "state.safetensors")
        (folder / "state.json.part").replace(folder / "state.json")

    def restore(self, folder: Path) -> None:
        """Continue from what :meth:`save` wrote.

        Raises
        ------
        PriorError : the state is damaged, or of another network.
        """
        try:
            tensors = load_file(folder / "state.safetensors")
            counters = json.loads((folder / "state.json").read_text(encoding="utf-8"))
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
