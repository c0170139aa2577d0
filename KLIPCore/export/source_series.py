"""The DICOM series behind a study: its headers, and where each slice of an array lies on its images.

What is derived from a series (segments, a map, a report) must carry its patient, study and frame of reference and
point at its very instances. The array's slices must therefore be the series' instances. That is not assumed but
checked: every file is opened again, its UID compared with the one that was read, and its position with the grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from KLIPCore.errors import GeometryError, InputError, UnreadableFileError
from KLIPCore.io.fields import DAMAGE, has_decimal_comma, numbers, quiet_pydicom
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Source, Volume

STEP_TOLERANCE, PIXEL_TOLERANCE = 0.5, 0.75
"""How far a file's corner may lie from the grid's, in slice steps and pixels: a series need not be perfectly
even to be read (:mod:`KLIPCore.io.stack`), and within these bounds there is no doubt which slice and pixel is
meant."""

TYPE_2 = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""Must be there but may be empty; files that lack them altogether are common."""

PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2, "SliceThickness": 1}
"""Numbers that a derived object takes over from the slices, and how many."""


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """The instances a study was read from, one a slice.

    Attributes
    ----------
    headers : (D,) without pixels, in array order, completed where files commonly lack something.
    corners : (D,) row and column of each image at which the array's slice begins: (0, 0), or more for an
        in-plane crop.
    grid : the study's.
    """

    headers: tuple[Dataset, ...]
    corners: tuple[tuple[int, int], ...]
    grid: Grid

    @classmethod
    def of(cls, study: Volume) -> SourceSeries:
        """Open a study's files again; its pixels are not used.

        Raises
        ------
        InputError : the study is not a classic DICOM series (one file per slice).
        UnreadableFileError : a source file is gone or damaged.
        GeometryError : the files are not the slices of this volume.
        """
        if not study.source.is_dicom or len(study.source.files) != study.grid.shape[0]:
            raise InputError(
                "DICOM results must refer to the DICOM slices they were made from, and this study has none (one "
                "file a slice).",
                "Use the .seg.nrrd, .nrrd or NIfTI files instead, or run on the original DICOM series.",
            )
        headers = source_headers(study.source)
        corners = [_place_in_slice(header, study.grid, k) for k, header in enumerate(headers)]
        for header in headers:
            if not header.get("SliceThickness"):
                header.SliceThickness = format_number_as_ds(float(study.grid.spacing[0]))
        return cls(tuple(headers), tuple(corners), study.grid)

    @property
    def number(self) -> int:
        """Number of the series in its study; 0 where it has none."""
        return int(self.headers[0].get("SeriesNumber") or 0)

    @property
    def series_uid(self) -> str:
        """UID of the series."""
        return str(self.headers[0].SeriesInstanceUID)

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) rows × columns: the direction, in LPS, in which viewers stack the slices."""
        orientation = np.array(self.headers[0].ImageOrientationPatient, float)
        return np.cross(orientation[:3], orientation[3:])

    def on_images(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the (D, H, W) on the study's grid → (D, rows, columns) of whole images, 0 outside an in-plane crop.

        The array itself where there is nothing to add.
        """
        rows, columns = int(self.headers[0].Rows), int(self.headers[0].Columns)
        if array.shape[1:] == (rows, columns):
            return array
        out = np.zeros((len(self.headers), rows, columns), array.dtype)
        for k, (row, column) in enumerate(self.corners):
            out[k, row : row + array.shape[1], column : column + array.shape[2]] = array[k]
        return out


def new_instance(version: str) -> dict[str, Any]:
    """Return what a new object says of itself, as highdicom asks: a UID of its own, and the software that made it."""
    return {
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": "KLIPSlicer",
        "manufacturer_model_name": "KLIP",
        "software_versions": version,
        "device_serial_number": "none",
    }


