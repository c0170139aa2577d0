"""Segmentations as other programs write them: NIfTI, NRRD and MetaImage labels, ``.seg.nrrd``, DICOM SEG.

Whatever the file, one thing comes out: an :class:`~KLIPCore.volume.organs.OrganMap` on the file's own grid. Names come
from where each format keeps them: the fields of a ``.seg.nrrd``, the segment descriptions of a DICOM SEG, the label
table in the header extension of a NIfTI file that TotalSegmentator or Connectome Workbench wrote. Where segments
overlap, the smaller one is kept: a cyst that was drawn inside a kidney; and before all others the one asked for.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import unescape

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, EmptyInputError, KlipError, UnreadableFileError
from KLIPCore.io.fields import AGAIN, quiet_pydicom, read_header, text
from KLIPCore.io.headers import LABEL_RATIO, check_header, check_size
from KLIPCore.io.images import PAIRS, READ_FORMATS, image_format
from KLIPCore.io.integrity import check_integrity, damaged
from KLIPCore.io.nifti import read_nifti
from KLIPCore.io.silence import silenced
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.organs import MOST_LABELS, OrganMap
from KLIPCore.volume.untrusted import check_name

KINDS = "NIfTI, NRRD (.seg.nrrd too), MetaImage or DICOM SEG"
LARGEST_LABEL = 65535
LONGEST_NAME = 64
LONGEST_TABLE = 1 << 20
"""Bytes of a NIfTI header extension that are looked through for a label table."""
FIELD = re.compile(r"Segment(\d{1,5})_(Name|LabelValue|Layer)")
LABEL = re.compile(r'<Label\b[^>]*\bKey="(\d{1,5})"[^>]*>(?:<!\[CDATA\[)?([^<\]]*)')


@dataclass(frozen=True, eq=False)
class SegmentationFile:
    """What a segmentation file holds.

    Attributes
    ----------
    organs : its labels and names, in the file's own array order.
    grid : where they lie; with the frame of reference where the file names one.
    """

    organs: OrganMap
    grid: Grid


def read_segmentation(path: Path, wanted: str = "") -> SegmentationFile:
    """Read a segmentation.

    Parameters
    ----------
    path : one file of :data:`KINDS`.
    wanted : name or number of the segment that is kept whole where others overlap it.

    Raises
    ------
    EmptyInputError : nothing there.
    UnreadableFileError : damaged, or no segmentation: its numbers are no labels.
    """
    path = Path(path)
    if not path.is_file():
        raise EmptyInputError(f"There is no segmentation file at {path}.", f"Give one file: {KINDS}.")
    kind = image_format(path, READ_FORMATS)
    if kind in (".nii", ".nii.gz", *PAIRS):
        array, grid, _ = read_nifti(path, LABEL_RATIO)
        return SegmentationFile(_numbered(_whole(array, path), _names_in_nifti(path), path), grid)
    if kind:
        return _read_itk(path, wanted)
    return _read_dicom(path, wanted)


def _whole(array: NDArray[np.number], path: Path) -> NDArray[np.uint16]:
    """Labels of any kind of number as what they are: whole numbers from 0.

    Raises
    ------
    UnreadableFileError : they are not.
    """
    out = np.empty(array.shape, np.uint16)
    for plane, into in zip(array, out, strict=True):
        with np.errstate(invalid="ignore"):
            fits = np.isfinite(plane).all() and plane.min() >= 0 and plane.max() <= LARGEST_LABEL
            fits = fits and bool((plane == np.rint(plane)).all())
        if not fits:
            raise UnreadableFileError(
                f"{path.name} is no segmentation: its voxels are no labels.",
                f"Give whole numbers from 0 to {LARGEST_LABEL}, as {KINDS}.",
            )
        into[:] = plane
    return out


def _numbered(labels: NDArray[np.uint16], names: Mapping[int, str], path: Path) -> OrganMap:
    """Labels of 16 bits as an organ map of 8; numbers stay where they fit, and names tell the others.

    Raises
    ------
    UnreadableFileError : there are more than an organ map holds.
    """
    counts = sum(np.bincount(plane.ravel(), minlength=LARGEST_LABEL + 1) for plane in labels)
    present = [int(n) for n in np.flatnonzero(counts) if n]
    if len(present) > MOST_LABELS:
        raise UnreadableFileError(
            f"{path.name} has {len(present)} labels.", f"Give a segmentation of at most {MOST_LABELS}."
        )
    fits = not present or present[-1] <= MOST_LABELS
    table = np.zeros(LARGEST_LABEL + 1, np.uint8)
    told = {}
    for place, number in enumerate(present, start=1):
        own = number if fits else place
        table[number] = own
        if number in names or not fits:
            told[own] = names.get(number, f"label {number}")
    return OrganMap(table[labels], told, path.name)


def _names_in_nifti(path: Path) -> dict[int, str]:
    """The label table of a NIfTI header extension, as Connectome Workbench defines it; empty where there is none."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        start = file.read(LONGEST_TABLE)
    head = start[348 : max(352, _data_offset(start))].decode("utf-8", "replace")
    return {int(key): _tidy(unescape(name)) for key, name in LABEL.findall(head) if _tidy(name)}


