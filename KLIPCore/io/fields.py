"""Single fields of a DICOM header, as forgiving as is safe.

Headers are read with pydicom, and a field is asked for by its keyword. What is absent, empty or of the wrong kind
becomes None or an empty string here, so that the caller can name the file and the cause. Numbers written with a
decimal comma, as some exports in continental locales do, are understood.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from KLIPCore.errors import UnreadableFileError

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
AGAIN = "Copy or export that file again."
STORED_TAGS = (
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
)
"""How a slice's values are stored, and which of them stand for nothing."""


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom inside the block.

    Scanners bend the standard in a thousand harmless ways, and its warnings help no user of ours.
    """
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
    """Return the named fields of a DICOM file, or None when the file is of another kind.

    Raises
    ------
    UnreadableFileError : the file says it is DICOM and is not, or ends within its header.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        problem = f"{path.name} cannot be opened ({error.strerror})."
        raise UnreadableFileError(problem, "Check the file and its permissions.") from error
    if start[128:] != b"DICM" and start[:2] not in (b"\x08\x00", b"\x02\x00"):  # the latter: files without a preamble
        if path.suffix.lower() in DICOM_SUFFIXES:
            remedy = f"{AGAIN} If it is not part of the study, move it away."
            raise UnreadableFileError(f"{path.name} is named as a DICOM file and is not one.", remedy)
        return None
    bare = start[128:] != b"DICM"
    try:
        with quiet_pydicom():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=bare, specific_tags=list(tags))
            header.decode()
    except (*DAMAGE, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise UnreadableFileError(f"The DICOM header of {path.name} is damaged or cut short.", AGAIN) from error
    return header


def text(header: Dataset, keyword: str) -> str:
    """Return a field as one string without padding.

    Empty when it is absent, damaged or several values (a stray backslash).
    """
    try:
        value = header.get(keyword)
    except (*DAMAGE, TypeError):  # pydicom reads large values when they are asked for
        return ""
    return str(value).strip() if isinstance(value, str) else ""


def number(header: Dataset, keyword: str) -> float | None:
    """Return a field as one finite number; None when it is absent, empty, several values or text."""
    values = numbers(header, keyword)
    return values[0] if values is not None and len(values) == 1 else None


def whole_number(header: Dataset, keyword: str) -> int | None:
    """Return a field as a whole number; None when it is absent or something else."""
    value = number(header, keyword)
    return int(value) if value is not None and value == int(value) else None


def thickness_mm(header: Dataset) -> float | None:
    """Return the distance between slices by a header's word, or else their thickness; None where it says neither."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        if value := number(header, keyword):
            return abs(value)
    return None


def half_units(header: Dataset, keyword: str, count: int) -> list[float]:
    """Return half a unit of the last decimal of each of a field's numbers, in the field's unit; 0 where not known.

    Parameters
    ----------
    header : the header.
    keyword : the field.
    count : how many numbers it should hold, and are returned; of several in one text nothing is known.
    """
    known = decimals(header, keyword)
    if len(known) != count:  # several numbers in one text
        return [0.0] * count
    return [0.0 if places is None else 0.5 * 10.0**-places for places in known]


def numbers(header: Dataset, keyword: str, count: int | None = None) -> list[float] | None:
    """Return a field as finite numbers; None when it is absent, empty or holds something else.

    Parameters
    ----------
    header : the header.
    keyword : the field.
    count : how many numbers are expected, where that is known: one text such as "0.8,0.8" is then two numbers.
    """
    items = _items(header, keyword)
    if count and len(items) == 1 and isinstance(items[0], str) and items[0].count(",") == count - 1 > 0:
        items = items[0].split(",")
    elif count and len(items) == 1 and isinstance(items[0], str) and items[0].count(",") == 2 * count - 1:
        parts = items[0].split(",")  # "0,8,0,8": every other comma is a decimal one
        items = [f"{whole}.{part}" for whole, part in zip(parts[::2], parts[1::2], strict=True)]
    try:
        values = [float(_with_point(item) if isinstance(item, str) else item) for item in items]
    except (*DAMAGE, TypeError):
        return None
    return values if values and all(map(math.isfinite, values)) else None


def has_decimal_comma(header: Dataset, keyword: str) -> bool:
    """Return whether a field's numbers are written with a decimal comma."""
    items = _items(header, keyword)
    return any(isinstance(item, str) and (_with_point(item) != item or item.count(",") > 1) for item in items)


def decimals(header: Dataset, keyword: str) -> list[int | None]:
    """Return the decimal places that each of a field's numbers is written with; None where that is not known."""
    places: list[int | None] = []
    for item in _items(header, keyword):
        written = _with_point(str(getattr(item, "original_string", item)).strip())
        places.append(None if "e" in written.lower() else len(written.partition(".")[2].rstrip("0")))
    return places


def _items(header: Dataset, keyword: str) -> list[Any]:
    try:
        value = header[keyword].value
    except (*DAMAGE, TypeError):
        return []
    if value is None or isinstance(value, bytes):
        return []
    if isinstance(value, str):
        return [value] if value.strip() else []
    try:
        return list(value)
    except TypeError:
        return [value]


def _with_point(written: str) -> str:
    """``"0,8"`` → ``"0.8"``; anything else is left alone."""
    return written.replace(",", ".") if written.count(",") == 1 and "." not in written else written
