"""The stored values of a DICOM image: decompressed, and no more of them than the header says are stored.

pydicom decodes what it has a decoder for. For the rest (above all JPEG Lossless, the usual compression of an archive)
the image is handed to GDCM, which SimpleITK brings along: in a file that holds the pixels and nothing of the patient.
"""

from __future__ import annotations

import logging
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from KLIPCore.errors import UnreadableFileError
from KLIPCore.io.fields import AGAIN, number, quiet_pydicom, text
from KLIPCore.io.headers import BOMB_BYTES, BOMB_RATIO
from KLIPCore.io.silence import silenced

log = logging.getLogger(__name__)

MOST_BELOW = 0.2
"""Part of the pixels that may hold something below the stored bits, as an overlay does; noise fills nearly all."""
UNKNOWN_TO_GDCM = frozenset({HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
"""Transfer syntaxes that lose something; those of JPEG 2000 may, and then the header says so."""
IMAGE_TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)


def stored_pixels(dataset: Dataset, label: str, shape: tuple[int, ...]) -> NDArray[np.integer]:
    """Return stored values as they are encoded, all bits that were allocated; see :func:`only_stored_bits`.

    Parameters
    ----------
    dataset : a whole image.
    label : what to call it in a message.
    shape : (rows, columns), or (frames, rows, columns), as announced by the header.

    Raises
    ------
    UnreadableFileError : no decoder for this compression, or the pixels are cut short.
    """
    if (
        "TransferSyntaxUID" not in dataset.file_meta
    ):  # files from before the preamble: pydicom found the encoding by trying
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    with quiet_pydicom():
        syntax = dataset.file_meta.TransferSyntaxUID
        try:
            decodable = get_decoder(syntax).is_available
        except NotImplementedError:
            decodable = False
    if not decodable and (not syntax.is_transfer_syntax or syntax in UNKNOWN_TO_GDCM or not syntax.is_compressed):
        raise UnreadableFileError(
            f"{label} is compressed as “{syntax.name}”, and no decoder for that is installed.",
            "Export the study uncompressed (Explicit VR Little Endian), or as JPEG Lossless.",
        )
    pixels = dataset.get("PixelData")
    held = len(pixels) if isinstance(pixels, bytes) else 0
    claimed = math.prod(shape) * (number(dataset, "BitsAllocated") or 8) / 8
    if claimed > BOMB_BYTES and claimed > BOMB_RATIO * held:
        problem = f"{label} has {held} bytes of pixels and claims to hold {claimed:.3g}, which no CT does."
        raise UnreadableFileError(problem, AGAIN)
    try:
        by_pydicom = decodable and syntax != JPEGExtended12Bit  # of which Pillow knows the 8-bit half only
        stored = _by_pydicom(dataset, syntax) if by_pydicom else _by_gdcm(dataset, syntax)
    except Exception as error:  # decoders of four projects raise what they like on a damaged stream
        log.debug("%s: %s", label, error)
        raise UnreadableFileError(f"The pixels of {label} are damaged or cut short.", AGAIN) from error
    if stored.shape != shape:
        problem = f"{label} holds pixels of shape {stored.shape} where {shape} was announced."
        raise UnreadableFileError(problem, AGAIN)
    return stored


def _by_pydicom(dataset: Dataset, syntax: UID) -> NDArray[np.integer]:
    with quiet_pydicom():
        decoder = get_decoder(syntax)
        if syntax.is_encapsulated:
            return np.asarray(decoder.as_array(dataset)[0])
        options: Any = {"correct_unused_bits": False}  # unused bits may hold the padding value
        return np.asarray(decoder.as_array(dataset, **options)[0])


def _by_gdcm(dataset: Dataset, syntax: UID) -> NDArray[np.integer]:
    """Stored values as GDCM decodes them, without a rescale: it would apply one, so the file it gets names none."""
    image = Dataset()
    for keyword in IMAGE_TAGS:
        if keyword in dataset:
            image[keyword] = dataset[keyword]
    image.SOPClassUID, image.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    with tempfile.TemporaryDirectory(prefix="klip-pixels-") as folder:
        file = Path(folder) / "image.dcm"
        with quiet_pydicom():
            FileDataset(str(file), image, file_meta=meta, preamble=b"\0" * 128).save_as(file, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(file))
        with silenced():
            decoded = sitk.GetArrayFromImage(reader.Execute())
    return decoded if int(number(dataset, "NumberOfFrames") or 1) > 1 else decoded.reshape(decoded.shape[-2:])


def only_stored_bits(values: NDArray[np.integer], header: Dataset) -> NDArray[np.integer]:
    """Return the values without what lies in bits that are allocated but not stored (an old overlay, or waste).

    Parameters
    ----------
    values : as decoded.
    header : holds BitsAllocated, BitsStored, HighBit and PixelRepresentation; without them nothing is changed.

    Returns
    -------
    values that BitsStored bits can hold, signed where PixelRepresentation says so (DICOM PS3.5, section 8.1.1).
    """
    stored = int(number(header, "BitsStored") or 0)
    allocated = 8 * values.dtype.itemsize
    high = number(header, "HighBit")
    shift = 0 if high is None else int(high) + 1 - stored
    signed = header.get("PixelRepresentation") == 1
    if not 0 < stored < allocated or values.dtype.kind not in "iu":
        return values
    low, top = (-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if signed else (0, (1 << stored) - 1)
    if not 0 < shift <= allocated - stored:
        shift = 0
        if values.min() >= low and values.max() <= top:
            return values
    if shift and (values & ((1 << shift) - 1)).astype(bool).mean() > MOST_BELOW and low <= values.min():
        shift = 0  # HighBit is wrong: what it says to be left empty is not
        if values.max() <= top:
            return values
    bits = (values.astype(np.int64) >> shift) & ((1 << stored) - 1)
    kept = np.where(bits > top, bits - (1 << stored), bits)
    return values if not shift and _reach_beyond(values.astype(np.int64), kept) else kept


def _reach_beyond(values: NDArray[np.int64], kept: NDArray[np.int64]) -> bool:
    """Whether the values, and not what BitsStored leaves of them, continue what lies beside them.

    Bright bone needs a bit more than a wrong header says; an overlay is drawn over the image.
    """
    beyond = values != kept
    whole, cut = [], []
    for axis in (0, 1):
        one, other = (np.moveaxis(a, axis, 0) for a in (beyond, values))
        rest = np.moveaxis(kept, axis, 0)
        for here, there in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            border = one[here] & ~one[there]
            whole.append(np.abs(other[here] - other[there])[border])
            cut.append(np.abs(rest[here] - other[there])[border])
    apart, left = np.concatenate(whole), np.concatenate(cut)
    return bool(apart.size) and float(np.median(apart)) < float(np.median(left))


def is_lossy(dataset: Dataset) -> bool:
    """Return whether pixels are not what the scanner reconstructed, by the header's word or by the way of packing."""
    syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
    return text(dataset, "LossyImageCompression") == "01" or syntax in LOSSY


def left_empty(header: Dataset) -> int:
    """Return how many bits below the stored ones the header says to be empty: 4 for 12 bits at the top of 16."""
    stored, high = number(header, "BitsStored"), number(header, "HighBit")
    return 0 if stored is None or high is None else max(int(high) + 1 - int(stored), 0)
