"""A folder of DICOM CT slices → one volume in Hounsfield units.

Reading happens twice. First only the headers: which series (:mod:`KLIPCore.io.listing`), in which order, on which
grid (:mod:`KLIPCore.io.stack`). Only when they form a volume are pixels decoded, one slice at a time, into the array.
Stored values become HU by each slice's own slope and intercept, because scanners may change them from slice to slice.
Classic CT (one file per slice) and Enhanced CT (all slices in one file) take the same road: an
Enhanced file's functional groups are flattened to one header a frame first.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from KLIPCore.errors import AmbiguousSeriesError, GeometryError, IntensityError, UnreadableFileError
from KLIPCore.io.derived_images import derived_notes
from KLIPCore.io.enhanced import frame_headers
from KLIPCore.io.fields import AGAIN, DAMAGE, STORED_TAGS, has_decimal_comma, number, quiet_pydicom, text
from KLIPCore.io.listing import CT_CLASSES, ENHANCED_CLASSES, SeriesInfo, choose_series, list_series, sop_class_of
from KLIPCore.io.pixels import is_lossy, left_empty, only_stored_bits, stored_pixels
from KLIPCore.io.rescales import Rescale
from KLIPCore.io.stack import Plane, main_stack, stack
from KLIPCore.volume.outside import AIR_HU, air_outside
from KLIPCore.volume.volume import Source, Volume

__all__ = ["AIR_HU", "SeriesInfo", "list_series", "read_dicom"]

log = logging.getLogger(__name__)

TISSUE_PADDING_HU = -500.0
"""A padding value above this would also hide lung or soft tissue: it is honoured, as the standard says, with
a warning.
"""
HU_WORDS = frozenset({"HU", "HUMOD", "H", "HFU", "CTHU", "HUCT", "HUNIT", "HUNITS", "CTNUM", "CTNUMBER", "CTNUMBERS"})
"""Rescale types that are Hounsfield units, letters only."""
UNSPECIFIED = frozenset({"", "US", "UNSPECIFIED", "NONE", "NA", "UNKNOWN", "NORMAL"})
"""Rescale types that say nothing: plausibility is judged later."""
WRITTEN_OUT = re.compile("HOUN[SD]+F[IE]+LD|HOUNSFEILD")
"""The unit's name, also as it is often misspelt."""

PIXEL_TAGS = ("RescaleSlope", "RescaleIntercept", "RescaleType", *STORED_TAGS)
SINGLE_FRAMES = "Export the study as classic single-frame CT images."


@quiet_pydicom()  # it parses late, wherever a field is asked for
def read_dicom(path: Path, series: str | None = None, member: Path | None = None) -> Volume:
    """Return the CT series of a folder as a volume in HU.

    Parameters
    ----------
    path : folder, searched with all folders below it.
    series : which series, see :func:`KLIPCore.io.listing.choose_series`; None for the only CT.
    member : a file in that folder whose series is meant, where ``series`` is None. A file that holds all slices of an
        Enhanced CT stands for itself.

    Returns
    -------
    Volume (D, H, W) with k increasing along row × column (for axial slices: from the feet), and a source that
    names every instance in array order, and what was assumed or left out. An Enhanced CT has one instance for all
    slices, so its source names none.

    Raises
    ------
    EmptyInputError, UnreadableFileError, NotCTError, AmbiguousSeriesError, GeometryError, IntensityError :
        see :mod:`KLIPCore.errors`; each says which file or slice, and what to do.
    """
    info = choose_series(list_series(path), series, member)
    if info.sop_class in ENHANCED_CLASSES:
        named = series is None and member in (*info.files, *info.copies)
        files = (member,) if named and member is not None else info.files
        return _read_enhanced(Path(path), info, files)
    return _read_classic(Path(path), info)


