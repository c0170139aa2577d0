"""The header of one DICOM-CT-PD file: where source and detector stood when a projection was measured.

DICOM-CT-PD (Chen et al. 2015) keeps each projection of a CT scan in one DICOM file, with the scanner's geometry in
private fields that no DICOM dictionary knows. Scanners' exports are often written so that these fields have no type
(``UN``); their types are those of the format's own dictionary, :data:`FIELDS`.

The format's coordinates are cylindrical and fixed to the patient's table: seen from the table's foot, looking into the
gantry, the angle φ is 0 at twelve o'clock and grows anticlockwise, and z points away from the observer. The *focal
centre* of the detector, (ρ₀, φ₀, z₀), is where the X-rays come from unless the focal spot flies. Columns and rows of
the detector count from 1; with the detector at six o'clock, column 1 is the leftmost and row 1 the farthest.

References
----------
Chen B. et al., Med. Phys. 42, 6964 (2015); DICOM-CT-PD User Manual, version 3 (2020); Moen T. R. et al., Med. Phys.
48, 902 (2021), table IV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from KLIPCore.errors import GeometryError, IntensityError, UnreadableFileError
from KLIPCore.io.fields import AGAIN, DAMAGE, number, quiet_pydicom, text

FIELDS: dict[str, tuple[int, str]] = {
    "NumberofDetectorRows": (0x70291010, "<u2"),
    "NumberofDetectorColumns": (0x70291011, "<u2"),
    "DetectorElementTransverseSpacing": (0x70291002, "<f4"),
    "DetectorElementAxialSpacing": (0x70291006, "<f4"),
    "DetectorShape": (0x7029100B, "text"),
    "DetectorFocalCenterAngularPosition": (0x70311001, "<f4"),
    "DetectorFocalCenterAxialPosition": (0x70311002, "<f4"),
    "DetectorFocalCenterRadialDistance": (0x70311003, "<f4"),
    "ConstantRadialDistance": (0x70311031, "<f4"),
    "DetectorCentralElement": (0x70311033, "<f4"),
    "SourceAngularPositionShift": (0x7033100B, "<f4"),
    "SourceAxialPositionShift": (0x7033100C, "<f4"),
    "SourceRadialDistanceShift": (0x7033100D, "<f4"),
    "FlyingFocalSpotMode": (0x7033100E, "text"),
    "NumberofSourceAngularSteps": (0x70331013, "<u2"),
    "SpectrumIndex": (0x70331063, "<u2"),
    "TypeofProjectionData": (0x70371009, "text"),
    "TypeofProjectionGeometry": (0x7037100A, "text"),
    "BeamHardeningCorrectionFlag": (0x70391003, "text"),
    "LogFlag": (0x70391009, "text"),
    "WaterAttenuationCoefficient": (0x70411001, "text"),
}
"""Tag and type of every private field that is read."""

PUBLIC = (
    *("SeriesInstanceUID", "InstanceNumber", "PatientPosition", "Rows", "Columns"),
    *("RescaleSlope", "RescaleIntercept"),
)
SHAPES = ("CYLINDRICAL", "SPHERICAL", "FLAT")
HELICAL, AXIAL = ("HELICAL", "SPIRAL"), ("AXIAL", "CIRCULAR")
STILL_MM = 0.05
"""A focal spot nearer than this to the detector's focal centre does not fly."""
WATER_PER_MM = (0.01, 0.06)
"""Attenuation of water at 20 to 300 keV lies between."""
REBIN = "Or rebin it to fan beams elsewhere and store these with KLIPCore.io.sinogram.write_sinogram."


