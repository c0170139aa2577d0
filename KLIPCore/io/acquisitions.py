"""What lies under one series UID although it is not one stack of slices.

The same instance stored twice (a folder copied into itself, a "copy of", two downloads) is one slice. Several phases,
energies or reconstructions that share a series UID are several stacks at the same places, and only a user can
say which is meant: so they are told apart, by the header field that does it, and named.
"""

from __future__ import annotations

import filecmp
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from KLIPCore.errors import UnreadableFileError
from KLIPCore.io.fields import DAMAGE, half_units, number, numbers, quiet_pydicom, text, thickness_mm, whole_number
from KLIPCore.io.pixels import stored_pixels
from KLIPCore.io.rounded_positions import order_by_number, rounding_along

Members = list[tuple[Path, Dataset]]

NAMES = {
    "AcquisitionNumber": "acquisition {}",
    "TemporalPositionIdentifier": "temporal position {}",
    "NominalPercentageOfCardiacPhase": "{} % of the cardiac cycle",
    "TemporalPositionIndex": "temporal position {}",
    "TriggerTime": "{} ms after the trigger",
    "FrameReferenceTime": "{} ms after the start",
    "AcquisitionTime": "at {}",
    "AcquisitionDateTime": "at {}",
    "AcquisitionDate": "on another date",
    "ContrastBolusAgent": "contrast agent {}",
    "KVP": "{} kV",
    "ConvolutionKernel": "kernel {}",
    "FilterType": "filter {}",
    "SliceThickness": "{} mm thick",
    "SeriesDescription": "“{}”",
    "ProtocolName": "protocol “{}”",
    "SeriesTime": "series at {}",
    "ContentTime": "images at {}",
    "ContentDate": "images of another date",
    "InstanceCreationTime": "images written at {}",
    "ContrastBolusStartTime": "contrast agent at {}",
    "ScanOptions": "scan options {}",
    "ReconstructionDiameter": "a field of {} mm",
    "ImageType": "{}",
    "Rows": "{} rows",
    "PixelSpacing": "pixels of {} mm",
    "SeriesNumber": "series {}",
    "StudyInstanceUID": "of another study",
    "StudyID": "study {}",
    "StudyTime": "study at {}",
    "FrameOfReferenceUID": "in another frame of reference",
    "ExposureTime": "{} ms of exposure",
    "XRayTubeCurrent": "{} mA",
    "CTDIvol": "CTDI {} mGy",
    "SpiralPitchFactor": "pitch {}",
    "ContrastBolusStopTime": "contrast agent until {}",
    "ReconstructionAlgorithm": "reconstruction {}",
    "DerivationDescription": "“{}”",
    "AcquisitionProtocolName": "protocol “{}”",
    "StationName": "station {}",
    "ImageComments": "with another comment",
}
"""Fields that tell acquisitions or reconstructions of one series apart, the surest first, and how they are written."""
RARER = (
    "SeriesNumber",
    "StudyInstanceUID",
    "StudyID",
    "StudyTime",
    "FrameOfReferenceUID",
    "ExposureTime",
    "XRayTubeCurrent",
    "CTDIvol",
    "SpiralPitchFactor",
    "ContrastBolusStopTime",
    "ReconstructionAlgorithm",
    "DerivationDescription",
    "AcquisitionProtocolName",
    "StationName",
    "ImageComments",
)
"""Those of them that may also vary within a stack: they must give as many stacks as there are images at a place."""
FOLDER = "folder"
"""What tells stacks apart where no field does."""
TAGS = (
    *NAMES,
    "SpacingBetweenSlices",
    "InstanceNumber",
    "SOPInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "Columns",
)
"""What this module reads of a header."""
TELLING = ("AcquisitionNumber", "TemporalPositionIdentifier", "ContrastBolusAgent", "KVP", "ConvolutionKernel")
"""Fields that are the same in all slices of one stack that another lies in."""
LEAST_PHASE = 3
"""Slices of a stack that lies in another, at least."""
CLOCKS = (
    "AcquisitionTime",
    "AcquisitionDateTime",
    "ContentTime",
    "SeriesTime",
    "InstanceCreationTime",
    "ContrastBolusStartTime",
    "ContrastBolusStopTime",
    "StudyTime",
)
"""Times of day."""
TIMES = (*CLOCKS, "TriggerTime", "FrameReferenceTime")
"""Fields that run on within a stack: their equal values are not one stack."""


