"""What the sliders need of a run: read while it grows, kept small, stored with the scene.

A run's trace keeps both parts of every layer in every scale band. The sliders ask less: each score
(:data:`KLIPCore.scores.SCORES`) reads one part of one layer, and most read all bands at once. :func:`slim`
leaves the rest out, without changing any number that :meth:`KLIPCore.runs.live.LiveMap.update` gives; what is left
is a quarter of the trace. That quarter travels with the scene as text (:func:`encode`), for two reasons: a
scene is moved, mailed and archived without the run folder, and its block-size slider shall still work; and
Slicer saves text nodes in every format of scene, while binary data of an extension's own it does not.
Of reconstructions only what the default score reads is stored, at half resolution: the scene has them as a volume.

:class:`GrowingRun` reads a run folder slice by slice, so that results show while later slices are still being sampled.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from slicer.i18n import tr as _

from KLIPCore.errors import KlipError, TraceError
from KLIPCore.maps.half_size import halved
from KLIPCore.maps.pushes import STEP, Pushes
from KLIPCore.maps.trace import KLTrace, Layer, SliceTrace
from KLIPCore.maps.unexpected import NODES, weight_of
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.live import LiveMap
from KLIPCore.runs.search import Search, organs_from_npz, organs_to_bytes
from KLIPCore.scores import SCORES
from KLIPCore.volume.untrusted import load_npz

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from KLIPCore.config import RegionConfig
    from KLIPCore.runs.live import LiveView

FORMAT = 2
"""Raised when the stored form changes; 1 had neither pushes nor organs."""

TWIN = "twin-"

PIECE = 3 << 20
"""Bytes that are encoded at once; a multiple of three, so that pieces join."""


class GrowingRun:
    """A run folder, finished or still being written.

    Parameters
    ----------
    folder : what ``klip detect -o`` was given.

    Raises
    ------
    TraceError : no run was started there yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = RunFolder(Path(folder))
        self.run: dict[str, Any] = self.folder.run()
        self.framing = self.folder.read_framing()
        self.slices: dict[int, SliceTrace] = {}
        self.search: Search | None = None  # where to look, when somebody has said so

    def readNew(self) -> list[SliceTrace]:
        """The slices that were finished since the last call, slimmed, in rising order; may be none."""
        missing = [index for index in self.run["slices"] if index not in self.slices]
        new = self.folder.finished(missing, self.run["fingerprint"])
        self.slices |= {index: slim(piece) for index, piece in new.items()}
        return [self.slices[index] for index in sorted(new)]

    @property
    def isComplete(self) -> bool:
        """Whether all slices of the run were read."""
        return len(self.slices) == len(self.run["slices"])

    def liveMap(self) -> LiveMap:
        """The slices read so far, ready for sliders.

        Raises
        ------
        TraceError : none was read.
        """
        if not self.slices:
            raise TraceError(_("No slice is finished yet."), _("Wait for the first one."))
        trace = KLTrace(tuple(self.slices[index] for index in sorted(self.slices)))
        return LiveMap(self.run, self.framing, trace, self.search)


def viewOf(live: LiveMap, settings: RegionConfig, over: LiveView | None = None) -> LiveView:
    """What settings show of a live map; whether its study belongs is worked out, too: that takes as long.

    Raises
    ------
    TraceError : the trace cannot answer them.
    """
    live.fit  # noqa: B018
    return live.update(settings, over)


def wanted(layer: str) -> tuple[set[str], bool]:
    """The parts of a layer that any score reads, and whether all of them take all bands at once."""
    scores = [score for score in SCORES.values() if score.layer == layer.removeprefix(TWIN)]
    return {score.part for score in scores}, all(score.bands is None for score in scores)


def slim(piece: SliceTrace) -> SliceTrace:
    """A slice's trace with only what scores read; every score gives the very same numbers.

    Parts that no score reads become NaN, so that asking for them fails instead of answering wrongly.
    """
    layers = {}
    for name, layer in piece.layers.items():
        parts, allBands = wanted(name)
        if "variance" in parts:
            parts = {"energy", "mean"}
        kept = {}
        for part in ("energy", "mean"):
            values = layer.part(part)
            if allBands:
                values = values.sum(1, keepdims=True)
            kept[part] = values if part in parts else np.broadcast_to(np.float32(np.nan), values.shape)
        if parts:
            layers[name] = replace(layer, energy=kept["energy"], mean=kept["mean"])
    if piece.pushes is None or "path" not in piece.layers:
        return replace(piece, layers=layers)
    return replace(piece, layers=layers, pushes=_read(piece.pushes), weight=weight_of(piece))  # of the bands that go


def _read(pushes: Pushes) -> Pushes:
    """Pushes at the noise levels that the score reads."""
    places = sorted({pushes.nearest(sigma) for sigma in NODES})
    return replace(pushes, sigma=pushes.sigma[places], push=pushes.push[places])