@dataclass(frozen=True)
class Scanner:
    """What all projections of a scan share.

    Attributes
    ----------
    series_uid : of the DICOM series.
    patient_position : as DICOM names it, ``HFS``; empty where the file does not say.
    shape : of the detector, of :data:`SHAPES`.
    helical : whether the table moves while the source turns.
    hardening_corrected : whether beam hardening was undone before the export.
    spectrum : number of the tube, voltage or energy bin; 0 where there is one only.
    rows, columns : of the detector.
    views_per_turn : projections of a full turn.
    stored : rows and columns of the stored picture: (rows, columns), or transposed, as some exports are.
    column_mm, row_mm : widths of a detector element, measured on the detector.
    source_origin_mm, source_detector_mm : distances from the source to the isocentre, and to the central element.
    centre : column and row, from 1, that the ray through the isocentre meets.
    water_per_mm : attenuation of water; NaN where the file does not say.
    """

    series_uid: str
    patient_position: str
    shape: str
    helical: bool
    hardening_corrected: bool
    spectrum: int
    rows: int
    columns: int
    views_per_turn: int
    stored: tuple[int, int]
    column_mm: float
    row_mm: float
    source_origin_mm: float
    source_detector_mm: float
    centre: tuple[float, float]
    water_per_mm: float

    def like(self, other: Scanner) -> bool:
        """Return whether two projections can be of one scan."""
        mine, theirs = vars(self), vars(other)
        for name, value in mine.items():
            if isinstance(value, float) or name == "centre":
                if not np.allclose(value, theirs[name], rtol=1e-4, atol=0, equal_nan=True):
                    return False
            elif value != theirs[name]:
                return False
        return True


@dataclass(frozen=True)
class View:
    """One projection.

    Attributes
    ----------
    file : where it is stored.
    number : instance number: the order in which projections were measured.
    phi_rad, z_mm : φ₀ and z₀ of the focal centre.
    scanner : what it shares with the others.
    """

    file: Path
    number: int
    phi_rad: float
    z_mm: float
    scanner: Scanner


