"""What is done with every study of an archive, kept beside the results so that every later run does the same.

::

    OUT/
      archive.json            this plan
      config.json             settings of the detection
      state/shard-1-of-1.sqlite   which study is how far (KLIPCore.archive.state)
      studies/3f/3f0c…/       what klip detect writes, a folder a study; named by a hash
      studies/3f/3f0c….guard.json   the guard's verdict, where it was asked
      studies/3f/3f0c….log    what a failed command said
      verdicts.csv  regions.csv  overview.html  (verdicts.parquet  regions.parquet)
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from KLIPCore.archive.importing import Shard
from KLIPCore.config import Config
from KLIPCore.errors import OutputError, TraceError
from KLIPCore.export.files import write_bytes
from KLIPCore.volume.untrusted import read_json

JOBS = ("detect", "guard")


@dataclass(frozen=True)
class Plan:
    """What is done with a study.

    Attributes
    ----------
    job : ``detect``, or ``guard``: a verdict in seconds without a network.
    guarded : whether a detection is made only where the guard does not say *does not fit*.
    config : settings of the detection.
    options : further options of ``klip detect`` that decide nothing but speed, e.g. ``("--threads", "4")``.
    pacs : options of ``klip pacs fetch`` for studies without a path: ``--from`` and the address of the PACS that has
        those which name none (empty: all name theirs), then the others.
    """

    job: str = "detect"
    guarded: bool = False
    config: Config = field(default_factory=Config)
    options: tuple[str, ...] = ()
    pacs: tuple[str, ...] = ()

    @property
    def decisive(self) -> dict[str, Any]:
        """What must be the same for all studies of an archive."""
        return {"job": self.job, "guarded": self.guarded and self.job == "detect", "config": self.config.to_dict()}


@dataclass(frozen=True)
class ArchiveFolder:
    """Paths below one folder of results.

    Attributes
    ----------
    path : the folder.
    """

    path: Path

    def study(self, name: str) -> Path:
        """Folder of a study's run; two letters of its name come first, so that no folder holds a million."""
        return self.path / "studies" / name[:2] / name

    def beside(self, name: str, ending: str) -> Path:
        """Return a file beside a study's folder."""
        return self.path / "studies" / name[:2] / f"{name}{ending}"

    def incoming(self, name: str) -> Path:
        """Return where a study from a PACS lies while it is examined."""
        return self.path / "incoming" / name

    def state(self, shard: Shard) -> Path:
        """Return a shard's state."""
        return self.path / "state" / f"shard-{shard[0]}-of-{shard[1]}.sqlite"

    def states(self) -> list[Path]:
        """Return all states that there are."""
        return sorted((self.path / "state").glob("shard-*-of-*.sqlite"))

    @property
    def config_file(self) -> Path:
        """Settings of the detection."""
        return self.path / "config.json"

    def open(self, plan: Plan) -> None:
        """Make the folder, or take up the archive that is in it.

        Raises
        ------
        OutputError : it cannot be made, holds something else, or an archive with another plan.
        """
        known = self.path / "archive.json"
        if known.is_file():
            before = self.plan()
            if before == plan:  # shards come here at the same time
                return
            if before.decisive != plan.decisive:
                raise OutputError(
                    f"{self.path} holds results of other settings.",
                    "Choose another folder with -o for these settings.",
                )
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise OutputError(
                f"{self.path} is not empty and holds no archive.", "Choose a new or empty folder with -o."
            )
        elif self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file.", "Choose a new or empty folder with -o.")
        values = asdict(plan) | {"config": plan.config.to_dict()}
        write_bytes(self.config_file, json.dumps(values["config"], indent=2).encode())
        write_bytes(known, json.dumps(values, indent=2).encode())

    def plan(self) -> Plan:
        """Return the plan of the archive that is here.

        Raises
        ------
        TraceError : there is none, or it is damaged.
        """
        try:
            values = read_json(self.path / "archive.json")
            return Plan(
                str(values["job"]),
                bool(values["guarded"]),
                Config.from_dict(values["config"]),
                tuple(map(str, values["options"])),
                tuple(map(str, values["pacs"])),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TraceError(
                f"There is no archive in {self.path}, or its plan is damaged.", "Give a folder of klip archive run."
            ) from error