@contextmanager
def making(what: str) -> Iterator[None]:
    """Turn what highdicom says of unusable headers into an :class:`InputError`; its warnings are left out.

    Parameters
    ----------
    what : the object that is made, with its article.

    Raises
    ------
    InputError : the headers cannot be carried over.
    """
    try:
        with quiet_pydicom(), catch_warnings():
            filterwarnings("ignore", module="highdicom")  # about the form of the patient's name, which it quotes
            yield
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(  # without the cause's own text, which may quote the patient's data
            f"The study's DICOM headers do not allow {what}: a field it needs is missing or malformed "
            "(a frame of reference, a date, ...).",
            "Use the .seg.nrrd and .nrrd files instead, or repair the headers.",
        ) from error


def source_headers(source: Source) -> list[Dataset]:
    """Return the headers (no pixels) of the source's instances, in array order, checked against their UIDs.

    Raises
    ------
    UnreadableFileError : a file is gone or damaged.
    GeometryError : a file is another instance than the one that was read.
    """
    headers: list[Dataset] = []
    for file, uid in zip(source.files, source.sop_uids, strict=True):
        try:
            with quiet_pydicom():
                header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
                header.decode()
        except DAMAGE as error:
            raise UnreadableFileError(
                f"{Path(file).name} can no longer be read.",
                "Keep the study's files in place until the results are exported.",
            ) from error
        if header.get("SOPInstanceUID") != uid:
            raise GeometryError(
                f"{Path(file).name} is no longer the image it was.", "Run again on the study as it is now."
            )
        for keyword in TYPE_2:
            if keyword not in header:
                setattr(header, keyword, "")
        _write_points(header)
        if header.PatientSex not in ("M", "F", "O"):
            header.PatientSex = ""
        if not _is_one_character_set(header.get("SpecificCharacterSet")):
            header.SpecificCharacterSet = "ISO_IR 192"  # Unicode holds what was decoded above
        if headers:  # differences below the reader's tolerance, which the object has no place for
            header.ImageOrientationPatient = headers[0].ImageOrientationPatient
        headers.append(header)
    return headers


def _write_points(header: Dataset) -> None:
    """Replace decimal commas, which were understood when the study was read, by the points of the standard."""
    for keyword, count in PLACE.items():
        values = numbers(header, keyword, count) if has_decimal_comma(header, keyword) else None
        if values:
            written_as = [format_number_as_ds(value) for value in values]
            setattr(header, keyword, written_as if count > 1 else written_as[0])


def _is_one_character_set(value: Any) -> bool:
    """Whether derived objects can say the same: none at all, or one that highdicom knows. Several at once and those
    with code extensions (Japanese, Korean), as well as misspelt ones, it refuses.
    """
    try:
        return not value or not hd.SpecificCharacterSetValues(value).value.startswith("ISO 2022")
    except (ValueError, TypeError):
        return False


def _place_in_slice(header: Dataset, grid: Grid, k: int) -> tuple[int, int]:
    """Row and column of the instance at which the array's slice k begins: (0, 0), or more for an in-plane crop."""
    directions = np.array(header.ImageOrientationPatient, float).reshape(
        2, 3
    )  # of growing column index, of growing row index
    row_mm, column_mm = (float(v) for v in header.PixelSpacing)
    corner = grid.to_world((k, 0, 0)) - np.array(header.ImagePositionPatient, float)
    row, column = directions[1] @ corner / row_mm, directions[0] @ corner / column_mm
    start = (round(row), round(column))
    of_array = np.array([[0, 0], [0, grid.shape[2] - 1], [grid.shape[1] - 1, 0]], float)  # three corners fix a plane
    in_file = header.ImagePositionPatient + (of_array + start) * (row_mm, column_mm) @ directions[::-1]
    off = grid.to_index(in_file) - np.insert(of_array, 0, k, axis=1)  # (slices, rows, columns) between file and grid
    near = np.abs(off[:, 0]).max() < STEP_TOLERANCE and np.abs(off[:, 1:]).max() < PIXEL_TOLERANCE
    fits = 0 <= start[0] <= header.Rows - grid.shape[1] and 0 <= start[1] <= header.Columns - grid.shape[2]
    if not (near and fits):
        apart = np.linalg.norm(off * grid.spacing, axis=1).max()
        raise GeometryError(
            f"Slice {k} of the volume is not the DICOM image it refers to (their corners lie {apart:.2f} mm apart).",
            "Export results on the study's own grid, not on a resampled or turned one.",
        )
    return start
