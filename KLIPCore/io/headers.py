"""What the header of a volume file may say, looked at before ITK believes it.

ITK opens any data file that a header names, takes memory for any size that it claims, and ends the whole
process on some lines (a long one in NRRD, too many dimensions in MetaImage). :func:`check_header` refuses
these in a sentence. It reads the header alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from KLIPCore.errors import UnreadableFileError
from KLIPCore.io.axes import RESAVE, check_axes, check_matrix, check_units

LONGEST_HEADER = 1 << 16
LONGEST_LINE = 900
"""ITK's NRRD library copies a line it cannot use into a thousand bytes."""
MOST_DIMENSIONS = 7
BOMB_BYTES, BOMB_RATIO = 64 << 20, 300
"""More bytes than this that take less than 1/300 of them on disk are no CT: noise does not compress."""
LABEL_RATIO = 1100
"""Labels compress as far as deflate can, 1032 to one."""
BITS = {
    "char": 8,
    "uchar": 8,
    "int8": 8,
    "uint8": 8,
    "short": 16,
    "ushort": 16,
    "int16": 16,
    "uint16": 16,
    "int": 32,
    "uint": 32,
    "int32": 32,
    "uint32": 32,
    "float": 32,
    "double": 64,
    "long": 64,
    "ulong": 64,
    "int64": 64,
    "uint64": 64,
    "longlong": 64,
    "ulonglong": 64,
}
OTHER_MODALITIES = ("MR", "NM", "US", "PT", "PET", "SPECT")
"""Modalities that are no CT, by the words of DICOM, MetaImage and diffusion MR's own NRRD (DWMRI)."""
UNREAD_ENCODINGS = frozenset({"bzip2", "bz2", "zrl"})
TEXT_ENCODINGS = frozenset({"text", "txt", "ascii"})
SPACES = re.compile(r"(left-posterior|right-anterior|left-anterior)-superior|LPS|RAS|LAS", re.IGNORECASE)
"""Coordinates of a patient that NRRD names and ITK knows."""
SIDES_ASSUMED = (
    "The file does not say how the patient lies: left and right are assumed, as for a volume stored from the"
    " patient's right to left, front to back and feet to head."
)
ONCE = frozenset({"DimSize", "ElementSpacing", "ElementSize", "ElementType", "TransformMatrix", "Offset"})
"""Fields of a MetaImage header of which ITK takes the last."""
AGAIN = "Copy or export that file again."


def check_header(path: Path, ratio: int = BOMB_RATIO) -> list[str]:
    """Refuse an .nrrd, .nhdr, .mha or .mhd whose header is dangerous or claims what the file cannot hold.

    Parameters
    ----------
    path : the file.
    ratio : how many times smaller than its numbers the file may be.

    Returns
    -------
    what it leaves open and has to be assumed, one sentence each.

    Raises
    ------
    UnreadableFileError : it does.
    GeometryError : it gives no spacing, where a default of 1 mm would be taken, or several that differ, or axes that
        are not at right angles, of which ITK keeps the lengths alone.
    """
    try:
        with path.open("rb") as file:
            start = file.read(LONGEST_HEADER)
        if start.startswith(b"NRRD"):
            return _check_nrrd(path, start, ratio)
        if path.name.lower().endswith((".mha", ".mhd")):
            return _check_meta(path, start, ratio)
        return []
    except (OSError, ValueError, OverflowError) as error:
        raise UnreadableFileError(f"{path.name} is damaged, cut short, or not what its name says.", AGAIN) from error


def stated_modality(path: Path) -> str:
    """Return the modality that an NRRD or MetaImage header names, such as "MR"; "CT" where it names none or that."""
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    if start.startswith(b"NRRD"):
        start = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0]
        found = re.search(rb"^(?:modality|DICOM_0008_0060):=[ \t]*(\w+)", start, re.MULTILINE | re.IGNORECASE)
    else:
        start = re.split(rb"\nElementDataFile", start, maxsplit=1)[0]
        found = re.search(rb"^Modality[ \t]*=[ \t]*MET_MOD_(\w+)", start, re.MULTILINE)
    word = found[1].decode("ascii", "replace").upper() if found else ""
    return next((modality for modality in OTHER_MODALITIES if modality in word), "CT")


