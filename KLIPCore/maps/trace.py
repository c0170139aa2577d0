"""The KL trace: statistics, not states.

The published code keeps every state of every chain (hundreds of megabytes a slice). All that a map of any
block size and any σ window needs is a few sums: nats per base cell, per σ bin, per scale band. A trace keeps
those, so that the panel's sliders are arithmetic and never sample again.

From the whitened pushes u of n samples, two sums per (cell, bin, band):

    energy = E ‖u‖²                                          all of the KL
    mean   = (‖Σ u‖² − Σ ‖u‖²) / (n (n − 1))                 ‖E u‖², unbiased (a U-statistic): the *surprise*

Their difference is the variance part; in the Gaussian case it does not depend on the data at all (docs/method.md).

On disk a slice is one ``.npz``; nats are stored as signed square roots in float16 (relative error below 0.1 %).
"""

from __future__ import annotations

import json
import math
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import TraceError
from KLIPCore.maps.pushes import Pushes
from KLIPCore.volume.untrusted import json_object, load_npz

Part = Literal["energy", "mean", "variance"]

DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    RuntimeError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a truncated or altered ``.npz`` raises, depending on where it was hit (RuntimeError covers
unknown compression, too).
"""


TOUCH = 1e-6
"""Windows and bins that share less than this of ln σ only touch: rounding."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One way of measuring nats in one slice.

    Attributes
    ----------
    name : ``path``, ``renoised`` or ``cold``; with ``twin-`` in front for the twin of a measured scan.
    edges : (K + 1,) σ bin edges, rising (intensity units).
    energy : (K, n_bands, h, w) float32 nats per cell, mean over samples.
    mean : (K, n_bands, h, w) float32 nats of the mean push; may be slightly negative where there is none.
    n_independent : independent samples behind ``mean``; 1 means it is not de-biased.
    """

    name: str
    edges: NDArray[np.float64]
    energy: NDArray[np.float32]
    mean: NDArray[np.float32]
    n_independent: int

    def part(self, part: Part) -> NDArray[np.float32]:
        """Return the (K, n_bands, h, w) nats of one part."""
        if part == "energy":
            return self.energy
        if part == "mean":
            return self.mean
        if part == "variance":
            return self.energy - self.mean
        raise TraceError(f"A trace has no part '{part}'.", "Choose energy, mean or variance.")

    def window_weights(self, lo: float, hi: float) -> NDArray[np.float64]:
        """Return the (K,) share of each σ bin inside [lo, hi], by length in ln σ.

        Raises
        ------
        TraceError : the window misses the recorded bins entirely.
        """
        log_edges = np.log(self.edges)
        a, b = np.log(max(lo, 1e-12)), np.log(hi)
        overlap = np.clip(np.minimum(log_edges[1:], b) - np.maximum(log_edges[:-1], a), 0, None)
        if not (overlap > 0).any():
            raise TraceError(
                f"The σ window {lo:g} to {hi:g} lies outside what was recorded ({self.edges[0]:.3g} to "
                f"{self.edges[-1]:.3g}).",
                "Choose a window inside it, or run detect again with a longer chain.",
            )
        return overlap / np.diff(log_edges)


@dataclass(frozen=True, eq=False)
class SliceTrace:
    """Everything kept of one slice.

    Attributes
    ----------
    index : slice number counted from the feet.
    layers : by name.
    reconstruction : (n, n) float32 posterior mean in windowed intensity, in the frame.
    info : figures of this slice (seconds, network evaluations, data misfit), JSON-ready.
    pushes : mean pushes with their sign, where the layer ``pushes`` was recorded.
    weight : (h, w) float32, what :func:`KLIPCore.maps.information.per_information` says of the layer ``path``; kept
        where that layer no longer has its bands, and never stored in the slice's own file.
    """

    index: int
    layers: dict[str, Layer]
    reconstruction: NDArray[np.float32]
    info: dict[str, Any]
    pushes: Pushes | None = None
    weight: NDArray[np.float32] | None = None

    def save(self, path: Path, fingerprint: str) -> None:
        """Write one ``.npz``; it appears only when it is complete."""
        arrays: dict[str, Any] = {"reconstruction": self.reconstruction.astype(np.float16)}
        meta: dict[str, Any] = {"index": self.index, "fingerprint": fingerprint, "info": self.info, "layers": {}}
        for name, layer in self.layers.items():
            arrays[f"{name}.edges"] = layer.edges
            arrays[f"{name}.energy"] = _pack(layer.energy)
            arrays[f"{name}.mean"] = _pack(layer.mean)
            meta["layers"][name] = layer.n_independent
        meta["pushes"] = self.pushes is not None
        if self.pushes is not None:
            arrays |= {f"pushes.{name}": array for name, array in self.pushes.arrays().items()}
        arrays["meta"] = np.array(json.dumps(meta))
        part = path.with_suffix(".npz.part")
        try:
            with part.open("wb") as stream:
                np.savez(stream, **arrays)  # nats hardly compress (a fifth), and a map should not wait for it
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, fingerprint: str | None = None, layers: Collection[str] | None = None) -> SliceTrace:
        """Read one back.

        Parameters
        ----------
        path : the slice's file.
        fingerprint : of the run it must belong to; None takes any.
        layers : names of the layers to unpack; None for all.

        Raises
        ------
        TraceError : the file is damaged, or belongs to a run with other settings than ``fingerprint``.
        """
        try:
            meta = json_object(str(load_npz(path, ("meta",))["meta"]))
            held = [name for name in meta["layers"] if layers is None or name in layers]
            stored = load_npz(
                path, ["reconstruction", *(f"{name}.{part}" for name in held for part in ("edges", "energy", "mean"))]
            )
            unpacked = {name: _layer(name, stored, meta["layers"][name]) for name in held}
            pushes = _pushes(path) if meta.get("pushes") and (layers is None or "pushes" in layers) else None
            made = cls(int(meta["index"]), unpacked, _square(stored["reconstruction"]), _info(meta["info"]), pushes)
            written_with = str(meta["fingerprint"])
        except DAMAGE as error:
            raise TraceError(
                f"The trace file {path.name} is damaged ({type(error).__name__}).",
                "Delete it and run detect again; only that slice is redone.",
            ) from error
        if fingerprint is not None and written_with != fingerprint:
            raise TraceError(
                f"The trace file {path.name} was made with other settings.",
                "Choose another output folder, or --overwrite.",
            )
        return made


def _layer(name: str, stored: Mapping[str, NDArray[Any]], n_independent: Any) -> Layer:
    """One layer, if its arrays fit each other.

    Raises
    ------
    ValueError : they do not.
    """
    edges, energy, mean = (stored[f"{name}.{part}"] for part in ("edges", "energy", "mean"))
    if (
        edges.ndim != 1
        or energy.ndim != 4
        or energy.shape != mean.shape
        or len(edges) != len(energy) + 1
        or 0 in energy.shape
    ):
        raise ValueError("its arrays do not fit each other")
    if not (np.isfinite(edges).all() and (edges > 0).all() and (np.diff(edges) > 0).all()):
        raise ValueError("its noise levels do not rise")
    layer = Layer(name, edges.astype(np.float64), _unpack(energy), _unpack(mean), int(n_independent))
    if not (np.isfinite(layer.energy).all() and np.isfinite(layer.mean).all()):
        raise ValueError("its nats are not finite")
    return layer


PUSH_ARRAYS = ("sigma", "push", "expectation")
"""What a slice's pushes are stored as."""


