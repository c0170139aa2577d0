"""Which series lie in a folder, and which of them is the CT.

A study as it leaves a PACS is a bag of files: localizers, the axial series, a dose report photographed as a
"CT" image, a segmentation somebody exported later. Only headers are read here, and only the fields below, so a
listing costs little and never holds a patient's name.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from KLIPCore.errors import AmbiguousSeriesError, EmptyInputError, NotCTError, UnreadableFileError

log = logging.getLogger(__name__)

ENHANCED_CLASSES = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
CT_CLASSES = frozenset({CTImageStorage}) | ENHANCED_CLASSES

HEADER_TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
)
DAMAGE = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    ValueError,
    KeyError,
    AttributeError,
    NotImplementedError,
    OSError,
    struct.error,
)
"""What pydicom raises on files that are cut short or overwritten."""
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})


@dataclass(frozen=True)
class SeriesInfo:
    """One series as its headers describe it; no patient data.

    Attributes
    ----------
    series_uid, study_uid : DICOM UIDs.
    number : the scanner's series number, None when absent.
    description : series description, as typed at the scanner.
    modality : DICOM modality ("CT", "MR", "SEG", …).
    n_images : slices: files, or frames of a multi-frame file; 0 for objects without pixels.
    shape : (rows, columns) of the first image, (0, 0) without pixels.
    files : the files, sorted by name (not by place: that needs the geometry).
    sop_class : SOP class UID of the first file.
    localizer : whether these are scout views.
    samples : samples per pixel, 3 for colour pictures.
    """

    series_uid: str
    study_uid: str
    number: int | None
    description: str
    modality: str
    n_images: int
    shape: tuple[int, int]
    files: tuple[Path, ...]
    sop_class: str
    localizer: bool
    samples: int

    @property
    def is_ct(self) -> bool:
        """Whether the series may hold a CT volume: greyscale images of a CT class, no localizer."""
        return (
            self.modality == "CT"
            and self.sop_class in CT_CLASSES
            and not self.localizer
            and self.samples == 1
            and self.n_images > 0
        )

    def __str__(self) -> str:
        kind = f"{self.modality} localizer" if self.localizer else self.modality
        number = "without a number" if self.number is None else f"number {self.number}"
        size = f", {self.n_images} images of {self.shape[0]}x{self.shape[1]}" if self.n_images else ", no images"
        return f"{number}: {self.description or 'no description'} ({kind}{size})"


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Scanners bend the standard in a thousand harmless ways; pydicom's warnings about them help no user of ours."""
    logger = logging.getLogger("pydicom")  # it warns twice, here and by the warnings module
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def read_header(path: Path, tags: Sequence[str]) -> Dataset | None:
    """The named fields of a DICOM file, or None when the file is of another kind.

    Raises
    ------
    UnreadableFileError : the file says it is DICOM and is not, or ends within its header.
    """
    remedy = "Copy or export that file again."
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        raise UnreadableFileError(
            f"{path.name} cannot be opened ({error.strerror}).", "Check the file and its permissions."
        ) from error
    if start[128:] != b"DICM" and start[:2] not in (
        b"\x08\x00",
        b"\x02\x00",
    ):  # the latter: old files without a preamble
        if path.suffix.lower() in DICOM_SUFFIXES:
            raise UnreadableFileError(
                f"{path.name} is named as a DICOM file and is not one.",
                remedy + " If it is no part of the study, move it away.",
            )
        return None
    try:
        with quiet_pydicom():
            header = pydicom.dcmread(
                path, stop_before_pixels=True, force=start[128:] != b"DICM", specific_tags=list(tags)
            )
            header.decode()
    except (*DAMAGE, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise UnreadableFileError(f"The DICOM header of {path.name} is damaged or cut short.", remedy) from error
    return header


def number(header: Dataset, keyword: str) -> float | None:
    """A field as one finite number; None when it is absent, empty, several values or text."""
    try:
        value = float(header[keyword].value)
    except (*DAMAGE, TypeError):
        return None
    return value if math.isfinite(value) else None


def text(header: Dataset, keyword: str) -> str:
    """A field as one string without padding; empty when it is absent or several values (a stray backslash)."""
    value = header.get(keyword)
    return str(value).strip() if isinstance(value, str) else ""


def list_series(folder: Path) -> list[SeriesInfo]:
    """All series below a folder, by study, number and UID. Localizers inside a series are listed apart from it.

    Raises
    ------
    EmptyInputError : no such folder, or no DICOM file in it.
    UnreadableFileError : a DICOM file that cannot be read; leaving it out could silently lose a slice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EmptyInputError(f"There is no folder {folder}.", "Check the path.")
    groups: dict[tuple[str, bool], list[tuple[Path, Dataset]]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file():  # ._x.dcm is macOS's shadow of x.dcm
            continue
        header = read_header(path, HEADER_TAGS)
        if header is None:
            continue
        sop_class, series_uid = text(header, "SOPClassUID"), text(header, "SeriesInstanceUID")
        if sop_class == MediaStorageDirectoryStorage:  # a DICOMDIR
            continue
        if not sop_class or not series_uid or (sop_class in CT_CLASSES and "Rows" not in header):
            raise UnreadableFileError(
                f"The DICOM header of {path.name} is damaged or cut short.", "Copy or export that file again."
            )
        localizer = "LOCALIZER" in (header.get("ImageType") or ())
        groups[series_uid, localizer].append((path, header))
    if not groups:
        raise EmptyInputError(
            f"No DICOM file was found in {folder}.",
            "Give the folder that holds the slices, or a NIfTI, NRRD or MetaImage file.",
        )
    infos = [_info(members, localizer) for (_, localizer), members in groups.items()]
    return sorted(infos, key=lambda s: (s.study_uid, s.number is None, s.number or 0, s.series_uid, s.localizer))


def _info(members: list[tuple[Path, Dataset]], localizer: bool) -> SeriesInfo:
    first = members[0][1]
    series_number = number(first, "SeriesNumber")
    return SeriesInfo(
        series_uid=text(first, "SeriesInstanceUID"),
        study_uid=text(first, "StudyInstanceUID"),
        number=None if series_number is None else int(series_number),
        description=text(first, "SeriesDescription"),
        modality=text(first, "Modality") or "unknown",
        n_images=sum(int(number(h, "NumberOfFrames") or 1) for _, h in members if number(h, "Rows")),
        shape=(int(number(first, "Rows") or 0), int(number(first, "Columns") or 0)),
        files=tuple(path for path, _ in members),
        sop_class=text(first, "SOPClassUID"),
        localizer=localizer,
        samples=max(int(number(h, "SamplesPerPixel") or 1) for _, h in members),
    )


def listing(infos: Sequence[SeriesInfo]) -> str:
    """The series as lines a user can choose from: ``#1 number 4: Abdomen portal (CT, 120 images of 512x512)``."""
    return "\n".join(f"  #{i} {info}" for i, info in enumerate(infos, 1))


def choose_series(infos: Sequence[SeriesInfo], series: str | None = None) -> SeriesInfo:
    """The series meant by ``series``, or the only CT among them.

    Parameters
    ----------
    infos : what :func:`list_series` found.
    series : a series instance UID; a series number ("4"); a place in the listing ("#2", or "2" where no series has
        number 2); or None for the only CT series that is not a localizer.

    Raises
    ------
    NotCTError : no CT series, or the one asked for is none.
    AmbiguousSeriesError : several fit, or none has that name; the message lists all.
    """
    named = list(infos) if series is None else _named(infos, series.strip())
    candidates = [info for info in named if info.is_ct]
    if len(candidates) == 1:
        if len(infos) > 1:
            log.info("Taking %s; %d other series are left out.", candidates[0], len(infos) - 1)
        return candidates[0]
    remedy = "Choose one with --series, by number, #place or UID."
    if not named:
        raise AmbiguousSeriesError(f"No series is called {series!r}. The study holds:\n{listing(infos)}", remedy)
    if not candidates:
        raise _not_ct(named)
    raise AmbiguousSeriesError(
        f"{len(candidates)} CT series were found and none was chosen:\n{listing(infos)}", remedy
    )


def _named(infos: Sequence[SeriesInfo], series: str) -> list[SeriesInfo]:
    by_uid = [info for info in infos if info.series_uid == series]
    if by_uid:
        return by_uid
    digits = series.removeprefix("#")
    if not digits.isascii() or not digits.isdigit():
        return []
    by_number = [info for info in infos if info.number == int(digits)] if digits == series else []
    return by_number or list(infos[int(digits) - 1 : int(digits)] if int(digits) > 0 else ())


def _not_ct(infos: Sequence[SeriesInfo]) -> NotCTError:
    remedy = "Give a folder with axial CT slices in Hounsfield units."
    if any(info.samples > 1 and info.modality == "CT" for info in infos):
        return NotCTError(f"These are colour pictures, not CT slices:\n{listing(infos)}", remedy)
    if all(info.localizer for info in infos):
        return NotCTError(f"Only localizers (scout views) were found:\n{listing(infos)}", remedy)
    kinds = ", ".join(sorted({f"{info.modality} ({_class_name(info.sop_class)})" for info in infos}))
    return NotCTError(f"No CT slices were found, only {kinds}:\n{listing(infos)}", remedy)


def _class_name(sop_class: str) -> str:
    with quiet_pydicom():
        return UID(sop_class).name