def _check_nrrd(path: Path, start: bytes, ratio: int) -> list[str]:
    head = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0]
    lines = head.split(b"\n")
    if any(
        len(line) > LONGEST_LINE and b":=" not in line and not line.startswith((b"#", b"content:")) for line in lines
    ):
        raise UnreadableFileError(f"{path.name} has a header line of more than {LONGEST_LINE} characters.", AGAIN)
    fields = {}
    for line in lines[1:]:
        name, found, value = line.decode("latin-1").partition(":")
        if found and not value.startswith("=") and not name.startswith("#"):
            fields[name.strip().lower().replace(" ", "")] = value.strip()
    if fields.get("dimension", "3").isdigit() and int(fields.get("dimension", "3")) > MOST_DIMENSIONS:
        raise UnreadableFileError(
            f"{path.name} claims to have {int(fields['dimension'])} dimensions.", "Give a 3-D CT volume."
        )
    data = _data_file(path, fields["datafile"]) if "datafile" in fields else path
    kind = fields.get("type", "").replace("unsigned ", "u").replace("signed ", "").replace("_t", "").replace(" ", "")
    check_size(path, data, _counts(fields.get("sizes", "")), BITS.get(kind, 64), ratio)
    skips = fields.get("byteskip", "0") + fields.get("lineskip", "0")
    encoding = fields.get("encoding", "").lower()
    if encoding in UNREAD_ENCODINGS:
        problem = f"The numbers of {path.name} are packed as {encoding}, which is not read."
        raise UnreadableFileError(problem, "Save the volume again with the encoding gzip or raw.")
    if encoding == "raw" and not skips.strip("0") and kind in BITS:
        _check_rest(path, data, _counts(fields.get("sizes", "")), BITS[kind], _after(start, rb"\r?\n\r?\n"))
    check_units(path, fields.get("spaceunits", "") + " " + fields.get("units", ""))
    check_axes(path, fields.get("spacedirections", ""), fields.get("spacings", ""))
    if kind in BITS and BITS[kind] > 8 and encoding not in TEXT_ENCODINGS and "endian" not in fields:
        problem = f"{path.name} does not give the order of the bytes in its numbers (endian)."
        raise UnreadableFileError(problem, "Save the volume again as one .nrrd, .mha or .nii.")
    return [] if SPACES.match(fields.get("space", "")) and "spacedirections" in fields else [SIDES_ASSUMED]


def _check_meta(path: Path, start: bytes, ratio: int) -> list[str]:
    fields: dict[str, str] = {}
    for line in start.split(b"\n"):
        name, found, value = line.decode("latin-1").partition("=")
        if found and name.strip() in ONCE and fields.get(name.strip(), value.strip()) != value.strip():
            raise UnreadableFileError(f"{path.name} gives {name.strip()} twice, and not alike.", RESAVE)
        if found:
            fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            break
    n = re.match(r"[-+\d.eE]+", fields.get("NDims", "3"))
    if n is None or not 1 <= float(n[0]) <= MOST_DIMENSIONS:
        raise UnreadableFileError(
            f"{path.name} claims to have {fields['NDims'][:20]} dimensions.", "Give a 3-D CT volume."
        )
    local = fields.get("ElementDataFile", "LOCAL")
    data = path if local.upper() == "LOCAL" else _data_file(path, local)
    known = {"CHAR": 8, "SHORT": 16, "FLOAT": 32, "INT": 32, "DOUBLE": 64}.get(
        fields.get("ElementType", "").removeprefix("MET_").removeprefix("U")
    )
    bits = known or 64
    check_size(path, data, _counts(fields.get("DimSize", "")), bits, ratio)
    plain = fields.get("CompressedData", "").lower() != "true" and not fields.get("HeaderSize", "0").strip("0")
    single = fields.get("ElementNumberOfChannels", "1") == "1"
    if plain and fields.get("BinaryData", "True").lower() == "true" and known and single:
        _check_rest(path, data, _counts(fields.get("DimSize", "")), bits, _after(start, rb"\nElementDataFile[^\n]*\n"))
    if not {"DimSize", "ElementDataFile"} <= set(fields):
        return []  # no MetaImage: ITK says so
    scaled = (fields.get("ElementToIntensityFunctionSlope", "1"), fields.get("ElementToIntensityFunctionOffset", "0"))
    if tuple(map(float, scaled)) != (1.0, 0.0):
        problem = f"{path.name} says that its numbers times {scaled[0][:20]} plus {scaled[1][:20]} are meant"
        raise UnreadableFileError(f"{problem}, which is not read.", "Save the volume again in Hounsfield units.")
    check_units(path, fields.get("DistanceUnits", ""))
    notes = check_matrix(path, fields)
    return [*notes, *([] if {"TransformMatrix", "Rotation", "Orientation"} & set(fields) else [SIDES_ASSUMED])]


