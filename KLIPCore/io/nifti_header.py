"""What a NIfTI header says: 348 bytes of NIfTI-1 (2003), or 540 of NIfTI-2 (2011).

References
----------
https://nifti.nimh.nih.gov/nifti-1 and https://nifti.nimh.nih.gov/nifti-2: the fields and where they lie.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import NotCTError, UnreadableFileError

DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""NIfTI's datatype codes of single numbers."""
COLOUR, COMPLEX = {128: 3, 2304: 4}, {32, 1792, 2048}
UNIT_MM = {1: 1000.0, 3: 0.001}
"""Length units other than mm: metre and micron."""
THINNEST_MM, COARSEST_MM = 0.1, 12.0
"""A voxel of a CT of a body has sides between these."""


@dataclass(frozen=True, eq=False)
class Header:
    """What a NIfTI header says.

    Attributes
    ----------
    dims : voxels along i, j, k and further axes.
    dtype : numpy's name of the stored numbers, with their byte order.
    offset : where the numbers begin in their file, in bytes.
    slope, inter : stored values → numbers; (1, 0) where the header gives none.
    pixdim : (3,) mm along i, j, k, 0 where the header gives none.
    sform, qform : (4, 4) index (i, j, k, 1) → RAS mm, None where the header gives none.
    sform_code, qform_code : of what kind they are.
    single : whether header and numbers are one file.
    unit_note : what was assumed about the unit of length, empty when nothing was.
    """

    dims: tuple[int, ...]
    dtype: str
    offset: int
    slope: float
    inter: float
    pixdim: NDArray[np.float64]
    sform: NDArray[np.float64] | None
    qform: NDArray[np.float64] | None
    sform_code: int
    qform_code: int
    single: bool
    unit_note: str = ""


@dataclass(frozen=True)
class Layout:
    """Where the fields of a version of the header lie.

    Attributes
    ----------
    size : bytes of the header.
    magics : what marks a single file, and the header of a pair.
    magic, dim, datatype, pixdim, offset, slope, units, codes, quaternion, sform : offsets of fields, in bytes.
    formats : of one dimension, of a real number, of ``offset``, ``units`` and a code, as :mod:`struct` spells them.
    """

    size: int
    magics: tuple[bytes, bytes]
    magic: int
    dim: int
    datatype: int
    pixdim: int
    offset: int
    slope: int
    units: int
    codes: int
    quaternion: int
    sform: int
    formats: str


LAYOUTS = {
    348: Layout(348, (b"n+1", b"ni1"), 344, 40, 70, 76, 108, 112, 123, 252, 256, 280, "hffBh"),
    540: Layout(540, (b"n+2", b"ni2"), 4, 16, 12, 104, 168, 176, 500, 344, 352, 400, "qdqii"),
}
"""By the number that either version begins with: its own length."""
LONGEST = max(LAYOUTS)
ANALYZE = "Convert the original study to NIfTI or NRRD, or give the DICOM series."


