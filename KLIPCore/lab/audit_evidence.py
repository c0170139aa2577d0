"""What the audit finds and what it does not: `python -m KLIPCore.lab.audit_evidence --data FOLDER -o OUT`.

Trials, each printed as a table of Markdown, patients and scans one by one:

lesions    the same picture of lesions, held by the data or not (:mod:`KLIPCore.lab.audit_cases`), in simulated CT
biased     the same in images that are wrong as a whole (:data:`BIASES`)
erased     lesions that the data hold and the image does not show (:mod:`KLIPCore.lab.audit_erased`)
discs      real discs of the Helsinki Tomography Challenge 2022: their own holes, and the same holes planted elsewhere
network    a small U-Net on sparse-view back-projections; what it shows beyond the truth, and what the audit says of it

FOLDER holds `btcv` and `htc2022`; what is not there is left out. The synthetic patients need no data.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from KLIPCore.audit.against import Subject
from KLIPCore.audit.audit import AuditSettings, room_for_error
from KLIPCore.audit.bias import ImageError, image_error
from KLIPCore.audit.null_space import RangeProjection
from KLIPCore.audit.removal import Removal, flatten, removals
from KLIPCore.audit.structures import body_of, structures
from KLIPCore.lab.audit_cases import (
    BTCV_TEST,
    BTCV_TRAIN,
    Scanner,
    Slice,
    btcv_slices,
    disc,
    finer,
    pair,
    scanned_slices,
    synthetic_slices,
)
from KLIPCore.lab.audit_discs import disc_pairs
from KLIPCore.lab.audit_erased import Erased, erased_holes, erased_lesions, erased_table
from KLIPCore.lab.audit_unet import reconstruct, train
from KLIPCore.lab.evaluation.auroc import auroc, bootstrap_mean
from KLIPCore.physics.measurement import Measurement
from KLIPCore.volume.units import MU_WATER_PER_MM

LEAST_CONTRAST_HU = 15.0
"""Fainter structures of a network are no question that a reader would ask."""
REAL, INVENTED = 0.5, 0.2
"""A network's structure is real where the truth has at least so much of its contrast, invented where at most: pixel by
pixel, and in the part A⁺A of either that the scan sees at all. Where the two disagree, it is neither.
"""


def _level(subject: Subject) -> torch.Tensor:
    """20 HU too low in the whole body."""
    body = torch.from_numpy(body_of(subject.image.numpy())).to(subject.image)
    return subject.image - 0.020 * MU_WATER_PER_MM * body


def _cupped(subject: Subject) -> torch.Tensor:
    """30 HU too low in the middle of the body, right at its rim."""
    body = body_of(subject.image.numpy())
    rows, columns = np.nonzero(body)
    r, c = np.indices(body.shape)
    far = ((r - rows.mean()) / (0.5 * np.ptp(rows))) ** 2 + ((c - columns.mean()) / (0.5 * np.ptp(columns))) ** 2
    cup = torch.from_numpy(body * (1 - far).clip(0)).to(subject.image)
    return subject.image - 0.030 * MU_WATER_PER_MM * cup


BIASES: dict[str, tuple[float, Callable[[Subject], torch.Tensor]]] = {
    "": (1.0, lambda subject: subject.image),
    "level": (1.0, _level),
    "cupping": (1.0, _cupped),
    "shrunk": (4.0, lambda subject: subject.image),
}
"""Images that are wrong as a whole: multiples of total variation's usual weight, and what is done then."""


@dataclass(frozen=True)
class Row:
    """One audited structure.

    Attributes
    ----------
    trial, source, name, views : where it comes from.
    present : whether the truth has it.
    size_mm : its diameter.
    nats, support, amplitude, amplitude_error, information, verdict : as :class:`KLIPCore.audit.removal.Removal`.
    """

    trial: str
    source: str
    name: str
    views: int
    present: bool
    size_mm: float
    nats: float
    support: float
    amplitude: float
    amplitude_error: float
    information: float
    verdict: str

    @classmethod
    def of(cls, where: tuple[str, str, str, int], present: bool, size_mm: float, r: Removal) -> Row:
        """Return a removal with where it comes from."""
        return cls(
            *where,
            present,
            round(size_mm, 1),
            r.nats,
            r.support,
            r.amplitude,
            r.amplitude_error,
            r.information,
            r.verdict,
        )


def asked(m: Measurement, image: torch.Tensor, masks: Sequence[torch.Tensor], error: ImageError) -> list[Removal]:
    """Removal of each mask as :func:`KLIPCore.audit.audit.audit_subject` does it."""
    return removals(m, image, masks, error, without=[flatten(image, mask) for mask in masks])


