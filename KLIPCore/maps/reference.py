"""The reference of health: how unusual a block, and a region, is among the patients a prior was trained on.

The prior's own training patients go through the very pipeline once. What is kept beside the weights is small: the mean
push of each class (:mod:`KLIPCore.maps.unexpected`), quantiles of the block statistics of each class, and how many
regions of which strength a litre of healthy body makes, for each sign. Nothing but the training set is asked, and
nothing about lesions.

    surprise of a block       u = Σ_windows −ln P_health(S ≥ s | class)          in nats of rarity, per sign
    region                    touching blocks with u ≥ :data:`FORMING`; strength = its largest u
    expected false regions    E(strength) = 2 · rate_sign(strength) · litres examined

E is the reader's unit: the number of regions of either sign, as strong as this one, that a healthy study of this size
would show. The 2 stands for the two signs that are looked at. Beyond the strongest healthy regions the rate falls
exponentially, with the mean excess of the strongest.

A study's own level is taken out first: the median over the study of ln S less its class's median. Scanners and sizes
differ, and a lesion hardly moves a median; where most of an organ is abnormal, it does.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import TraceError
from KLIPCore.maps.clusters import Clusters
from KLIPCore.maps.unexpected import SIGNS, WINDOWS, Evidence, block_classes, block_statistics
from KLIPCore.volume.untrusted import json_object, load_npz

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Of the law of a class."""

MEDIAN = QUANTILES.index(0.5)

FORMING = 8.0
"""Blocks with at least this surprise form regions."""

FLOOR = 1e-4
"""Added to S before its logarithm."""

N_TAIL = 30
"""Strongest healthy regions whose mean excess continues the rate."""

LAWS = [(sign, window) for sign in SIGNS for window in WINDOWS]
ARRAYS = ("mean_push", "quantiles", "darker", "brighter", "meta")


@dataclass(frozen=True, eq=False)
class Reference:
    """The reference of one prior.

    Attributes
    ----------
    mean_push : (4, classes) mean push of health, intensity.
    quantiles : (4, block classes, quantiles) ln(S + floor) of :data:`LAWS`, rising.
    strengths : by sign, strengths of the regions in the healthy studies, falling.
    litres : body examined in those studies.
    widening : by sign, factor of the rate that makes its promise true on healthy patients outside training.
    block_mm : edge of the blocks.
    settings : measurement it holds for (``MeasurementConfig`` as a mapping).
    prior_sha256 : the weights it belongs to.
    patients : names of the studies, and of those that set ``widening``.
    """

    mean_push: NDArray[np.float32]
    quantiles: NDArray[np.float32]
    strengths: dict[str, NDArray[np.float32]]
    litres: float
    widening: dict[str, float]
    block_mm: float
    settings: dict[str, Any]
    prior_sha256: str
    patients: dict[str, list[str]]

    def surprise(self, evidence: Evidence, tested: NDArray[np.bool_]) -> dict[str, NDArray[np.float32]]:
        """Return u of every block, (n, h, w), by sign.

        Parameters
        ----------
        evidence : of the study.
        tested : (n, h, w) bool; the study's own level is read there.
        """
        classes = block_classes(evidence, self.block_mm)
        stats = block_statistics(evidence, self.mean_push, self.block_mm)
        out = {sign: np.zeros(tested.shape, np.float32) for sign in SIGNS}
        for law, (sign, window) in zip(self.quantiles, LAWS, strict=True):
            out[sign] += rarity(stats[sign, window], classes, law, tested)
        return out

    def expected(self, strength: NDArray[np.floating], sign: str, litres: float) -> NDArray[np.float64]:
        """Return E: regions of either sign at least as strong that a healthy study of so many litres would show."""
        healthy = np.asarray(self.strengths[sign], np.float64)
        strength = np.asarray(strength, np.float64)
        at_least = np.searchsorted(-healthy, -strength, side="right").astype(np.float64)
        tail = healthy[: min(N_TAIL, len(healthy))]
        scale = max(float(np.mean(tail - tail[-1])), 1e-3)
        beyond = len(tail) * np.exp(-(strength - tail[-1]) / scale)
        count = np.where(strength > tail[-1], beyond, at_least)
        return np.asarray(len(SIGNS) * self.widening[sign] * count * litres / self.litres)

    def check(self, sha256: str, settings: dict[str, Any], block_mm: float) -> None:
        """Refuse what the reference was not made for.

        Raises
        ------
        TraceError : other weights, another measurement, or other blocks.
        """
        if sha256 != self.prior_sha256:
            raise TraceError(
                "The prior's reference of health belongs to other weights.",
                "Make one with klip priors reference, or choose another score with --score.",
            )
        differing = [name for name, value in self.settings.items() if settings.get(name, value) != value]
        if differing:
            shown = ", ".join(f"{name} {self.settings[name]}" for name in differing)
            raise TraceError(
                f"The reference of health holds for {shown} only.",
                "Measure like that, or choose another score with --score.",
            )
        if abs(block_mm - self.block_mm) > 1e-6:
            raise TraceError(
                f"The score 'unexpected' is judged in blocks of {self.block_mm:g} mm.",
                f"Set the block size to {self.block_mm:g} mm, or choose another score.",
            )

    def save(self, path: Path) -> str:
        """Write one ``.npz`` of plain arrays; returns its SHA-256."""
        meta = {
            "litres": self.litres,
            "widening": self.widening,
            "block_mm": self.block_mm,
            "settings": self.settings,
            "prior_sha256": self.prior_sha256,
            "patients": self.patients,
        }
        part = path.with_name(path.name + ".part")
        try:
            with part.open("wb") as stream:
                np.savez_compressed(
                    stream,
                    mean_push=self.mean_push.astype(np.float16),
                    quantiles=self.quantiles.astype(np.float16),
                    meta=np.array(json.dumps(meta)),
                    **{sign: values.astype(np.float32) for sign, values in self.strengths.items()},  # type: ignore[arg-type]
                )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read what :meth:`save` wrote.

        Raises
        ------
        TraceError : missing or damaged.
        """
        try:
            stored = load_npz(path, ARRAYS)
            meta = json_object(str(stored["meta"]))
            return cls(
                stored["mean_push"].astype(np.float32),
                stored["quantiles"].astype(np.float32),
                {sign: stored[sign].astype(np.float32) for sign in SIGNS},
                float(meta["litres"]),
                {sign: float(meta["widening"][sign]) for sign in SIGNS},
                float(meta["block_mm"]),
                dict(meta["settings"]),
                str(meta["prior_sha256"]),
                {name: list(values) for name, values in meta["patients"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TraceError(
                f"The reference of health {path.name} is missing or damaged ({type(error).__name__}).",
                "Make it with klip priors reference, or choose another score with --score.",
            ) from error


def rarity(
    statistic: NDArray[np.floating], classes: NDArray[np.intp], law: NDArray[np.floating], tested: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return −ln P_health(S ≥ s | class) of every block; beyond the last quantile its slope goes on.

    Parameters
    ----------
    statistic, classes : (n, h, w).
    law : (classes, quantiles) rising ln(S + floor).
    tested : (n, h, w) bool; the study's own level is read there.
    """
    logs = np.log(statistic + FLOOR)
    logs = logs - np.median((logs - law[classes, MEDIAN])[tested])
    levels = -np.log(1 - np.array(QUANTILES))
    out = np.zeros(logs.shape, np.float32)
    for number in np.unique(classes):
        inside = classes == number
        at = law[number] + np.arange(len(QUANTILES)) * 1e-6
        values = logs[inside]
        made = np.interp(values, at, levels)
        slope = (levels[-1] - levels[6]) / max(float(at[-1] - at[6]), 1e-3)
        beyond = values > at[-1]
        made[beyond] = levels[-1] + slope * (values[beyond] - at[-1])
        out[inside] = made
    return out


