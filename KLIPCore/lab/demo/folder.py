"""Where the demo keeps its study, so that a second run takes up what is there and nothing of the user's is lost.

::

    OUT/synthetic/ct/              the synthetic study, one DICOM file a slice
    OUT/synthetic/truth.seg.nrrd   where its lesions are
    OUT/synthetic/demo.json        seed, prior and lesions; after the run the score
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KLIPCore.errors import OutputError
from KLIPCore.io.images import read_image
from KLIPCore.volume.volume import Volume


@dataclass(frozen=True)
class DemoFolder:
    """Where the demo keeps things.

    Attributes
    ----------
    path : the folder given by the user, which is also the run's.
    """

    path: Path

    @property
    def own(self) -> Path:
        """What belongs to the demo and not to the run."""
        return self.path / "synthetic"

    @property
    def ct(self) -> Path:
        """The DICOM series."""
        return self.own / "ct"

    @property
    def truth_file(self) -> Path:
        """The lesions' masks."""
        return self.own / "truth.seg.nrrd"

    @property
    def record_file(self) -> Path:
        """Recipe, lesions, score."""
        return self.own / "demo.json"

    def record(self) -> dict[str, Any]:
        """Return ``demo.json``; empty when there is none, or a damaged one."""
        try:
            return dict(json.loads(self.record_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def write_record(self, record: dict[str, Any]) -> None:
        """Write ``demo.json``, whole or not at all."""
        part = self.record_file.with_name("demo.json.part")
        try:
            self.own.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            part.replace(self.record_file)
        except OSError as error:
            raise OutputError(
                f"The demo cannot be written to {self.path} ({error.strerror}).",
                "Choose a folder you may write to with -o.",
            ) from error

    def holds(self, recipe: dict[str, Any]) -> bool:
        """Return whether the very study is there, whole.

        The series comes last and takes its name when it is complete.
        """
        return self.record().get("recipe") == recipe and self.truth_file.is_file() and self.ct.is_dir()

    def clear(self) -> None:
        """Make room for another study; only what an earlier demo left is removed.

        Raises
        ------
        OutputError : the folder holds something that is no demo.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file.", "Choose a new or empty folder with -o.")
        if not self.record_file.is_file():
            if self.path.is_dir() and any(self.path.iterdir()):
                raise OutputError(
                    f"{self.path} is not empty and holds no earlier demo.", "Choose a new or empty folder with -o."
                )
            return
        shutil.rmtree(self.ct, ignore_errors=True)
        self.truth_file.unlink(missing_ok=True)

    def truth(self) -> Volume:
        """Return the lesions' labels on the study's grid.

        Raises
        ------
        UnreadableFileError : damaged.
        """
        return read_image(self.truth_file)