def _read_classic(path: Path, info: SeriesInfo) -> Volume:
    planes, files, headers, notes = _planes(info)
    _check_single_frames(headers, files)
    notes += _patients(headers)
    stacked = stack(planes)
    order, grid = stacked.order, stacked.grid
    array = np.empty(0, np.float32)
    tally = _Tally()
    before: Rescale | None = None
    for k, index in enumerate(order):
        file = files[index]
        dataset = _load(file)
        tally.lossy += is_lossy(dataset)
        stored = stored_pixels(dataset, file.name, grid.shape[1:])
        slice_hu = hounsfield(stored, dataset, file.name, tally)
        rescale = Rescale(stored, dataset, file.name)
        if before is not None:
            rescale.check_after(before)
        before = rescale
        if k == 0:  # not before there are pixels: headers can claim any size
            array = np.empty(grid.shape, np.float32)
        array[k] = slice_hu
    array, filled = air_outside(array, whole_numbers=True)
    notes += [*derived_notes(headers), *stacked.notes, *tally.notes(), *filled]
    uids = tuple(text(headers[i], "SOPInstanceUID") for i in order)
    if not info.series_uid:
        uids = ()  # no DICOM object can refer to a series without a UID
    elif not all(uids):
        notes.append("Slices have no instance UID, as after anonymization: no DICOM object can refer to them.")
        uids = ()
    elif len(set(uids)) < len(uids):
        notes.append(
            "Several slices share one instance UID, as after anonymization: no DICOM object can refer to them."
        )
        uids = ()
    source = Source(
        str(path),
        info.study_uid,
        info.series_uid,
        uids,
        tuple(str(files[i]) for i in order) if uids else (),
        info.modality,
        info.description,
        tuple(dict.fromkeys(notes)),
        info.choice,
    )
    return Volume(array, grid, source)


def _planes(info: SeriesInfo) -> tuple[list[Plane], list[Path], list[Dataset], list[str]]:
    """The slices of a series' one large stack, their files and headers; and what was left out of it."""
    notes = _copies(info)
    if not info.series_uid:
        several = any(text(header, "SeriesInstanceUID") for header in info.headers)
        what = "Each image has a series instance UID of its own" if several else "The series instance UID is empty"
        notes.append(f"{what}; all images of one study and series number are read as one series.")
    sizes = [(number(h, "Rows"), number(h, "Columns")) for h in info.headers]
    usual, n_usual = Counter(sizes).most_common(1)[0]
    planes: list[Plane] = []
    kept: list[int] = []
    strays: list[int] = []
    for index, (header, file) in enumerate(zip(info.headers, info.files, strict=True)):
        try:
            planes.append(_plane(header, file))
            kept.append(index)
        except GeometryError:  # a picture of another size or kind that has no place is no slice
            no_slice = sop_class_of(header) not in CT_CLASSES or sizes[index] != usual
            if not no_slice or n_usual <= len(info.files) / 2:
                raise
            strays.append(index)
    large, beside = main_stack(planes)
    strays += [kept[i] for i in beside]
    if strays:
        names = ", ".join(info.files[i].name for i in strays[:3]) + (", …" if len(strays) > 3 else "")
        images = "1 image is" if len(strays) == 1 else f"{len(strays)} images are"
        notes.append(
            f"{images} left out ({names}): of another orientation, size or kind than the stack of {len(large)} slices,"
            " as localizers are."
        )
    chosen = [kept[i] for i in large]
    return [planes[i] for i in large], [info.files[i] for i in chosen], [info.headers[i] for i in chosen], notes


def _copies(info: SeriesInfo) -> list[str]:
    said = f"{len(info.copies)} files hold an instance that another file holds too; they are left out."
    return [said] if info.copies else []


def _plane(header: Dataset, file: Path) -> Plane:
    try:
        return Plane.of_header(header, file.name)
    except GeometryError:
        if "PixelData" not in _load(file):  # the fields are missing because the file ends before them
            raise UnreadableFileError(f"{file.name} is damaged or cut short.", AGAIN) from None
        raise


