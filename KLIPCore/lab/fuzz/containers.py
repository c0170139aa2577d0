"""Mutations of binary formats by their structure: DICOM elements, NIfTI fields, NumPy archives, safetensors."""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
import zipfile

import numpy as np

from KLIPCore.lab.fuzz.mutate import DEPTHS, NUMBERS, TEXTS, Rng, mangled_bytes, mangled_json, pick

LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"SQ", b"UC", b"UN", b"UR", b"UT", b"OV", b"SV", b"UV")
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
    "1.2.3",
    "",
)
PACKINGS = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_STORED,
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_BZIP2,
)
Element = tuple[bytes, bytes, bytes]
"""Tag (4 bytes), value representation and value of a DICOM element."""

NIFTI_FIELDS = (
    *(
        (0, "i"),
        (39, "b"),
        (68, "h"),
        (70, "h"),
        (72, "h"),
        (108, "f"),
        (112, "f"),
        (116, "f"),
        (123, "b"),
        (252, "h"),
        (254, "h"),
    ),
    *((40 + 2 * k, "h") for k in range(8)),
    *((76 + 4 * k, "f") for k in range(8)),
    *((256 + 4 * k, "f") for k in range(18)),
)
"""Offset and kind of the fields that decide where a NIfTI-1 file's numbers are and what they mean."""


def dicom_elements(data: bytes) -> tuple[bytes, list[Element]]:
    """Return preamble with meta group, and the elements of an explicit little-endian data set of defined lengths."""
    at = 132 + 12 + struct.unpack_from("<I", data, 140)[0]
    head, elements = data[:at], []
    while at + 8 <= len(data):
        tag, vr = data[at : at + 4], data[at + 4 : at + 6]
        if vr in LONG_VRS:
            length, start = struct.unpack_from("<I", data, at + 8)[0], at + 12
        else:
            length, start = struct.unpack_from("<H", data, at + 6)[0], at + 8
        elements.append((tag, vr, data[start : start + length]))
        at = start + length
    return head, elements


def dicom_bytes(head: bytes, elements: list[Element], length: tuple[int, int] | None = None) -> bytes:
    """Return the file of some elements; ``length`` is a place in the list and the length that it claims."""
    out = [head]
    for place, (tag, vr, value) in enumerate(elements):
        n = length[1] if length is not None and length[0] == place else len(value)
        out.append(
            tag
            + vr
            + (b"\0\0" + struct.pack("<I", n & 0xFFFFFFFF) if vr in LONG_VRS else struct.pack("<H", n & 0xFFFF))
            + value
        )
    return b"".join(out)


def mangled_dicom(rng: Rng, data: bytes) -> bytes:
    """Return a DICOM file with elements changed, gone, doubled, of another kind, nested or of a false length."""
    if rng.random() < 0.15:
        return mangled_bytes(rng, data)
    head, elements = dicom_elements(data)
    length = None
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(elements)))
        tag, vr, value = elements[at]
        kind = int(rng.integers(9))
        if kind <= 3:
            elements[at] = (tag, vr, _dicom_value(rng, vr, value))
        elif kind == 4:
            del elements[at]
        elif kind == 5:
            elements.insert(at, elements[at])
        elif kind == 6:
            elements[at] = (tag, pick(rng, (b"US", b"DS", b"SQ", b"UN", b"OW", b"LO", b"??", b"IS", b"UI")), value)
        elif kind == 7:
            length = (at, pick(rng, (0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)))
        else:
            depth = pick(rng, DEPTHS[:3])
            nested = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
            elements.insert(at, (b"\x08\x00\x40\x11", b"SQ", nested * depth))
    if rng.random() < 0.1:
        syntax = pick(rng, TRANSFER_SYNTAXES).encode()
        head = head.replace(b"1.2.840.10008.1.2.1\0", (syntax + b"\0" * 20)[:20])
    return dicom_bytes(head, elements, length)


