"""From slices that each know their place to one regular grid, or to the reason why there is none.

A DICOM slice carries the LPS position of its first pixel, two direction cosines and its pixel spacing. Nothing
says that the slices of a series are parallel, evenly spaced or complete, and the instance number says
nothing about place. So slices are sorted along their common normal, and every assumption that an affine map makes
is checked before one is formed: a stack that breaks one is refused with a sentence on where and by how much.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from KLIPCore.errors import GeometryError
from KLIPCore.io.fields import half_units, has_decimal_comma, number, numbers, text, thickness_mm, whole_number
from KLIPCore.io.rounded_positions import STEP_TOLERANCE, fitted_step, order_by_number, rounding_along, stated_step
from KLIPCore.volume.grid import Grid

DIRECTION_TOLERANCE = 1e-3
"""Largest deviation of direction cosines between slices, and from orthonormality: scanners write six digits
or fewer.
"""
SAME_PLACE_MM = 1e-2
"""Slices nearer than this are doubles: no CT reconstructs at steps this small."""
LATERAL_TOLERANCE_PIXELS = 0.1
"""How far, over the whole stack, slices may wander off the normal before that counts as gantry tilt."""
RIGHT_ANGLE = 1e-4
"""A k step further off the normal than this (part of its length) is laid onto it: no file format keeps a shear."""
ROUNDED_STEP_TOLERANCE = 0.25
"""The same where the decimals that positions are written with explain it: far below half a step, so no gap passes."""
ROUNDED_DIRECTION = 0.025
"""Deviation of direction cosines from right angles that two decimals explain."""
LEAST_STACK, STACK_TO_STRAYS, STACK_TO_ALL_STRAYS = 3, 4, 2
"""A stack has so many slices at least, and so many for each image of one kind, or of any, that is left out beside it.
"""

REGULARIZE = (
    "Resample the study to a regular grid first, e.g. in 3D Slicer with “Acquisition geometry regularization” on "
    "DICOM import, and save it as NRRD."
)


@dataclass(frozen=True, eq=False)
class Plane:
    """Where one slice lies.

    Attributes
    ----------
    label : what to call the slice in a message: its file's name, or its frame.
    shape : (rows, columns).
    position : (3,) LPS mm of the centre of pixel (0, 0).
    along_row, along_column : (3,) unit LPS vectors of increasing column index i, and of increasing row index j.
    spacing : (2,) mm between rows (step of j) and between columns (step of i).
    thickness : mm between slices by the header's word; None when absent.
    frame_uid : frame of reference UID.
    tilt_deg : gantry tilt by the header's word, None when absent.
    rounding_mm : (3,) half a unit of the last decimal of each number of the position; 0 when not known.
    rounding : the same for direction cosines that are not exactly along an axis.
    oddities : what was unusual about the header, one sentence each.
    number : instance number; None when absent.
    """

    label: str
    shape: tuple[int, int]
    position: NDArray[np.float64]
    along_row: NDArray[np.float64]
    along_column: NDArray[np.float64]
    spacing: NDArray[np.float64]
    thickness: float | None = None
    frame_uid: str = ""
    tilt_deg: float | None = None
    rounding_mm: tuple[float, ...] = (0.0, 0.0, 0.0)
    rounding: float = 0.0
    oddities: tuple[str, ...] = field(default=())
    number: int | None = None

    @classmethod
    def of_header(cls, header: Dataset, label: str) -> Plane:
        """Return the plane that a slice's header (or a frame's flattened functional groups) describes.

        Raises
        ------
        GeometryError : position, orientation or spacing is missing or is no number.
        """
        values: dict[str, NDArray[np.float64]] = {}
        for keyword, n in PLACE.items():
            found = numbers(header, keyword, n)
            if found is None or len(found) != n:
                problem = f"{label} has no usable {keyword}: its place in the patient is unknown."
                raise GeometryError(problem, "Export the original axial series.")
            values[keyword] = np.array(found, np.float64)
        axes = values["ImageOrientationPatient"].reshape(2, 3).T
        spacing = values["PixelSpacing"]
        skew = np.abs(axes.T @ axes - np.eye(2)).max()
        if skew > ROUNDED_DIRECTION or (spacing <= 0).any():
            problem = f"The orientation or pixel spacing of {label} is not one of square axes."
            raise GeometryError(problem, "Export the original axial series.")
        oddities = []
        if any(has_decimal_comma(header, keyword) for keyword in PLACE):
            oddities.append("Numbers in the headers are written with a decimal comma and are read so.")
        if skew > DIRECTION_TOLERANCE:
            u, _, vh = np.linalg.svd(axes, full_matrices=False)
            axes = u @ vh
            oddities.append(
                "The slices' orientation is not at right angles, as if rounded; the nearest that is, is taken."
            )
        along_an_axis = np.isin(np.abs(axes), (0.0, 1.0)).all()
        return cls(
            label,
            (int(values["Rows"][0]), int(values["Columns"][0])),
            values["ImagePositionPatient"],
            axes[:, 0],
            axes[:, 1],
            spacing,
            thickness_mm(header),
            text(header, "FrameOfReferenceUID"),
            number(header, "GantryDetectorTilt"),
            tuple(half_units(header, "ImagePositionPatient", 3)),
            0.0 if along_an_axis else min(half_units(header, "ImageOrientationPatient", 6)),
            tuple(oddities),
            whole_number(header, "InstanceNumber"),
        )


PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2, "Rows": 1, "Columns": 1}
"""Fields that place a slice, and how many numbers each has."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order, and what had to be assumed about them.

    Attributes
    ----------
    order : indices of the slices with increasing position along row × column.
    grid : k along that order, j along columns, i along rows.
    notes : one sentence each.
    """

    order: list[int]
    grid: Grid
    notes: list[str]


def main_stack(planes: Sequence[Plane]) -> tuple[list[int], list[int]]:
    """Return indices of the slices that form one large stack, and of the few images beside it.

    Localizers do not always call themselves so. An image that is turned otherwise than the stack, or that differs both
    in size and in pixel spacing, is none of its slices; one that differs in pixel spacing alone, as the images that
    wait for a contrast medium do, is none if the others are complete without it, and not with it. Where there is no
    one large stack, all belong to it, and :func:`stack` says what is wrong.
    """
    kinds: dict[int, list[int]] = defaultdict(list)
    examples: list[Plane] = []
    for index, plane in enumerate(planes):
        kind = next((n for n, other in enumerate(examples) if not _foreign(plane, other)), len(examples))
        if kind == len(examples):
            examples.append(plane)
        kinds[kind].append(index)
    large = max(kinds.values(), key=len)
    strays = sorted(set(range(len(planes))) - set(large))
    most = max((len(kind) for kind in kinds.values() if kind is not large), default=0)
    if len(large) < max(LEAST_STACK, STACK_TO_STRAYS * most, STACK_TO_ALL_STRAYS * len(strays)):
        return list(range(len(planes))), []
    closer = [i for i in large if not _resized(planes[i], planes[large[0]])]
    others = [i for i in large if i not in set(closer)]
    if len(others) > len(closer):
        closer, others = others, closer
    if others and len(closer) >= max(LEAST_STACK, STACK_TO_STRAYS * len(others)):
        alike = [replace(planes[i], spacing=planes[closer[0]].spacing) for i in large]  # were their spacing a mistake
        if _complete([planes[i] for i in closer]) and not _complete(alike):
            return closer, sorted([*strays, *others])
    return large, strays


def _complete(planes: Sequence[Plane]) -> bool:
    try:
        stack(planes)
    except GeometryError:
        return False
    return True


def _turn(one: Plane, other: Plane) -> float:
    turned = (one.along_row - other.along_row, one.along_column - other.along_column)
    return float(max(np.abs(turned[0]).max(), np.abs(turned[1]).max()))


def _foreign(one: Plane, other: Plane) -> bool:
    if _turn(one, other) > 0.1:
        return True
    return one.shape != other.shape and _resized(one, other)


def _resized(one: Plane, other: Plane) -> bool:
    return not np.allclose(one.spacing, other.spacing, rtol=0.01, atol=0)


def stack(planes: Sequence[Plane]) -> Stack:
    """Return the order of slices along their normal, and the grid they form.

    The k step is (last − first) / (n − 1); where positions are so rounded that it would not fit the even grid, the
    header's slice spacing if all positions agree with it, else the best fit.

    Parameters
    ----------
    planes : the slices in any order.

    Raises
    ------
    GeometryError : mixed sizes, orientations or spacings; doubles; gantry tilt; missing or uneven slices.
    """
    _check_alike(planes)
    notes = [said for said, _ in Counter(o for p in planes for o in p.oddities).items()]
    notes += _frames(planes)
    first = planes[0]
    normal = np.cross(first.along_row, first.along_column)
    normal /= np.linalg.norm(normal)
    heights = np.array([p.position @ normal for p in planes])
    rounding = rounding_along(normal, [p.rounding_mm for p in planes])
    by_number = order_by_number([p.thickness for p in planes], heights, rounding, [p.number for p in planes])
    order = by_number[0] if by_number else [int(i) for i in np.argsort(heights, kind="stable")]
    planes, heights = [planes[i] for i in order], heights[order]
    stated = [p.thickness for p in planes]
    if len(planes) == 1:
        if first.thickness is None:
            raise GeometryError("A single slice without a slice thickness is not a volume.", "Give a whole CT series.")
        step = normal * first.thickness
    elif by_number:
        notes += _check_line(planes, heights, normal)
        step = normal * by_number[1]
        notes.append(
            f"The slices' positions are rounded to more than their step; in the order of their numbers they fit steps "
            f"of {by_number[1]:.4g} mm, which are taken."
        )
    else:
        steps = np.diff(heights)
        _check_doubles(planes, heights, steps)
        notes += _check_line(planes, heights, normal)
        _check_spacing(planes, heights, steps, rounding)
        step = (planes[-1].position - planes[0].position) / (len(planes) - 1)
        along = normal * (step @ normal)
        fitted = fitted_step(stated, heights, rounding)
        if fitted is not None:
            step = normal * fitted
            notes.append(f"The slices' positions are rounded; they fit steps of {fitted:.4g} mm, which are taken.")
        elif np.abs(step - along).max() > RIGHT_ANGLE * np.linalg.norm(step):  # a few slices with rounded positions
            step = along
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([step, first.along_column * first.spacing[0], first.along_row * first.spacing[1]])
    affine[:3, 3] = planes[0].position
    return Stack(order, Grid((len(planes), *first.shape), affine, _frame_uid(planes)), notes)


def _frame_uid(planes: Sequence[Plane]) -> str:
    uids = {p.frame_uid for p in planes if p.frame_uid}
    return uids.pop() if len(uids) == 1 else ""


def _frames(planes: Sequence[Plane]) -> list[str]:
    """A note where anonymization gave each slice a frame of reference of its own, or took it from some.

    Raises
    ------
    GeometryError : the slices fall into several frames of reference: they are of several acquisitions.
    """
    uids = Counter(p.frame_uid for p in planes)
    if len(uids) == 1:
        return []
    stated = [uid for uid in uids if uid]
    if len(stated) == 1:
        return [f"{uids['']} slices name no frame of reference; they are taken to share that of the others."]
    if len(uids) == len(planes) >= LEAST_STACK:
        return [
            "Each slice names a frame of reference of its own, as after anonymization; they are taken to share one."
        ]
    first = planes[0]
    other = next(p for p in planes if p.frame_uid != first.frame_uid)
    raise GeometryError(
        f"{first.label} and {other.label} do not share a frame of reference ({len(stated)} frames in {len(planes)} "
        "slices).",
        "Give the slices of one frame of reference: move the others into another folder.",
    )


def _check_alike(planes: Sequence[Plane]) -> None:
    first = planes[0]
    remedy = "Give the slices of one acquisition: move the others into another folder."
    for other in planes[1:]:
        if other.shape != first.shape:
            raise GeometryError(
                f"Slices differ in size: {first.label} has {first.shape[0]}x{first.shape[1]} pixels, {other.label} "
                f"{other.shape[0]}x{other.shape[1]}.",
                remedy,
            )
        if _turn(first, other) > DIRECTION_TOLERANCE:
            raise GeometryError(f"Slices differ in orientation ({first.label} and {other.label}).", remedy)
        if not np.allclose(other.spacing, first.spacing, rtol=1e-4, atol=0):
            raise GeometryError(
                f"Slices differ in pixel spacing: {first.spacing} mm in {first.label}, {other.spacing} mm in "
                f"{other.label}.",
                remedy,
            )


def _check_doubles(planes: Sequence[Plane], heights: NDArray[np.float64], steps: NDArray[np.float64]) -> None:
    doubles = np.flatnonzero(steps < SAME_PLACE_MM)
    if len(doubles):
        at = int(doubles[0])
        raise GeometryError(
            f"{len(doubles)} slices are duplicates: they share their position with another, first "
            f"{planes[at].label} and {planes[at + 1].label}"
            f" at {heights[at]:.2f} mm.",
            "Keep one slice for each position; several phases or reconstructions in one series must be separated.",
        )


def _check_line(planes: Sequence[Plane], heights: NDArray[np.float64], normal: NDArray[np.float64]) -> list[str]:
    """Raise where slices do not lie above each other: the gantry was tilted, or the table moved sideways."""
    positions = np.array([p.position for p in planes])
    rise = heights - heights[0]
    off = positions - positions[0] - np.outer(rise, normal)
    wander = np.linalg.norm(off, axis=1)
    rounding_mm = min(*(min(p.rounding_mm) for p in planes), 0.05)
    explained = np.sqrt(3) * (2 * rounding_mm + min(p.rounding for p in planes) * rise)
    allowed = np.maximum(LATERAL_TOLERANCE_PIXELS * planes[0].spacing.min(), explained)
    if (wander > allowed).any():
        lean = off.T @ rise / (rise @ rise)
        travel = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        if np.linalg.norm(off - np.outer(rise, lean), axis=1).max() > max(allowed.min(), 0.05 * wander.max()):
            raise _moved(planes, off)
        angle = np.degrees(np.arctan(np.linalg.norm(lean)))
        by_header = f" (header: {planes[0].tilt_deg:+.1f}°)" if planes[0].tilt_deg else ""
        uneven = ""
        if np.ptp(travel) > STEP_TOLERANCE * travel.min():
            uneven = f" The table moved unevenly too: {travel.min():.2f} to {travel.max():.2f} mm."
        problem = (
            f"The gantry was tilted by {angle:.1f}°{by_header}: slices are stacked askew of their normal.{uneven}"
        )
        raise GeometryError(problem, REGULARIZE)
    if not planes[0].tilt_deg:
        return []
    named = f"The header names a gantry tilt of {planes[0].tilt_deg:+.1f}°, but the slice positions show none"
    return [f"{named}; positions are trusted."]


def _moved(planes: Sequence[Plane], off: NDArray[np.float64]) -> GeometryError:
    """The error for slices that are shifted within their plane: where, and by how much."""
    jumps = np.linalg.norm(np.diff(off, axis=0), axis=1)
    at = int(jumps.argmax())
    several = int((jumps > 0.5 * jumps.max()).sum())
    more = f" and in {several - 1} more places" if several > 1 else ""
    return GeometryError(
        f"The table or the patient's picture moved sideways by {jumps[at]:.2f} mm between {planes[at].label} and"
        f" {planes[at + 1].label}{more}: the slices do not lie above each other.",
        "Give the slices on one side of that place, or resample the study to a regular grid first and save it as "
        "NRRD.",
    )


def _check_spacing(
    planes: Sequence[Plane], heights: NDArray[np.float64], steps: NDArray[np.float64], rounding: float
) -> None:
    n = len(heights)
    mean = (heights[-1] - heights[0]) / (n - 1)
    even = heights[0] + mean * np.arange(n)
    if np.abs(heights - even).max() <= STEP_TOLERANCE * mean:
        return
    by_header = stated_step([p.thickness for p in planes], heights, rounding)
    if by_header is not None and 2.02 * rounding < by_header:  # a missing slice would be off by more
        return
    step = fitted_step([p.thickness for p in planes], heights, rounding) or mean
    if np.ptp(heights - step * np.arange(n)) <= min(2.3 * rounding, 2 * ROUNDED_STEP_TOLERANCE * mean):
        return  # each position, rounded as it is, can be that of an even grid
    multiples = np.rint(steps / np.median(steps[steps < 1.5 * steps.min()]))
    base = float(steps.sum() / multiples.sum())
    slack = min(2 * rounding, ROUNDED_STEP_TOLERANCE * base)
    near = np.abs(steps - multiples * base) <= np.maximum(STEP_TOLERANCE * multiples * base, slack)
    if near.all() and (multiples > 1).any():
        gaps = [
            f"{int(multiples[g]) - 1} between {heights[g]:.2f} and {heights[g + 1]:.2f} mm ({planes[g].label} and "
            f"{planes[g + 1].label})"
            for g in map(int, np.flatnonzero(multiples > 1))
        ]
        more = f", and {len(gaps) - 3} more gaps" if len(gaps) > 3 else ""
        raise GeometryError(
            f"{int((multiples - 1).sum())} slices are missing (step {base:.2f} mm): {', '.join(gaps[:3])}{more}.",
            "Export or copy the whole series again; if the slices are lost, keep only those on one side of the gap.",
        )
    raise GeometryError(
        f"The slices are unevenly spaced: {steps.min():.2f} to {steps.max():.2f} mm, mostly {np.median(steps):.2f} "
        "mm.",
        REGULARIZE,
    )