def _check_single_frames(headers: Sequence[Dataset], files: Sequence[Path]) -> None:
    """Raise for a classic CT file with several frames: it has one position for all of them."""
    for header, file in zip(headers, files, strict=True):
        frames = int(number(header, "NumberOfFrames") or 1)
        if frames > 1:
            raise GeometryError(
                f"{file.name} holds {frames} frames in one file of the classic CT kind, which gives one position "
                "for all of"
                " them: where each slice lies is not known.",
                "Export the study as classic single-frame CT images, or as Enhanced CT.",
            )


def _patients(headers: Sequence[Dataset]) -> list[str]:
    """A note where anonymization gave each slice a patient of its own.

    Raises
    ------
    AmbiguousSeriesError : the slices are of several patients, whose series got one UID.
    """
    named = [text(header, "PatientID") for header in headers]
    several = len(set(named) - {""})
    if several < 2:
        return []
    if several == len(headers) > 2:
        return ["Each slice names a patient of its own, as after anonymization; they are taken to be of one."]
    raise AmbiguousSeriesError(
        f"The series holds slices of {several} patients, by their patient IDs.",
        "Give the slices of one patient: move the others into another folder.",
    )


def _read_enhanced(path: Path, info: SeriesInfo, files: Sequence[Path]) -> Volume:
    if len(files) > 1:
        raise GeometryError(
            f"This Enhanced CT series is spread over {len(files)} multi-frame files.",
            f"Give one of its files by name. {SINGLE_FRAMES.replace('Export', 'Or export')}",
        )
    file = files[0]
    dataset = _load(file)
    damaged = UnreadableFileError(f"The functional groups of {file.name} are damaged or missing.", SINGLE_FRAMES)
    try:
        with quiet_pydicom():
            frames = frame_headers(dataset)
    except (*DAMAGE, TypeError, IndexError) as error:
        raise damaged from error
    if not frames:
        raise damaged
    chosen = info.frames if info.frames and files == info.files else tuple(range(len(frames)))
    if max(chosen) >= len(frames):
        raise damaged
    stacked = stack([Plane.of_header(frames[n], f"frame {n + 1} of {file.name}") for n in chosen])
    order, grid = [chosen[index] for index in stacked.order], stacked.grid
    announced = (len(frames), *grid.shape[1:]) if len(frames) > 1 else grid.shape[1:]
    stored = stored_pixels(dataset, file.name, announced).reshape(len(frames), *grid.shape[1:])
    array = np.empty(grid.shape, np.float32)
    tally = _Tally()
    tally.lossy = len(frames) * is_lossy(dataset)
    for k, index in enumerate(order):
        array[k] = hounsfield(stored[index], frames[index], f"frame {index + 1} of {file.name}", tally)
    array, filled = air_outside(array, whole_numbers=True)
    notes = (*_copies(info), *derived_notes(info.headers), *stacked.notes, *tally.notes(), *filled)
    source = Source(
        str(path if len(info.files) == 1 else file),
        info.study_uid,
        info.series_uid,
        modality=info.modality,
        description=info.description,
        notes=tuple(dict.fromkeys(notes)),
        choice=info.choice if len(info.files) == 1 else "",
    )
    return Volume(array, grid, source)


def _load(file: Path) -> Dataset:
    """All of a file, pixels still encoded."""
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(file, force=True)  # that it is DICOM was settled when the folder was listed
            for keyword in (*PIXEL_TAGS, "PixelData"):
                dataset.get(keyword)  # pydicom parses late; a damaged field shall be found here
            return dataset
    except DAMAGE as error:
        raise UnreadableFileError(f"{file.name} is damaged or cut short.", AGAIN) from error