@dataclass(frozen=True)
class Acquisition:
    """One stack of a series.

    Attributes
    ----------
    members : its files and their headers.
    name : what chooses it after the series' own name and a slash, e.g. "2"; empty when it is the whole series.
    label : what tells it from the others: "acquisition 2, at 12:05:00"; empty when it is the whole series.
    copies : files left out because they hold instances that are there already.
    frames : frames of its only file that are meant, counted from 0; empty for all.
    """

    members: Members
    name: str = ""
    label: str = ""
    copies: tuple[Path, ...] = field(default=())
    frames: tuple[int, ...] = ()


def acquisitions(members: Members) -> list[Acquisition]:
    """Return the stacks that a series' images form: one, unless places are taken several times and a field says why.

    Parameters
    ----------
    members : files and headers of the images of one series.
    """
    at = {id(header): _place(header) for _, header in members}
    members, copies = _without_copies(members, at)
    places = [at[id(header)] for _, header in members]
    single = len(set(places)) == len(places)
    if None in places or (not single and _only_rounded(members)):
        return [Acquisition(members, copies=copies)]
    split = _interleaved(members) if single else _by_field(members) or _by_order(members)
    if split is None and single:
        return [Acquisition(members, copies=copies)]
    if split is None:
        members, more = _without_copies(members, at, under_any_uid=True)
        copies = tuple(sorted((*copies, *more)))
        split = _by_folder(members)
    if split is None:
        return [Acquisition(members, copies=copies)]
    keys, groups = split
    numbers_of = [_written(group[0][1], "AcquisitionNumber") for group in groups]
    by_number = all(numbers_of) and len(set(numbers_of)) == len(groups)
    names = numbers_of if by_number else [str(n) for n in range(1, len(groups) + 1)]
    return [
        Acquisition(group, name, _label(group, groups, keys), copies)
        for name, group in zip(names, groups, strict=True)
    ]


def one_of_each(members: Members) -> Acquisition:
    """Return all files of a series of multi-frame images, each instance once."""
    members, copies = _without_copies(members, {id(header): None for _, header in members})
    return Acquisition(members, copies=copies)


def _only_rounded(members: Members) -> bool:
    """Return whether images share places because positions were rounded to more than their step."""
    headers = [header for _, header in members]
    axes = np.array(numbers(headers[0], "ImageOrientationPatient", 6), np.float64).reshape(2, 3)
    normal = np.cross(axes[0], axes[1])
    heights = np.array([numbers(header, "ImagePositionPatient", 3) for header in headers]) @ normal
    rounding = rounding_along(normal, [half_units(header, "ImagePositionPatient", 3) for header in headers])
    numbered = [whole_number(header, "InstanceNumber") for header in headers]
    return order_by_number([thickness_mm(header) for header in headers], heights, rounding, numbered) is not None


def _place(header: Dataset) -> tuple | None:
    """Where an image lies, to 0.01 mm, and which way it is turned; None when its header does not say."""
    position = numbers(header, "ImagePositionPatient", 3)
    turn = numbers(header, "ImageOrientationPatient", 6)
    if position is None or turn is None or len(position) != 3 or len(turn) != 6:
        return None
    rounded = [tuple(round(value, 2) for value in values) for values in (position, turn)]
    return *rounded, number(header, "Rows"), number(header, "Columns")


def _without_copies(
    members: Members, places: Mapping[int, tuple | None], under_any_uid: bool = False
) -> tuple[Members, tuple[Path, ...]]:
    """The members without those that hold an instance which another holds too, and the files left out.

    Some anonymizers give every slice the same instance UID: only what also lies at the same place is compared,
    and only what holds the same pixels is a copy; ``under_any_uid`` also when it got a new instance UID.
    ``places`` are those of the headers, by their identity.
    """
    seen: dict[tuple, list[tuple[Path, Dataset]]] = defaultdict(list)
    copies = []
    for path, header in sorted(members, key=lambda member: (len(member[0].name), member[0])):
        uid = text(header, "SOPInstanceUID")
        place = places[id(header)]
        key = ("" if under_any_uid else uid, place)
        others = seen[key] if (place if under_any_uid else uid) else []
        if any(_same_image(path, other) for other, _ in others):
            copies.append(path)
        else:
            others.append((path, header))
    left_out = set(copies)
    return [member for member in members if member[0] not in left_out], tuple(sorted(copies))


