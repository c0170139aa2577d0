"""Sinograms on disc: line integrals with the geometry that measured them.

A sinogram without its geometry cannot be reconstructed, so one file holds both: a NumPy ``.npz`` that any tool
can open,

    sinogram      (n_views, n_detectors) float32 line integrals (−log of transmitted over incident intensity)
    angles_rad    (n_views,) float64 view angles; or angles_deg, in degrees
    geometry      a JSON string: format, version, type ("parallel" or "fan") and the fields of that geometry

in the conventions of :mod:`KLIPCore.volume.geometry`. Nothing in it is pickled; reading it cannot run code.
MATLAB writes the same as a ``.mat`` (:mod:`KLIPCore.io.matlab`). Angles that turn the scanner many times
round, and counts in place of line integrals, are refused: they would give a picture, and a wrong one.
docs/conventions.md says how data of other libraries are turned.

:func:`read_htc2022` reads real measurements of the Helsinki Tomography Challenge 2022 and turns *their* conventions
into ours; the geometry itself stays as documented.
"""

from __future__ import annotations

import json
import math
import reprlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from KLIPCore.errors import (
    ConfigError,
    EmptyInputError,
    GeometryError,
    IntensityError,
    OutputError,
    UnreadableFileError,
)
from KLIPCore.io.line_integrals import check_angles, check_degrees, check_unit
from KLIPCore.io.matlab import plain_fields, read_mat
from KLIPCore.io.opposite_rays import check_opposite
from KLIPCore.io.sinogram_doubts import check_filled
from KLIPCore.io.sinogram_moments import check_views
from KLIPCore.io.sinogram_order import check_order
from KLIPCore.io.sinogram_scale import check_scale
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D
from KLIPCore.volume.untrusted import json_object, load_npz, read_json

FORMAT, VERSION = "klip-sinogram", 1

LARGEST_LINE_INTEGRAL = 30.0
"""One photon in 10¹³; no detector counts so far."""

PICTURES = (".tif", ".tiff", ".png", ".npy", ".csv", ".txt", ".raw")
FROM_PICTURES = (
    "Write it as .npz once: write_sinogram('scan', sinogram, ParallelBeam(angles_rad, n_bins, pitch_mm=...)); "
    "docs/conventions.md has the line for TIFF stacks."
)

HTC2022_SOURCE_ORIGIN_MM, HTC2022_SOURCE_DETECTOR_MM, HTC2022_PITCH_MM = 410.66, 553.74, 0.2
HTC2022_IMAGE = ImageGrid2D((512, 512), HTC2022_PITCH_MM * HTC2022_SOURCE_ORIGIN_MM / HTC2022_SOURCE_DETECTOR_MM)
"""The grid of the challenge's truth masks: 512 × 512 pixels as large as a bin at the isocentre, 0.1483 mm."""
HTC2022_LEAST = 1.3
"""70 mm of the challenge's acrylic make 2.3; a logarithm to base 10, or the part absorbed, at most 1."""


def write_sinogram(path: str | Path, sinogram: ArrayLike, geometry: Geometry) -> Path:
    """Write a sinogram and its geometry.

    Parameters
    ----------
    path : the file; ``.npz`` is added where it is missing.
    sinogram : (n_views, n_detectors) line integrals.
    geometry : the scan.

    Returns
    -------
    The path written.

    Raises
    ------
    GeometryError : the array is not of the geometry's shape.
    IntensityError : the array holds values that are not finite.
    OutputError : the file cannot be written.
    """
    target = Path(path)
    target = target if target.suffix == ".npz" else target.with_name(target.name + ".npz")
    data = np.asarray(sinogram, np.float32)
    _check(data, geometry)
    fields = geometry.to_dict()
    angles = np.array(fields.pop("angles_rad"), np.float64)
    text = json.dumps({"format": FORMAT, "version": VERSION, **fields})
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as stream:
            np.savez_compressed(stream, sinogram=data, angles_rad=angles, geometry=np.array(text))
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"The sinogram cannot be written ({error.strerror or error}).",
            "Choose a folder that exists and can be written.",
        ) from error
    return target


