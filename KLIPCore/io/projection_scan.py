"""The projections of a scan → fan-beam sinograms of single slices.

axial       each turn of the source gives the slice in its own plane, from the detector rows at the middle
helical     each slice is rebinned from the turn around it (:mod:`KLIPCore.io.rebinning`): a full turn where the
            detector is tall enough for the pitch, else half a turn and the fan

Nothing is resampled in the fan: a cylindrical or spherical detector is an equiangular fan, a flat one an equidistant
fan. With φ and z of the format (:mod:`KLIPCore.io.projection_header`), a patient who lies supine, head first, has x to
the left along increasing columns and z to the head, and a source at φ is at the view angle θ = −φ of
:mod:`KLIPCore.volume.geometry`. Feet first, x and z turn round; prone, x and y.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pydicom
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError, IntensityError, UnreadableFileError
from KLIPCore.io.fields import AGAIN, DAMAGE, number, quiet_pydicom
from KLIPCore.io.line_integrals import check_unit
from KLIPCore.io.opposite_rays import misplaced_columns
from KLIPCore.io.pixels import stored_pixels
from KLIPCore.io.projection_header import REBIN, Scanner, View
from KLIPCore.io.rebinning import fan_angles, fan_view, seen
from KLIPCore.volume.geometry import FanBeam

SAID = "Export the projections with the TypeofProjectionData that they are of."
STANDS_MM = 0.01
"""A table that moves less in a turn does not."""
DOUBTED = 0.3
"""Columns by which the fan's middle may lie elsewhere without a word."""
AT_ONCE = 16
"""Slices that are rebinned together; their sinograms are held in memory."""


@dataclass(frozen=True, eq=False)
class FanSlice:
    """One slice of a scan, as a fan beam would have measured it.

    Attributes
    ----------
    sinogram : (n_views, n_detectors) float32 line integrals.
    geometry : the rays, in patient coordinates (LPS).
    z_mm : where the slice lies, to Superior.
    """

    sinogram: NDArray[np.float32]
    geometry: FanBeam
    z_mm: float