def _same_image(one: Path, other: Path) -> bool:
    if filecmp.cmp(one, other, shallow=False):
        return True
    try:
        with quiet_pydicom():
            images = [pydicom.dcmread(path, force=True) for path in (one, other)]
        shapes = [(int(image.Rows), int(image.Columns)) for image in images]
        first, second = (stored_pixels(i, p.name, s) for i, p, s in zip(images, (one, other), shapes, strict=True))
    except (UnreadableFileError, *DAMAGE, TypeError):
        return False
    rescales = [(number(image, "RescaleSlope"), number(image, "RescaleIntercept")) for image in images]
    return shapes[0] == shapes[1] and rescales[0] == rescales[1] and bool(np.array_equal(first, second))


def _written(header: Dataset, keyword: str) -> str:
    value = header.get(keyword)
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value).strip()
    try:
        return "\\".join(str(v) for v in value)
    except TypeError:
        return str(value)


def _by_field(members: Members) -> tuple[tuple[str, ...], list[Members]] | None:
    """The first field, or pair of fields, whose values divide the images into stacks without doubles."""
    written = {key: [_written(header, key) for _, header in members] for key in NAMES}
    telling = [key for key in NAMES if len(set(written[key])) > 1]
    places = [_place(header) for _, header in members]
    for keys in (*((key,) for key in telling), *combinations(telling, 2)):
        values = list(zip(*(written[key] for key in keys), strict=True))
        n_groups = len(set(values))
        if n_groups > len(members) / 2 or len(set(zip(values, places, strict=True))) < len(members):
            continue
        indexed = dict(zip((id(header) for _, header in members), values, strict=True))
        groups = _grouped(members, lambda header, indexed=indexed: indexed[id(header)])  # type: ignore[misc]
        if not set(keys).isdisjoint(RARER) and len(groups) > max(Counter(places).values()):
            continue  # a field that varies within a stack
        if set(keys).isdisjoint({*TIMES, *RARER}) or _at_the_same_places(groups):
            return keys, groups
    return None


def _by_folder(members: Members) -> tuple[tuple[str, ...], list[Members]] | None:
    """Stacks that nothing but their folders tells apart."""
    groups: dict[Path, Members] = defaultdict(list)
    for member in members:
        groups[member[0].parent].append(member)
    found = [groups[folder] for folder in sorted(groups)]
    apart = len(found) > 1 and all(_no_doubles(group) for group in found) and _at_the_same_places(found)
    return ((FOLDER,), found) if apart and len({folder.name for folder in groups}) == len(found) else None


def _interleaved(members: Members) -> tuple[tuple[str, ...], list[Members]] | None:
    """Stacks that lie in each other without a place in common, as a second phase does that began half a step on.

    Together they would be one even stack of alternating phases.
    """
    axes = np.array(numbers(members[0][1], "ImageOrientationPatient", 6), np.float64).reshape(2, 3)
    normal = np.cross(axes[0], axes[1])
    for key in TELLING:
        groups = _grouped(members, lambda header, key=key: (_written(header, key),))  # type: ignore[misc]
        sizes = [len(group) for group in groups]
        if len(groups) < 2 or min(sizes) < max(LEAST_PHASE, max(sizes) / 2):
            continue
        heights = [
            np.array([numbers(header, "ImagePositionPatient", 3) for _, header in group]) @ normal for group in groups
        ]
        low, high = max(h.min() for h in heights), min(h.max() for h in heights)
        if high - low > 0.5 * min(np.ptp(h) for h in heights):
            return (key,), groups
    return None


