"""NIfTI files as their bytes are, with the questions that their headers leave open answered or asked.

ITK replaces NaN by 0 HU, takes the spacing from ``pixdim`` where the affine says another, and refuses a
rotation that was rounded to two decimals. None of this can be noticed afterwards. So the file is read here: header
(:mod:`KLIPCore.io.nifti_header`), numbers, and one of the placements it may carry.

A NIfTI file places its voxels up to three times: ``sform`` (an affine), ``qform`` (a rotation and ``pixdim``), and
``pixdim`` alone, without any orientation. The sform is taken where it is the scanner's or the only one, as ITK does.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError, UnreadableFileError
from KLIPCore.io.headers import BOMB_BYTES, BOMB_RATIO, check_no_more, check_size, least_more
from KLIPCore.io.integrity import BLOCK, damaged
from KLIPCore.io.nifti_header import LONGEST, Header, in_mm, parse_header, plausible
from KLIPCore.volume.grid import Grid

SCANNER, TEMPLATE = 1, 3
"""Codes of a placement: 1 by the scanner, 2 aligned to another image, from 3 on in a template's space."""
SAME_SPACING = 1e-3
"""Spacings that differ by a smaller part are the same number, rounded: ``pixdim`` is taken, as ITK does."""
ROUNDED_SPACING = 1e-2
"""Up to this part the two spacings are one that was rounded to two decimals."""
TURNED = 0.05
"""Direction cosines that differ by more are two orientations: three degrees."""
RIGHT_ANGLE, ROUNDED_ANGLE = 1e-3, 0.025
"""Deviation of direction cosines from a rotation: none to speak of, and what two decimals leave."""
MIRROR = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI counts to the right and to the front, this project to the left and to the back."""
RESAVE = (
    "Save the volume again with the right spacing (in 3D Slicer: Volumes, Image Spacing), or give the DICOM series."
)


def read_nifti(path: Path, ratio: int = BOMB_RATIO) -> tuple[NDArray[np.float32], Grid, list[str]]:
    """Read a NIfTI file, or a pair of header and image files, either of them compressed or not.

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
    UnreadableFileError : damaged, cut short, ANALYZE, or a pair of which one file is missing.
    GeometryError : a picture, 4-D, sheared axes, or two spacings of which neither can be trusted.
    NotCTError : colour or complex voxels.
    """
    header_file, image_file = _pair(path)
    try:
        with _opened(header_file) as file:
            header = parse_header(file.read(LONGEST), path.name)
            shape = _shape(header, path.name)
            check_size(path, image_file, shape, 8 * np.dtype(header.dtype).itemsize, ratio)
            if header.single:
                file.seek(0)
                stored, rest = _numbers(file, header, shape)
            else:
                with _opened(image_file) as numbers:
                    stored, rest = _numbers(numbers, header, shape)
    except (EOFError, OSError, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise damaged(path) from error
    if stored is None:
        raise damaged(path)
    check_no_more(path, stored.nbytes, stored.nbytes + rest, least_more(shape) * stored.itemsize - 1)
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


def _shape(header: Header, name: str) -> tuple[int, int, int]:
    dims = header.dims
    if len(dims) < 3:
        size = "x".join(map(str, dims))
        raise GeometryError(f"{name} is a single picture of {size}, not a volume.", "Give a 3-D CT volume.")
    if max(dims[3:], default=1) > 1:
        problem = f"{name} has {len(dims)} dimensions {dims}."
        raise GeometryError(problem, "Save one time point or phase as a 3-D volume.")
    return dims[2], dims[1], dims[0]


def _numbers(file: BinaryIO, header: Header, shape: tuple[int, int, int]) -> tuple[NDArray | None, int]:
    """The stored numbers (D, H, W), None when the file ends before them; and how many bytes follow them.

    Read to the end, where gzip has its checksum.
    """
    left = math.prod(shape) * np.dtype(header.dtype).itemsize
    skip = header.offset
    if skip > BOMB_BYTES:
        return None, 0
    while skip > 0 and (block := file.read(min(BLOCK, skip))):
        skip -= len(block)
    parts = bytearray()
    while left > 0 and (block := file.read(min(BLOCK, left))):
        parts += block
        left -= len(block)
    if left > 0:
        return None, 0
    rest = 0
    while block := file.read(BLOCK):
        rest += len(block)
        if rest > BOMB_BYTES:  # nothing that belongs to the volume, and no end in sight
            break
    return np.frombuffer(parts, header.dtype).reshape(shape), rest


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
    else:
        affine, said = _spaced(affine, header, name)
        notes += said + _turned(header)
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
        empty = q is not None and _ones(_steps(s)) and not _ones(_steps(q)) and plausible(_steps(q))
        if not empty and (alone or scanner or measured):
            return s.copy(), False
    if q is not None:
        return q.copy(), False
    return None, s is not None


def _turned(header: Header) -> list[str]:
    """A note where the two affines of a scanner or an alignment lay the patient differently."""
    s, q = header.sform, header.qform
    if s is None or q is None or header.sform_code >= TEMPLATE or _skew(s) > ROUNDED_ANGLE:
        return []
    difference = np.abs(s[:3, :3] / _steps(s) - q[:3, :3] / _steps(q)).max()
    if difference <= TURNED:
        return []
    mirrored = np.linalg.det(s[:3, :3]) * np.linalg.det(q[:3, :3]) < 0
    what = "left and right, or other sides, are exchanged between them" if mirrored else "the patient is turned"
    return [f"The file gives two orientations, sform and qform, that differ ({what}); one is taken: check the sides."]


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
    both = f"{name} gives two spacings: {in_mm(steps)} in its affine and {in_mm(other)} beside it"
    if not plausible(steps) or _ones(steps):
        raise GeometryError(f"{both}. Neither can be trusted.", RESAVE)
    if plausible(other) and any(_apart(steps * 10.0**n, other) < ROUNDED_SPACING for n in (-3, -2, -1, 1, 2, 3)):
        raise GeometryError(f"{both}: one of them is in another unit, and both are possible.", RESAVE)
    rival = header.qform is not None and not _ones(other) and plausible(other) and header.sform_code < TEMPLATE
    if rival:
        raise GeometryError(f"{both}. Both are possible.", RESAVE)
    return affine, [f"{both} (i, j, k). The affine's is taken."]


def _other(affine: NDArray[np.float64], header: Header) -> list[NDArray[np.float64]]:
    return [_steps(o) for o in (header.sform, header.qform) if o is not None and not np.array_equal(o, affine)]


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The largest part by which one spacing differs from another."""
    return float((np.abs(one - other) / np.maximum(other, 1e-12)).max())
