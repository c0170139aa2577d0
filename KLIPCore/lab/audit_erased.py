"""What a reconstruction erased: lesions that the data hold and the image does not show.

They are no structure of the image, so nobody asks about them by name; the residual has to say where they are. Found is
what a block that meets the lesion says by itself, at a false-discovery rate of 5 % over all blocks of the body and
with the right sign; p-values are in units of the blocks' own spread, because no reconstruction agrees with data to
within the noise everywhere. The same image against data without the lesion tells how often that is said for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.audit.consistency import Consistency, consistency
from KLIPCore.audit.structures import body_of
from KLIPCore.lab.audit_cases import SIZE, Slice, disc, pair, scanned_slices
from KLIPCore.lab.audit_discs import DiscPair, disc_pairs
from KLIPCore.physics.measurement import Measurement

BLOCK_MM = 12.0
"""Edge of a block: that of :class:`KLIPCore.audit.audit.AuditSettings`."""
FOUND_Q = 0.05
DISC_BLOCK_MM = 4.0
"""Of discs, whose holes are smaller."""


@dataclass(frozen=True)
class Erased:
    """One place at which a lesion was erased, or at which there was none.

    Attributes
    ----------
    trial, source, name, views : where it comes from.
    present : whether the data hold a lesion there.
    size_mm : its diameter.
    t, q : strongest residual towards the lesion of a block that meets it, and its false-discovery rate.
    """

    trial: str
    source: str
    name: str
    views: int
    present: bool
    size_mm: float
    t: float
    q: float

    @property
    def found(self) -> bool:
        """Whether the residual says by itself that something is there."""
        return self.q < FOUND_Q and self.t < 0


def strongest(agree: Consistency, mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return t and q of the most negative of the blocks that hold a quarter of a mask, or the most of it."""
    held = np.bincount(agree.labels[mask], minlength=agree.t.size + 1)[1:]
    blocks = np.flatnonzero(held >= min(0.25 * mask.sum(), held.max()))
    t = np.nan_to_num(agree.t[blocks], nan=0.0)
    best = blocks[int(np.argmin(t))]
    return float(np.nan_to_num(agree.t[best])), float(np.nan_to_num(agree.block_q[best], nan=1.0))


def erased_lesions(
    slices: Sequence[Slice], views: Sequence[int], n_lesions: int, seed: int, photons: float | None
) -> Iterator[Erased]:
    """Lesions of simulated CT that the reconstruction does not show: it is that of the scan without them."""
    for scanned in scanned_slices(slices, views, n_lesions, seed, photons):
        own = scanned.own
        subjects = pair(own, scanned.scanner, scanned.spots, seed + scanned.number, shown=False)
        for present, subject in zip((True, False), subjects, strict=True):
            agree = agreement(subject.measurement, subject.image, BLOCK_MM / own.pixel_mm)
            for spot in scanned.spots:
                t, q = strongest(agree, (disc(spot, SIZE) > 0.5).numpy())
                size = round(2 * spot[2] * own.pixel_mm, 1)
                yield Erased("erased lesions", own.source, own.name, scanned.n_views, present, size, t, q)


def agreement(measurement: Measurement, image: torch.Tensor, block: float) -> Consistency:
    """Return where data and image disagree, in blocks of so many pixels of the body, in units of their own spread."""
    return consistency(
        measurement,
        image,
        block=max(2, round(block)),
        geometry_test=False,
        calibrated=True,
        within=body_of(image.numpy()),
    )


def erased_holes(data: Path, views: Sequence[int], seed: int, names: Sequence[str] | None) -> Iterator[Erased]:
    """Holes of real discs, filled in the reconstruction one at a time; and places where the disc is solid."""
    for scan in disc_pairs(data, views, seed, names):
        for mask in scan.holes:
            yield _hole(scan, scan.image + scan.attenuation * _soft(mask), mask, True)
        for mask in scan.planted:
            yield _hole(scan, scan.image, mask, False)


def _hole(scan: DiscPair, image: torch.Tensor, mask: torch.Tensor, present: bool) -> Erased:
    agree = agreement(scan.measurement, image, DISC_BLOCK_MM / scan.pixel_mm)
    t, q = strongest(agree, mask.numpy())
    size = round(2 * float(mask.sum() / torch.pi) ** 0.5 * scan.pixel_mm, 1)
    return Erased("erased holes", "HTC 2022", scan.name, scan.n_views, present, size, t, q)


def _soft(mask: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(mask[None, None].float(), 3, 1, 1)[0, 0]


def erased_table(rows: Sequence[Erased]) -> str:
    """Return a table of Markdown: how many are found, and how often the same is said of nothing."""
    lines = ["| views | what | size | erased | found | nothing there | said all the same |", "| --- " * 7 + "|"]
    groups = dict.fromkeys((r.views, r.trial, r.size_mm if r.trial == "erased lesions" else 0.0) for r in rows)
    for views, trial, size in sorted(groups):
        own = [r for r in rows if (r.views, r.trial) == (views, trial) and (size == 0.0 or r.size_mm == size)]
        there, none = [r for r in own if r.present], [r for r in own if not r.present]
        shown = f"{size:g} mm" if size else f"{min(r.size_mm for r in own):g} to {max(r.size_mm for r in own):g} mm"
        counts = len(there), sum(r.found for r in there), len(none), sum(r.found for r in none)
        lines.append("| " + " | ".join(str(cell) for cell in (views, trial, shown, *counts)) + " |")
    return "\n".join(lines)
