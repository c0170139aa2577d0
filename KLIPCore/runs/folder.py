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
      kl_map.dcm report.dcm map and numbers as DICOM Parametric Map and Structured Report, for a DICOM study
      organs.npz            organs and where regions are looked for, where a segmentation was given
      report.html  result.json

Every file is written beside its place and renamed: what is there is whole. A slice's file carries the run's
fingerprint, so work is continued exactly when it would have come out the same.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.config import Config
from KLIPCore.errors import ConfigError, GeometryError, OutputError, TraceError
from KLIPCore.maps.trace import DAMAGE, KLTrace, SliceTrace
from KLIPCore.runs.dicom_results import DICOM_FILES
from KLIPCore.runs.lock import locked_file
from KLIPCore.runs.record import MOST_SLICES, checked_record
from KLIPCore.runs.search import ORGANS_FILE
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.framed_study import Framing
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.untrusted import check_name, json_object, load_npz, read_json
from KLIPCore.volume.volume import Orientation

OWN_FILES = (
    "run.json",
    "body.npz",
    ORGANS_FILE,
    "reconstruction.nrrd",
    "kl_map.nrrd",
    "regions.seg.nrrd",
    *DICOM_FILES,
    "report.html",
    "result.json",
)
"""What a run writes besides ``trace/``; nothing else is ever removed."""

LOCK = "run.lock"
"""Held while a command works in the folder, and gone afterwards; the system lets go of it when a process is killed."""

BESIDE = ("synthetic", LOCK)
"""What may lie in the folder before a run starts: the study that :mod:`KLIPCore.lab.demo.demo` made, and the lock."""


