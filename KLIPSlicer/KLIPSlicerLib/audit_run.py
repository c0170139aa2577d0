"""One press of Audit: a slice and what it is compared with become files, `klip audit` runs, its files are read.

    volume node → one slice as NRRD → `klip audit` (runner) → record, maps, regions → audit_scene

Only the slice that is asked about is written, so nothing of this depends on how long the study is. All of it is done
between events, and by the same runner as a detection.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from .raw_nrrd import digestOf, writeRawNrrd
from .runner import Callbacks, Interpreter, Runner
from .suitability import unexpected
from .turns import Task, Turns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from KLIPCore.volume.grid import Grid
    from KLIPCore.volume.volume import Volume

DOES_NOT_BELONG = 21
"""Exit code of an audit that was done and found that image and data are of different scans."""


def _nothing(*_args: Any) -> None:
    """What is called where nobody listens."""


@dataclass
class AuditListener:
    """Who is told what. One of onFinished, onCancelled and onFailed ends an audit; onLog tells what is for a log."""

    onProgress: Callable[[str, float, str, float | None], None] = _nothing
    onFinished: Callable[[AuditFiles], None] = _nothing
    onCancelled: Callable[[], None] = _nothing
    onFailed: Callable[[str], None] = _nothing
    onLog: Callable[[str], None] = _nothing


@dataclass(frozen=True)
class AuditOrder:
    """What was asked for when Audit was pressed.

    node : the reconstruction's volume.
    index : its slice, counted from the feet.
    against : another volume node of the same voxels, or the path of a sinogram file.
    segments : a segmentation node whose visible segments are audited; None: structures are looked for.
    """

    node: Any
    index: int
    against: Any
    segments: Any
    interpreter: Interpreter
    environment: dict[str, str] | None
    folder: Path


@dataclass(frozen=True)
class AuditFiles:
    """What an audit wrote, read.

    page : path of the page.
    record : audit.json.
    nullSpace, residual : maps of the one slice.
    labels : (1, rows, columns) region of each pixel, in the order of the record's regions from 1.
    """

    page: Path
    record: dict[str, Any]
    nullSpace: Volume
    residual: Volume
    labels: NDArray[np.uint8] = field(repr=False)


class Auditing:
    """Runs one audit at a time."""

    def __init__(self, listener: AuditListener) -> None:
        self.listener = listener
        self._order: AuditOrder | None = None
        self._out = Path()
        self._turns = Turns()
        self._runner = Runner(
            Callbacks(
                onProgress=lambda *told: listener.onProgress(*told),
                onFinished=self._read,
                onCancelled=self._onCancelled,
                onFailed=self._onFailed,
                onLog=lambda line: listener.onLog(line),
            ),
            accepted=frozenset({0, DOES_NOT_BELONG}),
            again=_("Audit"),
        )

    @property
    def running(self) -> bool:
        """Whether an audit is in progress."""
        return self._order is not None

    def start(self, order: AuditOrder) -> None:
        """Start."""
        if self.running:
            raise RuntimeError("An audit is in progress.")
        self._order = order
        self.listener.onProgress("compare", 0.0, "", None)
        self._turns.add(Task("inputs", lambda: inputsOf(order), self._run, self._onError))

    def cancel(self) -> None:
        """Stop; nothing is kept."""
        if self._runner.running:
            self._runner.cancel()
        elif self.running:
            self._turns.clear()
            self._onCancelled()

    def cancelAndWait(self) -> None:
        """Stop and return when all processes are gone."""
        self.cancel()
        self._runner.cancelAndWait()

    def _run(self, made: tuple[list[str], Path]) -> None:
        arguments, self._out = made
        assert self._order is not None
        self._runner.start(self._order.interpreter, arguments, self._order.environment)

    def _read(self) -> None:
        self._turns.add(Task("outputs", lambda: filesIn(self._out), self._onRead, self._onError))

    def _onRead(self, files: AuditFiles) -> None:
        self._order = None
        self.listener.onFinished(files)

    def _onCancelled(self) -> None:
        self._order = None
        self.listener.onCancelled()

    def _onError(self, error: Exception) -> None:
        from KLIPCore.errors import KlipError

        if isinstance(error, KlipError):
            self._onFailed(str(error))
            return
        logging.error("KLIPSlicer: files of an audit could not be made or read", exc_info=error)
        self._onFailed(unexpected(error))

    def _onFailed(self, sentence: str) -> None:
        self._order = None
        self.listener.onFailed(sentence)


def inputsOf(order: AuditOrder) -> Generator[float, None, tuple[list[str], Path]]:
    """Write what `klip audit` reads, and return its arguments and the folder of its results.

    Raises
    ------
    KlipError : the slice, the reference or the segments cannot be used.
    """
    volume = sliceOf(order.node, order.index)
    digest = yield from digestOf(volume)
    asked = (digest, str(order.against if isinstance(order.against, str) else order.against.GetID()))
    segments = "" if order.segments is None else order.segments.GetID()
    name = hashlib.blake2b("\n".join([*asked, segments]).encode(), digest_size=8).hexdigest()
    folder = order.folder / "audits" / name
    yield from writeRawNrrd(volume, folder / "slice.nrrd")
    against = order.against
    if not isinstance(against, str):
        yield from writeRawNrrd(sliceOf(against, order.index), folder / "reference.nrrd")
        against = str(folder / "reference.nrrd")
    arguments = ["audit", str(folder / "slice.nrrd"), "--against", against, "-o", str(folder / "audit")]
    if order.segments is not None:
        labels, names = yield from visibleSegments(order.segments, order.node, volume.grid)
        yield from writeRawNrrd(labels, folder / "segments.seg.nrrd", names)
        arguments += ["--regions", str(folder / "segments.seg.nrrd")]
    return arguments, folder / "audit"


def sliceOf(node: Any, index: int) -> Volume:
    """One slice of a volume node, counted from the feet, as a volume of its own; see gridOfNode for what it raises."""
    from KLIPCore.volume.volume import Volume

    from .nodes import gridOfNode

    grid = gridOfNode(node)
    box = sliceBox(grid, index)
    voxels = np.ascontiguousarray(slicer.util.arrayFromVolume(node)[box], np.float32)
    return Volume(voxels, grid.cropped(box))


def sliceBox(grid: Grid, index: int) -> tuple[slice, slice, slice]:
    """Where a slice lies in an array on a grid."""
    axes, flips = grid.lps_axes()
    place = grid.shape[axes[0]] - 1 - index if flips[0] else index
    box = [slice(None)] * 3
    box[axes[0]] = slice(place, place + 1)
    return box[0], box[1], box[2]


def visibleSegments(node: Any, volumeNode: Any, grid: Grid) -> Generator[float, None, tuple[Volume, dict[int, str]]]:
    """Labels of a segmentation's visible segments on a slice, and their names.

    Raises
    ------
    ConfigError : none of them lies there.
    GeometryError : the segmentation cannot be placed on the volume.
    """
    from KLIPCore.errors import ConfigError
    from KLIPCore.volume.volume import Volume

    from .organs import segmentNames, segmentsOn

    shown = node.GetDisplayNode()
    names = {
        identifier: name
        for identifier, name in segmentNames(node).items()
        if shown is None or shown.GetSegmentVisibility(identifier)
    }
    organs = yield from segmentsOn(node, names, volumeNode, grid)
    if not organs.present:
        raise ConfigError(
            _("None of the visible segments lies on this slice."),
            _("Choose another slice, show a segment, or choose none: structures are then looked for."),
        )
    return Volume(organs.labels.astype(np.float32), grid, unit="label"), dict(organs.names)


def filesIn(folder: Path) -> Generator[float, None, AuditFiles]:
    """Read what `klip audit` wrote.

    Raises
    ------
    InputError : a file is missing or damaged.
    """
    from KLIPCore.io.images import read_image
    from KLIPCore.io.segmentation_files import read_segmentation

    record = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    yield 0.2
    nullSpace = read_image(folder / "null_space.nrrd")
    yield 0.4
    residual = read_image(folder / "residual.nrrd")
    yield 0.7
    labels = np.zeros(nullSpace.array.shape, np.uint8)
    if record["regions"]:
        labels = read_segmentation(folder / "audited.seg.nrrd").organs.labels
    return AuditFiles(folder / "audit.html", record, nullSpace, residual, labels)
