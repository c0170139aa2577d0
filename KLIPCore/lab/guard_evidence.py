"""What the guard notices and what it does not: `python -m KLIPCore.lab.guard_evidence --data FOLDER`.

Wrong inputs are made from scans that fit (:mod:`KLIPCore.lab.evaluation.spoiled`), three severities each; scans that
do not belong at all are given as they are; scans outside training, healthy or with lesions, count false alarms, each
by name. The same refusal of what is no CT in Hounsfield units stands before all three guards.

FOLDER holds the scans that configs/guard_evidence.yaml names.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from scipy import stats

from KLIPCore.errors import ConfigError, InputError
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.lab.evaluation.auroc import Interval, bootstrap_mean
from KLIPCore.lab.evaluation.guard_baselines import HistogramAndGeometry, Mahalanobis, Plain, plain
from KLIPCore.lab.evaluation.spoiled import KINDS, Kind
from KLIPCore.maps.reference import Reference
from KLIPCore.maps.typicality import ALPHA, StudyFit
from KLIPCore.runs.guard import DOES_NOT_FIT, FITS, LOOK_ALPHA, LOOK_FIRST, half_size, judge_thin, known_prior
from KLIPCore.runs.health import reference_file
from KLIPCore.volume.thin_study import thin_study
from KLIPCore.volume.untrusted import read_yaml
from KLIPCore.volume.volume import Volume

CONFIG = Path("configs/guard_evidence.yaml")
PRIOR = "abdomen-ct-256"
CLIPPED_ABOVE_HU = -500.0
"""A scan without any value below was clipped to a window."""
MOST_SLICES = 48
"""Scans that are spoiled are thinned to at most about so many slices."""


@dataclass(frozen=True)
class Answer:
    """What three guards say of one study.

    Attributes
    ----------
    verdict : ours.
    about : our reasons, in a word or two each.
    histogram, mahalanobis : whether the baselines flag it.
    z : of the five laws; empty where it was refused.
    """

    verdict: str
    about: tuple[str, ...]
    histogram: bool
    mahalanobis: bool
    z: dict[str, float] = field(default_factory=dict)


FLAGS: dict[str, Callable[[Answer], bool]] = {
    "guard": lambda a: a.verdict != FITS,
    "guard, does not fit": lambda a: a.verdict == DOES_NOT_FIT,
    "histogram and geometry": lambda a: a.histogram,
    "Mahalanobis": lambda a: a.mahalanobis,
}
"""Who is asked, and what counts as a flag."""


def seen_by_baselines(path: Path) -> Plain:
    """Return what the baselines see of a training scan."""
    card, _ = known_prior(PRIOR)
    framed = thin_study(read_study(path), card).framed
    return plain(framed, *half_size(framed, card))


def ask(volume: Volume, baselines: tuple[HistogramAndGeometry, Mahalanobis]) -> Answer:
    """Return what the guards say of a volume."""
    card, typicality = known_prior(PRIOR)
    try:
        notes = check_ct(volume)
        thin = thin_study(volume, card)
    except InputError as error:
        return Answer(DOES_NOT_FIT, (type(error).__name__,), True, True)
    found = judge_thin(thin, card, typicality, notes, time.monotonic())
    features = plain(thin.framed, *half_size(thin.framed, card))
    about = tuple(dict.fromkeys(reason.about for reason in found.reasons))
    flags = [one.flags(features) for one in baselines]
    return Answer(found.verdict, about, flags[0], flags[1], found.z)


@lru_cache(maxsize=1)
def base(path: Path) -> Volume:
    """Return a scan in LPS order, thinned, and with air where a window was all that is known of it.

    Values of public scans are clipped to a window. Shifted or scaled, their outside would become tissue, as no
    scanner's does.
    """
    volume, _ = read_study(path).oriented_lps()
    floor = volume.array == volume.array.min()
    if volume.array.min() > CLIPPED_ABOVE_HU:
        outside = floor & (ndi.gaussian_filter(floor.astype(np.float32), (0, 2, 2)) > 0.7)  # no dark fat
        volume = volume.with_array(np.where(outside, -1000.0, volume.array))
    step = -(-len(volume.array) // MOST_SLICES)
    if step == 1:
        return volume
    affine = volume.grid.affine.copy()
    affine[:3, 0] *= step
    array = volume.array[::step]
    return Volume(array, type(volume.grid)(array.shape, affine, volume.grid.frame_uid))


def spoiled(path: Path, baselines: tuple[HistogramAndGeometry, Mahalanobis]) -> dict[tuple[str, int], Answer]:
    """Return the answers to every kind and severity of wrong input made from a scan."""
    volume = base(path)
    return {
        (kind.name, level): ask(kind.make(volume, severity), baselines)
        for kind in KINDS
        for level, severity in enumerate(kind.severities)
        if not np.isnan(severity)
    }


def as_is(path: Path, baselines: tuple[HistogramAndGeometry, Mahalanobis]) -> Answer:
    """Return the answer to a scan as it lies there."""
    try:
        volume = read_study(path)
    except InputError as error:
        return Answer(DOES_NOT_FIT, (type(error).__name__,), True, True)
    return ask(volume, baselines)


def counts(answers: list[Answer]) -> str:
    """Return a cell: flagged (of these refused) by ours, by the histogram, by Mahalanobis; of how many."""
    n = len(answers)
    flagged, refused = sum(a.verdict != FITS for a in answers), sum(a.verdict == DOES_NOT_FIT for a in answers)
    return (
        f"{flagged} ({refused}) / {sum(a.histogram for a in answers)} / {sum(a.mahalanobis for a in answers)} of {n}"
    )


def table(made: list[dict[tuple[str, int], Answer]]) -> list[str]:
    """Return the lines of the table of wrong inputs that were made."""
    lines = ["| wrong input | mild | middle | severe |", "| --- | --- | --- | --- |"]
    for kind in KINDS:
        cells = [
            _cell(kind, level, [own[kind.name, level] for own in made if (kind.name, level) in own])
            for level in range(3)
        ]
        lines.append(f"| {' | '.join([kind.name, *cells])} |")
    total = [counts([a for own in made for (_, at), a in own.items() if at == level]) for level in range(3)]
    return [*lines, f"| all | {' | '.join(total)} |"]


def share_lines(made: list[dict[tuple[str, int], Answer]]) -> list[str]:
    """Return the shares of wrong inputs that each guard flags, means over scans, with 95 % intervals over them."""
    lines = ["| flagged, mean of scans | mild | middle | severe |", "| --- | --- | --- | --- |"]
    for name, flags in FLAGS.items():
        cells = []
        for level in range(3):
            of_scans = [[flags(a) for (_, at), a in own.items() if at == level] for own in made]
            shares = [float(np.mean(one)) for one in of_scans if one]
            cells.append(_share(bootstrap_mean(shares)) if shares else "")
        lines.append(f"| {' | '.join([name, *cells])} |")
    return lines


def _share(found: Interval) -> str:
    """A mean with its interval over scans; without one where they are few."""
    return f"{found.mean:.0%}" + (f" ({found.lo:.0%} to {found.hi:.0%})" if np.isfinite(found.lo) else "")


def role_lines(roles: list[str], answers: list[Answer]) -> list[str]:
    """Return how many scans of each role do not fit, with the exact 95 % interval of their share (Clopper-Pearson)."""
    lines = ["| scans | does not fit | 95 % interval |", "| --- | --- | --- |"]
    for role in dict.fromkeys(roles):
        own = [a.verdict == DOES_NOT_FIT for r, a in zip(roles, answers, strict=True) if r == role]
        found = stats.binomtest(sum(own), len(own)).proportion_ci()
        lines.append(f"| {role} | {sum(own)} of {len(own)} | {found.low:.0%} to {found.high:.0%} |")
    return lines


def _cell(kind: Kind, level: int, answers: list[Answer]) -> str:
    """How severe it is, and who noticed; empty where there is no such severity."""
    if not answers:
        return ""
    return (f"{kind.severities[level]:g} {kind.unit}: " if kind.unit else "") + counts(answers)


def scan_lines(names: list[str], roles: list[str], answers: list[Answer]) -> list[str]:
    """Return the lines of the table of scans as they are."""
    lines = ["| scan | is | guard | because of | histogram | Mahalanobis |", "| --- | --- | --- | --- | --- | --- |"]
    flag = {True: "flagged", False: ""}
    for name, role, a in zip(names, roles, answers, strict=True):
        cells = [name, role, a.verdict, ", ".join(a.about), flag[a.histogram], flag[a.mahalanobis]]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def left_out(z: dict[str, float], patients: int) -> StudyFit:
    """Return the fit of a study that is one of those behind the laws, by the laws of the others.

    Parameters
    ----------
    z : of the study under the laws of all, in their standard deviations.
    patients : how many they are.
    """
    n = patients
    own = {
        name: (value + value / (n - 1)) / np.sqrt(((n - 1) - n / (n - 1) * value**2) / (n - 2))
        for name, value in z.items()
    }
    return StudyFit(float("nan"), (), own, n - 1)


def left_out_lines(names: list[str], answers: list[Answer]) -> list[str]:
    """Return what the guard says of the scans that are behind the laws, if they were not."""
    reference = Reference.load(reference_file(PRIOR))
    lines = []
    for name, answer in zip(names, answers, strict=True):
        if name in reference.patients["unseen"] and answer.z:
            fit = left_out(answer.z, reference.typicality.patients)
            refused, soft = fit.unusual(ALPHA), fit.unusual(LOOK_ALPHA)
            verdict = DOES_NOT_FIT if refused else LOOK_FIRST if soft else FITS
            lines.append(f"{name}, left out of the laws: {verdict} {', '.join(refused or soft)}".rstrip())
    return lines


def scans(config: Path, data: Path) -> dict[str, list[tuple[str, Path]]]:
    """Return (name, path) of the scans of a configuration by their role, those below ``data`` that exist.

    Raises
    ------
    ConfigError : the file names no training scans, or none of its scans is there.
    """
    named: dict[str, Any] = read_yaml(config)
    found = {
        role: [(str(file).split(".")[0], data / file) for file in files if (data / file).exists()]
        for role, files in named.items()
    }
    if len(found.get("training", [])) < 3:
        raise ConfigError(f"{data} holds fewer than three of the training scans that {config} names.", "Check --data.")
    return found


def main() -> None:
    """Run the command of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the scans")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    found = scans(given.config, given.data)
    plan = [(name, role, path) for role in found if role not in ("training", "spoil") for name, path in found[role]]
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        train = pool.map(seen_by_baselines, [path for _, path in found["training"]])
        baselines = (HistogramAndGeometry(train), Mahalanobis(train))
        answers = pool.map(partial(as_is, baselines=baselines), [path for _, _, path in plan], chunksize=1)
        names = [name for name, _, _ in plan]
        print(*scan_lines(names, [role for _, role, _ in plan], answers), "", sep="\n")
        print(*role_lines([role for _, role, _ in plan], answers), "", sep="\n")
        print(*left_out_lines(names, answers), "", sep="\n", flush=True)
        made = pool.map(partial(spoiled, baselines=baselines), [path for _, path in found["spoil"]], chunksize=1)
    print("Flagged (of these: does not fit) by the guard / histogram and geometry / Mahalanobis:\n")
    print(*table(made), "", *share_lines(made), sep="\n")


if __name__ == "__main__":
    main()