def regions_of_sign(
    surprise: NDArray[np.floating], tested: NDArray[np.bool_], places: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return labels (n, h, w) of touching blocks with :data:`FORMING` surprise, and each one's strength.

    Parameters
    ----------
    surprise : (n, h, w) of one sign.
    tested : (n, h, w) bool.
    places : (n,) slice numbers; slices that are not neighbours do not touch.
    """
    labels = np.zeros(tested.shape, np.int32)
    cuts = np.flatnonzero(np.diff(places) > 1) + 1
    n = 0
    for start, stop in zip([0, *cuts], [*cuts, len(places)], strict=True):
        own, found = ndi.label((surprise[start:stop] >= FORMING) & tested[start:stop], np.ones((3, 3, 3), bool))
        labels[start:stop] = np.where(own > 0, own + n, 0)
        n += found
    strength = ndi.maximum(surprise, labels, np.arange(1, n + 1)) if n else np.zeros(0)
    return labels, np.asarray(strength, np.float64)


def judge(
    reference: Reference, evidence: Evidence, tested: NDArray[np.bool_], sign: str
) -> tuple[NDArray[np.float32], Clusters]:
    """Return the surprise of every block (the larger of the signs asked for) and the regions with their E, p and q.

    Parameters
    ----------
    reference : of the prior.
    evidence : of the study.
    tested : (n, h, w) bool.
    sign : ``both``, ``darker`` or ``brighter``: which regions are kept. E stays that of both signs.
    """
    fields = reference.surprise(evidence, tested)
    asked = list(SIGNS) if sign == "both" else [sign]
    shown = np.maximum.reduce([fields[name] for name in asked])
    litres = litres_of(evidence, tested)
    labels, strengths, expected = np.zeros(tested.shape, np.int32), [np.zeros(0)], [np.zeros(0)]
    for name in asked:
        own, strength = regions_of_sign(fields[name], tested, evidence.places)
        first = sum(len(values) for values in strengths)
        winner = (own > 0) & ((labels == 0) | (fields[name] >= shown))
        labels[winner] = own[winner] + first
        strengths.append(strength)
        expected.append(reference.expected(strength, name, litres))
    e = np.concatenate(expected)
    order = np.argsort(e)
    q = np.empty_like(e)
    q[order] = np.minimum.accumulate((e[order] / np.arange(1, len(e) + 1))[::-1])[::-1]
    return shown, Clusters(labels, np.concatenate(strengths), -np.expm1(-e), np.minimum(q, 1.0), e)


def litres_of(evidence: Evidence, tested: NDArray[np.bool_]) -> float:
    """Return the volume of the tested blocks' cells."""
    return float(tested.sum() * evidence.cell_mm**2 * evidence.spacing_mm / 1e6)
