"""Damage to volume files that ITK does not notice.

A NIfTI file that was cut short is filled with zeros, and the checksums inside compressed NRRD and MetaImage files
are not looked at: one flipped bit on a disk, and thousands of voxels are other plausible HU. Both are
found here, before ITK reads, at the price of unpacking a compressed file twice.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

from KLIPCore.errors import UnreadableFileError

BLOCK = 1 << 20
LONGEST_HEADER = 1 << 16
AGAIN = "Copy or export that file again."


def check_integrity(path: Path) -> None:
    """Raise where a .nii, .nii.gz, .nrrd, .mha or .mhd file is cut short or fails its own checksum.

    Raises
    ------
    UnreadableFileError : it does, or it is NIfTI-2, which ITK cannot read.
    """
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            sound = _nifti_is_sound(path)
        else:
            packed = _packed_numbers(path)
            sound = packed is None or _stream_is_sound(*packed)
    except (EOFError, OSError, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise damaged(path) from error
    if not sound:
        raise damaged(path)


def damaged(path: Path) -> UnreadableFileError:
    """The error for a file that cannot be trusted or read."""
    return UnreadableFileError(f"{path.name} is damaged, cut short, or not what its name says.", AGAIN)


def _nifti_is_sound(path: Path) -> bool:
    """Whether a NIfTI-1 file holds as many bytes as its own header announces, and gzip's checksum where
    there is one.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        header = file.read(348)
        order = "<" if header[:4] in (b"\x5c\1\0\0", b"\x1c\2\0\0") else ">"
        size = struct.unpack(order + "i", header[:4])[0]
        if size == 540:
            raise UnreadableFileError(
                f"{path.name} is in NIfTI-2 format, which is not read.", "Save it as NIfTI-1 or NRRD."
            )
        dims, bits = struct.unpack_from(order + "8h", header, 40), struct.unpack_from(order + "h", header, 72)[0]
        offset = int(struct.unpack_from(order + "f", header, 108)[0])
        held = len(header)
        while block := file.read(BLOCK) if packed else b"":  # to the end, where gzip keeps its checksum
            held += len(block)
    expected = offset + math.prod(max(d, 1) for d in dims[1 : 1 + dims[0]]) * bits // 8
    return size == 348 and (held if packed else path.stat().st_size) >= expected


def _packed_numbers(path: Path) -> tuple[Path, int] | None:
    """File and offset of the compressed numbers of an NRRD or MetaImage file; None where they are not compressed."""
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    if start.startswith(b"NRRD"):
        end = re.search(rb"\r?\n\r?\n", start)
        if (
            end is None
            or re.search(rb"^data ?file:", start[: end.start()], re.M)
            or not re.search(rb"^encoding: *gz", start[: end.start()], re.M)
        ):
            return None
        return path, end.end()
    local = re.search(rb"^ElementDataFile *= *([^\r\n]+?) *\r?\n", start, re.M)
    if local is None or not re.search(rb"^CompressedData *= *True", start[: local.start()], re.M):
        return None
    if local[1] == b"LOCAL":
        return path, local.end()
    return path.parent / local[1].decode(), 0


def _stream_is_sound(path: Path, offset: int) -> bool:
    """Whether a zlib or gzip stream ends where it should and matches its checksum (a mismatch raises
    ``zlib.error``).
    """
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    with path.open("rb") as file:
        file.seek(offset)
        while not unpacker.eof and (block := file.read(BLOCK)):
            unpacker.decompress(block)
    return unpacker.eof