def _data_offset(start: bytes) -> int:
    """Where a NIfTI file's numbers begin."""
    order = "<f4" if start[:2] == b"\x5c\x01" else ">f4"
    offset = float(np.frombuffer(start, order, 1, 108)[0]) if len(start) >= 112 else 0.0
    return int(min(offset, LONGEST_TABLE)) if np.isfinite(offset) and offset > 0 else 0


def _read_itk(path: Path, wanted: str) -> SegmentationFile:
    """NRRD and MetaImage: plain labels, or the layers and fields of a ``.seg.nrrd``."""
    check_name(path, UnreadableFileError)
    check_header(path, LABEL_RATIO)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with silenced():
            reader.ReadImageInformation()
            kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
            if reader.GetDimension() != 3 or "complex" in kind:
                raise UnreadableFileError(f"{path.name} is no 3-D segmentation.", f"Give one of {KINDS}.")
            bits = int((re.search(r"(\d+)-bit", kind) or ["", "8"])[1])
            voxels = int(np.prod(reader.GetSize(), dtype=np.int64)) * reader.GetNumberOfComponents()
            check_integrity(path, voxels * bits // 8)
            image = reader.Execute()
    except RuntimeError as error:
        raise damaged(path) from error
    array = sitk.GetArrayViewFromImage(image)
    layers = _whole(array[..., None] if array.ndim == 3 else array, path)
    grid = Grid.from_itk(layers.shape[:3], image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    segments = _segments({key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if FIELD.fullmatch(key)})
    if not segments:
        if layers.shape[3] > 1:
            raise UnreadableFileError(f"{path.name} has several numbers per voxel.", f"Give one of {KINDS}.")
        return SegmentationFile(_numbered(layers[..., 0], {}, path), grid)
    return SegmentationFile(_painted(layers, segments, path, wanted), grid)


def _segments(fields: Mapping[str, str]) -> list[tuple[int, int, str]]:
    """(layer, label in it, name) of each segment that the fields of a ``.seg.nrrd`` describe."""
    by_number: dict[int, dict[str, str]] = {}
    for key, value in fields.items():
        found = FIELD.fullmatch(key)
        assert found is not None
        by_number.setdefault(int(found[1]), {})[found[2]] = value
    out = []
    for number, own in sorted(by_number.items()):
        label, layer = own.get("LabelValue", "1").strip(), own.get("Layer", "0").strip()
        if label.isdecimal() and layer.isdecimal():
            out.append((int(layer), int(label), _tidy(own.get("Name", "")) or f"segment {number + 1}"))
    return out


def _painted(
    layers: NDArray[np.uint16], segments: Sequence[tuple[int, int, str]], path: Path, wanted: str
) -> OrganMap:
    """Segments of several layers as one label map: the smaller ones over the larger, the one asked for over all."""
    if len(segments) > MOST_LABELS:
        raise UnreadableFileError(
            f"{path.name} has {len(segments)} segments.", f"Give a segmentation of at most {MOST_LABELS}."
        )
    values = [label for _, label, _ in segments]
    own = values if len(set(values)) == len(values) and max(values) <= MOST_LABELS and min(values) > 0 else []
    numbers = own or list(range(1, len(segments) + 1))
    counts = [
        np.sum([np.bincount(plane.ravel(), minlength=LARGEST_LABEL + 1) for plane in layers[..., layer]], axis=0)
        for layer in range(layers.shape[3])
    ]
    sizes = [
        int(counts[layer][label]) if layer < len(counts) and label <= LARGEST_LABEL else 0
        for layer, label, _ in segments
    ]
    asked = wanted.strip().casefold()
    order = sorted(
        range(len(segments)), key=lambda n: (asked in (segments[n][2].casefold(), str(numbers[n])), -sizes[n])
    )
    out = np.zeros(layers.shape[:3], np.uint8)
    for n in order:
        layer, label, _ = segments[n]
        if sizes[n]:
            out[layers[..., layer] == label] = numbers[n]
    return OrganMap(out, {number: name for number, (_, _, name) in zip(numbers, segments, strict=True)}, path.name)


def _read_dicom(path: Path, wanted: str) -> SegmentationFile:
    """A DICOM Segmentation, one file."""
    tags = ("Modality", "SOPClassUID", "Rows", "Columns", "NumberOfFrames", "BitsAllocated")
    header = read_header(path, tags)
    if header is None or text(header, "Modality") != "SEG":
        raise UnreadableFileError(f"{path.name} is no segmentation.", f"Give one of {KINDS}.")
    try:
        shape = (int(header.NumberOfFrames), int(header.Rows), int(header.Columns))
        check_size(path, path, shape, int(header.BitsAllocated), LABEL_RATIO)
        with quiet_pydicom():
            return _of_seg(path, wanted)
    except KlipError:
        raise
    except Exception as error:  # highdicom raises whatever a header that it does not expect leads to
        raise UnreadableFileError(
            f"{path.name} is a DICOM Segmentation that cannot be read as a volume.",
            f"{AGAIN} Or give it as NIfTI or .seg.nrrd.",
        ) from error


def _of_seg(path: Path, wanted: str) -> SegmentationFile:
    """What a DICOM Segmentation holds; errors are those of highdicom."""
    import highdicom as hd  # a second that other formats need not wait

    stored = hd.seg.segread(path)
    numbers = [int(n) for n in stored.segment_numbers if n]
    if len(numbers) > MOST_LABELS:
        raise UnreadableFileError(
            f"{path.name} has {len(numbers)} segments.", f"Give a segmentation of at most {MOST_LABELS}."
        )
    told = {n: _tidy(str(stored.get_segment_description(n).segment_label)) for n in numbers}
    asked = wanted.strip().casefold()
    chosen = [n for n in numbers if asked and asked in (told[n].casefold(), str(n))]
    whole = stored.get_volume(combine_segments=True, skip_overlap_checks=True, dtype=np.uint16)
    labels = np.array(whole.array)
    for n in chosen[:1]:
        own = stored.get_volume(segment_numbers=[n], combine_segments=True, dtype=np.uint16)
        if own.array.shape != labels.shape:  # allow for segments on other slices than the rest
            raise ConfigError(f"The segment '{wanted}' lies on a grid of its own.", "Give it as a file of its own.")
        labels[np.asarray(own.array) == n] = n
    first, second, third = whole.spatial_shape
    grid = Grid((first, second, third), whole.affine, str(whole.frame_of_reference_uid or ""))
    return SegmentationFile(_numbered(labels, {n: name for n, name in told.items() if name}, path), grid)


def _tidy(name: str) -> str:
    """A name as one short line."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:LONGEST_NAME]
