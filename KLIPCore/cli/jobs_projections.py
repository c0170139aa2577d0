"""`klip reconstruct FOLDER`: the projections of a scanner into a volume in Hounsfield units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from KLIPCore.cli.jobs import check_output, evenly_spread, fitted_image, write_picture_beside
from KLIPCore.detection.reconstruct import reconstruct
from KLIPCore.errors import GeometryError
from KLIPCore.io.images import write_image
from KLIPCore.io.projection_scan import FanSlice
from KLIPCore.io.projections import read_projections
from KLIPCore.io.sinogram import check_attenuation
from KLIPCore.volume.geometry import FanBeam, ImageGrid2D
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.outside import AIR_HU
from KLIPCore.volume.units import MU_WATER_PER_MM
from KLIPCore.volume.volume import Volume

TURN_MM = 1.0
"""Thickness of an axial scan's only slice, which its projections do not say."""


@dataclass(frozen=True)
class Reconstruction:
    """How projections are reconstructed.

    Attributes
    ----------
    method : fbp, cg or tv.
    views : evenly spread views of each slice that are used; None: all.
    size : side of a slice in pixels.
    pixel_mm : their edge; None fits the field of view.
    every_mm : distance of the slices of a helical scan.
    centre : column of the central ray, where the file's is wrong.
    """

    method: str = "fbp"
    views: int | None = None
    size: int = 512
    pixel_mm: float | None = None
    every_mm: float = 3.0
    centre: float | None = None


def reconstruct_projections(folder: Path, out: Path, wanted: Reconstruction) -> str:
    """Reconstruct the DICOM-CT-PD projections of a folder, slice by slice, into an image file and a PNG beside it.

    Parameters
    ----------
    folder : see :func:`KLIPCore.io.projections.read_projections`.
    out : NRRD, NIfTI or MHA file to write, in HU and patient coordinates.
    wanted : how.

    Returns
    -------
    what to tell the user.

    Raises
    ------
    KlipError : one of its descendants, with a remedy; see :mod:`KLIPCore.errors`.
    """
    check_output(out)
    scan = read_projections(folder)
    scan = scan if wanted.centre is None else scan.with_centre(wanted.centre)
    places = scan.positions(wanted.every_mm)
    steps = np.diff(places)
    if len(steps) and np.ptp(steps) > 0.02 * steps[0]:
        raise GeometryError(
            f"The table stood at uneven distances, {steps.min():g} to {steps.max():g} mm apart.",
            "Give the projections of evenly spaced turns alone.",
        )
    water = scan.scanner.water_per_mm
    notes = [*scan.notes]
    if math.isnan(water):
        water = MU_WATER_PER_MM
        notes.append(f"The attenuation of water is not given: {water}/mm is assumed, and HU are a scale only.")
    slices, image, n_views = [], ImageGrid2D((1, 1), 1.0), 0
    for number, found in enumerate(scan.slices([float(z) for z in places])):
        check_attenuation(found.sinogram)
        if number == len(places) // 2 and (doubt := scan.doubt(found)):
            notes.append(doubt)
        image = fitted_image(found.geometry, wanted.size, wanted.pixel_mm)
        n_views = wanted.views or found.geometry.n_views
        slices.append(_slice_hu(found, image, wanted, water))
    affine = np.eye(4)
    thickness = float(steps.mean()) if len(steps) else TURN_MM
    affine[:3, :3] = np.array([[0, 0, image.pixel_mm], [0, image.pixel_mm, 0], [thickness, 0, 0]])
    affine[:3, 3] = (image.x_mm[0], image.y_mm[0], places[0])
    grid = Grid((len(slices), *image.shape), affine)
    write_image(Volume(np.stack(slices), grid), out, description=f"{wanted.method}, {n_views} views")
    picture = write_picture_beside(slices[len(slices) // 2], out)
    kind = "helical" if scan.scanner.helical else "axial"
    text = (
        f"{wanted.method} from {len(scan.views)} {kind} projections, {n_views} views a slice: {len(slices)} slices of "
        f"{image.shape[0]} × {image.shape[1]} pixels of {image.pixel_mm:.3f} mm in HU, in {out} and {picture.name}"
    )
    return "\n".join([text, *notes])


def _slice_hu(found: FanSlice, image: ImageGrid2D, wanted: Reconstruction, water_per_mm: float) -> np.ndarray:
    """(H, W) HU; air outside of the circle that every view saw."""
    sinogram, geometry = found.sinogram, found.geometry
    if wanted.views is not None:
        keep = evenly_spread(wanted.views, geometry.n_views)
        sinogram, geometry = sinogram[keep], geometry.views(keep)
    hu = 1000 * (reconstruct(sinogram, geometry, image, wanted.method) / water_per_mm - 1)
    outside = np.hypot(image.x_mm[None, :], image.y_mm[:, None]) > seen_radius_mm(geometry)
    return np.where(outside, np.float32(AIR_HU), hu).astype(np.float32)


def seen_radius_mm(geometry: FanBeam) -> float:
    """Return the radius of the circle that lies within the fan in every view."""
    gamma = geometry.fan_angles()
    return geometry.source_origin_mm * math.sin(min(abs(float(gamma[0])), abs(float(gamma[-1]))))
