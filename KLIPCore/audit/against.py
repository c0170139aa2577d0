"""What a reconstruction is audited against: a measured sinogram, or a reference that is projected again.

A reconstruction becomes attenuation per mm on square pixels around the isocentre; data become line integrals with a
law for their noise. Whatever cannot be brought together is refused with a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, GeometryError, IntensityError
from KLIPCore.io.sinogram import check_attenuation
from KLIPCore.physics.disc_fit import photons_per_ray
from KLIPCore.physics.joined_bins import joined_bins
from KLIPCore.physics.known_noise import KnownNoise
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import Noise, PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam
from KLIPCore.volume.units import MU_WATER_PER_MM, hu_to_mu
from KLIPCore.volume.volume import Volume

LARGEST_SIDE = 1024
LEAST_VIEWS = 3
PHOTONS = 1e5
"""Of a simulated scan, per ray through air."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A sinogram and the rays it was measured along.

    Attributes
    ----------
    sinogram : (n_views, n_detectors) line integrals of attenuation.
    geometry : the rays.
    """

    sinogram: NDArray[np.float32]
    geometry: Geometry


@dataclass(frozen=True)
class NoiseSettings:
    """The law that data are held to.

    Attributes
    ----------
    photons : counts of a ray through air; None: estimated from a measured sinogram, 1e5 for a simulated one.
    model_error : part of each line integral that pixels, spectrum and drift may be wrong by; 0 with a number of
        photons leaves the exact law of the counts.
    """

    photons: float | None = None
    model_error: float = 0.005

    def __post_init__(self) -> None:
        if self.photons is not None and not 0 < self.photons < float("inf"):
            raise ConfigError(f"{self.photons:g} photons per ray are none.", "Typical values are 1e4 to 1e6.")
        if not 0 <= self.model_error < 0.5:
            raise ConfigError(
                f"A model error of {self.model_error:g} is no small part of a line integral.", "Use 0 to 0.05."
            )


@dataclass(frozen=True, eq=False)
class Subject:
    """One slice, ready to be audited.

    Attributes
    ----------
    image : (H, W) attenuation in 1/mm, rows to posterior, columns to the patient's left.
    pixel_mm : edge of a pixel.
    measurement : the data, with operator and noise.
    estimated_noise : whether the law of the noise was read off the data themselves.
    notes : what was assumed, one sentence each.
    facts : JSON-ready provenance.
    """

    image: torch.Tensor
    pixel_mm: float
    measurement: Measurement
    estimated_noise: bool
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def attenuation(volume: Volume, index: int | None) -> tuple[NDArray[np.float32], float, int, list[str]]:
    """Return one slice of a volume as attenuation: image (H, W) in 1/mm, pixel, index from the feet, notes.

    Raises
    ------
    ConfigError : there are several slices and none was named, or no such slice.
    GeometryError : pixels are not square, or the slice is larger than what is projected here.
    IntensityError : the unit is neither HU nor 1/mm, or the numbers are not of it.
    """
    lps, _ = volume.oriented_lps()
    n = len(lps.array)
    if index is None and n > 1:
        raise ConfigError(f"The reconstruction has {n} slices.", "Name the one to audit: --slice K, from the feet.")
    k = index or 0
    if not 0 <= k < n:
        remedy = f"Choose one of 0 to {n - 1}, counted from the feet." if n > 1 else "It has one: leave --slice out."
        raise ConfigError(f"There is no slice {k}.", remedy)
    _, dy, dx = lps.grid.spacing
    if abs(dy - dx) > 0.01 * dx:
        raise GeometryError(f"Pixels of {dx:.3g} × {dy:.3g} mm are not square.", "Resample the slice first.")
    if max(lps.array.shape[1:]) > LARGEST_SIDE:
        raise GeometryError(
            f"A slice of {lps.array.shape[1]} × {lps.array.shape[2]} pixels is too large to be projected often.",
            f"Resample it to {LARGEST_SIDE} × {LARGEST_SIDE} or less.",
        )
    notes = []
    image = lps.array[k]
    if volume.unit == "HU":
        if float(np.quantile(image, 0.99)) < 50 and float(image.min()) > -50:
            raise IntensityError(
                f"The reconstruction's values, {image.min():.3g} to {image.max():.3g}, are no Hounsfield units.",
                "Write it in HU, or as NRRD with the field klip_unit set to 1/mm.",
            )
        image = hu_to_mu(image)
    elif volume.unit != "1/mm":
        raise IntensityError(
            f"A reconstruction in {volume.unit} cannot be projected.", "Give HU, or attenuation with the unit 1/mm."
        )
    elif float(np.quantile(image, 0.99)) > 50 * MU_WATER_PER_MM:
        raise IntensityError(
            f"Attenuation of {np.quantile(image, 0.99):.3g} per mm is no tissue's and hardly metal's.",
            "Check the unit: water has 0.0193 per mm.",
        )
    middle = lps.grid.to_world([k, (lps.array.shape[1] - 1) / 2, (lps.array.shape[2] - 1) / 2])
    if np.abs(middle[:2]).max() > 0.6 * dx:
        notes.append(
            f"The slice's middle lies at x {middle[0]:.1f}, y {middle[1]:.1f} mm; it was taken to be the isocentre."
        )
    return np.ascontiguousarray(image, np.float32), float(dx), k, notes


def measured_against(volume: Volume, scan: Scan, noise: NoiseSettings, index: int | None = None) -> Subject:
    """Return a slice and the sinogram it is said to come from.

    Raises
    ------
    GeometryError, IntensityError, ConfigError : see :func:`attenuation`; or the sinogram does not fit its geometry,
        holds too few views, or the slice lies beyond the source.
    """
    if scan.sinogram.shape != scan.geometry.shape:
        raise GeometryError(
            f"The sinogram has shape {scan.sinogram.shape}, its geometry {scan.geometry.shape}.",
            "Rows are views, columns are detector bins.",
        )
    if scan.geometry.n_views < LEAST_VIEWS:
        raise GeometryError(
            f"{scan.geometry.n_views} views are too little to say anything about an image.",
            "Give all views of the scan.",
        )
    check_attenuation(scan.sinogram)
    image, pixel, k, notes = attenuation(volume, index)
    grid = ImageGrid2D((image.shape[0], image.shape[1]), pixel)
    if isinstance(scan.geometry, FanBeam) and grid.radius_mm >= scan.geometry.source_origin_mm:
        raise GeometryError(
            f"The slice reaches {grid.radius_mm:.0f} mm from the isocentre, the source turns at "
            f"{scan.geometry.source_origin_mm:.0f} mm.",
            "Give the geometry of this scan, in mm, or crop the slice around the isocentre.",
        )
    join = max(1, round(pixel / scan.geometry.pitch_at_isocentre_mm))
    p, geometry = joined_bins(scan.sinogram, scan.geometry, join)
    estimated = noise.photons is None
    per_bin = _estimated_photons(p) if noise.photons is None else noise.photons * join
    if join > 1:
        notes.append(f"{join} neighbouring detector bins were joined: one is then about a pixel wide.")
    if estimated:
        notes.append(
            f"The noise was estimated from the sinogram ({per_bin:.3g} photons per ray); p-values of blocks are in "
            "units of their own spread."
        )
    y = torch.from_numpy(p).float()
    measurement = Measurement(
        y,
        Projector(geometry, grid),
        noise=law(y, per_bin, noise.model_error),
        simulated=False,
        description=f"measured: {geometry.n_views} views of {geometry.n_detectors} bins",
    )
    facts = {"geometry": repr(geometry), "photons_per_ray": per_bin, "model_error": noise.model_error, "slice": k}
    facts["z_mm"] = _height(volume, k)
    return Subject(torch.from_numpy(image), pixel, measurement, estimated, tuple(notes), facts)


def _estimated_photons(p: NDArray[np.floating]) -> float:
    """Photons per ray as the data's own scatter tells; refused where they do not scatter, as computed ones may not."""
    try:
        return photons_per_ray(p, 1)
    except IntensityError as error:
        raise IntensityError(error.message, "Give data as they were measured, or say the noise: --photons.") from error


