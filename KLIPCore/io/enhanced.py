"""The frames of an Enhanced CT file: one flat header each, and the stacks that they form.

One file may hold several stacks: phases at the same places, or regions with steps of their own. Like the acquisitions
under one series UID (:mod:`KLIPCore.io.acquisitions`) they are told apart and named, for a user to choose.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from KLIPCore.errors import GeometryError
from KLIPCore.io.acquisitions import Acquisition
from KLIPCore.io.fields import DAMAGE, STORED_TAGS, numbers, quiet_pydicom, text
from KLIPCore.io.stack import Plane, stack

GROUPS = (
    "FrameContentSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence",
    "CTReconstructionSequence",
    "CTXRayDetailsSequence",
    "TemporalPositionSequence",
    "CardiacSynchronizationSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
"""Functional groups that place a frame, give its values, or tell it from others at the same place."""
TOP = ("Rows", "Columns", "FrameOfReferenceUID", *STORED_TAGS)
TELLING = {
    "StackID": "stack {}",
    "TemporalPositionIndex": "temporal position {}",
    "TemporalPositionTimeOffset": "{} s after the first",
    "FrameAcquisitionNumber": "acquisition {}",
    "AcquisitionNumber": "acquisition {}",
    "NominalPercentageOfCardiacPhase": "{} % of the cardiac cycle",
    "FrameReferenceDateTime": "at {}",
    "FrameAcquisitionDateTime": "at {}",
    "FrameType": "{}",
    "KVP": "{} kV",
    "ConvolutionKernel": "kernel {}",
    "FrameLabel": "“{}”",
    "FrameComments": "“{}”",
}
"""Fields that tell stacks of one file apart, the surest first, and how they are written."""
NAME = re.compile(r"[\w.-]{1,16}")
"""A value that may be typed after a series' number and a slash."""


def frame_headers(dataset: Dataset) -> list[Dataset]:
    """Return one flat header a frame.

    The multi-frame functional groups (DICOM PS3.3, C.7.6.16), per frame over shared.

    Parameters
    ----------
    dataset : an Enhanced or Legacy Converted Enhanced CT image.
    """
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    headers = []
    for frame in dataset.get("PerFrameFunctionalGroupsSequence") or []:
        header = Dataset()
        for keyword in TOP:
            if keyword in dataset:
                header[keyword] = dataset[keyword]
        for name in GROUPS:
            items = frame.get(name) or shared[0].get(name)
            if items:
                header.update(items[0])
        headers.append(header)
    return headers


def stacks_of(series: Acquisition) -> list[Acquisition]:
    """Return the stacks of a series that is one Enhanced CT file: one, unless its frames form none together.

    What is damaged, or cannot be divided, is left for its reader to name.

    Parameters
    ----------
    series : the series, each instance once.
    """
    if len(series.members) != 1:
        return [series]
    path = series.members[0][0]
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            frames = frame_headers(dataset)
            split = _divided(frames, path)
            return [
                replace(series, name=name, label=label, frames=tuple(frames_of)) for name, label, frames_of in split
            ] or [series]
    except (*DAMAGE, TypeError, IndexError):
        return [series]


def _divided(frames: Sequence[Dataset], path: Path) -> list[tuple[str, str, list[int]]]:
    """Name, label and frames of each stack; none where frames are one stack, or nothing divides them into some."""
    if len(frames) < 2 or _form_a_stack(frames, range(len(frames)), path):
        return []
    for keyword, words in TELLING.items():
        groups: dict[str, list[int]] = defaultdict(list)
        for index, frame in enumerate(frames):
            groups[_written(frame, keyword)].append(index)
        if 1 < len(groups) <= len(frames) / 2 and all(_form_a_stack(frames, g, path) for g in groups.values()):
            named = all(NAME.fullmatch(value) for value in groups)
            return [
                (value if named else str(n), f"{words.format(value[:40])}{_range(frames, indices)}", indices)
                for n, (value, indices) in enumerate(groups.items(), 1)
            ]
    return _in_order(frames, path)


def _in_order(frames: Sequence[Dataset], path: Path) -> list[tuple[str, str, list[int]]]:
    """Stacks that nothing but the order of their frames tells apart, one after the other or in turn."""
    groups: list[list[int]] = []
    taken: Counter[tuple] = Counter()
    for index, frame in enumerate(frames):
        place = tuple(numbers(frame, "ImagePositionPatient", 3) or ())
        if taken[place] == len(groups):
            groups.append([])
        groups[taken[place]].append(index)
        taken[place] += 1
    if len(set(taken.values())) > 1 or len(groups[0]) < 2 or not all(_form_a_stack(frames, g, path) for g in groups):
        return []
    named = []
    for n, group in enumerate(groups, 1):
        follow = group[-1] - group[0] == len(group) - 1
        which = f"to {group[-1] + 1}" if follow else f"{group[1] + 1} … {group[-1] + 1}"
        named.append((str(n), f"frames {group[0] + 1} {which}{_range(frames, group)}", group))
    return named


def _written(frame: Dataset, keyword: str) -> str:
    value = frame.get(keyword)
    return text(frame, keyword) or ("" if value is None else str(value).strip())


def _form_a_stack(frames: Sequence[Dataset], indices: Sequence[int], path: Path) -> bool:
    try:
        stack([Plane.of_header(frames[k], f"frame {k + 1} of {path.name}") for k in indices])
    except GeometryError:
        return False
    return True


def _range(frames: Sequence[Dataset], indices: Sequence[int]) -> str:
    """Where a stack lies: the patient coordinate that changes most."""
    places = [numbers(frames[k], "ImagePositionPatient", 3) or (0.0, 0.0, 0.0) for k in indices]
    ends = [(min(p[axis] for p in places), max(p[axis] for p in places)) for axis in range(3)]
    axis = max(range(3), key=lambda k: ends[k][1] - ends[k][0])
    return f", {'xyz'[axis]} from {ends[axis][0]:g} to {ends[axis][1]:g} mm"
