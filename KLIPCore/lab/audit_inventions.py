"""What the audit says of a network that invents: `python -m KLIPCore.lab.audit_inventions --data FOLDER --kept KEPT`.

Teaches the network of :mod:`KLIPCore.lab.audit_inventor` (minutes on one free core; a stopped call goes on), gives it
and the prior behind it simulated scans of patients that neither has met, and audits

inventions   what its picture of a healthy slice shows and the truth does not have, by a rule: a connected part of
             |picture - truth| > 20 HU, both low-passed, that holds a square of 6 mm, in which the truth has at most a
             fifth of the contrast that the picture shows
structures   what its picture shows and the truth has, found the same way in the picture itself: at least half
lesions      of -30 to -80 HU and 6 to 14 mm that were in the liver when it was scanned, where the picture shows half
             of them at least; what it shows less of is counted as missed

Of all three only what shows 20 to 80 HU of contrast and measures 6 to 20 mm across, well inside the body: nothing else
could tell inventions from the rest.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.audit.against import Subject
from KLIPCore.audit.audit import AuditSettings, room_for_error
from KLIPCore.audit.null_space import RangeProjection
from KLIPCore.audit.removal import Removal, flatten, removals
from KLIPCore.audit.structures import body_of
from KLIPCore.export.images import Picture
from KLIPCore.lab.audit_cases import BTCV_TEST, BTCV_TRAIN, Scanner, Slice, btcv_slices, chaos_slices, finer
from KLIPCore.lab.audit_inventions_report import Found, Tried, picture, report
from KLIPCore.lab.audit_inventor import Inventor, Lessons, learn, with_lesions
from KLIPCore.lab.audit_unet import back_projected
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.volume.units import MU_WATER_PER_MM

HU = MU_WATER_PER_MM / 1000
LOW_PASS_MM = 4.0
"""Full width at half maximum of the Gaussian that pictures and truths are compared behind."""
AROUND_MM = 10.0
"""Standard deviation of what a picture's own structures stand out from, and how far inside the body all of it lies."""
LEAST_HU, MOST_HU = 20.0, 80.0
LEAST_MM, MOST_MM = 6.0, 20.0
REAL, INVENTED = 0.5, 0.2
"""The truth has at least so much of a real structure's contrast, and at most so much of an invention's."""
PER_SOLVE = 8


def blobs(
    image: NDArray[np.floating], threshold: float, pixel_mm: float, within: NDArray[np.bool_]
) -> list[NDArray[np.bool_]]:
    """Masks of connected parts beyond a threshold of either sign that hold a square of :data:`LEAST_MM`.

    Parameters
    ----------
    image : (H, W) any unit.
    threshold : in the same unit.
    pixel_mm : edge of a pixel.
    within : (H, W) where they are looked for.
    """
    edge = max(1, round(LEAST_MM / pixel_mm))
    found = []
    for sign in (1.0, -1.0):
        wide = ndi.binary_opening(within & (sign * image > threshold), np.ones((edge, edge)))
        labels, n = ndi.label(wide)
        found += [labels == k for k in range(1, n + 1)]
    return [mask for mask in found if LEAST_MM <= size_mm(mask, pixel_mm) <= MOST_MM]


def size_mm(mask: NDArray[np.bool_], pixel_mm: float) -> float:
    """Diameter of the disc of the same area."""
    return 2 * math.sqrt(float(mask.sum()) / math.pi) * pixel_mm


def low_passed(image: NDArray[np.floating], pixel_mm: float, width_mm: float = LOW_PASS_MM) -> NDArray[np.floating]:
    """Return an image behind a Gaussian of that full width at half maximum."""
    return ndi.gaussian_filter(image, width_mm / 2.3548 / pixel_mm)


def part_of_truth(truth: Tensor, image: Tensor, mask: Tensor) -> float:
    """Return how much of a structure's even contrast in an image the truth has."""
    true, shown = (float((x - flatten(x, mask))[mask].mean()) for x in (truth, image))
    return true / shown if shown else 0.0