@dataclass(frozen=True)
class _Place:
    """A slice that can be had: its z along the table, and the views that see it, first to last + 1."""

    z_mm: float
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class ProjectionScan:
    """The projections of a scan, in the order in which they were measured.

    Attributes
    ----------
    views : their headers.
    phi_rad : (n_views,) angle of the source, unwrapped within each turn of an axial scan and throughout a helical one.
    z_mm : (n_views,) places of the source along the table.
    notes : what was assumed, one sentence each.
    """

    views: tuple[View, ...]
    phi_rad: NDArray[np.float64]
    z_mm: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @property
    def scanner(self) -> Scanner:
        """What all projections share."""
        return self.views[0].scanner

    def positions(self, every_mm: float = 3.0) -> NDArray[np.float64]:
        """Return where slices can be had, in mm to Superior, from the feet.

        Parameters
        ----------
        every_mm : distance of slices of a helical scan; an axial one has a slice for each place of the table.

        Raises
        ------
        GeometryError : not a single slice was measured fully, or the pitch is too large for the detector.
        """
        if self.scanner.helical:
            first, last = sorted(self._helical_range())
            found = np.arange(first, last + 1e-9, every_mm)
            found += (last - found[-1]) / 2
        else:
            found = np.array([self.z_mm[start] for start, _ in self._turns()])
        return np.sort(self._head * found)

    def slices(self, z_mm: Sequence[float]) -> Iterator[FanSlice]:
        """Yield slices, in the order asked for.

        Parameters
        ----------
        z_mm : of :meth:`positions`, or between two of a helical scan.

        Raises
        ------
        GeometryError : outside of what was measured.
        UnreadableFileError : the pixels of a projection are damaged.
        IntensityError : they are no line integrals.
        """
        places = [self._place(self._head * z) for z in z_mm]
        for start in range(0, len(places), AT_ONCE):
            yield from self._rebinned(places[start : start + AT_ONCE])

    def with_centre(self, column: float) -> ProjectionScan:
        """Return the same scan with another column, from 1, for the ray through the isocentre.

        Raises
        ------
        GeometryError : the detector has no such column.
        """
        if not 1 <= column <= self.scanner.columns:
            raise GeometryError(
                f"The detector has no column {column:g}.", f"Choose one from 1 to {self.scanner.columns}."
            )
        scanner = replace(self.scanner, centre=(column, self.scanner.centre[1]))
        return replace(self, views=tuple(replace(view, scanner=scanner) for view in self.views))

    def doubt(self, found: FanSlice) -> str:
        """Return a sentence where a slice's opposite rays put the fan's middle elsewhere than the file; else none.

        Parameters
        ----------
        found : of :meth:`slices`.
        """
        moved = misplaced_columns(found.sinogram, found.geometry)
        if moved is None or abs(moved) < DOUBTED:
            return ""
        told = self.scanner.centre[0]
        return (
            f"The file puts the central ray at column {told:g}; opposite rays agree best at "
            f"{told + self._head * moved:.2f} (klip reconstruct --centre)."
        )

    @property
    def _head(self) -> int:
        """The patient's direction to the head along the table's z."""
        return -1 if self.scanner.patient_position.startswith("FF") else 1

    def _turns(self) -> list[tuple[int, int]]:
        """First and last + 1 view of each turn of an axial scan.

        Raises
        ------
        GeometryError : one is too short for a slice.
        """
        scanner = self.scanner
        starts = [0, *(np.flatnonzero(np.abs(np.diff(self.z_mm)) > row_mm(scanner) / 2) + 1), len(self.views)]
        turns = []
        for start, stop in pairwise(starts):
            if stop - start < _least_views(scanner):
                raise GeometryError(
                    f"At the table's place {self.z_mm[start]:g} mm, {stop - start} projections of "
                    f"{scanner.views_per_turn} a turn were measured, and a slice needs {_least_views(scanner)}.",
                    "Give the whole scan; one whose table moves is helical, and says so in TypeofProjectionData.",
                )
            stop = min(stop, start + scanner.views_per_turn)
            if np.ptp(self.z_mm[start:stop]) > row_mm(scanner) / 2:
                raise GeometryError(
                    "The table moves while the source turns, and the scan is said to be axial.", f"{SAID} {REBIN}"
                )
            turns.append((int(start), int(stop)))
        return turns

    def _helix(self) -> tuple[float, float, int]:
        """z at the first view, z per view, and views of one slice.

        Raises
        ------
        GeometryError : the table moves unevenly, or too fast for the detector.
        """
        scanner, index = self.scanner, np.arange(len(self.views))
        per_view, first = (float(c) for c in np.polyfit(index, self.z_mm, 1))
        if abs(per_view) * scanner.views_per_turn < STANDS_MM:
            raise GeometryError("The table stands, and the scan is said to be helical.", f"{SAID} {REBIN}")
        stray = float(np.abs(first + per_view * index - self.z_mm).max())
        if stray > row_mm(scanner):
            raise GeometryError(
                f"The table leaves its even course by {stray:.2g} mm: the pitch changes during the scan.",
                f"Give a scan of one pitch. {REBIN}",
            )
        for n in (scanner.views_per_turn, _least_views(scanner)):
            reach = abs(per_view) * n / 2
            if seen(scanner, reach) and seen(scanner, -reach):
                return first, per_view, n
        raise GeometryError(
            f"The table moves {abs(per_view) * scanner.views_per_turn:.4g} mm in a turn, and the detector is "
            f"{row_mm(scanner) * scanner.rows:.4g} mm tall: no slice was seen from all sides.",
            f"Give a scan of a smaller pitch. {REBIN}",
        )

    def _helical_range(self) -> tuple[float, float]:
        """First and last z along the table at which a slice was seen from all sides.

        Raises
        ------
        GeometryError : there is none.
        """
        first, per_view, n = self._helix()
        if len(self.views) < n + 1:
            raise GeometryError(
                f"{len(self.views)} projections are there, and a slice of this scan needs {n + 1}.",
                "Give the whole scan.",
            )
        return first + per_view * n / 2, first + per_view * (len(self.views) - n / 2 - 0.5)

    def _place(self, z: float) -> _Place:
        if not self.scanner.helical:
            turns = self._turns()
            start, stop = min(turns, key=lambda turn: abs(self.z_mm[turn[0]] - z))
            if abs(self.z_mm[start] - z) > 0.01:
                raise GeometryError(
                    f"No turn was measured at {self._head * z:g} mm.",
                    f"Places: {', '.join(f'{self._head * self.z_mm[s]:g}' for s, _ in turns[:8])}.",
                )
            return _Place(float(self.z_mm[start]), start, stop)
        first, per_view, n = self._helix()
        low, high = sorted(self._helical_range())
        if not low - 1e-6 <= z <= high + 1e-6:
            ends = sorted((self._head * low, self._head * high))
            raise GeometryError(
                f"The slice at {self._head * z:g} mm was not seen from all sides.",
                f"Choose one from {ends[0]:g} to {ends[1]:g} mm.",
            )
        start = round((z - first) / per_view - n / 2)
        start = min(max(start, 0), len(self.views) - n)
        return _Place(z, start, start + n)

    def _rebinned(self, places: Sequence[_Place]) -> Iterator[FanSlice]:
        sinograms = [np.empty((p.stop - p.start, self.scanner.columns), np.float32) for p in places]
        for k in sorted({k for p in places for k in range(p.start, p.stop)}):
            picture = _picture(self.views[k])
            for place, sinogram in zip(places, sinograms, strict=True):
                if place.start <= k < place.stop:
                    sinogram[k - place.start] = fan_view(self.scanner, picture, place.z_mm - self.z_mm[k])
        for place, sinogram in zip(places, sinograms, strict=True):
            yield self._in_patient(place, sinogram)

    def _in_patient(self, place: _Place, sinogram: NDArray[np.float32]) -> FanSlice:
        geometry = fan_of(self.scanner, -self.phi_rad[place.start : place.stop])
        if self._head < 0:
            sinogram = np.ascontiguousarray(sinogram[:, ::-1])
            mirrored = tuple(-np.asarray(geometry.angles_rad))
            geometry = replace(geometry, angles_rad=mirrored, offset_mm=-geometry.offset_mm)
        turn = math.pi if self.scanner.patient_position.endswith("P") else 0.0
        angles = np.asarray(geometry.angles_rad) + turn
        angles -= 2 * math.pi * math.floor(float(angles.min()) / (2 * math.pi))
        if not np.isfinite(sinogram).all():
            raise IntensityError("The projections hold values that are not finite.", "Export them again.")
        check_unit(sinogram)
        return FanSlice(sinogram, replace(geometry, angles_rad=tuple(angles)), float(self._head * place.z_mm))


