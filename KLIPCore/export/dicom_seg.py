"""Regions → a DICOM Segmentation: the form a PACS, OHIF, Slicer or MITK shows over the original series.

One binary segment a region, in the study's own frame of reference, each frame pointing at the very instance it
was drawn on. Patient, study and frame of reference are copied from the source, as the standard demands of
derived objects (PS3.3 C.8.20); series and instance are new. Only slices with something on them become frames.

What a segment claims is kept as small as the truth: category and type are SNOMED CT *morphologically abnormal
structure*, nothing more specific; algorithm type AUTOMATIC, family *artificial intelligence*, name "KLIP" with
its version; the description says what was measured and that it is no diagnosis. Colours are CIELab, as DICOM
wants them.

The array's slices must be the series' instances. That is not assumed but checked: every file is opened again, its
UID compared with the one that was read, and its position with the grid.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import format_number_as_ds

from KLIPCore.errors import GeometryError, InputError, UnreadableFileError
from KLIPCore.export.files import written
from KLIPCore.export.report import number, p_text
from KLIPCore.io.listing import quiet_pydicom
from KLIPCore.maps.regions import Region, label_volume
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Source, Volume

SERIES_DESCRIPTION = "KLIP out-of-distribution regions (research)"
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
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


def dicom_seg(
    regions: Sequence[Region],
    study: Volume,
    *,
    version: str,
    parameters: Mapping[str, str] | None = None,
    series_description: str = SERIES_DESCRIPTION,
    series_number: int | None = None,
) -> hd.seg.Segmentation | None:
    """The regions as a DICOM Segmentation object.

    Parameters
    ----------
    regions : regions found on the study's grid (or on its in-plane crop).
    study : the CT; only its grid and source are used. Its files must still be there.
    version : KLIPCore's version.
    parameters : settings worth naming beside the algorithm; ASCII.
    series_description : at most 64 characters.
    series_number : None: 9000 + the source's number modulo 1000, so that it sorts behind the images.

    Returns
    -------
    The object, ready to be saved; None without regions, because a DICOM Segmentation cannot be empty.

    Raises
    ------
    InputError : the study is not a classic DICOM series (one file a slice), or its header fields cannot be
        carried over.
    UnreadableFileError : a source file is gone or damaged.
    GeometryError : the files are not the slices of this volume, or the regions are not of its grid.
    """
    if not regions:
        return None
    if not study.source.is_dicom or len(study.source.files) != study.grid.shape[0]:
        raise InputError(
            "A DICOM Segmentation must refer to the DICOM slices it was drawn on, and this study has none (one "
            "file a slice).",
            "Use the .seg.nrrd or NIfTI labels instead, or run on the original DICOM series.",
        )
    labels = label_volume(regions, study.grid)
    headers = source_headers(study.source)
    pixels = np.zeros((len(headers), headers[0].Rows, headers[0].Columns), np.uint16)
    for k, header in enumerate(headers):
        row, column = _place_in_slice(header, study.grid, k)
        pixels[k, row : row + labels.shape[1], column : column + labels.shape[2]] = labels[k]
        if not header.get("SliceThickness"):
            header.SliceThickness = format_number_as_ds(float(study.grid.spacing[0]))
    pixels, ordered = _consecutive(pixels, regions)
    source_number = int(headers[0].get("SeriesNumber") or 0)
    try:
        with quiet_pydicom(), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", module="highdicom"
            )  # about the form of the patient's name, which it quotes
            segmentation = hd.seg.Segmentation(
                source_images=headers,
                pixel_array=pixels,
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[
                    segment_description(n, region, version, parameters) for n, region in enumerate(ordered, start=1)
                ],
                series_instance_uid=hd.UID(),
                series_number=series_number or 9000 + source_number % 1000,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="KLIPSlicer",
                manufacturer_model_name="KLIP",
                software_versions=version,
                device_serial_number="none",
                content_label="KLIP_OOD",
                content_description=SERIES_DESCRIPTION,
                series_description=series_description,
                omit_empty_frames=True,
            )
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(  # without the cause's own text, which may quote the patient's data
            "The study's DICOM headers do not allow a DICOM Segmentation: a field it needs is missing or malformed "
            "(a frame of reference, a date, ...).",
            "Use the .seg.nrrd instead, or repair the headers.",
        ) from error
    return segmentation


def write_dicom_seg(
    regions: Sequence[Region], study: Volume, path: Path, *, version: str, parameters: Mapping[str, str] | None = None
) -> Path | None:
    """Write :func:`dicom_seg` to ``path``, whole or not at all.

    Returns
    -------
    The path; None, and no file, without regions.

    Raises
    ------
    OutputError : the file cannot be written; else as :func:`dicom_seg`.
    """
    segmentation = dicom_seg(regions, study, version=version, parameters=parameters)
    if segmentation is None:
        return None
    with written(path) as part:
        segmentation.save_as(part)
    return path


def segment_description(
    n: int, region: Region, version: str, parameters: Mapping[str, str] | None = None
) -> hd.seg.SegmentDescription:
    """What segment ``n`` (1, 2, …) says of itself."""
    described = hd.seg.SegmentDescription(
        segment_number=n,
        segment_label=region.name,
        segmented_property_category=ABNORMAL,
        segmented_property_type=ABNORMAL,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="KLIP",
            version=version,
            family=codes.cid7162.ArtificialIntelligence,
            parameters=dict(parameters) if parameters else None,
        ),
        tracking_uid=hd.UID(),
        tracking_id=f"KLIP {region.name}",
        display_color=hd.color.CIELabColor.from_rgb(*(round(255 * c) for c in region.colour)),
    )
    described.SegmentDescription = (
        f"Departs from the prior: peak {_ascii(number(region.peak_nats))} nats, total "
        f"{_ascii(number(region.total_nats))} nats, "
        f"q = {_ascii(p_text(region.q_value))}. Research result, not a diagnosis."
    )
    return described


def _ascii(text: str) -> str:
    return text.replace("–", "-")  # the study's character set may hold no dashes


def source_headers(source: Source) -> list[Dataset]:
    """The headers (no pixels) of the source's instances, in array order, checked against their UIDs.

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
        except (
            OSError,
            EOFError,
            ValueError,
            KeyError,
            NotImplementedError,
            AttributeError,
            InvalidDicomError,
        ) as error:
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
        if header.PatientSex not in ("M", "F", "O"):
            header.PatientSex = ""
        if headers:  # differences below the reader's tolerance, which the object has no place for
            header.ImageOrientationPatient = headers[0].ImageOrientationPatient
        headers.append(header)
    return headers


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
            "Export regions on the study's own grid, not on a resampled or turned one.",
        )
    return start


def _consecutive(pixels: NDArray[np.uint16], regions: Sequence[Region]) -> tuple[NDArray[np.uint16], list[Region]]:
    """Labels as the segment numbers 1, 2, … that DICOM wants, in the order of the labels."""
    ordered = sorted(regions, key=lambda region: region.label)
    table = np.zeros(ordered[-1].label + 1, np.uint16)
    for n, region in enumerate(ordered, start=1):
        table[region.label] = n
    return table[pixels], ordered