@dataclass(frozen=True)
class RunFolder:
    """Paths and bookkeeping of one output folder.

    Attributes
    ----------
    path : the folder.
    """

    path: Path

    def file(self, name: str) -> Path:
        """Return path of one of :data:`OWN_FILES`."""
        return self.path / name

    @property
    def trace_folder(self) -> Path:
        """Where slices' traces lie."""
        return self.path / "trace"

    def slice_file(self, index: int) -> Path:
        """Trace file of slice ``index``, counted from the feet."""
        return self.trace_folder / f"slice_{index:04d}.npz"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes from working in it inside the block.

        What was made and stays empty is removed.

        Raises
        ------
        OutputError : it cannot be made or written to, or another process works in it.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self._make()
        try:
            handle = locked_file(self.file(LOCK))
        except OSError as error:
            raise OutputError(
                f"The output folder {self.path} cannot be written to ({error.strerror}).",
                "Choose a folder you may write to with -o.",
            ) from error
        if handle is None:
            raise OutputError(
                f"Another process is at work in {self.path}.",
                "Wait for it, stop it, or choose another folder with -o.",
            )
        try:
            yield
        finally:
            with suppress(OSError):  # the folder may have been taken away, or the right to write
                self.file(LOCK).unlink()  # while it is still ours
            handle.close()
            with suppress(OSError):  # not empty
                for folder in made:
                    folder.rmdir()

    def _make(self) -> None:
        """Make the folder.

        Raises
        ------
        OutputError : it cannot be made or written to.
        """
        check_name(self.path, OutputError)
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
        self._make()
        self._sweep()
        if self.file("run.json").is_file():
            if self.run().get("fingerprint") != run["fingerprint"]:
                if not overwrite:
                    raise self._other_run()
                self.clear()
        else:
            self._check_empty()
        self.write_json("run.json", run)
        try:
            self.trace_folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The folder {self.trace_folder} cannot be made ({error.strerror}).", "Choose another folder with -o."
            ) from error

    def check_free(self, config: Config, overwrite: bool, *kind: str) -> None:
        """Refuse, before a study is read, a folder in which :meth:`open` would refuse this run of any study.

        Parameters
        ----------
        config : settings of the run to be.
        overwrite : whether an old run may be replaced.
        kind : what the fingerprint begins with, before the prior's and the study's hashes.

        Raises
        ------
        OutputError : the folder holds something else, or a run with other settings.
        """
        self._sweep()
        if not self.file("run.json").is_file():
            self._check_empty()
            return
        if overwrite:
            return
        run = self.run()
        hashes = (run.get("prior", {}).get("sha256"), run.get("study", {}).get("hash"))
        if not all(isinstance(part, str) for part in hashes):
            return
        if run.get("fingerprint") not in config.fingerprints(*kind, *map(str, hashes)):
            raise self._other_run()

    def _other_run(self) -> OutputError:
        return OutputError(
            f"{self.path} holds a run with other settings or of another study.",
            "Choose another folder with -o, or replace that run with --overwrite.",
        )

    def _check_empty(self) -> None:
        if any(item.name not in BESIDE for item in self.path.iterdir()):
            raise OutputError(
                f"{self.path} is not empty and holds no earlier run.", "Choose a new or empty folder with -o."
            )

    def _sweep(self) -> None:
        """Remove half-written files of a run that was killed: whatever our writers call them beside the name
        that they were to take.
        """
        stems = {name.split(".")[0] for name in OWN_FILES}
        for item in [*self.path.glob("*.part*"), *self.trace_folder.glob("slice_*.npz.part")]:
            if item.name.split(".")[0] in stems or item.parent == self.trace_folder:
                with suppress(OSError):
                    shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()

    def clear(self) -> None:
        """Remove what a run wrote, and nothing else."""
        for name in OWN_FILES:
            self.file(name).unlink(missing_ok=True)
        if self.trace_folder.is_dir():
            shutil.rmtree(self.trace_folder)

    def run(self) -> dict[str, Any]:
        """Return ``run.json``.

        Raises
        ------
        TraceError : there is no run here, or its record is damaged.
        """
        try:
            return checked_record(read_json(self.file("run.json")))
        except OSError as error:
            raise TraceError(
                f"There is no finished or started run in {self.path}.",
                "Give the folder that klip detect wrote with -o.",
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise TraceError(
                f"The run record in {self.path} is damaged.", "Run klip detect again with --overwrite."
            ) from error

    def result(self) -> dict[str, Any]:
        """Return ``result.json``.

        Raises
        ------
        TraceError : the run has not finished.
        """
        try:
            return read_json(self.file("result.json"))
        except (OSError, ValueError) as error:
            raise TraceError(
                f"There is no finished run in {self.path}.", "Run klip detect to its end first."
            ) from error

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Write one JSON file, whole or not at all."""
        text = json.dumps(values, indent=2, ensure_ascii=False)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # a path that is no UTF-8
            text = json.dumps(values, indent=2)
        with _written(self.file(name)) as part:
            part.write_text(text + "\n", encoding="utf-8")

    def write_framing(self, framing: Framing) -> None:
        """Store grid, body masks and frame."""
        fields = {"frame": framing.frame.to_dict(), "shape": framing.grid.shape, "frame_uid": framing.grid.frame_uid}
        with _written(self.file("body.npz")) as part, part.open("wb") as stream:
            np.savez_compressed(
                stream, bits=np.packbits(framing.body), affine=framing.grid.affine, fields=np.array(json.dumps(fields))
            )

    def read_framing(self) -> Framing:
        """Return the inverse of :meth:`write_framing`.

        Raises
        ------
        TraceError : missing or damaged.
        """
        try:
            stored = load_npz(self.file("body.npz"))
            fields = json_object(str(stored["fields"]))
            grid = _stored_grid(fields, stored["affine"])
            orientation = Orientation(*grid.lps_axes())
            shape = grid.oriented(orientation.order, orientation.flips).shape
            if stored["bits"].size != -(-math.prod(shape) // 8):
                raise ValueError("its masks are of another size")
            body = np.unpackbits(stored["bits"], count=math.prod(shape)).astype(bool).reshape(shape)
            frame = Frame.from_dict(fields["frame"])
            if len(frame.centres) != shape[0]:
                raise ValueError("its frames are of other slices")
            return Framing(grid, orientation, body, frame)
        except (*DAMAGE, AttributeError, IndexError, GeometryError, ConfigError) as error:
            raise TraceError(
                f"The body masks in {self.path} are missing or damaged.",
                "Run klip detect again; finished slices are kept.",
            ) from error

    def save_slice(self, traced: SliceTrace, fingerprint: str) -> None:
        """Write one slice's trace, whole or not at all.

        Raises
        ------
        OutputError : it cannot be written; slices that were written before stay.
        """
        try:
            traced.save(self.slice_file(traced.index), fingerprint)
        except OSError as error:
            raise OutputError(
                f"Slice {traced.index} cannot be written ({error.strerror or error}). Finished slices are kept.",
                "Make room, or make the folder writable, and run the same command again to continue.",
            ) from error

    def finished(
        self, indices: Sequence[int], fingerprint: str, layers: Collection[str] | None = None
    ) -> dict[int, SliceTrace]:
        """Return traces of those slices that are done, with the named layers.

        A file that is damaged, or of another slice or run, counts as not done.
        """
        out = {}
        for index in indices:
            if self.slice_file(index).is_file():
                try:
                    found = SliceTrace.load(self.slice_file(index), fingerprint, layers)
                except TraceError:
                    continue  # it is written anew when the slice is
                if found.index == index:
                    out[index] = found
        return out

    def trace(self, indices: Sequence[int], fingerprint: str, layers: Collection[str] | None = None) -> KLTrace:
        """Return the trace of a run's slices, as far as they are done; only the named layers when given.

        Raises
        ------
        TraceError : none is done.
        """
        done = self.finished(indices, fingerprint, layers)
        if not done:
            raise TraceError(f"No slice in {self.path} has been sampled yet.", "Run klip detect first.")
        return KLTrace(tuple(done[index] for index in sorted(done)))


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """The path to write to instead of ``path``, which appears whole or not at all.

    Raises
    ------
    OutputError : it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path.name} cannot be written ({error.strerror or error}).",
            "Choose a folder you may write to, with space left.",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _stored_grid(fields: dict[str, Any], affine: NDArray[np.float64]) -> Grid:
    """The grid that was stored beside the masks.

    Raises
    ------
    ValueError : it is none.
    """
    shape = fields["shape"]
    if (
        not isinstance(shape, list)
        or len(shape) != 3
        or not all(type(n) is int and 0 < n <= MOST_SLICES for n in shape)
    ):
        raise ValueError("its shape is not three numbers of voxels")
    return Grid((shape[0], shape[1], shape[2]), affine, str(fields["frame_uid"]))