def _data_file(path: Path, name: str) -> Path:
    """The file of numbers that a header names, if it lies beside the header.

    Raises
    ------
    UnreadableFileError : it lies elsewhere, is several, or is no file.
    """
    name = name.removeprefix("./")
    data = path.parent / name
    if not name or "/" in name or "\\" in name or ":" in name or "%" in name or name.split(" ")[0].upper() == "LIST":
        raise UnreadableFileError(
            f"{path.name} does not take its numbers from one file beside it.",
            "Save the volume again as one .nrrd, .mha or .nii.",
        )
    if not data.is_file():
        raise UnreadableFileError(
            f"{path.name} takes its numbers from {name[:80]}, which is not beside it.",
            "Copy both files into one folder.",
        )
    if data.resolve().parent != path.resolve().parent:
        raise UnreadableFileError(
            f"{path.name} takes its numbers from {name[:80]}, a link into another folder.",
            "Copy both files into one folder.",
        )
    return data


def _counts(sizes: str) -> list[float]:
    counts = [float(word) for word in sizes.split()]
    if not all(math.isfinite(n) and n > 0 for n in counts):
        raise ValueError("sizes")
    return counts


def _after(start: bytes, end: bytes) -> int | None:
    """Where the numbers begin behind a header that ends so; None where it does not end in what was read of it."""
    found = re.search(end, start)
    return found.end() if found else None


def _check_rest(path: Path, data: Path, counts: Sequence[float], bits: int, offset: int | None) -> None:
    """Raise where plain numbers are more than their header tells of: it is another volume's, or a slice is lost.

    ``offset`` is where they begin in the file of the header, if they are in it.
    """
    if data == path and offset is None:
        return
    held = data.stat().st_size - (offset or 0 if data == path else 0)
    slack = 0.0 if data != path else least_more(counts) * bits / 8 - 1
    check_no_more(path, math.prod(counts) * bits / 8, held, slack)


def least_more(counts: Sequence[float]) -> float:
    """Return how many numbers one more row, column or slice would take: fewer behind the last are no lost part."""
    sides = [n for n in counts if n > 1]
    return math.prod(counts) / max(sides, default=1)


def check_no_more(path: Path, claimed: float, held: float, slack: float) -> None:
    """Refuse a file that holds more than its header describes.

    Parameters
    ----------
    path : what to call the volume in the message.
    claimed, held : bytes.
    slack : bytes that may be behind the numbers.

    Raises
    ------
    UnreadableFileError : it does.
    """
    if claimed > 0 and held > claimed + slack:
        raise UnreadableFileError(
            f"{path.name} describes {claimed:.0f} bytes, and there are {held:.0f}: sizes or type are wrong, or the "
            "numbers are of another volume.",
            "Save the volume again as one .nrrd, .mha or .nii.",
        )


def check_size(path: Path, data: Path, counts: Sequence[float], bits: int, ratio: int = BOMB_RATIO) -> None:
    """Refuse more numbers than a file of this length can hold, packed as well as zlib can.

    Parameters
    ----------
    path : what to call the volume in the message.
    data : the file of numbers.
    counts : numbers along each axis.
    bits : of each number.
    ratio : how many times smaller than the numbers the file may be.

    Raises
    ------
    UnreadableFileError : the file says to hold more.
    """
    claimed, held = math.prod(counts) * bits / 8, data.stat().st_size
    if claimed > BOMB_BYTES and claimed > ratio * held:
        raise UnreadableFileError(
            f"{path.name} has {held} bytes and claims to hold {claimed:.3g}, which no "
            f"{'CT' if ratio == BOMB_RATIO else 'segmentation'} does.",
            AGAIN,
        )