class _Tally:
    """What was set to air on the way, to be told once a volume and not once a slice."""

    def __init__(self) -> None:
        self.padding = self.below = self.masked = self.beyond = 0
        self.moved = False
        self.lowest = AIR_HU
        self.padding_hu = -np.inf
        self.comma = False
        self.lossy = 0

    def notes(self) -> list[str]:
        """What a reader of the report should know; what is usual goes to the log."""
        if self.padding:
            log.info("%d padding pixels outside the field of view are set to air (%g HU).", self.padding, AIR_HU)
        if self.below:
            log.info("%d pixels down to %g HU are clipped to %g HU.", self.below, self.lowest, AIR_HU)
        said = []
        if self.padding_hu > TISSUE_PADDING_HU:
            value = f"The padding value is {self.padding_hu:g} HU"
            said.append(f"{value}: tissue of just this value is taken for padding, as the header demands.")
        if self.masked:
            said.append(
                f"{self.masked} pixels hold bits beyond those stored, as of an old overlay; these are left out."
            )
        if self.moved:
            log.info("Values lie in the upper bits, as the header says.")
        if self.beyond:
            said.append(
                f"{self.beyond} pixels need more bits than the header says are stored; they continue what lies beside "
                "them and are kept."
            )
        if self.lossy:
            slices = "1 slice was" if self.lossy == 1 else f"{self.lossy} slices were"
            said.append(f"{slices} compressed with loss: small differences are not the patient's.")
        if self.comma:
            said.append("Numbers in the headers are written with a decimal comma and are read so.")
        return said


def hounsfield(
    stored: NDArray[np.integer], header: Dataset, label: str, tally: _Tally | None = None
) -> NDArray[np.float32]:
    """Return stored values as HU = slope · stored + intercept. Padding and all below air become air.

    Parameters
    ----------
    stored : (H, W) values as decoded.
    header : holds RescaleSlope and RescaleIntercept, and PixelPaddingValue where there is padding.
    label : what to call the slice in a message.
    tally : counts what was done to padding, over all slices of a series.

    Raises
    ------
    IntensityError : no rescale, or one to other units than HU.
    """
    remedy = "Export the original CT series, not a derived or spectral one."
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if not slope or intercept is None:
        problem = f"{label} has no usable rescale slope and intercept: its values are not in Hounsfield units."
        raise IntensityError(problem, remedy)
    kind = (text(header, "RescaleType") or "HU").upper()
    if "".join(filter(str.isalpha, kind)) not in HU_WORDS | UNSPECIFIED and not WRITTEN_OUT.search(kind):
        raise IntensityError(f"{label} is rescaled to {kind[:40]}, not to Hounsfield units.", remedy)
    tally = tally if tally is not None else _Tally()
    tally.comma |= any(has_decimal_comma(header, keyword) for keyword in PIXEL_TAGS[:2])
    values = only_stored_bits(stored, header)
    hu = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    padding = _padding(header)
    padded = None
    if padding is not None:
        padded = (values >= padding[0]) & (values <= padding[1])
        if values is not stored:  # a padding value beyond the stored bits, as some scanners write
            padded |= (stored >= padding[0]) & (stored <= padding[1])
        tally.padding += int(padded.sum())
        if padded.any():
            tally.padding_hu = max(tally.padding_hu, padding[1] * slope + intercept)
        hu[padded] = AIR_HU
    if values is not stored:
        shift = left_empty(header)
        moved = shift > 0 and np.array_equal(stored.astype(np.int64) >> shift, values)
        beyond = (stored & ((1 << shift) - 1)) != 0 if moved else values != stored
        tally.moved |= moved
        tally.masked += int((beyond if padded is None else beyond & ~padded).sum())
    elif padded is None or not padded.any():
        bits = int(number(header, "BitsStored") or 32) - int(header.get("PixelRepresentation") == 1)
        tally.beyond += int((stored >= 1 << max(bits, 1)).sum())
    below = hu < AIR_HU
    if below.any():
        tally.below += int(below.sum())
        tally.lowest = min(tally.lowest, float(hu.min()))
        hu[below] = AIR_HU
    return hu


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