def parse_header(raw: bytes, name: str) -> Header:
    """Read the fields of a header.

    Parameters
    ----------
    raw : the first :data:`LONGEST` bytes of the file, or fewer.
    name : what to call the file in a message.

    Raises
    ------
    UnreadableFileError : it is in ANALYZE format.
    NotCTError : colour or complex voxels.
    ValueError, struct.error : no NIfTI header, or a damaged one.
    """
    order = next((o for o in "<>" if len(raw) > 4 and struct.unpack(o + "i", raw[:4])[0] in LAYOUTS), "")
    if not order:
        raise ValueError("no NIfTI header")
    at = LAYOUTS[struct.unpack(order + "i", raw[:4])[0]]
    if len(raw) < at.size:
        raise ValueError("the file ends within its header")
    magic = raw[at.magic : at.magic + 3]
    if magic not in at.magics:
        raise UnreadableFileError(f"{name} is in ANALYZE format, which does not say which side is left.", ANALYZE)
    whole, real, place, unit, code = tuple(at.formats)

    def field(offset: int, kind: str, n: int = 1) -> tuple[float, ...]:
        return struct.unpack_from(f"{order}{n}{kind}", raw, offset)

    dim = [int(d) for d in field(at.dim, whole, 8)]
    datatype = int(field(at.datatype, "h")[0])
    _check_numbers(datatype, dim, name)
    pixdim, (slope, inter) = field(at.pixdim, real, 8), field(at.slope, real, 2)
    scaled = math.isfinite(slope) and slope != 0
    qcode, scode = (int(c) for c in field(at.codes, code, 2))
    sform = np.eye(4)
    sform[:3] = np.reshape(field(at.sform, real, 12), (3, 4))
    steps = np.array([abs(p) if math.isfinite(p) else 0.0 for p in pixdim[1:4]])
    scale, unit_note = _unit(int(field(at.units, unit)[0]) & 7, steps)
    to_mm = np.diag([scale, scale, scale, 1.0])
    quaternion = field(at.quaternion, real, 6)
    qform = _of_quaternion(quaternion, steps, -1.0 if pixdim[0] < 0 else 1.0) if qcode > 0 else None
    usable = scode > 0 and np.isfinite(sform).all() and abs(np.linalg.det(sform[:3, :3])) > 1e-12
    return Header(
        dims=tuple(dim[1 : 1 + dim[0]]),
        dtype=order + DTYPES[datatype],
        offset=max(int(field(at.offset, place)[0]), at.size + 4 if magic == at.magics[0] else 0),
        slope=slope if scaled else 1.0,
        inter=inter if scaled and math.isfinite(inter) else 0.0,
        pixdim=steps * scale,
        sform=to_mm @ sform if usable else None,
        qform=to_mm @ qform if qform is not None else None,
        sform_code=scode,
        qform_code=qcode,
        single=magic == at.magics[0],
        unit_note=unit_note,
    )


def _check_numbers(datatype: int, dim: list[int], name: str) -> None:
    if datatype in COLOUR or datatype in COMPLEX:
        numbers, what = COLOUR.get(datatype, 2), "colour" if datatype in COLOUR else "complex numbers"
        problem = f"{name} has {numbers} numbers a voxel ({what})."
        raise NotCTError(problem, "Give a volume of single Hounsfield units.")
    if datatype not in DTYPES or not 1 <= dim[0] <= 7 or min(dim[1 : 1 + dim[0]]) < 1:
        raise ValueError("unknown kind of numbers or dimensions")


def _unit(code: int, steps: NDArray[np.float64]) -> tuple[float, str]:
    """Millimetres per unit of length; a declared unit that no CT fits is not believed."""
    scale = UNIT_MM.get(code, 1.0)
    if scale != 1.0 and not plausible(steps * scale) and plausible(steps):
        word = "metres" if code == 1 else "microns"
        return 1.0, f"The file says that its spacing is in {word}; {in_mm(steps)} is taken, which a CT can have."
    return scale, ""


def _of_quaternion(fields: tuple[float, ...], steps: NDArray[np.float64], handed: float) -> NDArray[np.float64] | None:
    """The qform: a unit quaternion (b, c, d), the spacing, and the place of the first voxel."""
    b, c, d = fields[:3]
    if not all(map(math.isfinite, fields)) or (steps <= 0).any():
        return None
    a = math.sqrt(max(1.0 - (b * b + c * c + d * d), 0.0))
    norm = math.sqrt(a * a + b * b + c * c + d * d)
    a, b, c, d = a / norm, b / norm, c / norm, d / norm
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * (steps * [1.0, 1.0, handed])
    affine[:3, 3] = fields[3:]
    return affine


def plausible(steps: NDArray[np.float64]) -> bool:
    """Return whether a CT of a body can have these steps in mm."""
    return bool((steps >= THINNEST_MM).all() and (steps <= COARSEST_MM).all())


def in_mm(steps: NDArray[np.float64]) -> str:
    """Return steps as they are written in a message."""
    return " × ".join(f"{step:.4g}" for step in steps) + " mm"
