"""Sinograms that MATLAB saved.

One line writes them: ``save('scan.mat', 'sinogram', 'angles_deg', 'pitch_mm', '-v7')``. Variables

    sinogram      (n_views, n_detectors) line integrals
    angles_deg    view angles in degrees, or angles_rad
    pitch_mm      distance of neighbouring detector bins

and, for other than centred parallel beams, the fields of :class:`KLIPCore.volume.geometry.Geometry` by name:
``offset_mm``; ``type`` ('parallel' or 'fan'), ``source_origin_mm``, ``source_detector_mm``, ``equiangular``.
Structures, cells and objects are never read.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import UnreadableFileError

ARRAYS = ("sinogram", "angles_rad", "angles_deg")
NUMBERS = ("pitch_mm", "offset_mm", "source_origin_mm", "source_detector_mm", "equiangular")
NUMERIC = frozenset(
    {"double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "logical"}
)
LARGEST_ELEMENTS = 1 << 28
SAVE = "Save it again in MATLAB: save('scan.mat', 'sinogram', 'angles_deg', 'pitch_mm', '-v7')."


def read_mat(path: Path) -> dict[str, NDArray[Any]]:
    """Return the variables of a ``.mat`` file that a sinogram is made of.

    Raises
    ------
    UnreadableFileError : no MATLAB file of version 7 or older, damaged, or a variable is a structure, a cell
        or an object.
    """
    from scipy.io import loadmat, whosmat  # a quarter of a second that other files need not wait for

    with path.open("rb") as stream:
        start = stream.read(8)
    if start.startswith(b"\x89HDF") or b"MATLAB 7.3" in _text(path):
        raise UnreadableFileError(f"{path.name} is a MATLAB 7.3 file, which is not read.", SAVE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            listed = {
                name: (shape, kind) for name, shape, kind in whosmat(path) if name in (*ARRAYS, *NUMBERS, "type")
            }
            for name, (shape, kind) in listed.items():
                if kind not in ({"char"} if name == "type" else NUMERIC):
                    raise UnreadableFileError(
                        f"The variable {name} in {path.name} is of the class {kind}.", "Give plain numbers. " + SAVE
                    )
                if (
                    not 0 < math.prod(shape) <= LARGEST_ELEMENTS or math.prod(shape) > 1100 * path.stat().st_size
                ):  # what zlib can pack at best
                    raise UnreadableFileError(
                        f"The variable {name} in {path.name} claims to be larger than the file can hold.", SAVE
                    )
            found = loadmat(path, variable_names=list(listed))
    except UnreadableFileError:
        raise
    except Exception as error:  # scipy's reader raises whatever the bytes lead it to
        raise UnreadableFileError(f"{path.name} is not a MATLAB file, or is damaged or cut short.", SAVE) from error
    arrays = {name: np.asarray(found[name]) for name in listed if name in found}
    if any(array.dtype.hasobject for array in arrays.values()):
        raise UnreadableFileError(f"{path.name} holds objects, which are never read.", SAVE)
    for name, array in arrays.items():
        if np.iscomplexobj(array):
            raise UnreadableFileError(f"The variable {name} in {path.name} holds complex numbers.", SAVE)
    return arrays


def plain_fields(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the geometry's fields from single variables, where there is no JSON.

    Of a centred parallel beam unless they say otherwise.

    Raises
    ------
    ValueError : ``pitch_mm`` is missing, or a field is no single number.
    """
    if "pitch_mm" not in arrays:
        raise ValueError("geometry or pitch_mm is missing")
    sinogram = arrays["sinogram"]
    if sinogram.ndim != 2:
        raise ValueError("its sinogram is not two-dimensional")
    fields: dict[str, Any] = {"type": "parallel", "n_detectors": int(sinogram.shape[1])}
    for name in NUMBERS:
        if name in arrays:
            if arrays[name].size != 1:
                raise ValueError(f"{name} is not a single number")
            fields[name] = float(arrays[name].item())
    if "equiangular" in fields:
        fields["equiangular"] = bool(fields["equiangular"])
    if "type" in arrays:
        fields["type"] = str(arrays["type"].item()) if arrays["type"].size == 1 else ""
    return fields


def _text(path: Path) -> bytes:
    """The header that MATLAB writes for people."""
    with path.open("rb") as stream:
        return stream.read(128)