def encode(live: LiveMap) -> str:
    """A live map as text (base64 of an uncompressed ``.npz``: compression gains a tenth and costs seconds).

    Parameters
    ----------
    live : of slices that :func:`slim` returned.
    """
    pieces = live.trace.slices
    names = list(pieces[0].layers)
    arrays: dict[str, NDArray[Any]] = {"framing": np.frombuffer(_framingBytes(live), np.uint8)}
    layers = {}
    for name in names:
        first = pieces[0].layers[name]
        parts = [part for part in ("energy", "mean") if not np.isnan(first.part(part).flat[0])]
        layers[name] = {"parts": parts, "independent": [piece.layers[name].n_independent for piece in pieces]}
        arrays[f"{name}.edges"] = np.stack([piece.layers[name].edges for piece in pieces])
        for part in parts:
            arrays[f"{name}.{part}"] = _small(np.stack([piece.layers[name].part(part) for piece in pieces]))
    meta = {
        "format": FORMAT,
        "run": live.run,
        "indices": live.trace.indices,
        "infos": [piece.info for piece in pieces],
        "layers": layers,
    }
    if all(piece.pushes is not None for piece in pieces):
        arrays["images"] = np.stack([halved(piece.reconstruction) for piece in pieces]).astype(np.float32)
        stored = [piece.pushes.arrays() for piece in pieces if piece.pushes is not None]
        arrays |= {f"pushes.{part}": np.stack([own[part] for own in stored]) for part in stored[0]}
        arrays["weights"] = np.stack([weight_of(piece) for piece in pieces])
    arrays["meta"] = np.array(json.dumps(meta))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return "".join(_pieces(buffer.getbuffer()))


def _pieces(data: memoryview) -> Iterator[str]:
    """Bytes in base64, a piece at a time: others want the interpreter, too."""
    for start in range(0, len(data), PIECE):
        yield base64.b64encode(data[start : start + PIECE]).decode("ascii")


def decode(text: str) -> LiveMap:
    """The inverse of :func:`encode`.

    Raises
    ------
    TraceError : the text is damaged, or was written by a newer version.
    """
    try:
        with np.load(io.BytesIO(base64.b64decode(text, validate=True)), allow_pickle=False) as stored:
            meta = json.loads(str(stored["meta"]))
            if not 1 <= meta["format"] <= FORMAT:
                raise TraceError(
                    _("The scene was saved by another version of KLIPSlicer."),
                    _("Update the extension, or run the detection again."),
                )
            layers = {name: _layers(stored, name, fields) for name, fields in meta["layers"].items()}
            images, pushes = _images(stored, len(meta["indices"])), _pushes(stored, len(meta["indices"]))
            weights = stored["weights"] if "weights" in stored else [None] * len(images)
            pieces = tuple(
                SliceTrace(
                    index, {name: made[n] for name, made in layers.items()}, images[n], info, pushes[n], weights[n]
                )
                for n, (index, info) in enumerate(zip(meta["indices"], meta["infos"], strict=True))
            )
            framing = _framingFrom(bytes(stored["framing"]))
    except TraceError:
        raise
    except (
        *(ValueError, KeyError, TypeError, EOFError, OSError),
        *(binascii.Error, zipfile.BadZipFile, KlipError),
    ) as error:
        raise TraceError(
            _("The KL trace stored in the scene is damaged ({error}).").format(error=type(error).__name__),
            _("Run the detection again."),
        ) from error
    return LiveMap(meta["run"], framing, KLTrace(pieces))


def encodeSearch(search: Search) -> str | None:
    """Where was looked, as text of some kilobytes; None where no organs are known."""
    if search.organs is None:
        return None
    return base64.b64encode(organs_to_bytes(search.organs, search.labels)).decode("ascii")


def searchingAs(live: LiveMap, text: str | None) -> LiveMap:
    """A live map that looks where :func:`encodeSearch` noted; everywhere where nothing was noted, or it is damaged."""
    if not text:
        return live
    try:
        organs, labels = organs_from_npz(
            load_npz(io.BytesIO(base64.b64decode(text, validate=True))), live.framing.grid
        )
        return live.looking(Search(live.roi, organs, labels))
    except (ValueError, KeyError, TypeError, binascii.Error, KlipError):
        return live


def _images(stored: Any, n: int) -> Sequence[NDArray[np.float32]]:
    """Reconstructions of n slices, each pixel of the stored half resolution as four; empty where none is stored."""
    if "images" not in stored:
        return [np.zeros((0, 0), np.float32)] * n
    return [image.repeat(STEP, 0).repeat(STEP, 1) for image in stored["images"]]


def _pushes(stored: Any, n: int) -> Sequence[Pushes | None]:
    """Pushes of n slices; None where none are stored."""
    if "pushes.sigma" not in stored:
        return [None] * n
    parts = {part: stored[f"pushes.{part}"] for part in ("sigma", "push", "expectation")}
    return [Pushes.of({part: values[k] for part, values in parts.items()}) for k in range(n)]


def _layers(stored: Any, name: str, fields: dict[str, Any]) -> list[Layer]:
    """One layer of all slices."""
    edges = stored[f"{name}.edges"]
    values = {part: _large(stored[f"{name}.{part}"]) for part in fields["parts"]}
    absent = np.broadcast_to(np.float32(np.nan), next(iter(values.values())).shape)
    energy, mean = values.get("energy", absent), values.get("mean", absent)
    return [
        Layer(name, edges[n], energy[n], mean[n], independent) for n, independent in enumerate(fields["independent"])
    ]


def _small(nats: NDArray[np.float32]) -> NDArray[Any]:
    """Signed square roots in float16 where that loses nothing (as it does not for nats that were stored so),
    else nats."""
    roots = (np.sign(nats) * np.sqrt(np.abs(nats))).astype(np.float16)
    return roots if np.array_equal(_large(roots), nats) else nats


def _large(values: NDArray[Any]) -> NDArray[np.float32]:
    """The inverse of :func:`_small`."""
    if values.dtype != np.float16:
        return values
    wide = values.astype(np.float32)
    return np.sign(wide) * wide**2


def _framingBytes(live: LiveMap) -> bytes:
    """Grid, body masks and frame as the run folder stores them."""
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        folder.write_framing(live.framing)
        return folder.file("body.npz").read_bytes()


def _framingFrom(data: bytes) -> Any:
    """The inverse of :func:`_framingBytes`."""
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        folder.file("body.npz").write_bytes(data)
        return folder.read_framing()