def _dicom_value(rng: Rng, vr: bytes, value: bytes) -> bytes:
    number = pick(rng, NUMBERS)
    if vr in (b"US", b"SS"):
        return struct.pack("<H", int(number) & 0xFFFF if abs(number) < 1e18 else 0)
    if vr in (b"UL", b"SL"):
        return struct.pack("<I", int(number) & 0xFFFFFFFF if abs(number) < 1e18 else 0)
    if vr in (b"FD", b"FL"):
        return struct.pack("<d", number)
    if vr in (b"OW", b"OB"):
        return pick(rng, (value[: len(value) // 2], value * 3, b"", mangled_bytes(rng, value)))
    if vr in (b"DS", b"IS") and rng.random() < 0.6:
        words = value.split(b"\\")
        words[int(rng.integers(len(words)))] = f"{number:g}".encode()
        return b"\\".join(words)
    return pick(rng, (mangled_bytes(rng, value), pick(rng, TEXTS).encode("utf-8"), value + value, b"\xff\xfe\xe9"))


def mangled_nifti(rng: Rng, data: bytes) -> bytes:
    """Return a NIfTI-1 file, packed or not, with header fields of impossible values, or its bytes damaged."""
    packed = data[:2] == b"\x1f\x8b"
    raw = bytearray(gzip.decompress(data) if packed else data)
    kind = rng.random()
    if kind < 0.75:
        for _ in range(int(rng.integers(1, 4))):
            offset, form = pick(rng, NIFTI_FIELDS)
            number = pick(rng, (*NUMBERS, 3.0, 4.0, 5.0, 16.0, 32.0, 348.0, 540.0))
            if form == "f":
                struct.pack_into("<f", raw, offset, number if abs(number) < 3e38 or math.isnan(number) else math.inf)
            else:
                bits = {"i": 32, "h": 16, "b": 8}[form]
                whole = int(number) if math.isfinite(number) and abs(number) < 1e18 else 0
                struct.pack_into("<" + form.upper(), raw, offset, whole % (1 << bits))
    elif kind < 0.85:
        raw = bytearray(mangled_bytes(rng, bytes(raw)))
    out = gzip.compress(bytes(raw), 1, mtime=0) if packed else bytes(raw)
    return mangled_bytes(rng, out) if kind >= 0.85 else out


def mangled_npz(rng: Rng, data: bytes) -> bytes:
    """Return a NumPy archive whose arrays, JSON texts, headers or zip structure are mangled."""
    if rng.random() < 0.2:
        return mangled_bytes(rng, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # mangled before
        return mangled_bytes(rng, data)
    if not members:
        return mangled_bytes(rng, data)
    for _ in range(int(rng.integers(1, 3))):
        name = pick(rng, sorted(members))
        kind = int(rng.integers(8))
        if kind == 0:
            del members[name]
        elif kind == 1:
            members[pick(rng, ("../x.npy", "/x.npy", "x", name.upper()))] = members.pop(name)
        elif kind == 2:
            members[name] = mangled_bytes(rng, members[name])
        elif kind == 3:
            members[name] = _with_header(rng, members[name])
        elif name.endswith(".json"):
            members[name] = mangled_json(rng, members[name].decode("utf-8", "replace")).encode("utf-8", "replace")
        else:
            members[name] = _other_array(rng, members[name])
        if not members:
            break
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", pick(rng, PACKINGS)) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _with_header(rng: Rng, member: bytes) -> bytes:
    """An array whose header says something else than is there."""
    shape = pick(rng, ("(1000000, 1000000)", "(0,)", "()", "(-1, 5)", "(2**40,)", "(99999999999,)", "(3, 3, 3)"))
    kind = pick(rng, ("<f4", "|O", "<f8", "<U5", "|V99999999", "<c16", "S0", "<M8[s]", "bogus"))
    order = pick(rng, ("True", "False", "1"))
    text = f"{{'descr': {kind!r}, 'fortran_order': {order}, 'shape': {shape}, }}"
    text = pick(rng, (text, text, "{" * 500, "__import__('os')", text[:20])).ljust(118) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + member[128:]


def _other_array(rng: Rng, member: bytes) -> bytes:
    """An array with other numbers, another shape or kind; a JSON text is mangled as a tree."""
    try:
        array = np.load(io.BytesIO(member), allow_pickle=False)
    except Exception:  # mangled before
        return mangled_bytes(rng, member)
    if not isinstance(array, np.ndarray):  # an archive in the archive
        return mangled_npz(rng, member)
    if array.dtype.kind == "U":
        made = np.array(mangled_json(rng, str(array)))
    else:
        made = array.copy()
        if made.size and made.dtype.kind == "f":
            with np.errstate(over="ignore"):
                made.reshape(-1)[int(rng.integers(made.size))] = pick(rng, NUMBERS)
        made = pick(
            rng,
            (
                made,
                made,
                made,
                made,
                made,
                made.ravel(),
                made.reshape(-1)[:0],
                made[..., None],
                made.T,
                made.astype(np.float64 if made.dtype.kind in "biuf" else str),
                made.astype(np.complex64 if made.dtype.kind in "biuf" else str),
                made.astype(str),
            ),
        )
    buffer = io.BytesIO()
    np.save(buffer, made)
    return buffer.getvalue()


def mangled_safetensors(rng: Rng, data: bytes) -> bytes:
    """Return a safetensors file whose header's length, shapes, offsets or kinds lie."""
    kind = rng.random()
    if kind < 0.2:
        return mangled_bytes(rng, data)
    if kind < 0.35:
        return struct.pack("<Q", pick(rng, (0, 1, 2**31, 2**40, 2**63, 2**64 - 1, len(data)))) + data[8:]
    length = struct.unpack("<Q", data[:8])[0]
    text = data[8 : 8 + length].decode()
    header = mangled_json(rng, text) if kind < 0.8 else json.dumps(_lying(rng, json.loads(text)))
    return struct.pack("<Q", len(header.encode())) + header.encode() + data[8 + length :]


def _lying(rng: Rng, header: dict) -> dict:
    name = pick(rng, sorted(name for name in header if name != "__metadata__"))
    changes = {
        "shape": [10**9, 10**9],
        "dtype": pick(rng, ("F64", "BOOL", "X", "I64")),
        "data_offsets": pick(rng, ([0, 2**60], [5, 1], [-1, 4], [0, 0])),
    }
    field = pick(rng, sorted(changes))
    return {**header, name: {**header[name], field: changes[field]}}