@dataclass(frozen=True)
class ScanSettings:
    """The scan that a reference is projected by; simulated, and said so.

    Attributes
    ----------
    n_views : evenly spread views.
    fan : whether they are of a fan beam over a full circle, or parallel over half a turn.
    """

    n_views: int = 60
    fan: bool = False

    def __post_init__(self) -> None:
        if self.n_views < LEAST_VIEWS:
            raise ConfigError(f"{self.n_views} views are too little to say anything.", "Ask for 24 or more.")


def simulated_against(
    volume: Volume,
    reference: Volume,
    noise: NoiseSettings,
    scan: ScanSettings,
    index: int | None = None,
    seed: int = 0,
) -> Subject:
    """Return a slice and a SIMULATED scan of the reference in its place.

    Raises
    ------
    GeometryError : the two do not share their voxels.
    IntensityError : the two are in other units.
    ConfigError : see :func:`attenuation`.
    """
    if not volume.grid.same_as(reference.grid, 1e-3):
        raise GeometryError(
            f"Reconstruction {_size(volume)} and reference {_size(reference)} lie on other grids.",
            "Resample one to the other's voxels first.",
        )
    if volume.unit != reference.unit:
        raise IntensityError(
            f"The reconstruction is in {volume.unit}, the reference in {reference.unit}.", "Bring both to one unit."
        )
    image, pixel, k, notes = attenuation(volume, index)
    truth, _, _, _ = attenuation(reference, index)
    grid = ImageGrid2D((image.shape[0], image.shape[1]), pixel)
    geometry: Geometry = FanBeam.sparse(scan.n_views, grid) if scan.fan else ParallelBeam.sparse(scan.n_views, grid)
    A, photons = Projector(geometry, grid), noise.photons or PHOTONS
    # On the reference's own pixels: nothing is reconstructed here, and finer, smoother ones would be another image,
    # with which the reference itself would disagree.
    y = PoissonNoise(photons).sample(A(torch.from_numpy(truth)), torch.Generator().manual_seed(seed))
    measurement = Measurement(
        y,
        A,
        noise=law(y, photons, noise.model_error),
        simulated=True,
        description=f"SIMULATED from the reference: {geometry.n_views} views of {geometry.n_detectors} bins",
    )
    notes.append(
        f"The scan is SIMULATED: the reference was projected along {geometry.n_views} "
        f"{'fan-beam' if scan.fan else 'parallel'} views with {photons:.3g} photons per ray. What the reference "
        "itself does not show cannot be found."
    )
    facts = {"geometry": repr(geometry), "photons_per_ray": photons, "model_error": noise.model_error, "slice": k}
    facts["z_mm"] = _height(volume, k)
    return Subject(torch.from_numpy(image), pixel, measurement, False, tuple(notes), facts)


def law(y: torch.Tensor, photons: float, model_error: float) -> Noise:
    """Return the noise of line integrals y: exact counts, or their variance with that of the model's error."""
    if model_error == 0:
        return PoissonNoise(photons)
    p = y.double().clamp_min(0.0)
    return KnownNoise((torch.exp(p) / photons + (model_error * p).square()).sqrt().to(y.dtype))


def _height(volume: Volume, index: int) -> float:
    """Where a slice's middle lies along the body, in mm to superior."""
    grid = volume.oriented_lps()[0].grid
    return round(float(grid.to_world([index, (grid.shape[1] - 1) / 2, (grid.shape[2] - 1) / 2])[2]), 2)


def _size(volume: Volume) -> str:
    spacing = " × ".join(f"{s:.3g}" for s in volume.grid.spacing)
    return f"({' × '.join(str(n) for n in volume.grid.shape)} voxels of {spacing} mm)"