def _grouped(members: Members, key: Callable[[Dataset], tuple]) -> list[Members]:
    groups: dict[tuple, Members] = defaultdict(list)
    for member in members:
        groups[key(member[1])].append(member)
    return [groups[value] for value in sorted(groups, key=lambda value: [_number_first(part) for part in value])]


def _number_first(part: str) -> tuple[float, str]:
    try:
        return float(part), part
    except ValueError:
        return float("inf"), part


def _no_doubles(group: Members) -> bool:
    return len({_place(header) for _, header in group}) == len(group)


def _by_order(members: Members) -> tuple[tuple[str, ...], list[Members]] | None:
    """Stacks that were numbered one after the other: a new one begins where a place is taken again."""
    for key in ("InstanceNumber", *TIMES):
        if all(number(header, key) is not None for _, header in members):
            groups = _in_order(sorted(members, key=lambda member: number(member[1], key) or 0.0))
            values = [[number(header, key) or 0.0 for _, header in group] for group in groups or ()]
            if groups and all(one[-1] < other[0] for one, other in pairwise(values)):
                return ((key,) if key in TIMES else ()), groups
    groups = _in_turn(members)
    return None if groups is None else ((), groups)


def _in_order(ordered: Members) -> list[Members] | None:
    """What lies before and after a place is taken again; None where that gives no stacks of like size."""
    groups: list[Members] = [[]]
    taken: set = set()
    for member in ordered:
        place = _place(member[1])
        if place in taken:
            groups.append([])
            taken = set()
        taken.add(place)
        groups[-1].append(member)
    sizes = sorted(len(group) for group in groups)
    return groups if len(groups) > 1 and _at_the_same_places(groups) and sizes[0] >= max(2, sizes[-1] / 2) else None


def _at_the_same_places(groups: Sequence[Members]) -> bool:
    """Whether at least half of each group's places are those of the first, too."""
    places = [{_place(header) for _, header in group} for group in groups]
    return all(2 * len(places[0] & other) >= min(len(places[0]), len(other)) for other in places[1:])


def _in_turn(members: Members) -> list[Members] | None:
    """Stacks whose images were numbered in turn, as 1, 3, 5 … and 2, 4, 6 …; None where they were not."""
    order = [int(n) for n in (number(header, "InstanceNumber") for _, header in members) if n is not None]
    taken = Counter(_place(header) for _, header in members)
    n = max(taken.values())
    if len(set(order)) < len(members) or set(taken.values()) != {n}:
        return None
    groups: dict[int, Members] = defaultdict(list)
    for rank, member in zip(order, members, strict=True):
        groups[rank % n].append(member)
    found = [groups[k] for k in sorted(groups, key=lambda k: min(o for o in order if o % n == k))]
    return found if len(found) == n and all(_no_doubles(group) for group in found) else None


def _label(group: Members, groups: Sequence[Members], keys: tuple[str, ...]) -> str:
    """Number, time and whatever else tells a stack from the others of its series."""
    first = group[0][1]
    words = []
    for key, name in NAMES.items():
        value = _written(first, key)
        constant = key in TIMES or all(_written(header, key) == value for _, header in group)
        telling = {_written(other[0][1], key) for other in groups} != {value}
        if value and (key in keys or key == "AcquisitionNumber" or (constant and telling) or key == "AcquisitionTime"):
            words.append(name.format(_clock(value) if key in CLOCKS else value.replace("\\", "/")))
    if FOLDER in keys:
        words.append(f"in the folder {group[0][0].parent.name[:40]}")
    if not keys:
        of = [number(header, "InstanceNumber") for _, header in group]
        known = [int(n) for n in of if n is not None]
        every = len(known) > 1 and 2 * (max(known) - min(known)) > 3 * (len(known) - 1)
        each = f", each {(max(known) - min(known)) // (len(known) - 1)}." if every else ""
        words.append(f"images {min(known)} to {max(known)}{each}" if known else "in the order of their names")
    return ", ".join(words[:5])


def _clock(value: str) -> str:
    """``"120500"`` → ``"12:05:00"``, of the last six digits before a fraction."""
    digits = value.partition(".")[0].partition("+")[0][-6:]
    return f"{digits[:2]}:{digits[2:4]}:{digits[4:6]}" if digits.isdigit() and len(digits) == 6 else value