def inventions_and_structures(image: Tensor, truth: Tensor, pixel_mm: float) -> dict[str, list[NDArray[np.bool_]]]:
    """Return what a picture shows and the truth has not, and what both have.

    Parameters
    ----------
    image, truth : (H, W) attenuation in 1/mm.
    pixel_mm : edge of a pixel.
    """
    within = ndi.binary_erosion(body_of(truth.numpy()), iterations=round(AROUND_MM / pixel_mm))
    x, t = (low_passed(v.numpy(), pixel_mm) for v in (image, truth))
    own = x - ndi.gaussian_filter(x, AROUND_MM / pixel_mm)
    kept: dict[str, list[NDArray[np.bool_]]] = {"invention": [], "structure": []}
    for kind, source in (("invention", x - t), ("structure", own)):
        for mask in blobs(source, LEAST_HU * HU, pixel_mm, within):
            where = torch.from_numpy(mask)
            shown = float((image - flatten(image, where))[where].mean())
            if not LEAST_HU * HU <= abs(shown) <= MOST_HU * HU or shown * source[mask].mean() < 0:
                continue
            part = part_of_truth(torch.from_numpy(t), torch.from_numpy(x), where)
            if (part <= INVENTED) if kind == "invention" else (part >= REAL):
                kept[kind].append(mask)
    return kept


def audited(
    kinds: dict[str, list[NDArray[np.bool_]]], subject: Subject, own: Slice, truth: Tensor, number: int
) -> Iterator[Found]:
    """Ask the audit about masks of a picture."""
    named = [(kind, torch.from_numpy(mask)) for kind, masks in kinds.items() for mask in masks]
    if not named:
        return
    image, m = subject.image, subject.measurement
    error = room_for_error(subject, AuditSettings(), [mask for _, mask in named])
    project = RangeProjection(m.A)
    truth_seen, image_seen = project(torch.stack([truth, image]))
    for start in range(0, len(named), PER_SOLVE):
        part = named[start : start + PER_SOLVE]
        masks = [mask for _, mask in part]
        plain = [flatten(image, mask) for mask in masks]
        patterns = torch.stack([image - flat for flat in plain])
        seen = (patterns * project(patterns)).flatten(1).sum(1) / patterns.square().flatten(1).sum(1)
        found = removals(m, image, masks, error, without=plain)
        for (kind, mask), share, one in zip(part, seen, found, strict=True):
            parts = part_of_truth(truth, image, mask), part_of_truth(truth_seen, image_seen, mask)
            yield _found(kind, own, number, mask, one, (*parts, float(share)))


def _found(
    kind: str, own: Slice, number: int, mask: Tensor, one: Removal, shares: tuple[float, float, float]
) -> Found:
    size = round(size_mm(mask.numpy(), own.pixel_mm), 1)
    return Found(
        kind, f"{own.source} {own.name}", number, size, one.contrast / HU, *shares,
        one.support, one.information, one.amplitude, one.amplitude_error, one.nats, one.verdict,
    )  # fmt: skip


def scanned(inventor: Inventor, own: Slice, scanner: Scanner, seed: int) -> Subject:
    """Scan a slice, and reconstruct it."""
    m = scanner.scan(finer(own.mu), seed)
    return Subject(inventor(own, scanner, seed), own.pixel_mm, m, False)


def tried(inventor: Inventor, own: Slice, number: int, n_views: int, lessons: Lessons, most: int) -> Tried:
    """Return what is found on a slice, as it is and with lesions, and how much of each there was.

    Parameters
    ----------
    inventor : what reconstructs.
    own, number : the slice, and its place in the sequence, of which seeds are made.
    n_views : of its scans.
    lessons : what lesions are like.
    most : of each kind that are audited, chosen at random; solving is what takes time.
    """
    scanner, rng = Scanner.of(own.grid, n_views), np.random.default_rng([lessons.seed, 10**6 + number])
    healthy = scanned(inventor, own, scanner, 1000 + number)
    kinds = inventions_and_structures(healthy.image, own.mu, own.pixel_mm)
    some = {kind: _chosen(masks, most, rng) for kind, masks in kinds.items()}
    found = list(audited(some, healthy, own, own.mu, number))
    ill = with_lesions(own, lessons, rng)
    shown = scanned(inventor, ill, scanner, 2000 + number)
    there, kept = _lesions(own, ill, shown.image)
    found += audited({"lesion": _chosen(kept, most, rng)}, shown, ill, ill.mu, number)
    return Tried(found, {"inventions": len(kinds["invention"]), "lesions": there, "shown": len(kept)})