def read_view(file: Path) -> View:
    """Return what one file's header says; pixels are not read.

    Parameters
    ----------
    file : of a projection.

    Raises
    ------
    UnreadableFileError : no DICOM-CT-PD file, damaged, or a field is missing.
    GeometryError : another geometry than a single source opposite to a detector, or a focal spot that flies.
    IntensityError : counts in place of line integrals.
    """
    try:
        with quiet_pydicom():
            tags: list[Any] = [*PUBLIC, *(tag for tag, _ in FIELDS.values())]
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
            header.decode()
    except (*DAMAGE, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise UnreadableFileError(f"{file.name} is no DICOM file, damaged or cut short.", AGAIN) from error
    if not is_projection(header):
        raise UnreadableFileError(
            f"{file.name} is no projection of a DICOM-CT-PD scan.",
            "Keep the projections of one scan in a folder of their own.",
        )
    _check_kind(header, file)
    place = _number(header, file, "DetectorFocalCenterAngularPosition", -1e4, 1e4)
    z = _number(header, file, "DetectorFocalCenterAxialPosition", -1e5, 1e5)
    counted = number(header, "InstanceNumber")
    if counted is None:
        raise _missing(file, "InstanceNumber")
    return View(file, int(counted), place, z, _scanner(header, file))


def is_projection(header: Dataset) -> bool:
    """Return whether a DICOM header is that of a DICOM-CT-PD projection."""
    return any(FIELDS[name][0] in header for name in ("DetectorFocalCenterAngularPosition", "DetectorShape"))


def _scanner(header: Dataset, file: Path) -> Scanner:
    def size(name: str) -> int:
        return int(_number(header, file, name, 1, 65535))

    def length(name: str, high: float = 1e5) -> float:
        return _number(header, file, name, 1e-3, high)

    rows, columns = size("NumberofDetectorRows"), size("NumberofDetectorColumns")
    stored = (int(number(header, "Rows") or 0), int(number(header, "Columns") or 0))
    if stored not in ((rows, columns), (columns, rows)):
        raise GeometryError(
            f"{file.name} stores a picture of {stored[0]} × {stored[1]} for a detector of {rows} × {columns}.",
            "Export the projections uncropped.",
        )
    centre = _values(header, "DetectorCentralElement")
    if not isinstance(centre, list) or len(centre) != 2 or not all(map(math.isfinite, centre)):
        raise _missing(file, "DetectorCentralElement")
    kind = _text(header, "TypeofProjectionData")
    if kind not in (*HELICAL, *AXIAL):
        raise GeometryError(
            f"{file.name} is of a scan of type {kind[:20] or 'unknown'!r}, neither axial nor helical.",
            "Give an axial or helical scan.",
        )
    return Scanner(
        text(header, "SeriesInstanceUID"),
        text(header, "PatientPosition").upper(),
        _text(header, "DetectorShape"),
        kind in HELICAL,
        _text(header, "BeamHardeningCorrectionFlag") != "NO",
        int(_first(_values(header, "SpectrumIndex")) or 0),
        rows,
        columns,
        size("NumberofSourceAngularSteps"),
        stored,
        length("DetectorElementTransverseSpacing", 100.0),
        length("DetectorElementAxialSpacing", 100.0),
        length("DetectorFocalCenterRadialDistance"),
        length("ConstantRadialDistance"),
        (centre[0], centre[1]),
        _water(header, file),
    )


def _check_kind(header: Dataset, file: Path) -> None:
    """Refuse what the fan-beam operator cannot express, and what are no line integrals."""
    geometry, shape = _text(header, "TypeofProjectionGeometry"), _text(header, "DetectorShape")
    if geometry != "FANBEAM":
        raise GeometryError(
            f"{file.name} was measured in a geometry of type {geometry[:20] or 'unknown'!r}; FANBEAM is read.",
            f"Give a scan of a third-generation scanner. {REBIN}",
        )
    if shape not in SHAPES:
        raise GeometryError(
            f"{file.name} was measured by a detector of the shape {shape[:20] or 'unknown'!r}.",
            f"Shapes that are read: {', '.join(SHAPES)}. {REBIN}",
        )
    mode = _text(header, "FlyingFocalSpotMode")
    if mode not in ("FFSNONE", ""):
        raise GeometryError(
            f"The focal spot of {file.name} flies ({mode[:20]}): its rays lie on no fan of a fixed source.",
            f"Give a scan without a flying focal spot. {REBIN}",
        )
    radius = _first(_values(header, "DetectorFocalCenterRadialDistance")) or 0.0
    shifts = ("AxialPosition", 1.0), ("AngularPosition", radius), ("RadialDistance", 1.0)
    away = math.hypot(*(mm * (_first(_values(header, f"Source{name}Shift")) or 0.0) for name, mm in shifts))
    if not away < STILL_MM:  # also where it is NaN
        raise GeometryError(
            f"The focal spot of {file.name} lies {away:.2g} mm from the detector's focal centre.",
            f"Give a scan without a flying focal spot. {REBIN}",
        )
    if _text(header, "LogFlag") != "YES":
        raise IntensityError(
            f"{file.name} holds counts, not their logarithm (LogFlag is not YES).",
            "Export line integrals: -log of the counts over those in air.",
        )


def _water(header: Dataset, file: Path) -> float:
    written = _text(header, "WaterAttenuationCoefficient")
    if not written:
        return math.nan
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not WATER_PER_MM[0] <= value <= WATER_PER_MM[1]:
        raise IntensityError(
            f"{file.name} gives water an attenuation of {written[:20]}, which is none per mm of water in X-rays.",
            "Export the projections again, with the coefficient in 1/mm.",
        )
    return value


def _values(header: Dataset, name: str) -> list[float] | str | None:
    """A private field's numbers or text, also where the file gives it no type; None where it is absent."""
    tag, kind = FIELDS[name]
    if tag not in header:
        return None
    value = header[tag].value
    if isinstance(value, bytes):
        if kind == "text":
            return value.decode("ascii", "replace").strip("\0 ")
        size = np.dtype(kind).itemsize
        return np.frombuffer(value[: len(value) // size * size], kind).astype(float).tolist()
    if kind == "text":
        return "" if value is None else str(value).strip("\0 ")
    many = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        return [float(v) for v in many]
    except (TypeError, ValueError):
        return None


def _first(values: list[float] | str | None) -> float | None:
    return values[0] if isinstance(values, list) and values else None


def _text(header: Dataset, name: str) -> str:
    values = _values(header, name)
    return values.upper() if isinstance(values, str) else ""


def _number(header: Dataset, file: Path, name: str, low: float, high: float) -> float:
    value = _first(_values(header, name))
    if value is None or not math.isfinite(value):
        raise _missing(file, name)
    if not low <= value <= high:
        raise GeometryError(
            f"{name} of {file.name} is {value:g}, which no scanner has.",
            "Export the projections again, in mm and rad.",
        )
    return value


def _missing(file: Path, name: str) -> UnreadableFileError:
    tag = f" ({FIELDS[name][0] >> 16:04X},{FIELDS[name][0] & 0xFFFF:04X})" if name in FIELDS else ""
    return UnreadableFileError(
        f"{file.name} lacks {name}{tag}: where its rays lie is not known.",
        "Export the projections with all fields of DICOM-CT-PD.",
    )
