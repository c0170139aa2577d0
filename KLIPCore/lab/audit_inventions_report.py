"""Tables and a picture of what the audit says of a network that invents (:mod:`KLIPCore.lab.audit_inventions`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.audit.colours import COLOURS
from KLIPCore.export.images import FOREGROUND, Picture, encode, new_figure
from KLIPCore.export.overlay import bare
from KLIPCore.lab.evaluation.auroc import auroc, bootstrap_mean
from KLIPCore.volume.units import MU_WATER_PER_MM, mu_to_hu

HU = MU_WATER_PER_MM / 1000
FAINT_HU = 40.0
"""Inventions are fainter than what is true: below this the two are nearly alike."""
VERDICTS = ("contradicted", "unprovable", "measured")


@dataclass(frozen=True)
class Found:
    """One audited structure of the network's picture.

    Attributes
    ----------
    kind : invention, structure or lesion.
    who, number : the patient, and which of the slices.
    size_mm, contrast_hu : as shown.
    truth, truth_seen : part of its contrast that the truth has, and that the part of the truth which the scan sees
        has of the same part of the picture.
    seen : part of the structure that the scan sees at all.
    support, information, amplitude, amplitude_error, nats, verdict : as :class:`KLIPCore.audit.removal.Removal`.
    """

    kind: str
    who: str
    number: int
    size_mm: float
    contrast_hu: float
    truth: float
    truth_seen: float
    seen: float
    support: float
    information: float
    amplitude: float
    amplitude_error: float
    nats: float
    verdict: str


@dataclass(frozen=True)
class Tried:
    """One slice.

    Attributes
    ----------
    found : what was audited.
    counts : inventions of the healthy slice, lesions that were put in, and those of them that the picture shows.
    """

    found: list[Found]
    counts: dict[str, int]

    @classmethod
    def of(cls, written: dict[str, Any]) -> Tried:
        """Return what ``dataclasses.asdict`` made a dictionary of."""
        return cls([Found(**f) for f in written["found"]], written["counts"])


def table(found: Sequence[Found]) -> str:
    """Return counts of verdicts and AUROC of support, true against invented, by patient and over all."""
    lines = [
        "| who | slices | inventions | contradicted | unprovable | measured | true structures and lesions | "
        "contradicted | unprovable | measured | AUROC of support |",
        "| --- " * 11 + "|",
    ]
    patients = list(dict.fromkeys(f.who for f in found))
    for who in [*patients, ""]:
        own = [f for f in found if not who or f.who == who]
        cells: list[object] = [who or "**all**", len({f.number for f in own})]
        for part in ([f for f in own if f.kind == "invention"], [f for f in own if f.kind != "invention"]):
            cells += [len(part), *(sum(f.verdict == v for f in part) for v in VERDICTS)]
        area = bootstrap_mean([_auroc([f for f in found if f.who == p]) for p in patients]) if not who else None
        cells.append(f"{_auroc(own):.3f}" if area is None else f"mean of patients {area}")
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _auroc(found: Sequence[Found], score: Callable[[Found], float] = lambda f: f.support) -> float:
    return auroc(np.array([score(f) for f in found]), np.array([f.kind != "invention" for f in found]))


SCORES: dict[str, Callable[[Found], float]] = {
    "support": lambda f: f.support,
    "amplitude": lambda f: f.amplitude,
    "nats": lambda f: f.nats,
    "expected nats": lambda f: f.information,
    "part of it that the scan sees": lambda f: f.seen,
}
"""What could tell true structures from invented ones; the last two know nothing of the data."""


def kinds_table(found: Sequence[Found]) -> str:
    """Return verdicts and medians by kind, inventions also by whether the seen part of the truth has them."""
    lines = [
        "| kind | n | contradicted | unprovable | measured | size, mm | contrast, HU | expected nats | part seen |",
        "| --- " * 9 + "|",
    ]
    parts = {kind: [f for f in found if f.kind == kind] for kind in ("invention", "structure", "lesion")}
    for name, lo, hi in (("not", -np.inf, 0.2), ("partly", 0.2, 0.5), ("at least half", 0.5, np.inf)):
        parts[f"invention, {name} in the seen part"] = [f for f in parts["invention"] if lo < f.truth_seen <= hi]
    for name, part in parts.items():
        cells: list[object] = [name, len(part), *(sum(f.verdict == v for f in part) for v in VERDICTS)]
        for value in ("size_mm", "contrast_hu", "information", "seen"):
            cells.append(f"{np.median([abs(getattr(f, value)) for f in part]):.2g}" if part else "")
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def scores_table(found: Sequence[Found]) -> str:
    """Return AUROC of several figures, true against invented: mean of the patients' own."""
    patients = list(dict.fromkeys(f.who for f in found))
    faint = [f for f in found if abs(f.contrast_hu) < FAINT_HU]
    lines = [f"| figure | all | below {FAINT_HU:g} HU alone |", "| --- | --- | --- |"]
    for name, score in SCORES.items():
        means = []
        for some in (found, faint):
            means.append(bootstrap_mean([_auroc([f for f in some if f.who == p], score) for p in patients]))
        lines.append(f"| {name} | {means[0]} | {means[1]} |")
    return "\n".join(lines)


def report(found: Sequence[Found], counts: Sequence[dict[str, int]]) -> str:
    """Return every table, with how many inventions a healthy slice has and how many lesions were shown."""
    n = [c["inventions"] for c in counts]
    there, shown = (sum(c[key] for c in counts) for key in ("lesions", "shown"))
    said = (
        f"{sum(n)} inventions in {len(n)} healthy slices ({min(n)} to {max(n)}, on average {np.mean(n):.1f}); "
        f"of {there} lesions {shown} are shown with half of their contrast at least."
    )
    return "\n\n".join([said, table(found), kinds_table(found), scores_table(found)])


def picture(
    truth: Tensor, back_projection: Tensor, image: Tensor, marked: Sequence[tuple[str, NDArray[np.bool_], str]]
) -> Picture:
    """Return truth, back-projection, the network's picture, and that with its structures.

    Parameters
    ----------
    truth, back_projection, image : (H, W) attenuation in 1/mm.
    marked : kind, mask and verdict of each structure; inventions are drawn through, others dotted.
    """
    rows, columns = (np.flatnonzero((truth > 0.5 * MU_WATER_PER_MM).any(axis)) for axis in (1, 0))
    crop = slice(rows[0] - 3, rows[-1] + 4), slice(columns[0] - 3, columns[-1] + 4)
    tall = 3.6 * (rows[-1] - rows[0] + 7) / (columns[-1] - columns[0] + 7)
    figure = new_figure(14.8, tall + 0.4)
    titles = ("Truth", "24 views, back-projected", "Network", "What the data say")
    for n, (shown, title) in enumerate(zip((truth, back_projection, image, image), titles, strict=True)):
        axes = figure.add_axes(((0.05 + 3.7 * n) / 14.8, 0.05 / (tall + 0.4), 3.6 / 14.8, tall / (tall + 0.4)))
        axes.imshow(mu_to_hu(shown.numpy())[crop], cmap="gray", vmin=-60, vmax=200)
        bare(axes)
        axes.set_title(title, color=FOREGROUND, fontsize=12, loc="left")
        for kind, mask, verdict in marked if n == 3 else ():
            style = "solid" if kind == "invention" else "dotted"
            axes.contour(mask[crop], levels=[0.5], colors=[COLOURS[verdict]], linewidths=1.4, linestyles=style)
    return encode(figure, dpi=85, jpeg_quality=85)