def _chosen(masks: list[NDArray[np.bool_]], most: int, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    return [masks[k] for k in sorted(rng.permutation(len(masks))[:most])]


def _lesions(own: Slice, ill: Slice, image: Tensor) -> tuple[int, list[NDArray[np.bool_]]]:
    """How many lesions a slice has, and masks of those that the picture shows."""
    labels, n = ndi.label((own.mu - ill.mu).numpy() > 0.5 * LEAST_HU * HU)
    kept = []
    for k in range(1, n + 1):
        mask = labels == k
        where = torch.from_numpy(mask)
        shown = float((image - flatten(image, where))[where].mean())
        part = part_of_truth(image, ill.mu, where)
        if part >= REAL and shown <= -LEAST_HU * HU:
            kept.append(mask)
    return n, kept


def draw(inventor: Inventor, own: Slice, n_views: int, seed: int) -> Picture:
    """Return the picture of one healthy slice: truth, back-projection, network, verdicts."""
    scanner = Scanner.of(own.grid, n_views)
    subject = scanned(inventor, own, scanner, seed)
    kinds = inventions_and_structures(subject.image, own.mu, own.pixel_mm)
    masks = [mask for some in kinds.values() for mask in some]
    verdicts = [found.verdict for found in audited(kinds, subject, own, own.mu, 0)]
    names = [kind for kind, some in kinds.items() for _ in some]
    marked = list(zip(names, masks, verdicts, strict=True))
    return picture(own.mu, back_projected(own, scanner, seed), subject.image, marked)


def main() -> None:
    """Teach, show, audit; print the tables and keep every row."""
    parser = argparse.ArgumentParser(description="What the audit says of a network that invents.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--kept", type=Path, required=True, help="checkpoints and rows; a stopped call goes on")
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--learnt-views", type=int, default=Lessons.views, help="of the scans it learns")
    parser.add_argument("--steps", type=int, default=Lessons.steps)
    parser.add_argument("--sigma", type=float, default=Inventor.sigma, help="noise the prior draws anew; 0: no prior")
    parser.add_argument("--slices", type=int, default=1, help="of each patient")
    parser.add_argument("--most", type=int, default=8, help="structures of each kind audited in a slice")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    lessons = Lessons(views=given.learnt_views, steps=given.steps, seed=given.seed)
    learnt = list(btcv_slices(given.data, BTCV_TRAIN, per_case=30))
    slices = [*btcv_slices(given.data, BTCV_TEST, given.slices), *chaos_slices(given.data, given.slices)]
    if not learnt or not slices:
        parser.error(f"{given.data} has no slices to learn or to try: give the folder that holds `btcv`.")
    network = learn(learnt, Scanner.of(learnt[0].grid, lessons.views), lessons, given.kept, print)
    inventor = Inventor(network, load_prior("abdomen-ct-256", "cpu") if given.sigma else None, given.sigma)
    asked = {
        **asdict(lessons),
        "tried_views": given.views,
        "sigma": given.sigma,
        "slices": given.slices,
        "most": given.most,
    }
    file = given.kept / f"audit_inventions_{given.sigma:g}.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    parts = [Tried.of(part) for part in before.get("tried", ())] if before.get("asked") == json_ready(asked) else []
    for number in range(len(parts), len(slices)):
        parts.append(tried(inventor, slices[number], number, given.views, lessons, given.most))
        text = json.dumps({"asked": asked, "tried": [asdict(part) for part in parts]}, indent=1)
        file.write_text(text + "\n", encoding="utf-8")
    print(report([f for part in parts for f in part.found], [part.counts for part in parts]))
    draw(inventor, slices[0], given.views, 1000).write(given.kept / f"audit_network_{given.sigma:g}.jpg")


def json_ready(asked: dict[str, Any]) -> Any:
    """Settings as they come back from a file."""
    return json.loads(json.dumps(asked))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
