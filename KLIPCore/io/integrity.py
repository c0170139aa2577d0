"""Damage to volume files that ITK does not notice.

The checksums inside compressed NRRD and MetaImage files are not looked at: one flipped bit on a disk, and thousands of
voxels are other plausible HU. It is found here, before ITK reads, at the price of unpacking a compressed file twice.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from KLIPCore.errors import UnreadableFileError
from KLIPCore.io.headers import check_no_more

BLOCK = 1 << 20
SLACK = 64
"""Bytes behind the last number that belong to no other."""
LONGEST_HEADER = 1 << 16
AGAIN = "Copy or export that file again."


def check_integrity(path: Path, expected: int) -> None:
    """Raise where an .nrrd, .nhdr, .mha or .mhd file is cut short or fails its own checksum.

    Parameters
    ----------
    path : the file.
    expected : bytes that its numbers take; ITK fills with zeros what a compressed stream lacks of them.

    Raises
    ------
    UnreadableFileError : it does, or its numbers are in another file that is not there.
    """
    try:
        packed = _packed_numbers(path)
        held = expected if packed is None else _unpacked(*packed, expected)
    except (EOFError, OSError, zlib.error, ValueError, OverflowError) as error:
        raise damaged(path) from error
    if held < expected:
        raise damaged(path)
    check_no_more(path, expected, held, SLACK)


def damaged(path: Path) -> UnreadableFileError:
    """Return the error for a file that cannot be trusted or read."""
    return UnreadableFileError(f"{path.name} is damaged, cut short, or not what its name says.", AGAIN)


def _packed_numbers(path: Path) -> tuple[Path, int] | None:
    """File and offset of the compressed numbers of an NRRD or MetaImage file; None where they are not compressed."""
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    if start.startswith(b"NRRD"):
        end = re.search(rb"\r?\n\r?\n|\Z", start)
        fields = start[: end.start()] if end else start
        packed = re.search(rb"^encoding: *gz", fields, re.M) is not None
        detached = re.search(rb"^data ?file: *([^\r\n]+)", fields, re.M)
        if detached is None:
            return (path, end.end()) if end and packed else None
        beside = _beside(path, detached[1])
        return (
            (beside, 0) if beside and packed and not re.search(rb"^(line|byte) ?skip: *[^0\s]", fields, re.M) else None
        )
    local = re.search(rb"^ElementDataFile *= *([^\r\n]+?) *\r?\n", start, re.M)
    if local is None:
        return None
    packed = re.search(rb"^[ \t]*CompressedData[ \t]*=[ \t]*[Tt1]", start[: local.start()], re.M) is not None
    beside = path if local[1] == b"LOCAL" else _beside(path, local[1])
    if not packed or beside is None:
        return None
    offset = local.end() if beside is path else 0
    _check_stated_size(start[: local.start()], beside.stat().st_size - offset, path)
    return beside, offset


def _check_stated_size(header: bytes, held: int, path: Path) -> None:
    """Raise where a MetaImage header does not say how long its compressed numbers are: ITK unpacks as much as it says.

    What it does not unpack would be what the memory held before.
    """
    stated = re.findall(rb"^CompressedDataSize *=([^\r\n]*)", header, re.M)
    sizes = [int(own) if own.strip().isdigit() else -1 for own in stated]
    if not sizes or any(abs(size - held) > SLACK for size in sizes):
        raise damaged(path)


def _beside(path: Path, named: bytes) -> Path | None:
    """The file of numbers that a header names; None where it names several (a list, or a pattern).

    Raises
    ------
    UnreadableFileError : it is not there.
    """
    name = named.decode("utf-8", "surrogateescape").strip()
    if name.startswith("LIST") or "%" in name:
        return None
    beside = path.parent / name
    if not beside.is_file():
        problem = f"{path.name} is a header only: its data file “{Path(name).name}” is not there."
        raise UnreadableFileError(problem, "Put both files into one folder, under the names they had.")
    return beside


def _unpacked(path: Path, offset: int, expected: int) -> int:
    """How many bytes a zlib or gzip stream holds, counted to a little more than expected.

    Fewer than that where it does not end where it should; a wrong checksum raises ``zlib.error``.
    """
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    held = 0
    with path.open("rb") as file:
        file.seek(offset)
        while (
            not unpacker.eof and held <= expected + BLOCK and (block := unpacker.unconsumed_tail or file.read(BLOCK))
        ):
            held += len(unpacker.decompress(block, BLOCK))  # a block at a time, whatever it unpacks to
    if not unpacker.eof and held <= expected:
        held += len(unpacker.flush(1))  # what a full block held back
    return held if unpacker.eof or held > expected + BLOCK else -1