def read_sinogram(path: str | Path) -> tuple[NDArray[np.float32], Geometry]:
    """Read what :func:`write_sinogram` wrote, or the same saved from MATLAB.

    Parameters
    ----------
    path : ``.npz``, or ``.mat`` (:mod:`KLIPCore.io.matlab`).

    Returns
    -------
    sinogram (n_views, n_detectors) float32, and its geometry.

    Raises
    ------
    EmptyInputError : there is no such file.
    UnreadableFileError : it is no sinogram file, is damaged, or a field is missing or cannot be understood.
    GeometryError : the array is not of the geometry's shape, or its angles are degrees.
    IntensityError : the array holds values that are not finite, or counts in place of line integrals.
    """
    path = Path(path)
    if path.suffix.lower() in PICTURES:
        raise UnreadableFileError(f"{path.name} holds pictures without the geometry of the scan.", FROM_PICTURES)
    arrays = _load(path, ("sinogram",))
    if ("angles_rad" in arrays) == ("angles_deg" in arrays):
        raise UnreadableFileError(
            f"The file {path.name} lacks its view angles, or has them twice.",
            "Give angles_rad or angles_deg, one per view.",
        )
    try:
        sinogram = np.asarray(arrays["sinogram"], np.float32)
        fields = _own_fields(arrays["geometry"]) if "geometry" in arrays else plain_fields(arrays)
        degrees = "angles_deg" in arrays
        angles = np.asarray(arrays["angles_deg" if degrees else "angles_rad"], float).ravel()
        if degrees:
            check_degrees(angles)
        if "n_detectors" in fields and sinogram.shape != (
            angles.size,
            fields["n_detectors"],
        ):  # before a geometry of a trillion bins is made
            raise _shapes_differ(sinogram.shape, (angles.size, fields["n_detectors"]))
        geometry = Geometry.from_dict({**fields, "angles_rad": (np.deg2rad(angles) if degrees else angles).tolist()})
    except (ValueError, TypeError, KeyError, OverflowError, ConfigError) as error:
        raise UnreadableFileError(
            f"The sinogram file {path.name} cannot be understood ({_clause(error)}).",
            "Write it with write_sinogram().",
        ) from error
    _check(sinogram, geometry)
    return sinogram, geometry


def read_htc2022(
    path: str | Path, limited: bool = False
) -> tuple[NDArray[np.float32], FanBeam, NDArray[np.bool_] | None]:
    """Read a measured disc of the Helsinki Tomography Challenge 2022 (Zenodo 6984868, CC BY 4.0).

    Files are those of the challenge, converted to ``.npz``.

    Fields read: ``sinogram`` (n_views, 560) log-transformed, ``angles_deg``, ``seg`` (512, 512) truth (may be
    missing), ``limited_angles_deg`` (may be empty). Distances come from ``geometry_and_scan_parameters.json``
    beside the file, or are the challenge's published ones.

    The challenge's picture is ours seen from behind. With its angles α and bins as they are, our geometry gives
    the truth mask upside down; mirrored in y, a line of view α at detector coordinate u is a line of view π −
    α at −u. So

        θ = π − α ,    bins in reverse order

    makes reconstructions agree with the truth masks as stored, in place and sense of rotation. With 240 of the
    views and Otsu's threshold, Dice is 0.998 or more on all fourteen discs; the seven other orientations reach
    at most 0.983 on any disc with holes, and the other sense of rotation, in whichever orientation, is worse
    on every disc. The detector offset, fitted by comparing opposite rays, is 0.02 to 0.04 mm, a fifth of a
    bin: taken as 0.

    Parameters
    ----------
    path : one ``htc2022_*.npz``.
    limited : keep only the views of the challenge's limited arc.

    Returns
    -------
    sinogram (n_views, 560) float32, geometry, and truth mask (512, 512) on ``HTC2022_IMAGE`` or None.

    Raises
    ------
    EmptyInputError, UnreadableFileError, GeometryError, IntensityError : as :func:`read_sinogram`.
    ConfigError : a limited arc is asked of a disc that has none.
    """
    path = Path(path)
    arrays = _load(path, ("sinogram", "angles_deg"))
    name = path.stem.removeprefix("htc2022_")
    sinogram, geometry, degrees = _htc2022_scan(path, name, arrays)
    _check(sinogram, geometry)
    if sinogram.max() < HTC2022_LEAST:
        raise IntensityError(
            f"The largest line integral of the disc {name} is {sinogram.max():.3g}; 70 mm of acrylic make about 2.3.",
            "Take -log(I / I0) with the natural logarithm, as in the challenge's own files.",
        )
    if limited:
        keep = _limited_arc(degrees, np.asarray(arrays.get("limited_angles_deg", ()), float))
        if not keep.size:
            raise ConfigError(f"The disc {name} has no limited arc.", "Use one of the test discs (01a to 07c).")
        sinogram, geometry = sinogram[keep], geometry.views(keep)
    truth = np.asarray(arrays["seg"]) > 0 if "seg" in arrays else None
    return sinogram, geometry, truth