def lesion_rows(
    slices: Sequence[Slice],
    views: Sequence[int],
    n_lesions: int,
    seed: int,
    photons: float | None,
    *,
    biases: Sequence[str] = ("",),
    blind: bool = False,
) -> Iterator[Row]:
    """True lesions and planted ones of the same look in simulated CT, in images as they are or biased as a whole.

    With ``blind`` True the image's error is taken to be the usual one, whatever the residual says.
    """
    for scanned in scanned_slices(slices, views, n_lesions, seed, photons):
        own, spots = scanned.own, scanned.spots
        masks = [disc((r, c, radius + 0.5), len(own.mu)) > 0.5 for r, c, radius in spots]
        for bias in biases:
            strength, change = BIASES[bias]
            where = (f"biased: {bias}" if bias else "lesions", own.source, own.name, scanned.n_views)
            both = pair(own, scanned.scanner, spots, seed + scanned.number, strength=strength)
            for present, subject in zip((True, False), both, strict=True):
                changed = replace(subject, image=change(subject))
                error = room_for_error(changed, AuditSettings(), () if blind else masks)
                found = asked(changed.measurement, changed.image, masks, error)
                for spot, one in zip(spots, found, strict=True):
                    yield Row.of(where, present, 2 * spot[2] * own.pixel_mm, one)


def network_rows(data: Path, n_views: int, steps: int, seed: int) -> Iterator[Row]:
    """Structures that a small U-Net shows, by whether the truth has them."""
    learnt = list(btcv_slices(data, BTCV_TRAIN, per_case=4))
    tried = list(btcv_slices(data, BTCV_TEST))
    if not learnt or not tried:
        return
    scanner = Scanner.of(learnt[0].grid, n_views)
    network = train(learnt, scanner, steps=steps, seed=seed)
    for number, own in enumerate(tried):
        image = reconstruct(network, own, scanner, 1000 + number)
        m = scanner.scan(finer(own.mu), 1000 + number)
        subject = Subject(image, own.pixel_mm, m, False, (), {"slice": 0})
        body = body_of(image.numpy())
        # what stands out of its picture, and what stands out of its difference from the truth: its own inventions
        shown = structures(image.numpy(), own.pixel_mm, body, 8)
        shown += structures((image - own.mu).numpy(), own.pixel_mm, body, 8)
        masks = [torch.from_numpy(s) for s in shown]
        if not masks:
            continue
        error = room_for_error(subject, AuditSettings(), masks)
        truth_seen, image_seen = RangeProjection(m.A)(torch.stack([own.mu, image]))
        for mask, found in zip(masks, asked(m, image, masks, error), strict=True):
            parts = [_part(own.mu, image, mask), _part(truth_seen, image_seen, mask)]
            if abs(found.contrast) < LEAST_CONTRAST_HU / 1000 * MU_WATER_PER_MM:
                continue
            if all(part >= REAL for part in parts) or all(part <= INVENTED for part in parts):
                size = 2 * math.sqrt(float(mask.sum()) / math.pi) * own.pixel_mm
                yield Row.of(("network", own.source, own.name, n_views), parts[1] >= REAL, size, found)


def _part(truth: torch.Tensor, image: torch.Tensor, mask: torch.Tensor) -> float:
    """How much of a structure's contrast in an image the truth has."""
    true, shown = (float((x - flatten(x, mask))[mask].mean()) for x in (truth, image))
    return true / shown if shown else 0.0


def disc_rows(data: Path, views: Sequence[int], seed: int, names: Sequence[str] | None) -> Iterator[Row]:
    """Real holes of measured discs, and the same holes planted where the disc is solid."""
    for scan in disc_pairs(data, views, seed, names):
        for present, image, masks in ((True, scan.image, scan.holes), (False, scan.planted_image, scan.planted)):
            if not masks:
                continue
            error = image_error(
                scan.measurement,
                image,
                scan.prior,
                body_of(image.numpy()),
                AuditSettings().bias_length_mm / scan.pixel_mm,
                structures=[image - flatten(image, mask) for mask in masks],
            )
            for mask, found in zip(masks, asked(scan.measurement, image, masks, error), strict=True):
                size = 2 * math.sqrt(float(mask.sum()) / math.pi) * scan.pixel_mm
                yield Row.of(("discs", "HTC 2022", scan.name, scan.n_views), present, size, found)