def _pushes(path: Path) -> Pushes:
    """A slice's mean pushes.

    Raises
    ------
    TraceError, ValueError : they do not fit each other, or are not finite.
    """
    stored = load_npz(path, [f"pushes.{name}" for name in PUSH_ARRAYS])
    pushes = Pushes.of({name: stored[f"pushes.{name}"] for name in PUSH_ARRAYS})
    if not (np.isfinite(pushes.push).all() and np.isfinite(pushes.expectation).all()):
        raise ValueError("its pushes are not finite")
    return pushes


def _square(stored: NDArray[Any]) -> NDArray[np.float32]:
    """A reconstruction as it was written.

    Raises
    ------
    ValueError : it is no finite square.
    """
    if stored.ndim != 2 or stored.shape[0] != stored.shape[1] or not np.isfinite(stored).all():
        raise ValueError("its reconstruction is not a finite square")
    return stored.astype(np.float32)


def _info(stored: Any) -> dict[str, Any]:
    """A slice's figures.

    Raises
    ------
    ValueError : they are no mapping, or seconds, evaluations or PSNR are no numbers.
    """
    if not isinstance(stored, dict):
        raise ValueError("its figures are not a mapping")
    for name in ("seconds", "network_evaluations", "psnr_db"):
        value = stored.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError("its figures are not numbers")
    return stored


def _pack(nats: NDArray[np.float32]) -> NDArray[np.float16]:
    return (np.sign(nats) * np.sqrt(np.abs(nats))).astype(np.float16)


def _unpack(roots: NDArray[np.float16]) -> NDArray[np.float32]:
    wide = roots.astype(np.float32)
    with np.errstate(all="ignore"):  # what is not finite is refused by whoever asked, in a sentence
        return np.sign(wide) * wide**2


@dataclass(frozen=True, eq=False)
class KLTrace:
    """The traces of some slices of one study.

    Attributes
    ----------
    slices : in rising order of index.
    """

    slices: tuple[SliceTrace, ...]

    @property
    def indices(self) -> list[int]:
        """Slice numbers counted from the feet."""
        return [s.index for s in self.slices]

    def recorded(self, layer: str, windows: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
        """Return those σ windows that overlap what a layer holds.

        All of them when none does, or when there is no such layer.
        """
        held = self.slices[0].layers.get(layer) if self.slices else None
        if held is None:
            return tuple(windows)
        lo, hi = held.edges[0], held.edges[-1]
        return tuple(w for w in windows if np.log(min(w[1], hi) / max(w[0], lo)) > TOUCH) or tuple(windows)

    def nats(
        self, layer: str, part: Part, window: tuple[float, float], bands: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """Return nats per base cell, (n_slices, h, w).

        Parameters
        ----------
        layer, part : which measurement of nats, and which part of it.
        window : σ interval; bins that it cuts count by their share in ln σ.
        bands : first and last-plus-one band; None for all.

        Raises
        ------
        TraceError : the layer was not recorded, or the window lies outside.
        """
        out = []
        for s in self.slices:
            if layer not in s.layers:
                raise TraceError(
                    f"The trace has no layer '{layer}' (it has {', '.join(s.layers) or 'none'}).",
                    "Choose another score, or run detect with that layer.",
                )
            recorded = s.layers[layer]
            weights = recorded.window_weights(*window).astype(np.float32)
            values = recorded.part(part)[:, slice(*bands) if bands else slice(None)].sum(1)
            out.append(np.tensordot(weights, values, axes=1))
        return np.stack(out).astype(np.float32)
