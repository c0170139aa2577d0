"""NIfTI-1 files as their bytes are, with the questions that their headers leave open answered or asked.

ITK replaces NaN by 0 HU, takes the spacing from ``pixdim`` where the affine says another, and refuses a
rotation that was rounded to two decimals. None of this can be noticed afterwards. So the file is read here: header
(348 bytes, NIfTI-1 of 2003, https://nifti.nimh.nih.gov/nifti-1), numbers, and one of the placements it may carry.

A NIfTI file places its voxels up to three times: ``sform`` (an affine), ``qform`` (a rotation and ``pixdim``), and
``pixdim`` alone, without any orientation. The sform is taken where it is the scanner's or the only one, as ITK does.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError, NotCTError, UnreadableFileError
from KLIPCore.io.headers import BOMB_BYTES, BOMB_RATIO, check_size
from KLIPCore.io.integrity import BLOCK, damaged
from KLIPCore.volume.grid import Grid

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
SCANNER, TEMPLATE = 1, 3
"""Codes of a placement: 1 by the scanner, 2 aligned to another image, from 3 on in a template's space."""
SAME_SPACING = 1e-3
"""Spacings that differ by a smaller part are the same number, rounded: ``pixdim`` is taken, as ITK does."""
ROUNDED_SPACING = 1e-2
"""Up to this part the two spacings are one that was rounded to two decimals."""
RIGHT_ANGLE, ROUNDED_ANGLE = 1e-3, 0.025
"""Deviation of direction cosines from a rotation: none to speak of, and what two decimals leave."""
THINNEST_MM, COARSEST_MM = 0.1, 12.0
"""A voxel of a CT of a body has sides between these."""
MIRROR = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI counts to the right and to the front, this project to the left and to the back."""
RESAVE = (
    "Save the volume again with the right spacing (in 3D Slicer: Volumes, Image Spacing), or give the DICOM series."
)


@dataclass(frozen=True, eq=False)
class Header:
    """What a NIfTI-1 header says.

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


