"""The reference of health: what a prior's own training patients look like when they go through the very pipeline.

What is kept beside the weights is small: the mean push of each class of tissue (:mod:`KLIPCore.maps.unexpected`), the
laws of blocks and regions for some block sizes (:mod:`KLIPCore.maps.block_laws`), between which is interpolated, and
what makes a whole study typical (:mod:`KLIPCore.maps.typicality`). Healthy patients outside training decide how far a
rate is widened, and count among the typical ones; lesions are asked about nowhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import OutputError, TraceError
from KLIPCore.maps.averages import AVERAGES, FOCAL, AverageLaws
from KLIPCore.maps.block_laws import JOINT_KINDS, BlockLaws, surprise_of
from KLIPCore.maps.typicality import Typicality
from KLIPCore.maps.unexpected import KINDS, SIGNS, Evidence
from KLIPCore.maps.unusual_slices import SCAN_MM, SliceLaws, slice_strengths
from KLIPCore.volume.untrusted import json_object, load_npz

BLOCKS_MM = (4.0, 6.0, 9.0, 12.0, 18.0, 27.0, 40.0)
"""Block sizes with laws of their own: what the slider of the panel reaches."""

WIDENED = 1.05
"""Factor of a rate from which its widening is told."""

SCHEDULE_WORDS = {
    "n_samples": "samples",
    "n_steps": "steps",
    "n_nodes": "nodes",
    "n_pairs": "noise pairs",
    "temperature": "temperature",
    "n_large": "large nodes",
    "sigma_large": "largest σ",
}
"""What a reader calls the settings of a schedule."""

MORE_STEPS = 2.0
"""Up to so many times the reference's steps are its own: more of them move a posterior mean that has converged hardly,
and with ten instead of six healthy patients showed no more regions (docs/results.md).
"""

ARRAYS = (
    "mean_push",
    "quantiles",
    "meta",
    *("_".join(kind) for kind in KINDS),
    *("_".join(("slices", *kind)) for kind in KINDS),
)
AVERAGED = (
    *(f"{own.name}_{part}" for own in AVERAGES for part in ("quantiles", "strengths")),
    *("_".join(kind) for kind in JOINT_KINDS),
)
Kind = tuple[str, str]
"""Tissue and sign."""

TYPICAL = ("typical_slices", "typical_owners", "typical_laws", "typical_patients")


@dataclass(frozen=True, eq=False)
class Reference:
    """The reference of one prior.

    Attributes
    ----------
    mean_push : (2, classes) mean push of health, intensity.
    laws : of blocks of some sizes, rising.
    litres : body examined in the healthy studies.
    settings : measurement it holds for (``MeasurementConfig`` as a mapping).
    schedule : what else decides about the size of a push: by name, e.g. the number of samples.
    prior_sha256 : the weights it belongs to.
    patients : names of the studies, and of those that set the widening.
    typicality : of whole studies.
    slices : laws of how unusual a slice is.
    averages : laws of averages over a neighbourhood, by name of :data:`KLIPCore.maps.averages.AVERAGES`; the focal one
        where ``laws`` have regions of its sum with blocks, too.
    """

    mean_push: NDArray[np.float32]
    laws: tuple[BlockLaws, ...]
    litres: float
    settings: dict[str, Any]
    schedule: dict[str, Any]
    prior_sha256: str
    patients: dict[str, list[str]]
    typicality: Typicality
    slices: SliceLaws
    averages: dict[str, AverageLaws] = field(default_factory=dict)

    def between(self, block_mm: float) -> list[tuple[float, BlockLaws]]:
        """Return the one or two laws next to a block size, with weights that are linear in ln size."""
        sizes = np.array([law.block_mm for law in self.laws])
        at = float(np.interp(np.log(block_mm), np.log(sizes), np.arange(len(sizes))))
        low = min(int(at), len(sizes) - 1)
        share = at - low
        return [(1 - share, self.laws[low]), *([(share, self.laws[low + 1])] if share > 0 else [])]

    def surprise(
        self, cells: dict[tuple[str, str], NDArray[np.float32]], evidence: Evidence, block_mm: float
    ) -> dict[tuple[str, str], NDArray[np.float32]]:
        """Return u of every block, (n, h, w), by kind.

        Parameters
        ----------
        cells : of the study, :func:`KLIPCore.maps.unexpected.cell_nats` with :attr:`mean_push`.
        evidence : of the study.
        block_mm : edge of the blocks.
        """
        quantiles = sum(weight * law.quantiles for weight, law in self.between(block_mm))
        return surprise_of(cells, evidence, np.asarray(quantiles), block_mm)

    def slice_strengths(
        self, cells: dict[tuple[str, str], NDArray[np.float32]], evidence: Evidence, tested: NDArray[np.bool_]
    ) -> dict[tuple[str, str], NDArray[np.float64]]:
        """Return how unusual each slice is, (n,), by kind.

        Parameters as of :meth:`surprise`, and the blocks that count.
        """
        return slice_strengths((self.surprise(cells, evidence, size) for size in SCAN_MM), tested)

    def expected(
        self, strength: NDArray[np.floating], kind: tuple[str, str], litres: float, block_mm: float
    ) -> NDArray[np.float64]:
        """Return how many regions of a kind, at least as strong, a healthy study of so many litres would show."""
        logs = sum(
            weight * np.log(np.maximum(law.regions_as_strong(strength, kind), 1e-12))
            for weight, law in self.between(block_mm)
        )
        return np.asarray(np.exp(logs) * litres / self.litres)

    def widened(self, tissue: str, signs: Sequence[str], block_mm: float, averages: Sequence[str] = ()) -> str:
        """Return the sentence that rates need which were widened until they hold; empty where none was.

        Parameters
        ----------
        tissue : one of :data:`KLIPCore.maps.unexpected.TISSUES`.
        signs : that are asked for.
        block_mm : edge of the blocks.
        averages : names of those that are asked, too.
        """
        kind = JOINT_KINDS[0][0] if FOCAL.name in averages else tissue
        blocks = {
            sign: float(
                np.exp(sum(weight * np.log(law.widening[kind, sign]) for weight, law in self.between(block_mm)))
            )
            for sign in signs
        }
        factors = {"": blocks, **{f"{name} ": self.averages[name].widening for name in averages}}
        told = [
            f"{factor:.1f} times as many {which}regions that are {sign}"
            for which, own in factors.items()
            for sign, factor in own.items()
            if factor > WIDENED and sign in signs
        ]
        if not told:
            return ""
        return (
            f"Healthy patients outside training show {' and '.join(told)} than expected as those that the prior has "
            "learned from do; the numbers of healthy regions allow for that."
        )

    def refusal(self, sha256: str, settings: dict[str, Any]) -> str | None:
        """Return why the reference does not hold for a run, as a sentence; None where it does.

        Parameters
        ----------
        sha256 : of the run's weights.
        settings : of its measurement.
        """
        if sha256 != self.prior_sha256:
            return "The prior's reference of health belongs to other weights."
        differing = [name for name, value in self.settings.items() if settings.get(name, value) != value]
        if differing:
            shown = ", ".join(f"{name} {self.settings[name]}" for name in differing)
            return f"The prior's reference of health holds for {shown} only."
        return None

    def approximation(self, schedule: dict[str, Any]) -> str | None:
        """Return the sentence that a run with another schedule needs; None where it has the reference's own.

        Steps may be up to :data:`MORE_STEPS` times as many.
        """
        other = {name: value for name, value in self.schedule.items() if schedule.get(name, value) != value}
        if "n_steps" in other and other["n_steps"] < schedule["n_steps"] <= MORE_STEPS * other["n_steps"]:
            del other["n_steps"]
        if not other:
            return None
        told = ", ".join(f"{SCHEDULE_WORDS.get(name, name)} {own:g}" for name, own in other.items())
        here = ", ".join(f"{schedule[name]:g}" for name in other)
        return f"The reference of health was made with {told} (here {here}); for this run its figures are approximate."

    def text(self) -> str:
        """Return what it was made of, for a person."""
        own = [f"{name} {value}" for name, value in (*self.settings.items(), *self.schedule.items())]
        lines = [
            f"Reference of health: {self.litres:.0f} litres, {self.slices.n_slices} slices",
            *(f"  {role}: {', '.join(names)}" for role, names in self.patients.items()),
            f"  holds for: {', '.join(own)}",
            f"  block sizes: {', '.join(f'{law.block_mm:g}' for law in self.laws)} mm",
        ]
        for average in (each for each in AVERAGES if each.name in self.averages):
            made = self.averages[average.name]
            rates = f", rates of {made.factors()}" if made.widening else ", added to blocks"
            lines.append(f"  {average.words}: {made.litres:.0f} litres{rates}")
        for law in self.laws:
            told = [f"{' '.join(kind)} {factor:.2f}" for kind, factor in law.widening.items() if factor > 1]
            if told:
                lines.append(f"  rates of {law.block_mm:g} mm widened until they hold: {', '.join(told)}")
        return "\n".join(lines)

    def save(self, path: Path) -> str:
        """Write one ``.npz`` of plain arrays; returns its SHA-256.

        Raises
        ------
        OutputError : it cannot be written there.
        """
        meta = {
            "litres": self.litres,
            "block_mm": [law.block_mm for law in self.laws],
            "widening": [[law.widening[kind] for kind in KINDS] for law in self.laws],
            "counts": [[len(law.strengths[kind]) for law in self.laws] for kind in KINDS],
            "settings": self.settings,
            "schedule": self.schedule,
            "prior_sha256": self.prior_sha256,
            "patients": self.patients,
            "n_slices": self.slices.n_slices,
            "slice_widening": [self.slices.widening[kind] for kind in KINDS],
        }
        averaged: dict[str, NDArray[Any]] = {}
        if FOCAL.name in self.averages:
            meta["joint"] = {
                "widening": [[law.widening[kind] for kind in JOINT_KINDS] for law in self.laws],
                "counts": [[len(law.strengths[kind]) for law in self.laws] for kind in JOINT_KINDS],
            }
            for kind in JOINT_KINDS:
                averaged["_".join(kind)] = np.concatenate([law.strengths[kind] for law in self.laws])
        for name, own in self.averages.items():
            meta[name] = {
                "widening": [own.widening[sign] for sign in own.strengths],
                "counts": [len(strengths) for strengths in own.strengths.values()],
                "litres": own.litres,
            }
            averaged[f"{name}_quantiles"] = own.quantiles
            averaged[f"{name}_strengths"] = np.concatenate([np.zeros(0, np.float32), *own.strengths.values()])
        arrays: dict[str, NDArray[Any]] = {
            "mean_push": self.mean_push.astype(np.float16),
            "quantiles": np.stack([law.quantiles for law in self.laws]).astype(np.float16),
            "meta": np.array(json.dumps(meta)),
            **{"_".join(kind): np.concatenate([law.strengths[kind] for law in self.laws]) for kind in KINDS},
            **{"_".join(("slices", *kind)): self.slices.strongest[kind] for kind in KINDS},
            **self.typicality.to_arrays(),
            **averaged,
        }
        part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
            part.replace(path)
        except OSError as error:
            raise OutputError(
                f"The reference of health cannot be written to {path} ({error.strerror or error}).",
                "Choose another file with -o.",
            ) from error
        finally:
            with suppress(OSError):
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
            stored = load_npz(path, (*ARRAYS, *TYPICAL, *AVERAGED))
            meta = json_object(str(stored["meta"]))
            counted = [_by_size(stored, KINDS, meta)]
            if "joint" in meta:
                counted.append(_by_size(stored, JOINT_KINDS, meta["joint"]))
            laws = tuple(
                BlockLaws(
                    float(block_mm),
                    stored["quantiles"][n].astype(np.float32),
                    {kind: own for strengths, _ in counted for kind, own in strengths[n].items()},
                    {kind: own for _, widening in counted for kind, own in widening[n].items()},
                )
                for n, block_mm in enumerate(meta["block_mm"])
            )
            averaged = [own for own in AVERAGES if own.name in meta and ("joint" in meta or own is not FOCAL)]
            return cls(
                stored["mean_push"].astype(np.float32),
                laws,
                float(meta["litres"]),
                dict(meta["settings"]),
                dict(meta["schedule"]),
                str(meta["prior_sha256"]),
                {name: list(values) for name, values in meta["patients"].items()},
                Typicality.from_arrays(stored),
                SliceLaws(
                    {kind: stored["_".join(("slices", *kind))].astype(np.float32) for kind in KINDS},
                    int(meta["n_slices"]),
                    {kind: float(v) for kind, v in zip(KINDS, meta["slice_widening"], strict=True)},
                ),
                {own.name: _averaged(stored, own.name, meta[own.name]) for own in averaged},
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise TraceError(
                f"The reference of health {path.name} is missing or damaged ({type(error).__name__}).",
                "Make it with klip priors reference, or choose another score with --score.",
            ) from error


def _by_size(
    stored: Mapping[str, NDArray[Any]], kinds: Sequence[Kind], meta: Mapping[str, Any]
) -> tuple[list[dict[Kind, NDArray[np.float32]]], list[dict[Kind, float]]]:
    """Strengths of regions and factors of their rates by kind, one entry a block size."""
    parts = {
        kind: np.split(stored["_".join(kind)].astype(np.float32), np.cumsum(counts)[:-1])
        for kind, counts in zip(kinds, meta["counts"], strict=True)
    }
    strengths = [dict(zip(kinds, own, strict=True)) for own in zip(*parts.values(), strict=True)]
    widening = [{kind: float(factor) for kind, factor in zip(kinds, own, strict=True)} for own in meta["widening"]]
    return strengths, widening


def _averaged(stored: Mapping[str, NDArray[Any]], name: str, meta: dict[str, Any]) -> AverageLaws:
    """The laws of one average in a file."""
    quantiles, strengths = (stored[f"{name}_{part}"].astype(np.float32) for part in ("quantiles", "strengths"))
    signs = [] if name == FOCAL.name else list(SIGNS)
    parts = np.split(strengths, np.cumsum(meta["counts"])[:-1]) if signs else []
    return AverageLaws(
        quantiles,
        dict(zip(signs, parts, strict=True)),
        {sign: float(factor) for sign, factor in zip(signs, meta["widening"], strict=True)},
        float(meta["litres"]),
    )
