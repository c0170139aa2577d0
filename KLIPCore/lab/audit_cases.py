"""What the audit is tried on: slices whose truth is known, lesions in the data, and lesions in the image only.

A *planted hallucination* and a *true lesion* are made to look the same. A slice is scanned twice with the same noise,
with the lesion and without; the reconstruction of the scan with it is audited against either. So the picture is one
and the same: only the data know whether the lesion was there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.audit.against import Subject, law
from KLIPCore.io.images import read_image
from KLIPCore.lab.phantoms.abdomen import Abdomen
from KLIPCore.lab.phantoms.patient import USUAL, draw_patient, patient_grid
from KLIPCore.physics.known_noise import KnownNoise
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import Noise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import least_squares
from KLIPCore.physics.tv import gradient, tv_reconstruction
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam
from KLIPCore.volume.units import MU_WATER_PER_MM, hu_to_mu

SIZE = 128
WIDTH_MM = 350.0
"""Width of BTCV's slices, whose pixels are not recorded."""
NOISE = 0.002 * 0.5 * 0.4 * MU_WATER_PER_MM * 0.875 * WIDTH_MM
"""Standard deviation of a line integral: that of `klip detect`'s simulated scans, 0.2 % of soft tissue (intensity
0.5 of a window of 400 HU) across a body's width.
"""
GAUSSIAN_MODEL_ERROR, PHOTON_MODEL_ERROR = 0.0005, 0.005
"""Parts of a line integral that pixels may be wrong by, beside either noise."""
CONTRAST_HU = -50.0
DIAMETERS_MM = (16.0, 10.0)
BTCV_TEST = ("0039", "0005", "0007", "0009", "0028", "0023")
BTCV_TRAIN = ("0006", "0010", "0021", "0024", "0026", "0027", "0030", "0031", "0033", "0034", "0037")
LIVER = 5


@dataclass(frozen=True, eq=False)
class Slice:
    """A slice whose truth is known.

    Attributes
    ----------
    source, name : where it comes from, and who it is.
    mu : (SIZE, SIZE) attenuation in 1/mm.
    pixel_mm : edge of a pixel.
    room : (SIZE, SIZE) bool, where lesions may lie.
    """

    source: str
    name: str
    mu: Tensor
    pixel_mm: float
    room: NDArray[np.bool_]

    @property
    def grid(self) -> ImageGrid2D:
        """Its pixels."""
        return ImageGrid2D((SIZE, SIZE), self.pixel_mm)


def btcv_slices(data: Path, cases: tuple[str, ...], per_case: int = 1) -> Iterator[Slice]:
    """Slices with the most liver of each case; none where the data are not there."""
    for case in cases:
        path = data / "btcv" / f"case{case}_ct8.nii.gz"
        if not path.is_file():
            continue
        stored = read_image(path).array
        liver = read_image(path.with_name(f"case{case}_seg.nii.gz")).array.round() == LIVER
        hu = np.where(stored > 0, stored / 255 * 400 - 125, -1000.0)
        yield from _fullest("BTCV", case, hu, liver, WIDTH_MM, per_case)


def chaos_slices(data: Path, per_case: int = 1) -> Iterator[Slice]:
    """Slices with the most liver of the healthy donor of CHAOS, in the window of BTCV; none where it is not there."""
    path = data / "volumes" / "chaos-set3_ct.nii.gz"
    if path.is_file():
        volume = read_image(path).oriented_lps()[0]
        liver = read_image(path.with_name("chaos-set3_liver.nii.gz")).oriented_lps()[0].array > 0
        hu = np.where(volume.array > -125, volume.array.clip(max=275), -1000.0)
        yield from _fullest("CHAOS", "3", hu, liver, float(volume.grid.spacing[1]) * hu.shape[1], per_case)


def _fullest(
    source: str, name: str, hu: NDArray[Any], liver: NDArray[np.bool_], width_mm: float, per_case: int
) -> Iterator[Slice]:
    """Slices evenly spread over those with half of the most liver at least, on :data:`SIZE` pixels."""
    amount = liver.sum((1, 2))
    usual = np.flatnonzero(amount > 0.5 * amount.max())
    step = hu.shape[1] // SIZE
    for k in usual[np.linspace(0, len(usual) - 1, per_case + 2).round().astype(int)[1:-1]]:
        mu = torch.nn.functional.avg_pool2d(torch.from_numpy(hu_to_mu(hu[k]))[None, None], step)[0, 0]
        yield Slice(source, name, mu, width_mm / SIZE, liver[k][::step, ::step])


def synthetic_slices(n: int, n_steps: int = 6) -> Iterator[Slice]:
    """Return one slice each of synthetic patients that the shipped prior draws."""
    if n == 0:
        return
    prior = load_prior("abdomen-ct-256", "cpu")
    for seed in range(n):
        volume = draw_patient(prior, 1, seed, drawing=replace(USUAL, n_steps=n_steps))
        grid = patient_grid(prior.card, 1, 5.0)
        liver = Abdomen.random(seed).mask("liver", grid)[0]
        mu = torch.nn.functional.avg_pool2d(torch.from_numpy(hu_to_mu(volume.array))[None], 2)[0]
        yield Slice("synthetic", f"seed {seed}", mu, 2 * float(grid.spacing[1]), liver[::2, ::2])


