"""What a table of measured scans is made of: a YAML file with ``scans``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from KLIPCore.config import Config
from KLIPCore.detection.measured_scan import Selection
from KLIPCore.errors import ConfigError
from KLIPCore.scores import SCORES
from KLIPCore.volume.untrusted import read_yaml


@dataclass(frozen=True)
class MeasuredConfig:
    """One table of measured scans; a YAML file with ``scans``.

    Attributes
    ----------
    title : of the table.
    folder : below the data folder, where ``htc2022_NAME.npz`` lie.
    scans : group → names of discs.
    selections : views and arcs; an arc begins where the challenge's own limited arc of that disc does, at 0
        where it has none.
    scores : names in :data:`KLIPCore.scores.SCORES`.
    region_scores : those of them whose regions are reported.
    block_mm : edge of blocks.
    run : settings of the runs; regions' null is the simulated solid disc.
    name : the file's name without its ending.
    """

    title: str
    folder: str
    scans: dict[str, tuple[str, ...]]
    selections: tuple[Selection, ...]
    scores: tuple[str, ...] = ("darker", "surprise", "one-shot", "klip")
    region_scores: tuple[str, ...] = ("darker",)
    block_mm: float = 2.4
    run: Config = field(default_factory=Config)
    name: str = ""

    def __post_init__(self) -> None:
        unknown = {*self.scores, *self.region_scores} - set(SCORES)
        if unknown:
            raise ConfigError(f"Unknown scores: {', '.join(sorted(unknown))}.", f"Choose from {', '.join(SCORES)}.")
        if set(self.region_scores) - set(self.scores):
            raise ConfigError("Regions are asked of a score that is not evaluated.", "Name it under scores, too.")

    @classmethod
    def load(cls, path: Path) -> MeasuredConfig:
        """Read a YAML file.

        Raises
        ------
        ConfigError : unreadable, or with unknown fields.
        """
        try:
            fields = read_yaml(path)
            fields["scans"] = {group: tuple(str(n) for n in names) for group, names in fields["scans"].items()}
            fields["selections"] = tuple(Selection(**s) for s in fields["selections"])
            for key in ("scores", "region_scores"):
                if key in fields:
                    fields[key] = tuple(fields[key])
            fields["run"] = Config.from_preset(fields.pop("preset", "default")).updated(fields.pop("run", {}))
            return cls(**{"name": path.stem} | fields)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            why = str(error)[:200]
            raise ConfigError(
                f"The evaluation configuration {path.name} cannot be used ({why}).",
                "Compare it with configs/eval_htc.yaml.",
            ) from error


def is_measured(path: Path) -> bool:
    """Return whether a configuration is one of measured scans; an unreadable one is not."""
    try:
        return "scans" in (read_yaml(path) or {})
    except (ValueError, TypeError):
        return False
