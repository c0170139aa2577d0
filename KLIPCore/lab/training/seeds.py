"""One training with several seeds, and how much they differ: `python -m KLIPCore.lab.training.seeds CONFIG …`.

Two priors are only as different as two seeds of one of them are alike. The same configuration is trained once for
each seed, in ``OUT/seed0``, ``OUT/seed1`` …; a stopped call continues. Printed is the validation error at each noise
level, seed by seed, with mean and standard deviation, and the same goes into ``OUT/seeds.md``.

    python -m KLIPCore.lab.training.seeds configs/train_abdomen.yaml --data FOLDER -o OUT --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from KLIPCore.detection.devices import choose_device, configure_process
from KLIPCore.errors import ConfigError
from KLIPCore.export.files import write_bytes
from KLIPCore.lab.training.card import table
from KLIPCore.lab.training.config import BACKBONES, TrainingConfig, with_backbone, with_steps
from KLIPCore.lab.training.loop import train
from KLIPCore.priors.checkpoint import load_prior


def train_seeds(
    config: TrainingConfig,
    data: Path,
    out: Path,
    seeds: Sequence[int],
    device: str = "cpu",
    tell: Callable[[str], None] = print,
) -> dict[int, dict[str, float]]:
    """Return the validation error of each seed's best weights, by seed and noise level.

    Parameters
    ----------
    config : what is trained, but for its seed.
    data, out : as for :func:`KLIPCore.lab.training.loop.train`; each seed has a folder in ``out``.
    seeds : two at least.
    device : name of the device.
    tell : called with a line as work goes on.

    Raises
    ------
    ConfigError : fewer than two seeds, or one twice; and what the training raises.
    """
    if len(set(seeds)) < max(2, len(seeds)):
        raise ConfigError("A comparison of seeds needs two different ones at least.", "Give e.g. --seeds 0 1 2.")
    found = {}
    for seed in seeds:
        tell(f"seed {seed}: {config.steps} steps")
        weights = train(replace(config, seed=seed), data, out / f"seed{seed}", device=choose_device(device))
        found[seed] = {str(s): float(e) for s, e in load_prior(weights).card.training["validation_rmse"].items()}
    return found


def seeds_table(found: Mapping[int, Mapping[str, float]]) -> str:
    """Return the errors of each seed, their mean and standard deviation, by noise level, as a Markdown table."""
    rows = []
    for sigma in next(iter(found.values())):
        errors = np.array([own[sigma] for own in found.values()])
        mean, spread = float(errors.mean()), float(errors.std(ddof=1))
        rows.append(
            (sigma, *(f"{e:.5f}" for e in errors), f"{mean:.5f}", f"{spread:.5f}", f"{100 * spread / mean:.1f} %")
        )
    head = ("σ", *(f"seed {seed}" for seed in found), "mean", "standard deviation", "of the mean")
    return table(head, rows)


def main() -> None:
    """Train, print the table and write it."""
    parser = argparse.ArgumentParser(description="Train one configuration with several seeds and compare them.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--backbone", choices=list(BACKBONES))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    configure_process()
    config = with_steps(with_backbone(TrainingConfig.load(given.config), given.backbone), given.steps)
    made = seeds_table(train_seeds(config, given.data, given.out, given.seeds, given.device))
    write_bytes(given.out / "seeds.md", f"# {config.name}: {config.steps} steps, several seeds\n\n{made}\n".encode())
    print(made)


if __name__ == "__main__":
    main()