def read_nifti(path: Path, ratio: int = BOMB_RATIO) -> tuple[NDArray[np.float32], Grid, list[str]]:
    """Read a NIfTI-1 file, or a pair of header and image files, either of them compressed or not.

    Parameters
    ----------
    path : .nii, .nii.gz, or either file of a .hdr/.img pair.
    ratio : how many times smaller than its numbers the file may be.

    Returns
    -------
    array : (D, H, W) numbers as stored, NaN included. A fourth axis of length 1 is dropped.
    grid : where they lie, in LPS mm.
    notes : what had to be assumed, one sentence each.

    Raises
    ------
    UnreadableFileError : damaged, cut short, NIfTI-2, ANALYZE, or a pair of which one file is missing.
    GeometryError : a picture, 4-D, sheared axes, or two spacings of which neither can be trusted.
    NotCTError : colour or complex voxels.
    """
    header_file, image_file = _pair(path)
    try:
        with _opened(header_file) as file:
            header = _header(file.read(348), path.name)
            shape = _shape(header, path.name)
            check_size(path, image_file, shape, 8 * np.dtype(header.dtype).itemsize, ratio)
            if header.single:
                file.seek(0)
                stored = _numbers(file, header, shape)
            else:
                with _opened(image_file) as numbers:
                    stored = _numbers(numbers, header, shape)
    except (EOFError, OSError, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise damaged(path) from error
    if stored is None:
        raise damaged(path)
    grid, notes = _grid(header, shape, path.name)
    array = np.empty(shape, np.float32)
    for k in range(shape[0]):
        scaled = stored[k] if (header.slope, header.inter) == (1.0, 0.0) else stored[k] * header.slope + header.inter
        array[k] = scaled
    return array, grid, notes


def _pair(path: Path) -> tuple[Path, Path]:
    """Header and image file; the same one for a single file."""
    name, lower = path.name, path.name.lower()
    packed = ".gz" if lower.endswith(".gz") else ""
    stem = name[: len(name) - len(packed)]
    if not stem.lower().endswith((".hdr", ".img")):
        return path, path
    found = []
    for ending in (".hdr", ".img"):
        names = [stem[:-4] + e + z for e in (ending, ending.upper()) for z in (packed, "", ".gz")]
        there = next((path.with_name(n) for n in names if path.with_name(n).is_file()), None)
        if there is None:
            problem = f"{name} is one file of a pair, and {stem[:-4]}{ending} is not beside it."
            raise UnreadableFileError(problem, "Put both files, .hdr and .img, into one folder.")
        found.append(there)
    return found[0], found[1]


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


def _header(raw: bytes, name: str) -> Header:
    order = "<" if raw[:4] in (b"\x5c\1\0\0", b"\x1c\2\0\0") else ">"
    size = struct.unpack(order + "i", raw[:4])[0]
    if size == 540:
        raise UnreadableFileError(f"{name} is in NIfTI-2 format, which is not read.", "Save it as NIfTI-1 or NRRD.")
    if size != 348 or len(raw) < 348:
        raise ValueError("no NIfTI-1 header")
    magic = raw[344:347]
    if magic not in (b"n+1", b"ni1"):
        problem = f"{name} is in ANALYZE format, which does not say which side is left."
        raise UnreadableFileError(problem, "Convert the original study to NIfTI or NRRD, or give the DICOM series.")
    dim = struct.unpack_from(order + "8h", raw, 40)
    code = struct.unpack_from(order + "h", raw, 70)[0]
    if code in COLOUR or code in COMPLEX:
        numbers, what = COLOUR.get(code, 2), "colour" if code in COLOUR else "complex numbers"
        problem = f"{name} has {numbers} numbers a voxel ({what})."
        raise NotCTError(problem, "Give a volume of single Hounsfield units.")
    if code not in DTYPES or not 1 <= dim[0] <= 7 or min(dim[1 : 1 + dim[0]]) < 1:
        raise ValueError("unknown kind of numbers or dimensions")
    pixdim = struct.unpack_from(order + "8f", raw, 76)
    offset, slope, inter = struct.unpack_from(order + "3f", raw, 108)
    scaled = math.isfinite(slope) and slope != 0
    qcode, scode = struct.unpack_from(order + "2h", raw, 252)
    quatern = struct.unpack_from(order + "6f", raw, 256)
    sform = np.eye(4)
    sform[:3] = np.reshape(struct.unpack_from(order + "12f", raw, 280), (3, 4))
    steps = np.array([abs(p) if math.isfinite(p) else 0.0 for p in pixdim[1:4]])
    scale, unit_note = _unit(raw[123] & 7, steps)
    to_mm = np.diag([scale, scale, scale, 1.0])
    qform = _of_quaternion(quatern, steps, -1.0 if pixdim[0] < 0 else 1.0) if qcode > 0 else None
    usable = scode > 0 and np.isfinite(sform).all() and abs(np.linalg.det(sform[:3, :3])) > 1e-12
    return Header(
        dims=tuple(dim[1 : 1 + dim[0]]),
        dtype=order + DTYPES[code],
        offset=int(offset),
        slope=slope if scaled else 1.0,
        inter=inter if scaled and math.isfinite(inter) else 0.0,
        pixdim=steps * scale,
        sform=to_mm @ sform if usable else None,
        qform=to_mm @ qform if qform is not None else None,
        sform_code=scode,
        qform_code=qcode,
        single=magic == b"n+1",
        unit_note=unit_note,
    )


def _unit(code: int, steps: NDArray[np.float64]) -> tuple[float, str]:
    """Millimetres per unit of length; a declared unit that no CT fits is not believed."""
    scale = UNIT_MM.get(code, 1.0)
    if scale != 1.0 and not _plausible(steps * scale) and _plausible(steps):
        word = "metres" if code == 1 else "microns"
        return 1.0, f"The file says that its spacing is in {word}; {_mm(steps)} is taken, which a CT can have."
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


def _shape(header: Header, name: str) -> tuple[int, int, int]:
    dims = header.dims
    if len(dims) < 3:
        size = "x".join(map(str, dims))
        raise GeometryError(f"{name} is a single picture of {size}, not a volume.", "Give a 3-D CT volume.")
    if max(dims[3:], default=1) > 1:
        problem = f"{name} has {len(dims)} dimensions {dims}."
        raise GeometryError(problem, "Save one time point or phase as a 3-D volume.")
    return dims[2], dims[1], dims[0]


def _numbers(file: BinaryIO, header: Header, shape: tuple[int, int, int]) -> NDArray | None:
    """The stored numbers (D, H, W); None when the file ends before them. Read to the end, where gzip has its
    checksum.
    """
    left = math.prod(shape) * np.dtype(header.dtype).itemsize
    skip = max(header.offset, 352 if header.single else 0)
    if skip > BOMB_BYTES:
        return None
    while skip > 0 and (block := file.read(min(BLOCK, skip))):
        skip -= len(block)
    parts = bytearray()
    while left > 0 and (block := file.read(min(BLOCK, left))):
        parts += block
        left -= len(block)
    if left > 0:
        return None
    rest = 0
    while isinstance(file, gzip.GzipFile) and (block := file.read(BLOCK)):
        rest += len(block)
        if rest > BOMB_BYTES:  # nothing that belongs to the volume, and no end in sight
            return None
    return np.frombuffer(parts, header.dtype).reshape(shape)


def _plausible(steps: NDArray[np.float64]) -> bool:
    return bool((steps >= THINNEST_MM).all() and (steps <= COARSEST_MM).all())


def _mm(steps: NDArray[np.float64]) -> str:
    return " × ".join(f"{step:.4g}" for step in steps) + " mm"


def _steps(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(affine[:3, :3], axis=0)


def _skew(affine: NDArray[np.float64]) -> float:
    """Largest deviation of the direction cosines from right angles."""
    directions = affine[:3, :3] / _steps(affine)
    return float(np.abs(directions.T @ directions - np.eye(3)).max())


def _grid(header: Header, shape: tuple[int, int, int], name: str) -> tuple[Grid, list[str]]:
    notes = [header.unit_note] if header.unit_note else []
    affine, skewed = _placement(header)
    if affine is None and skewed:
        remedy = "Resample the volume to a regular grid and save it again."
        raise GeometryError(f"{name} has sheared or scaled axes, which do not form a voxel grid.", remedy)
    if affine is None:
        if (header.pixdim <= 0).any():
            raise GeometryError(f"{name} gives no spacing between its voxels.", RESAVE)
        affine = np.diag([*header.pixdim, 1.0])
        notes.append(
            "The file does not say how the patient lies (neither qform nor sform): left and right are assumed,"
            " as for a volume stored from the patient's left to right, back to front and feet to head."
        )
        if _ones(header.pixdim):
            notes.append("The spacing of 1 × 1 × 1 mm may stand for an unknown one: sizes and volumes depend on it.")
    else:
        affine, said = _spaced(affine, header, name)
        notes += said
    if _skew(affine) > RIGHT_ANGLE:
        steps = _steps(affine)
        u, _, vh = np.linalg.svd(affine[:3, :3] / steps)
        turned = math.degrees(np.abs(affine[:3, :3] / steps - u @ vh).max())
        affine[:3, :3] = u @ vh * steps
        notes.append(
            f"The axes are not at right angles, as if rounded; the nearest that are, {turned:.2g}° away, are taken."
        )
    lps = (MIRROR @ affine)[:, [2, 1, 0, 3]]
    return Grid(shape, lps), notes


def _placement(header: Header) -> tuple[NDArray[np.float64] | None, bool]:
    """The affine to believe, a copy, or None; and whether there was one that no grid has."""
    s, q = header.sform, header.qform
    skew = 0.0 if s is None else _skew(s)
    if s is not None and skew <= ROUNDED_ANGLE:
        alone = q is None
        scanner = header.sform_code == SCANNER and skew <= RIGHT_ANGLE
        # a placeholder of 1 mm gives way to a spacing that somebody measured, on either side
        measured = q is not None and _ones(_steps(q)) and not _ones(_steps(s)) and header.sform_code < TEMPLATE
        empty = q is not None and _ones(_steps(s)) and not _ones(_steps(q)) and _plausible(_steps(q))
        if not empty and (alone or scanner or measured):
            return s.copy(), False
    if q is not None:
        return q.copy(), False
    return None, s is not None


def _ones(steps: NDArray[np.float64]) -> bool:
    """Whether a spacing is the 1 × 1 × 1 mm that programs write when they know none."""
    return bool(np.abs(steps - 1.0).max() < 1e-4)


def _spaced(affine: NDArray[np.float64], header: Header, name: str) -> tuple[NDArray[np.float64], list[str]]:
    """The affine with a spacing to believe where it, the other affine and ``pixdim`` differ.

    Raises
    ------
    GeometryError : they differ, and what the affine says is no CT's spacing, or two different ones are.
    """
    steps = _steps(affine)
    other = next((o for o in (header.pixdim, *_other(affine, header)) if _apart(o, steps) > ROUNDED_SPACING), None)
    if other is None or (other <= 0).any():
        rounded = _skew(affine) > RIGHT_ANGLE  # then the steps are, too
        if _apart(header.pixdim, steps) <= (ROUNDED_SPACING if rounded else SAME_SPACING):
            affine[:3, :3] *= header.pixdim / steps
        return affine, []
    both = f"{name} gives two spacings: {_mm(steps)} in its affine and {_mm(other)} beside it"
    if not _plausible(steps) or _ones(steps):
        raise GeometryError(f"{both}. Neither can be trusted.", RESAVE)
    rival = header.qform is not None and not _ones(other) and _plausible(other) and header.sform_code < TEMPLATE
    if rival:
        raise GeometryError(f"{both}. Both are possible.", RESAVE)
    return affine, [f"{both} (i, j, k). The affine's is taken."]


def _other(affine: NDArray[np.float64], header: Header) -> list[NDArray[np.float64]]:
    return [_steps(o) for o in (header.sform, header.qform) if o is not None and not np.array_equal(o, affine)]


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.abs(one - other).max() / max(other.min(), 1e-12))
