"""Train the network that names organs.

    python -m KLIPCore.lab.organs.train configs/organs_abdomen.yaml --data FOLDER -o OUT

One process on the CPU; every ``save_every`` steps the whole state is written, and a rerun goes on from there.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.losses import DiceCELoss
from safetensors.torch import save_file
from torch import nn

from KLIPCore.lab.organs.augment import draw_batch
from KLIPCore.lab.organs.data import LabelledStudy, read_labelled
from KLIPCore.lab.training.state import TrainingState, has_state
from KLIPCore.organs.network import OrganNetwork


def read_sources(config: dict[str, Any], data: Path, part: str) -> list[LabelledStudy]:
    """Read the patients of the configuration's ``part``: ``train`` or ``test``."""
    return [
        read_labelled(
            case,
            data / config["image"].format(case=case),
            data / config["labels"].format(case=case),
            float(slice_mm),
            tuple(config["hu"]),
        )
        for case, slice_mm in config[part].items()
    ]


class Trainer:
    """Network, running average and optimiser, and their state on disk.

    Parameters
    ----------
    config : dict
        The configuration file's fields.
    out : Path
        Folder of the state; resumed when it holds one.

    Raises
    ------
    PriorError
        The state cannot be continued.
    """

    def __init__(self, config: dict[str, Any], out: Path) -> None:
        torch.manual_seed(config["seed"])
        self.config, self.out = config, out
        network: nn.Module = OrganNetwork(tuple(config["features"]))
        optimiser = torch.optim.AdamW(network.parameters(), lr=config["rate"], weight_decay=1e-4)
        self.state = TrainingState(network, copy.deepcopy(network), optimiser, torch.Generator())
        self.loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
        if has_state(out):
            self.state.restore(out)

    def rate(self) -> float:
        """Return the learning rate of this step: a short warm-up, then half a cosine to nothing."""
        done = self.state.step / self.config["steps"]
        warm = min(1.0, (self.state.step + 1) / self.config["warm_up"])
        return float(self.config["rate"] * warm * (1 + math.cos(math.pi * done)) / 2)

    def train_step(self, studies: list[LabelledStudy]) -> float:
        """Take one step and return its loss."""
        state = self.state
        generator = torch.Generator().manual_seed(self.config["seed"] * 1_000_003 + state.step)
        images, labels = draw_batch(studies, self.config["batch"], generator)
        for group in state.optimiser.param_groups:
            group["lr"] = self.rate()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config["bfloat16"]):
            logits = state.network(images.contiguous(memory_format=torch.channels_last))
        loss = self.loss(logits.float(), labels[:, None])
        state.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
        state.optimiser.step()
        state.step += 1
        keep = min(0.998, 1 - 1 / (state.step + 1))
        for own, new in zip(state.average.parameters(), state.network.parameters(), strict=True):
            own.data.lerp_(new.data, 1 - keep)
        return float(loss.detach())

    def save(self) -> None:
        """Write the state, and the averaged weights as half-precision safetensors."""
        self.state.save(self.out)
        fields = {"features": json.dumps(self.config["features"]), "steps": str(self.state.step)}
        half = {name: value.half().contiguous() for name, value in self.state.average.state_dict().items()}
        part = self.out / f"{self.config['name']}.safetensors.part"
        save_file(half, part, fields)
        part.replace(part.with_suffix(""))


def main() -> None:
    """Train until the configured step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    studies = read_sources(config, arguments.data, "train")
    trainer, losses = Trainer(config, arguments.out), []
    while trainer.state.step < config["steps"]:
        started = time.monotonic()
        losses.append(trainer.train_step(studies))
        trainer.state.seconds += time.monotonic() - started
        if trainer.state.step % config["save_every"] == 0 or trainer.state.step == config["steps"]:
            trainer.save()
            mean = sum(losses[-config["save_every"] :]) / min(len(losses), config["save_every"])
            print(
                f"step {trainer.state.step} of {config['steps']}: loss {mean:.3f}, {trainer.state.seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
