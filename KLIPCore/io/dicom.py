"""A folder of DICOM CT slices → one volume in Hounsfield units.

Reading happens twice. First only the headers: which series (:mod:`KLIPCore.io.listing`), in which order, on which
grid (:mod:`KLIPCore.io.stack`). Only when they form a volume are pixels decoded, one slice at a time, into the array.
Stored values become HU by each slice's own slope and intercept, because scanners may change them from slice to slice.
Classic CT (one file a slice) and Enhanced CT (all slices in one file) take the same road: an
Enhanced file's functional groups are flattened to one header a frame first.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from KLIPCore.errors import GeometryError, IntensityError, UnreadableFileError
from KLIPCore.io.listing import (
    DAMAGE,
    ENHANCED_CLASSES,
    SeriesInfo,
    choose_series,
    list_series,
    number,
    quiet_pydicom,
    read_header,
    text,
)
from KLIPCore.io.stack import Plane, stack
from KLIPCore.volume.volume import Source, Volume

__all__ = ["AIR_HU", "SeriesInfo", "list_series", "read_dicom"]

log = logging.getLogger(__name__)

AIR_HU = -1024.0
"""Lowest HU kept: 12-bit scanners store -1024..3071. Padding outside the field of view becomes this value."""
TISSUE_PADDING_HU = -500.0
"""A padding value above this would also hide lung or soft tissue: it is honoured, as the standard says, with
a warning.
"""

PLANE_TAGS = (
    "SOPInstanceUID",
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "SliceThickness",
    "FrameOfReferenceUID",
    "GantryDetectorTilt",
)
PIXEL_TAGS = (
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
)


def read_dicom(path: Path, series: str | None = None) -> Volume:
    """The CT series of a folder as a volume in HU.

    Parameters
    ----------
    path : folder, searched with all folders below it.
    series : which series, see :func:`KLIPCore.io.listing.choose_series`; None for the only CT.

    Returns
    -------
    Volume (D, H, W) with k increasing along row × column (for axial slices: from the feet), and a source that
    names every instance in array order. An Enhanced CT has one instance for all slices, so its source names none.

    Raises
    ------
    EmptyInputError, UnreadableFileError, NotCTError, AmbiguousSeriesError, GeometryError, IntensityError :
        see :mod:`KLIPCore.errors`; each says which file or slice, and what to do.
    """
    info = choose_series(list_series(path), series)
    return _read_enhanced(Path(path), info) if info.sop_class in ENHANCED_CLASSES else _read_classic(Path(path), info)


def _read_classic(path: Path, info: SeriesInfo) -> Volume:
    headers = [read_header(file, PLANE_TAGS) or Dataset() for file in info.files]
    order, grid = stack([_plane(h, file) for h, file in zip(headers, info.files, strict=True)])
    array = np.empty(grid.shape, np.float32)
    tally = _Tally()
    for k, index in enumerate(order):
        file = info.files[index]
        dataset = _load(file)
        array[k] = hounsfield(_pixels(dataset, file.name, grid.shape[1:]), dataset, file.name, tally)
    tally.report()
    source = Source(
        str(path),
        info.study_uid,
        info.series_uid,
        tuple(text(headers[i], "SOPInstanceUID") for i in order),
        tuple(str(info.files[i]) for i in order),
        info.modality,
        info.description,
    )
    return Volume(array, grid, source)


def _plane(header: Dataset, file: Path) -> Plane:
    try:
        if not text(header, "SOPInstanceUID"):
            raise UnreadableFileError(
                f"{file.name} is damaged: it has no instance UID.", "Copy or export that file again."
            )
        return Plane.of_header(header, file.name)
    except GeometryError:
        if "PixelData" not in _load(file):  # the fields are missing because the file ends before them
            raise UnreadableFileError(
                f"{file.name} is damaged or cut short.", "Copy or export that file again."
            ) from None
        raise


def _read_enhanced(path: Path, info: SeriesInfo) -> Volume:
    if len(info.files) > 1:
        raise GeometryError(
            f"This Enhanced CT series is spread over {len(info.files)} multi-frame files.",
            "Export the study as classic single-frame CT images.",
        )
    file = info.files[0]
    dataset = _load(file)
    damaged = UnreadableFileError(
        f"The functional groups of {file.name} are damaged or missing.",
        "Export the study as classic single-frame CT images.",
    )
    try:
        with quiet_pydicom():
            frames = frame_headers(dataset)
    except (*DAMAGE, TypeError, IndexError) as error:
        raise damaged from error
    if not frames:
        raise damaged
    order, grid = stack([Plane.of_header(frame, f"frame {n} of {file.name}") for n, frame in enumerate(frames, 1)])
    stored = _pixels(
        dataset, file.name, (len(frames), *grid.shape[1:]) if len(frames) > 1 else grid.shape[1:]
    ).reshape(len(frames), *grid.shape[1:])
    array = np.empty(grid.shape, np.float32)
    tally = _Tally()
    for k, index in enumerate(order):
        array[k] = hounsfield(stored[index], frames[index], f"frame {index + 1} of {file.name}", tally)
    tally.report()
    source = Source(str(path), info.study_uid, info.series_uid, modality=info.modality, description=info.description)
    return Volume(array, grid, source)


def frame_headers(dataset: Dataset) -> list[Dataset]:
    """One flat header a frame: the multi-frame functional groups (DICOM PS3.3, C.7.6.16), per frame over shared.

    Parameters
    ----------
    dataset : an Enhanced or Legacy Converted Enhanced CT image.
    """
    groups = (
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
        "CTImageFrameTypeSequence",
    )
    top = (
        "Rows",
        "Columns",
        "FrameOfReferenceUID",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
    )
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    headers = []
    for frame in dataset.get("PerFrameFunctionalGroupsSequence") or []:
        header = Dataset()
        for keyword in top:
            if keyword in dataset:
                header[keyword] = dataset[keyword]
        for name in groups:
            items = frame.get(name) or shared[0].get(name)
            if items:
                header.update(items[0])
        headers.append(header)
    return headers


def _load(file: Path) -> Dataset:
    """All of a file, pixels still encoded."""
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(file, force=True)  # that it is DICOM was settled when the folder was listed
            for keyword in PIXEL_TAGS:
                dataset.get(keyword)  # pydicom parses late; a damaged field shall be found here
            return dataset
    except DAMAGE as error:
        raise UnreadableFileError(
            f"{file.name} is damaged or cut short.", "Copy or export that file again."
        ) from error


def _pixels(dataset: Dataset, label: str, shape: tuple[int, ...]) -> NDArray[np.integer]:
    """Stored values as they are encoded, decompressed where a decoder is installed.

    Raises
    ------
    UnreadableFileError : no decoder for this compression, or the pixels are cut short.
    """
    if (
        "TransferSyntaxUID" not in dataset.file_meta
    ):  # files from before the preamble: pydicom found the encoding by trying
        dataset.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if dataset.original_encoding[0] else ExplicitVRLittleEndian
        )
    with quiet_pydicom():
        syntax = dataset.file_meta.TransferSyntaxUID
        try:
            decodable = get_decoder(syntax).is_available
        except NotImplementedError:
            decodable = False
    if not decodable:
        raise UnreadableFileError(
            f"{label} is compressed as “{syntax.name}”, and no decoder for that is installed.",
            'Run pip install "pylibjpeg[all]" (or python-gdcm), '
            "or export the study uncompressed (Explicit VR Little Endian).",
        )
    try:
        with quiet_pydicom():
            stored = dataset.pixel_array
    except Exception as error:  # decoders of three projects raise what they like on a damaged stream
        raise UnreadableFileError(
            f"The pixels of {label} are damaged or cut short ({error}).", "Copy or export that file again."
        ) from error
    if stored.shape != shape:
        raise UnreadableFileError(
            f"{label} holds pixels of shape {stored.shape} where {shape} was announced.",
            "Copy or export that file again.",
        )
    return stored


class _Tally:
    """What was set to air on the way, to be told once a volume and not once a slice."""

    def __init__(self) -> None:
        self.padding = self.below = 0
        self.lowest = AIR_HU
        self.padding_hu = -np.inf

    def report(self) -> None:
        if self.padding:
            log.info("%d padding pixels outside the field of view are set to air (%g HU).", self.padding, AIR_HU)
        if self.padding_hu > TISSUE_PADDING_HU:
            log.warning(
                "The padding value is %g HU: tissue of just this value is taken for padding, as the header demands.",
                self.padding_hu,
            )
        if self.below:
            log.info("%d pixels down to %g HU are clipped to %g HU.", self.below, self.lowest, AIR_HU)


def hounsfield(
    stored: NDArray[np.integer], header: Dataset, label: str, tally: _Tally | None = None
) -> NDArray[np.float32]:
    """Stored values → HU = slope · stored + intercept; padding and all below air → air.

    Parameters
    ----------
    stored : (H, W) values as decoded.
    header : holds RescaleSlope and RescaleIntercept, and PixelPaddingValue where there is padding.
    label : what to call the slice in a message.

    Raises
    ------
    IntensityError : no rescale, or one to other units than HU.
    """
    remedy = "Export the original CT series, not a derived or spectral one."
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if not slope or intercept is None:
        raise IntensityError(
            f"{label} has no usable rescale slope and intercept: its values are not in Hounsfield units.", remedy
        )
    kind = (text(header, "RescaleType") or "HU").upper()
    if kind not in ("HU", "HU_MOD", "US"):  # US is "unspecified"; plausibility is judged later
        raise IntensityError(f"{label} is rescaled to {kind[:40]}, not to Hounsfield units.", remedy)
    tally = tally if tally is not None else _Tally()
    hu = stored.astype(np.float64) * slope + intercept
    padding = _padding(header)
    if padding is not None:
        padded = (stored >= padding[0]) & (stored <= padding[1])
        tally.padding += int(padded.sum())
        if padded.any():
            tally.padding_hu = max(tally.padding_hu, padding[1] * slope + intercept)
        hu[padded] = AIR_HU
    below = hu < AIR_HU
    if below.any():
        tally.below += int(below.sum())
        tally.lowest = min(tally.lowest, float(hu.min()))
        hu[below] = AIR_HU
    return hu.astype(np.float32)


def _padding(header: Dataset) -> tuple[int, int] | None:
    """The interval of stored values that are padding; a value written unsigned beside signed pixels is
    reinterpreted.
    """
    value, limit = number(header, "PixelPaddingValue"), number(header, "PixelPaddingRangeLimit")
    if value is None:
        return None
    ends = [int(value), int(value if limit is None else limit)]
    if header.get("PixelRepresentation") == 1:
        ends = [e - 65536 if e > 32767 else e for e in ends]
    return min(ends), max(ends)