def tables(rows: Sequence[Row]) -> str:
    """Return one table a trial: each patient or scan, then all of them."""
    lines: list[str] = []
    for trial in dict.fromkeys(row.trial for row in rows):
        lines += [
            f"\n**{trial}**\n",
            "| views | source | who | true | contradicted | unprovable | planted | measured | unprovable | AUROC |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        groups: dict[tuple[int, str, str], list[Row]] = defaultdict(list)
        for row in rows:
            if row.trial == trial:
                groups[row.views, row.source, row.name].append(row)
                groups[row.views, row.source, "**all**"].append(row)
                groups[row.views, "all", "**all**"].append(row)
        order = sorted(groups, key=lambda g: (g[0], g[1] == "all", g[1], g[2] == "**all**"))
        lines += [_line(group, groups[group]) for group in order]
    return "\n".join(lines)


def _line(group: tuple[int, str, str], rows: Sequence[Row]) -> str:
    true, planted = [r for r in rows if r.present], [r for r in rows if not r.present]
    cells: list[object] = list(group)
    for part, wrong in ((true, "contradicted"), (planted, "measured")):
        cells += [len(part), sum(r.verdict == wrong for r in part), sum(r.verdict == "unprovable" for r in part)]
    if true and planted:
        scores = np.array([r.support for r in rows])
        cells.append(f"{auroc(scores, np.array([r.present for r in rows])):.3f}{_interval(rows)}")
    else:
        cells.append("")
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _interval(rows: Sequence[Row]) -> str:
    """The mean over scans of a scan's own AUROC, with its bootstrap interval; nothing of few scans."""
    scans: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        scans[row.name].append(row)
    own = [
        auroc(np.array([r.support for r in part]), np.array([r.present for r in part]))
        for part in scans.values()
        if len({r.present for r in part}) == 2
    ]
    mean = bootstrap_mean(own, seed=0) if own else None
    if mean is None or not math.isfinite(mean.lo):
        return ""
    return f"; by scan {mean.mean:.3f} ({mean.lo:.3f} to {mean.hi:.3f}, n = {mean.n})"


def main() -> None:
    """Run the trials, print their tables and keep every row."""
    parser = argparse.ArgumentParser(description="What the audit finds and what it does not.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--out", type=Path, default=None)
    parser.add_argument("--views", type=int, nargs="+", default=[24, 60])
    parser.add_argument("--trials", nargs="+", default=["lesions", "biased", "erased", "discs", "network"])
    parser.add_argument("--patients", type=int, default=4, help="synthetic patients")
    parser.add_argument("--lesions", type=int, default=4, help="lesions in a slice")
    parser.add_argument("--photons", type=float, default=None, help="of the lesions' scans; Gaussian when left out")
    parser.add_argument("--biases", nargs="+", default=["level", "cupping", "shrunk"])
    parser.add_argument("--blind", action="store_true", help="judge biased images as if they were not")
    parser.add_argument("--discs", nargs="*", default=None, help="names of discs; all when left out")
    parser.add_argument("--steps", type=int, default=300, help="of the network's training")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows: list[Row | Erased] = []
    for row in trials(given):
        rows.append(row)
        if given.out is not None:  # hours on a busy computer: what is done is kept
            given.out.mkdir(parents=True, exist_ok=True)
            text = json.dumps([asdict(row) for row in rows], indent=1)
            (given.out / "audit_evidence.json").write_text(text + "\n", encoding="utf-8")
    print(tables([row for row in rows if isinstance(row, Row)]))
    erased = [row for row in rows if isinstance(row, Erased)]
    if erased:
        print("\n**erased**\n\n" + erased_table(erased))


def trials(given: argparse.Namespace) -> Iterator[Row | Erased]:
    """Rows of every trial that was asked for."""
    slices: list[Slice] = []
    if {"lesions", "biased", "erased"} & set(given.trials):
        slices = [*btcv_slices(given.data, BTCV_TEST), *synthetic_slices(given.patients)]
    simulated = (slices, given.views, given.lesions, given.seed, given.photons)
    if "lesions" in given.trials:
        yield from lesion_rows(*simulated)
    if "biased" in given.trials:
        yield from lesion_rows(*simulated, biases=given.biases, blind=given.blind)
    if "erased" in given.trials:
        yield from erased_lesions(*simulated)
        yield from erased_holes(given.data, given.views, given.seed, given.discs)
    if "discs" in given.trials:
        yield from disc_rows(given.data, given.views, given.seed, given.discs)
    if "network" in given.trials:
        yield from network_rows(given.data, min(given.views), given.steps, given.seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
