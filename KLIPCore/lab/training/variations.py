"""One training, one change at a time: `python -m KLIPCore.lab.training.variations CONFIG --data FOLDER -o OUT`.

Whether an augmentation, a distribution of noise or a backbone pays is asked of trainings that differ in it alone: the
same patients, the same start, as many steps. CONFIG names the training that is varied, what all of them share, and
what each changes:

    of: train_abdomen_small.yaml          # beside this file
    init: start.safetensors               # weights that all start from, likewise; left out: from nothing
    all: {steps: 900, learning_rate: 1.5e-3}
    changes:
      as it is: {}
      another seed: {seed: 1}
      scanners: {augmentation: {scanner_probability: 0.3}}

Each is trained in a folder of OUT, a stopped call continues, and OUT/variations.md has the tables: the error of
denoising on the patients held out, and what :mod:`KLIPCore.lab.training.health` measures (for the abdomen alone;
``--slices 0`` leaves it out). A change has paid where it gains more than another seed does.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore.detection.devices import choose_device, configure_process
from KLIPCore.detection.precision import load_fastest
from KLIPCore.errors import ConfigError, KlipError
from KLIPCore.export.files import write_bytes
from KLIPCore.lab.training.card import table
from KLIPCore.lab.training.config import TrainingConfig
from KLIPCore.lab.training.health import DISC_HU, Health, measured
from KLIPCore.lab.training.loop import train
from KLIPCore.maps.unexpected import NODES
from KLIPCore.priors.unet import UNetPrior
from KLIPCore.volume.untrusted import read_yaml

SETTINGS = ("of", "init", "all", "changes")
START = "the start"
"""What the weights that all start from are called."""

REMEDY = "Compare it with configs/vary_abdomen.yaml."


@dataclass(frozen=True)
class Variations:
    """What is compared.

    Attributes
    ----------
    trainings : by name.
    init : weights that all start from; None: each from its seed.
    """

    trainings: Mapping[str, TrainingConfig]
    init: Path | None

    @classmethod
    def load(cls, path: Path) -> Variations:
        """Read a YAML file.

        Raises
        ------
        ConfigError : it is no such file, or a training that results is none.
        """
        try:
            fields = read_yaml(path)
            if (
                not isinstance(fields, dict)
                or fields.keys() - set(SETTINGS)
                or not isinstance(fields["changes"], dict)
            ):
                raise ValueError(f"its settings are {', '.join(SETTINGS)}")
            base, shared = read_yaml(path.parent / str(fields["of"])), fields.get("all", {})
            made = {str(name): merged(merged(base, shared), change) for name, change in fields["changes"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"The variations {path.name} cannot be used ({str(error)[:200]}).", REMEDY) from error
        if len({folder(name) for name in [*made, START]}) < max(2, len(made) + 1):
            raise ConfigError(f"The variations {path.name} are none, or two share a name.", REMEDY)
        trainings = {name: TrainingConfig.from_fields(own, f"{path.name}, {name}") for name, own in made.items()}
        return cls(trainings, path.parent / str(fields["init"]) if fields.get("init") else None)


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with some changed; of a mapping only what is named changes."""
    both = {k: merged(base[k], v) for k, v in change.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
    return {**base, **change, **both}


def folder(name: str) -> str:
    """Return the folder of a variation: its name without what file systems mind."""
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_.")


def errors_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the errors of denoising, times 10 000, by training and noise level, as a Markdown table."""
    levels = list(next(iter(found.values())))
    mean = {name: np.mean([error / float(sigma) for sigma, error in own.items()]) for name, own in found.items()}
    return table(
        ("error of denoising · 10⁴", *(f"σ {sigma}" for sigma in levels), "mean of error / σ"),
        [(name, *(f"{1e4 * own[s]:.1f}" for s in levels), f"{mean[name]:.4f}") for name, own in found.items()],
    )


def health_table(found: Mapping[str, Health]) -> str:
    """Return what the priors make of health and of lesions as a Markdown table.

    Means over the patients outside training, and over the scans with lesions.
    """
    levels = [f"{side} σ {sigma:.2g}".replace("0.", ".") for sigma in NODES for side in ("brighter", "darker")]
    discs = f"pushed away of discs of −{DISC_HU:.0f} / +{DISC_HU:.0f} HU"
    head = ("healthy livers · 10⁴", *levels, "brighter against training", discs, "lesions, body", "darker, liver")
    return table(head, [(name, *_figures(own)) for name, own in found.items()])


def _figures(health: Health) -> tuple[str, ...]:
    others, discs, lesions = (np.mean(list(own.values()), 0) for own in (health.others, health.discs, health.lesions))
    memorised = np.mean([health.memorised(name) for name in health.others])
    return (
        *(f"{v:.1f}" for v in others),
        f"{memorised:.3f}",
        f"{discs[0::2].mean():.3f} / {discs[1::2].mean():.3f}",
        f"{lesions[0]:.4f}",
        f"{lesions[3]:.4f}",
    )


def require_same(config: TrainingConfig, init: Path | None, kept: Path) -> None:
    """Note what is trained in a folder, and refuse one that holds another training: its weights would be taken.

    Parameters
    ----------
    config, init : what is trained, and from which weights.
    kept : JSON file in that folder that says so.

    Raises
    ------
    ConfigError : it says something else.
    """
    wanted = json.dumps([asdict(config), init and init.name], default=str, sort_keys=True).encode()
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, wanted)
    elif kept.read_bytes() != wanted:
        raise ConfigError(
            f"The folder {kept.parent.name} holds a training with other settings.",
            "Choose another folder with -o, or call the variation otherwise.",
        )


def health_of(prior: UNetPrior, data: Path, kept: Path, slices: int) -> Health:
    """Return what :func:`KLIPCore.lab.training.health.measured` says, from ``kept`` where that is of this prior.

    Parameters
    ----------
    prior : that is asked.
    data, slices : as for that function.
    kept : JSON file that remembers it.
    """
    of = {"sha256": prior.card.sha256, "slices": slices}
    with suppress(OSError, ValueError, TypeError, KeyError):
        fields = json.loads(kept.read_text(encoding="utf-8"))
        if fields["of"] == of:
            return Health(**fields["health"])
    found = measured(data, prior, slices, seed=0)
    write_bytes(kept, json.dumps({"of": of, "health": asdict(found)}).encode())
    return found


def compare(
    variations: Variations,
    data: Path,
    out: Path,
    slices: int,
    device: str = "cpu",
    tell: Callable[[str], None] = print,
) -> str:
    """Train what is compared and return its tables, in Markdown; they are written after every training, too.

    Parameters
    ----------
    variations : what is compared.
    data, out : as for :func:`KLIPCore.lab.training.loop.train`; each training has a folder in ``out``.
    slices : of each patient whose health is measured, 0 for the errors of denoising alone.
    device : name of the device.
    tell : called with a line as work goes on.

    Raises
    ------
    ConfigError, EmptyInputError, PriorError, OutputError, Cancelled : as the training raises them.
    """
    errors: dict[str, dict[str, float]] = {}
    health: dict[str, Health] = {}
    on = choose_device(device)

    def enter(name: str, weights: Path) -> str:
        prior = load_fastest(str(weights), device)
        errors[name] = {str(s): float(error) for s, error in prior.card.training["validation_rmse"].items()}
        if slices:
            (out / folder(name)).mkdir(parents=True, exist_ok=True)
            health[name] = health_of(prior, data, out / folder(name) / "health.json", slices)
        made = "\n\n".join([errors_table(errors), *([health_table(health)] if health else [])])
        write_bytes(out / "variations.md", f"# Variations\n\n{made}\n".encode())
        return made

    made = "" if variations.init is None else enter(START, variations.init)
    for name, config in variations.trainings.items():
        tell(f"{name}: {config.steps} steps")
        require_same(config, variations.init, out / folder(name) / "variation.json")
        made = enter(name, train(config, data, out / folder(name), variations.init, device=on))
    return made


def main() -> None:
    """Train, compare, print the table and write it."""
    parser = argparse.ArgumentParser(description="Train one configuration with one change at a time, and compare.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument(
        "--slices", type=int, default=4, help="Of each patient whose health is measured; 0: errors alone."
    )
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    configure_process()
    try:
        print(compare(Variations.load(given.config), given.data, given.out, given.slices, given.device))
    except KlipError as error:  # stopped, too
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