def _htc2022_scan(
    path: Path, name: str, arrays: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.float32], FanBeam, NDArray[np.float64]]:
    """Sinogram, geometry and the views' angles in degrees of a disc, all views.

    Raises
    ------
    UnreadableFileError : they cannot be understood.
    """
    scanner: dict[str, Any] = {}
    beside = path.with_name("geometry_and_scan_parameters.json")
    try:
        if beside.is_file():
            scanner = read_json(beside).get(name, {})
        source_origin = float(scanner.get("distanceSourceOrigin", HTC2022_SOURCE_ORIGIN_MM))
        source_detector = float(scanner.get("distanceSourceDetector", HTC2022_SOURCE_DETECTOR_MM))
        pitch = float(scanner.get("pixelSizePost", HTC2022_PITCH_MM))
        degrees = np.asarray(arrays["angles_deg"], float)
        sinogram = np.ascontiguousarray(np.asarray(arrays["sinogram"], np.float32)[:, ::-1])
        geometry = FanBeam(
            tuple(math.pi - np.deg2rad(degrees)),
            sinogram.shape[1],
            pitch_mm=pitch,
            offset_mm=0.0,
            source_origin_mm=source_origin,
            source_detector_mm=source_detector,
        )
    except (OSError, ValueError, TypeError, AttributeError, IndexError, OverflowError, ConfigError) as error:
        raise UnreadableFileError(
            f"The measured disc {path.name} cannot be understood ({_clause(error)}).",
            "Use an unchanged file of the challenge.",
        ) from error
    return sinogram, geometry, degrees


def _limited_arc(degrees: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.intp]:
    """Numbers of the views at the wanted angles."""
    if not wanted.size:
        return np.array([], int)
    return np.flatnonzero((np.abs(degrees[:, None] - wanted[None, :]) < 1e-3).any(1))


def _load(path: Path, required: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """All arrays of an ``.npz`` or ``.mat``, without objects."""
    if not path.is_file():
        raise EmptyInputError(f"There is no sinogram file {path.name}.", "Check the path.")
    if path.suffix.lower() == ".mat":
        arrays = read_mat(path)
    else:
        try:
            arrays = load_npz(path)
        except ValueError as error:
            raise UnreadableFileError(
                f"The file {path.name} is not a readable .npz archive: {error}.", "Write it with write_sinogram()."
            ) from error
    missing = [key for key in required if key not in arrays]
    if missing:
        raise UnreadableFileError(
            f"The file {path.name} lacks {', '.join(missing)}.",
            "A sinogram file holds the data, the view angles and the geometry.",
        )
    return arrays


def _own_fields(stored: NDArray[Any]) -> dict[str, Any]:
    """The geometry's fields from the JSON that :func:`write_sinogram` wrote.

    Raises
    ------
    ValueError : it is something else.
    """
    fields = json_object(str(stored))
    if fields.pop("format", None) != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    if fields.pop("version", None) != VERSION:
        raise ValueError(f"its version is not {VERSION}")
    return fields


def _shapes_differ(sinogram: tuple[int, ...], geometry: tuple[Any, ...]) -> GeometryError:
    return GeometryError(
        f"The sinogram has shape {sinogram}, its geometry {reprlib.repr(geometry)}.",
        "Rows are views, columns are detector bins; give every view its angle.",
    )


def _clause(error: Exception) -> str:
    """What is wrong, without the advice that libraries add to it, on one line and short."""
    text = error.message if isinstance(error, ConfigError) else str(error)
    return " ".join(text.split())[:120].rstrip(".")


def _check(sinogram: NDArray[np.float32], geometry: Geometry) -> None:
    if sinogram.shape != geometry.shape:
        raise _shapes_differ(sinogram.shape, geometry.shape)
    if not np.isfinite(sinogram).all():
        raise IntensityError(
            "The sinogram holds values that are not finite.",
            "Replace dead bins and starved rays before the logarithm.",
        )
    check_angles(sinogram, geometry)
    check_unit(sinogram)
    check_views(sinogram, geometry)
    check_order(sinogram, geometry)
    check_opposite(sinogram, geometry)
    check_scale(sinogram, geometry)
    check_filled(sinogram, geometry)


def check_attenuation(sinogram: NDArray[np.floating]) -> None:
    """Refuse what is no attenuation that a scanner can have measured.

    Parameters
    ----------
    sinogram : line integrals, −log of transmitted over incident intensity, any shape.

    Raises
    ------
    IntensityError : larger than :data:`LARGEST_LINE_INTEGRAL`.
    """
    largest = float(np.max(sinogram, initial=0.0))
    if largest > LARGEST_LINE_INTEGRAL:
        raise IntensityError(
            f"The largest line integral is {largest:g}: no ray is weakened by e to that power.",
            "Give -log(I / I0) without a factor; a sum over pixels needs the attenuation per pixel first.",
        )
