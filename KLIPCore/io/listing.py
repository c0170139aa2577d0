"""Which series lie in a folder, and which of them is the CT.

A study as it leaves a PACS is a bag of files: localizers, the axial series, a dose report photographed as a
"CT" image, a segmentation somebody exported later. Only headers are read here, and only the fields below, so a
listing costs little and never holds a patient's name.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from KLIPCore.errors import AmbiguousSeriesError, EmptyInputError, NotCTError, UnreadableFileError
from KLIPCore.io.acquisitions import TAGS as ACQUISITION_TAGS
from KLIPCore.io.acquisitions import Acquisition, Members, acquisitions, one_of_each
from KLIPCore.io.enhanced import stacks_of
from KLIPCore.io.fields import AGAIN, DAMAGE, number, quiet_pydicom, read_header, text

__all__ = ["DAMAGE", "SeriesInfo", "choose_series", "list_series", "number", "quiet_pydicom", "read_header", "text"]

log = logging.getLogger(__name__)

ENHANCED_CLASSES = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
CT_CLASSES = frozenset({CTImageStorage}) | ENHANCED_CLASSES

SERIES_TAGS = (
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
    "PhotometricInterpretation",
    "NumberOfFrames",
)
PLANE_TAGS = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "SliceThickness",
    "FrameOfReferenceUID",
    "GantryDetectorTilt",
)
HEADER_TAGS = tuple(dict.fromkeys(("PatientID", *SERIES_TAGS, *PLANE_TAGS, *ACQUISITION_TAGS)))
"""All that is read of a file before its pixels are: the series, the place, and what tells acquisitions apart."""
INDEX_NAME = re.compile(r"(dicomdir|dirfile)\b", re.IGNORECASE)
"""Indexes of a medium: DICOMDIR by the standard, DIRFILE by Philips."""
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".iso")
ARCHIVE_STARTS = (b"PK\3\4", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")
TAR_MARK, TAR_MARK_AT = b"ustar", 257
VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".hdr.gz", ".img", ".img.gz")
"""Files that a folder may hold instead of DICOM slices, to be given by name."""
JOINED_BY = ("SeriesNumber", "SeriesDescription", "Rows", "Columns", "PixelSpacing")
LEAST_JOINED = 3
"""So many single images of one study and number, each with a series UID of its own, are one series."""
MOST_NAMED = 1000
"""Files of other kinds that are remembered, to be named where there is no DICOM."""


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
    samples : samples per pixel, 3 for colour pictures, those of a palette among them.
    acquisition : what chooses this stack among several of one series UID, empty when it is the only one.
    label : what tells it from those others, e.g. "acquisition 2, at 12:05:00".
    copies : files left out because their instance is there already.
    headers : the fields :data:`HEADER_TAGS` of the files.
    frames : frames of its only file that are meant, counted from 0; empty for all.
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
    acquisition: str = ""
    label: str = ""
    copies: tuple[Path, ...] = ()
    headers: tuple[Dataset, ...] = field(default=(), repr=False, compare=False)
    frames: tuple[int, ...] = field(default=(), repr=False)

    @property
    def choice(self) -> str:
        """What picks this one again with ``--series``: its UID, and its acquisition where there are several."""
        return f"{self.series_uid}/{self.acquisition}" if self.acquisition else self.series_uid

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
        which = f", {self.label}" if self.label else ""
        return f"{number}{which}: {self.description or 'no description'} ({kind}{size})"


def is_index(path: Path) -> bool:
    """Return whether a file is named as the index of a medium (DICOMDIR, DIRFILE), which holds no image."""
    return INDEX_NAME.match(path.name) is not None


def is_archive(path: Path) -> bool:
    """Return whether a file is an archive or packed, by its name or its first bytes."""
    if path.name.lower().endswith(ARCHIVES):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(TAR_MARK_AT + len(TAR_MARK))
        return start.startswith(ARCHIVE_STARTS) or start[TAR_MARK_AT:] == TAR_MARK
    except OSError:
        return False


@quiet_pydicom()
def list_series(folder: Path, *, below: bool = True) -> list[SeriesInfo]:
    """Return all series below a folder, by study, number and UID.

    Localizers inside a series are listed apart from it, and so are several acquisitions under one series UID.

    Parameters
    ----------
    folder : where the files lie.
    below : whether folders in it are searched, too.

    Raises
    ------
    EmptyInputError : no such folder, or no DICOM file in it.
    UnreadableFileError : a DICOM file that cannot be read; leaving it out could silently lose a slice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EmptyInputError(f"There is no folder {folder}.", "Check the path.")
    groups: dict[tuple, list[tuple[Path, Dataset]]] = defaultdict(list)
    others: list[Path] = []
    for path in sorted(folder.rglob("*") if below else folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():  # ._x.dcm is macOS's shadow of x.dcm
            continue
        found = _image(path)
        if found is not None:
            groups[found[0]].append((path, found[1]))
        elif len(others) < MOST_NAMED:
            others.append(path)
    if not groups:
        raise _no_dicom(folder, others)
    infos = []
    for (*_, localizer), members in _joined(groups).items():
        stacked = sop_class_of(members[0][1]) == CTImageStorage and not localizer
        if stacked:
            parts = acquisitions(members)
        else:
            several = sop_class_of(members[0][1]) in ENHANCED_CLASSES
            parts = stacks_of(one_of_each(members)) if several else [Acquisition(members)]
        infos += [_info(part, localizer) for part in parts]
    return sorted(infos, key=lambda s: (s.study_uid, s.number is None, s.number or 0, s.series_uid, s.localizer))


def _no_dicom(folder: Path, others: Sequence[Path]) -> EmptyInputError:
    """The error for a folder without DICOM, with what is there instead."""
    problem = f"No DICOM file was found in {folder}"
    for path in others:
        if path.name.lower().endswith(VOLUMES):
            return EmptyInputError(f"{problem}, but {path.name}.", f"Give that file: {path}.")
        if is_archive(path):
            return EmptyInputError(f"{problem}, but {path.name}.", f"Unpack {path.name} first.")
    return EmptyInputError(f"{problem}.", "Give the folder that holds the slices, or a NIfTI, NRRD or MetaImage file.")


def _joined(groups: dict[tuple, Members]) -> dict[tuple, Members]:
    """The series, where anonymization gave every slice a series UID of its own joined to one a series number.

    A study UID of its own for each slice is such a thing, too.
    """
    single: dict[tuple, list[tuple]] = defaultdict(list)
    for key, members in groups.items():
        header = members[0][1]
        if len(members) == 1 and not key[-1] and sop_class_of(header) == CTImageStorage:
            single[tuple(str(header.get(keyword, "")) for keyword in JOINED_BY)].append(key)
    for same, keys in list(single.items()):
        studies = defaultdict(list)
        for key in keys:
            studies[text(groups[key][0][1], "StudyInstanceUID")].append(key)
        if 1 < len(studies) < len(keys):
            del single[same]
            single.update({(*same, uid): found for uid, found in studies.items()})
    joined = dict(groups)
    for keys in single.values():
        if len(keys) >= LEAST_JOINED:
            joined[("", *keys[0])] = [member for key in keys for member in joined.pop(key)]
    return joined


def _image(path: Path) -> tuple[tuple, Dataset] | None:
    """What a file's series is, and its header; None for a file that is no image and no part of a series.

    Raises
    ------
    UnreadableFileError : it is DICOM and damaged.
    """
    try:
        header = read_header(path, HEADER_TAGS)
    except UnreadableFileError:
        if is_index(path):
            return None
        raise
    if header is None:
        return None
    sop_class, series_uid = sop_class_of(header), text(header, "SeriesInstanceUID")
    if sop_class == MediaStorageDirectoryStorage or (is_index(path) and "Rows" not in header):
        return None
    is_image = number(header, "Rows") is not None
    if not series_uid and not is_image and sop_class not in CT_CLASSES and _is_known(text(header, "SOPClassUID")):
        return None  # a palette, a hanging protocol
    if not sop_class or not (series_uid or is_image) or (sop_class in CT_CLASSES and not is_image):
        raise UnreadableFileError(f"The DICOM header of {path.name} is damaged or cut short.", AGAIN)
    localizer = "LOCALIZER" in str(header.get("ImageType", "")).upper()
    named = (
        (series_uid,) if series_uid else ("", *(str(header.get(k, "")) for k in ("StudyInstanceUID", "SeriesNumber")))
    )
    return (named, localizer), header


def sop_class_of(header: Dataset) -> str:
    """Return the SOP class; where an export emptied it, that of the file's meta header, or CT for an image of a CT."""
    with quiet_pydicom():
        stated = text(header, "SOPClassUID") or text(
            getattr(header, "file_meta", Dataset()), "MediaStorageSOPClassUID"
        )
    is_ct_image = text(header, "Modality") == "CT" and number(header, "Rows") is not None
    return stated or (str(CTImageStorage) if is_ct_image else "")


def _info(part: Acquisition, localizer: bool) -> SeriesInfo:
    members = part.members
    first = members[0][1]
    series_number = number(first, "SeriesNumber")
    uids = {text(header, "SeriesInstanceUID") for _, header in members}
    return SeriesInfo(
        series_uid=uids.pop() if len(uids) == 1 else "",
        study_uid=text(first, "StudyInstanceUID"),
        number=None if series_number is None else int(series_number),
        description=text(first, "SeriesDescription"),
        modality=text(first, "Modality") or ("CT" if sop_class_of(first) in CT_CLASSES else "unknown"),
        n_images=len(part.frames)
        or sum(int(number(h, "NumberOfFrames") or 1) for _, h in members if number(h, "Rows")),
        shape=(int(number(first, "Rows") or 0), int(number(first, "Columns") or 0)),
        files=tuple(path for path, _ in members),
        sop_class=sop_class_of(first),
        localizer=localizer,
        samples=max(_samples(header) for _, header in members),
        acquisition=part.name,
        label=part.label,
        copies=part.copies,
        headers=tuple(header for _, header in members),
        frames=part.frames,
    )


def _samples(header: Dataset) -> int:
    palette = text(header, "PhotometricInterpretation").startswith("PALETTE")
    return 3 if palette else int(number(header, "SamplesPerPixel") or 1)


def listing(infos: Sequence[SeriesInfo]) -> str:
    """Return the series as lines that a user can choose from.

    Parameters
    ----------
    infos : the series, in the order of their numbers.

    Returns
    -------
    Lines such as ``#1 number 4: Abdomen portal (CT, 120 images of 512x512)``.
    """
    return "\n".join(f"  #{i} {info}" for i, info in enumerate(infos, 1))


def choose_series(infos: Sequence[SeriesInfo], series: str | None = None, member: Path | None = None) -> SeriesInfo:
    """Return the series meant by ``series``, or the only CT among them.

    Parameters
    ----------
    infos : what :func:`list_series` found.
    series : a series instance UID; a series number ("4"); either with an acquisition ("4/2") where a series has
        several; a place in the listing ("#2", or "2" where no series has number 2); or None for the only CT
        series that is not a localizer.
    member : a file whose series is meant, where ``series`` is None.

    Raises
    ------
    NotCTError : no CT series, or the one asked for is none.
    AmbiguousSeriesError : several fit, or none has that name; the message lists all.
    """
    if series is None and member is not None:
        infos = [info for info in infos if member in info.files or member in info.copies] or infos
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
    acquired = [info for info in candidates if info.acquisition]
    if acquired:
        names = [info.acquisition if info.number is None else f"{info.number}/{info.acquisition}" for info in acquired]
        remedy = f"Choose one with --series, by #place or number and acquisition ({', '.join(names[:4])})."
    if len({info.series_uid for info in candidates}) == 1 and len(acquired) == len(candidates):
        kind = "stacks in one file" if acquired[0].frames else "acquisitions of the same place"
        problem = f"One series holds {len(candidates)} {kind} and none was chosen"
    else:
        problem = f"{len(candidates)} CT series were found and none was chosen"
    raise AmbiguousSeriesError(f"{problem}:\n{listing(infos)}", remedy)


def _named(infos: Sequence[SeriesInfo], series: str) -> list[SeriesInfo]:
    exact = [info for info in infos if series and series in (info.series_uid, info.choice)]
    if exact:
        return exact
    name, _, acquisition = series.partition("/")
    if acquisition:
        return [info for info in _named(infos, name) if info.acquisition == acquisition.strip()]
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


def _is_known(sop_class: str) -> bool:
    """Whether the standard names such a class: what is cut short within its own class is none."""
    with quiet_pydicom():
        return UID(sop_class).type == "SOP Class"


def _class_name(sop_class: str) -> str:
    with quiet_pydicom():
        return UID(sop_class).name
