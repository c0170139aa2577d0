"""From slices that each know their place to one regular grid, or to the reason why there is none.

A DICOM slice carries the LPS position of its first pixel, two direction cosines and its pixel spacing. Nothing
says that the slices of a series are parallel, evenly spaced or complete, and the instance number says
nothing about place. So slices are sorted along their common normal, and every assumption that an affine map makes
is checked before one is formed: a stack that breaks one is refused with a sentence on where and by how much.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from KLIPCore.errors import GeometryError
from KLIPCore.io.listing import DAMAGE, number, text
from KLIPCore.volume.grid import Grid

log = logging.getLogger(__name__)

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
STEP_TOLERANCE = 0.05
"""How far a slice may lie from its place on the even grid, as part of the step: positions rounded to 0.1 mm pass."""

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
    thickness : mm between slices by the header's word, used for a single slice only; None when absent.
    frame_uid : frame of reference UID.
    tilt_deg : gantry tilt by the header's word, None when absent.
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

    @classmethod
    def of_header(cls, header: Dataset, label: str) -> Plane:
        """The plane that a slice's header (or a frame's flattened functional groups) describes.

        Raises
        ------
        GeometryError : position, orientation or spacing is missing or is no number.
        """
        values: dict[str, NDArray[np.float64]] = {}
        for keyword, n in (
            ("ImagePositionPatient", 3),
            ("ImageOrientationPatient", 6),
            ("PixelSpacing", 2),
            ("Rows", 1),
            ("Columns", 1),
        ):
            try:
                values[keyword] = np.atleast_1d(np.array(header[keyword].value, np.float64))
            except (*DAMAGE, TypeError):
                values[keyword] = np.empty(0)
            if values[keyword].shape != (n,) or not np.isfinite(values[keyword]).all():
                raise GeometryError(
                    f"{label} has no usable {keyword}: its place in the patient is unknown.",
                    "Export the original axial series.",
                )
        row, column, spacing = (
            values["ImageOrientationPatient"][:3],
            values["ImageOrientationPatient"][3:],
            values["PixelSpacing"],
        )
        axes = np.column_stack([row, column])
        skew = np.abs(axes.T @ axes - np.eye(2)).max()
        if skew > DIRECTION_TOLERANCE or (spacing <= 0).any():
            raise GeometryError(
                f"The orientation or pixel spacing of {label} is not one of square axes.",
                "Export the original axial series.",
            )
        thickness = next(
            (t for t in (number(header, "SpacingBetweenSlices"), number(header, "SliceThickness")) if t), None
        )
        return cls(
            label,
            (int(values["Rows"][0]), int(values["Columns"][0])),
            values["ImagePositionPatient"],
            row,
            column,
            spacing,
            abs(thickness) if thickness else None,
            text(header, "FrameOfReferenceUID"),
            number(header, "GantryDetectorTilt"),
        )


def stack(planes: Sequence[Plane]) -> tuple[list[int], Grid]:
    """The order of slices along their normal, and the grid they form.

    Parameters
    ----------
    planes : the slices in any order.

    Returns
    -------
    order : indices into ``planes`` with increasing position along row × column.
    grid : k along that order, j along columns, i along rows; the k step is (last − first) / (n − 1).

    Raises
    ------
    GeometryError : mixed sizes, orientations or spacings; doubles; gantry tilt; missing or uneven slices.
    """
    _check_alike(planes)
    first = planes[0]
    normal = np.cross(first.along_row, first.along_column)
    normal /= np.linalg.norm(normal)
    heights = np.array([p.position @ normal for p in planes])
    order = [int(i) for i in np.argsort(heights, kind="stable")]
    planes, heights = [planes[i] for i in order], heights[order]
    if len(planes) == 1:
        if first.thickness is None:
            raise GeometryError("A single slice without a slice thickness is no volume.", "Give a whole CT series.")
        step = normal * first.thickness
    else:
        steps = np.diff(heights)
        _check_doubles(planes, heights, steps)
        _check_tilt(planes, heights, normal)
        _check_spacing(planes, heights, steps)
        step = (planes[-1].position - planes[0].position) / (len(planes) - 1)
        along = normal * (step @ normal)
        if np.abs(step - along).max() > RIGHT_ANGLE * np.linalg.norm(step):  # a few slices with rounded positions
            step = along
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([step, first.along_column * first.spacing[0], first.along_row * first.spacing[1]])
    affine[:3, 3] = planes[0].position
    return order, Grid((len(planes), *first.shape), affine, first.frame_uid)


def _check_alike(planes: Sequence[Plane]) -> None:
    first = planes[0]
    remedy = "Give one axial series of one acquisition: move the other slices away, or choose with --series."
    for other in planes[1:]:
        if other.shape != first.shape:
            raise GeometryError(
                f"Slices differ in size: {first.label} has {first.shape[0]}x{first.shape[1]} pixels, {other.label} "
                f"{other.shape[0]}x{other.shape[1]}.",
                remedy,
            )
        turn = max(
            np.abs(other.along_row - first.along_row).max(), np.abs(other.along_column - first.along_column).max()
        )
        if turn > DIRECTION_TOLERANCE:
            raise GeometryError(f"Slices differ in orientation ({first.label} and {other.label}).", remedy)
        if not np.allclose(other.spacing, first.spacing, rtol=1e-4, atol=0):
            raise GeometryError(
                f"Slices differ in pixel spacing: {first.spacing} mm in {first.label}, {other.spacing} mm in "
                f"{other.label}.",
                remedy,
            )
        if other.frame_uid != first.frame_uid:
            raise GeometryError(f"{first.label} and {other.label} do not share a frame of reference.", remedy)


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


def _check_tilt(planes: Sequence[Plane], heights: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    positions = np.array([p.position for p in planes])
    off = positions - positions[0] - np.outer(heights - heights[0], normal)
    wander = np.linalg.norm(off, axis=1)
    if wander.max() > LATERAL_TOLERANCE_PIXELS * planes[0].spacing.min():
        angle = np.degrees(np.arctan2(wander.max(), heights[int(wander.argmax())] - heights[0]))
        by_header = f" (header: {planes[0].tilt_deg:+.1f}°)" if planes[0].tilt_deg else ""
        travel = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        uneven = (
            f" The table moved unevenly too: {travel.min():.2f} to {travel.max():.2f} mm."
            if np.ptp(travel) > STEP_TOLERANCE * travel.min()
            else ""
        )
        raise GeometryError(
            f"The gantry was tilted by {angle:.1f}°{by_header}: slices are stacked askew of their normal.{uneven}",
            REGULARIZE,
        )
    if planes[0].tilt_deg:
        log.warning(
            "The header names a gantry tilt of %+.1f°, but the slice positions show none; positions are trusted.",
            planes[0].tilt_deg,
        )


def _check_spacing(planes: Sequence[Plane], heights: NDArray[np.float64], steps: NDArray[np.float64]) -> None:
    n = len(heights)
    even = heights[0] + (heights[-1] - heights[0]) * np.arange(n) / (n - 1)
    if np.abs(heights - even).max() <= STEP_TOLERANCE * (even[1] - even[0]):
        return
    multiples = np.rint(steps / steps.min())
    base = float(steps.sum() / multiples.sum())
    if (np.abs(steps - multiples * base) <= STEP_TOLERANCE * multiples * base).all() and (multiples > 1).any():
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
