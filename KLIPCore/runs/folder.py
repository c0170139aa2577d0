"""The folder a run leaves behind, and how a later run continues in it.

::

    OUT/
      run.json              settings, fingerprint, study, prior: what the trace depends on
      body.npz              the study's grid, body masks and frame
      trace/slice_0012.npz  one file a sampled slice, counted from the feet (KLIPCore.maps.trace)
      reconstruction.nrrd   posterior mean, HU, on the study's grid
      kl_map.nrrd           nats of the block centred at each voxel, float32, on the study's grid
      regions.seg.nrrd      flagged regions for 3D Slicer
      regions.dcm           the same as DICOM SEG, for a DICOM study with regions
      report.html  result.json

Every file is written beside its place and renamed: what is there is whole. A slice's file carries the run's
fingerprint, so work is continued exactly when it would have come out the same.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore.errors import OutputError, TraceError
from KLIPCore.maps.trace import KLTrace, SliceTrace
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.framed_study import Framing
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Orientation

OWN_FILES = (
    "run.json",
    "body.npz",
    "reconstruction.nrrd",
    "kl_map.nrrd",
    "regions.seg.nrrd",
    "regions.dcm",
    "report.html",
    "result.json",
)
"""What a run writes besides ``trace/``; nothing else is ever removed."""

BESIDE = ("synthetic",)
"""What may lie in the folder before a run starts: the study that :mod:`KLIPCore.lab.demo.demo` made."""


@dataclass(frozen=True)
class RunFolder:
    """Paths and bookkeeping of one output folder.

    Attributes
    ----------
    path : the folder.
    """

    path: Path

    def file(self, name: str) -> Path:
        """Path of one of :data:`OWN_FILES`."""
        return self.path / name

    @property
    def trace_folder(self) -> Path:
        """Where slices' traces lie."""
        return self.path / "trace"

    def slice_file(self, index: int) -> Path:
        """Trace file of slice ``index``, counted from the feet."""
        return self.trace_folder / f"slice_{index:04d}.npz"

    def open(self, run: dict[str, Any], overwrite: bool = False) -> None:
        """Create the folder, or take up the run that is in it.

        Parameters
        ----------
        run : what becomes ``run.json``; ``run["fingerprint"]`` decides whether an old trace can be continued.
        overwrite : remove the files of an old run with other settings.

        Raises
        ------
        OutputError : not writable, holds something else, or a run with other settings.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The output folder {self.path} cannot be made ({error.strerror}).",
                "Choose a folder you may write to with -o.",
            ) from error
        if not os.access(self.path, os.W_OK):
            raise OutputError(
                f"The output folder {self.path} cannot be written to.", "Choose a folder you may write to with -o."
            )
        old = self.file("run.json")
        if old.is_file():
            if self.run().get("fingerprint") != run["fingerprint"]:
                if not overwrite:
                    raise OutputError(
                        f"{self.path} holds a run with other settings or of another study.",
                        "Choose another folder with -o, or replace that run with --overwrite.",
                    )
                self.clear()
        elif any(item.name not in BESIDE for item in self.path.iterdir()):
            raise OutputError(
                f"{self.path} is not empty and holds no earlier run.", "Choose a new or empty folder with -o."
            )
        self.trace_folder.mkdir(exist_ok=True)
        self.write_json("run.json", run)

    def clear(self) -> None:
        """Remove what a run wrote, and nothing else."""
        for name in OWN_FILES:
            self.file(name).unlink(missing_ok=True)
        if self.trace_folder.is_dir():
            shutil.rmtree(self.trace_folder)

    def run(self) -> dict[str, Any]:
        """``run.json``.

        Raises
        ------
        TraceError : there is no run here, or its record is damaged.
        """
        try:
            return dict(json.loads(self.file("run.json").read_text(encoding="utf-8")))
        except OSError as error:
            raise TraceError(
                f"There is no finished or started run in {self.path}.",
                "Give the folder that klip detect wrote with -o.",
            ) from error
        except (json.JSONDecodeError, TypeError) as error:
            raise TraceError(
                f"The run record in {self.path} is damaged.", "Run klip detect again with --overwrite."
            ) from error

    def result(self) -> dict[str, Any]:
        """``result.json``.

        Raises
        ------
        TraceError : the run has not finished.
        """
        try:
            return dict(json.loads(self.file("result.json").read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError) as error:
            raise TraceError(
                f"There is no finished run in {self.path}.", "Run klip detect to its end first."
            ) from error

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Write one JSON file, whole or not at all."""
        part = self.file(name + ".part")
        part.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(self.file(name))

    def write_framing(self, framing: Framing) -> None:
        """Store grid, body masks and frame."""
        part = self.file("body.npz.part")
        fields = {"frame": framing.frame.to_dict(), "shape": framing.grid.shape, "frame_uid": framing.grid.frame_uid}
        with part.open("wb") as stream:
            np.savez_compressed(
                stream, bits=np.packbits(framing.body), affine=framing.grid.affine, fields=np.array(json.dumps(fields))
            )
        part.replace(self.file("body.npz"))

    def read_framing(self) -> Framing:
        """The inverse of :meth:`write_framing`.

        Raises
        ------
        TraceError : missing or damaged.
        """
        try:
            with self.file("body.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                fields = json.loads(str(stored["fields"]))
                grid = Grid(tuple(fields["shape"]), stored["affine"], fields["frame_uid"])
                orientation = Orientation(*grid.lps_axes())
                shape = grid.oriented(orientation.order, orientation.flips).shape
                body = np.unpackbits(stored["bits"], count=int(np.prod(shape))).astype(bool).reshape(shape)
                return Framing(grid, orientation, body, Frame.from_dict(fields["frame"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise TraceError(
                f"The body masks in {self.path} are missing or damaged.",
                "Run klip detect again; finished slices are kept.",
            ) from error

    def finished(
        self, indices: list[int], fingerprint: str, layers: Collection[str] | None = None
    ) -> dict[int, SliceTrace]:
        """Traces of those slices that are done, with the named layers; a damaged file counts as not done."""
        out = {}
        for index in indices:
            if self.slice_file(index).is_file():
                try:
                    out[index] = SliceTrace.load(self.slice_file(index), fingerprint, layers)
                except TraceError:
                    self.slice_file(index).unlink()
        return out

    def trace(self, indices: list[int], fingerprint: str, layers: Collection[str] | None = None) -> KLTrace:
        """The trace of a run's slices, as far as they are done; only the named layers when given.

        Raises
        ------
        TraceError : none is done.
        """
        done = self.finished(indices, fingerprint, layers)
        if not done:
            raise TraceError(f"No slice in {self.path} has been sampled yet.", "Run klip detect first.")
        return KLTrace(tuple(done[index] for index in sorted(done)))