def fan_of(scanner: Scanner, angles_rad: NDArray[np.float64]) -> FanBeam:
    """Return the fan of a patient who lies supine, head first.

    Parameters
    ----------
    scanner : the geometry.
    angles_rad : (n_views,) view angles θ.

    Raises
    ------
    ConfigError : impossible distances, or a fan of half a turn.
    """
    return FanBeam(
        tuple(angles_rad),
        scanner.columns,
        pitch_mm=scanner.column_mm,
        offset_mm=((scanner.columns + 1) / 2 - scanner.centre[0]) * scanner.column_mm,
        source_origin_mm=scanner.source_origin_mm,
        source_detector_mm=scanner.source_detector_mm,
        equiangular=scanner.shape != "FLAT",
    )


def _least_views(scanner: Scanner) -> int:
    """Views of half a turn and the fan, which see every line once."""
    arc = math.pi + 2 * float(np.abs(fan_angles(scanner)).max())
    return min(math.ceil(arc / (2 * math.pi) * scanner.views_per_turn) + 1, scanner.views_per_turn)


def row_mm(scanner: Scanner) -> float:
    """Return the height of a detector row at the isocentre, in mm."""
    return scanner.row_mm * scanner.source_origin_mm / scanner.source_detector_mm


def _picture(view: View) -> NDArray[np.float64]:
    """(rows, columns) line integrals of one projection.

    Raises
    ------
    UnreadableFileError : its pixels are damaged, or their scale is missing.
    """
    scanner, name = view.scanner, view.file.name
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(view.file)
            slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
            stored = stored_pixels(dataset, name, scanner.stored)
    except (*DAMAGE, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise UnreadableFileError(f"{name} is damaged or cut short.", AGAIN) from error
    if not slope or intercept is None:
        raise UnreadableFileError(f"{name} lacks the scale of its values (RescaleSlope, RescaleIntercept).", AGAIN)
    values = stored.astype(np.float64) * slope + intercept
    return values if scanner.stored == (scanner.rows, scanner.columns) else values.T
