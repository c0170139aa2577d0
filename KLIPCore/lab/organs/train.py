"""Train the network that names organs: `python -m KLIPCore.lab.organs.train configs/train_organs.yaml --data FOLDER -o OUT`.

One process on the CPU; every ``save_every`` steps the whole state is written, and a rerun goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.losses import DiceCELoss
from safetensors.torch import save_file

from KLIPCore.lab.organs.augment import draw_batch
from KLIPCore.lab.organs.data import LabelledStudy, read_labelled
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
    """Network, optimiser and running average, and their state on disk.

    Parameters
    ----------
    config : dict
        The configuration file's fields.
    out : Path
        Folder of the state; resumed when it holds one.
    """

    def __init__(self, config: dict[str, Any], out: Path) -> None:
        torch.manual_seed(config["seed"])
        self.config, self.out, self.step, self.seconds = config, out, 0, 0.0
        self.network = OrganNetwork(tuple(config["features"])).to(memory_format=torch.channels_last)
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config["rate"], weight_decay=1e-4)
        self.loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
        if (out / "state.pt").is_file():
            state = torch.load(out / "state.pt", weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]

    def rate(self) -> float:
        """Return the learning rate of this step: a short warm-up, then a cosine to nothing."""
        done = self.step / self.config["steps"]
        warm = min(1.0, (self.step + 1) / 200)
        return self.config["rate"] * warm * 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi))))

    def train_step(self, studies: list[LabelledStudy]) -> float:
        """Take one step and return its loss."""
        generator = torch.Generator().manual_seed(self.config["seed"] * 1_000_003 + self.step)
        images, labels = draw_batch(studies, self.config["batch"], generator)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config["bfloat16"]):
            logits = self.network(images.to(memory_format=torch.channels_last))
        loss = self.loss(logits.float(), labels[:, None])
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(0.998, 1 - 1 / (self.step + 1))
        for key, value in self.network.state_dict().items():
            self.average[key].lerp_(value, 1 - keep) if value.is_floating_point() else self.average[key].copy_(value)
        return float(loss.detach())

    def save(self) -> None:
        """Write the state, and the averaged weights as half-precision safetensors."""
        parts = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}
        state = {**parts, "average": self.average, "step": self.step, "seconds": self.seconds}
        torch.save(state, self.out / "state.tmp")
        os.replace(self.out / "state.tmp", self.out / "state.pt")
        fields = {"features": json.dumps(self.config["features"]), "steps": str(self.step)}
        half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in self.average.items()}
        save_file(half, self.out / "organs.safetensors", fields)


def main() -> None:
    """Train until the configured step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    arguments.out.mkdir(parents=True, exist_ok=True)
    studies = read_sources(config, arguments.data, "train")
    trainer, losses = Trainer(config, arguments.out), []
    while trainer.step < config["steps"]:
        started = time.monotonic()
        losses.append(trainer.train_step(studies))
        trainer.seconds += time.monotonic() - started
        if trainer.step % config["save_every"] == 0 or trainer.step == config["steps"]:
            trainer.save()
            mean = sum(losses[-config["save_every"] :]) / min(len(losses), config["save_every"])
            print(f"step {trainer.step} of {config['steps']}: loss {mean:.3f}, {trainer.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