def places(
    slice_: Slice, n: int, rng: np.random.Generator, diameters_mm: Sequence[float] = DIAMETERS_MM
) -> list[tuple[float, float, float]]:
    """Return (row, column, radius in pixels) of up to ``n`` lesions apart from one another, sizes in turn."""
    found: list[tuple[float, float, float]] = []
    depth = ndi.distance_transform_edt(slice_.room)
    for k in range(n):
        radius = 0.5 * diameters_mm[k % len(diameters_mm)] / slice_.pixel_mm
        free = depth > radius + 1
        rows, columns = np.indices(free.shape)
        for row, column, other in found:
            free &= (rows - row) ** 2 + (columns - column) ** 2 > (other + radius + 7) ** 2
        choice = np.argwhere(free)
        if len(choice):
            row, column = choice[rng.integers(len(choice))]
            found.append((float(row), float(column), radius))
    return found


@dataclass(frozen=True, eq=False)
class ScannedSlice:
    """One slice, scanned once, with places for lesions.

    Attributes
    ----------
    own : the slice.
    number : its place in the sequence, of which seeds are made.
    scanner : what scans it.
    n_views : of the scan.
    spots : (row, column, radius in pixels) of each lesion.
    """

    own: Slice
    number: int
    scanner: Scanner
    n_views: int
    spots: list[tuple[float, float, float]]


def scanned_slices(
    slices: Sequence[Slice], views: Sequence[int], n_lesions: int, seed: int, photons: float | None
) -> Iterator[ScannedSlice]:
    """Yield each slice at each number of views, with the same places for each; slices without room are left out.

    Parameters
    ----------
    slices, views : what is scanned, and with how many views.
    n_lesions : at most, in a slice.
    seed : of the places.
    photons : per ray; None for Gaussian noise.
    """
    for n_views in views:
        scanners: dict[float, Scanner] = {}
        for number, own in enumerate(slices):
            scanner = scanners.setdefault(own.pixel_mm, Scanner.of(own.grid, n_views, photons))
            spots = places(own, n_lesions, np.random.default_rng([seed, number]))
            if spots:
                yield ScannedSlice(own, number, scanner, n_views, spots)


def disc(place: tuple[float, float, float], size: int) -> Tensor:
    """Return (size, size) a soft disc at a place that is given in pixels of :data:`SIZE`."""
    scale = size / SIZE
    axis = (torch.arange(size) + 0.5) / scale - 0.5
    distance = ((axis[:, None] - place[0]) ** 2 + (axis[None, :] - place[1]) ** 2).sqrt()
    return torch.sigmoid(3.0 * (place[2] - distance))


@dataclass(frozen=True, eq=False)
class Scanner:
    """A simulated scanner of one kind of slice.

    Attributes
    ----------
    A, fine : projectors on the slice's pixels and on pixels half as large.
    photons : per ray through air; None: Gaussian noise of :data:`NOISE`.
    """

    A: Projector
    fine: Projector
    photons: float | None = None

    @classmethod
    def of(cls, grid: ImageGrid2D, n_views: int, photons: float | None = None) -> Scanner:
        """Parallel views over half a turn."""
        rays = ParallelBeam.sparse(n_views, grid)
        return cls(Projector(rays, grid), Projector(rays, grid.refined(2)), photons)

    def scan(self, mu_fine: Tensor, seed: int) -> Measurement:
        """Line integrals, simulated on the finer pixels; equal seeds draw the same noise."""
        clean = self.fine(mu_fine)
        # one draw of normal numbers for both scans of a pair; so many photons are normal enough
        z = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
        y = clean + z * (NOISE if self.photons is None else (torch.exp(clean) / self.photons).sqrt())
        return Measurement(y, self.A, noise=self.law(y), simulated=True, description="simulated")

    def law(self, y: Tensor) -> Noise:
        """Return what an audit holds the data to: their noise, and an error of the model."""
        if self.photons is not None:
            return law(y, self.photons, PHOTON_MODEL_ERROR)
        return KnownNoise((NOISE**2 + (GAUSSIAN_MODEL_ERROR * y).square()).sqrt())


def finer(mu: Tensor) -> Tensor:
    """Return the slice on pixels half as large."""
    return torch.nn.functional.interpolate(mu[None, None], scale_factor=2, mode="bilinear")[0, 0]


def tv(measurement: Measurement, n_iterations: int = 80, strength: float = 1.0) -> Tensor:
    """Total variation, weighted by the image's own gradients as in :mod:`KLIPCore.detection.reconstruct`."""
    quick = least_squares(measurement, 15)
    weight = strength * 2.0 / float(gradient(quick).square().sum(0).sqrt().mean())
    return tv_reconstruction(measurement, weight, n_iterations, x0=quick.clamp_min(0.0))


def pair(
    slice_: Slice,
    scanner: Scanner,
    spots: list[tuple[float, float, float]],
    seed: int,
    *,
    shown: bool = True,
    strength: float = 1.0,
) -> tuple[Subject, Subject]:
    """Return a reconstruction with lesions, beside data that hold them (first) and data that do not.

    With ``shown`` False the reconstruction is that of the scan without the lesions: the first has erased them.
    """
    contrast = CONTRAST_HU / 1000 * MU_WATER_PER_MM
    fine = finer(slice_.mu)
    added = contrast * torch.stack([disc(place, 2 * SIZE) for place in spots]).sum(0)
    held, plain = scanner.scan(fine + added, seed), scanner.scan(fine, seed)
    image = tv(held if shown else plain, strength=strength)
    first, second = (Subject(image, slice_.pixel_mm, m, False, (), {"slice": 0}) for m in (held, plain))
    return first, second
