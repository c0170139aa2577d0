"""Measured discs with holes, and the same holes planted where the disc is solid.

The sinograms are real (Helsinki Tomography Challenge 2022), so is every error in them: hardening left over, drift,
scatter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.detection.measured_scan import MeasuredScan, Selection, material_of
from KLIPCore.io.sinogram import read_htc2022
from KLIPCore.lab.audit_cases import tv
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.stationary import StationaryGaussianPrior

ERROR = 0.03
"""By which part of the disc's attenuation the image may be wrong elsewhere."""
LENGTH_PIXELS = 1.5
LEAST_PIXELS = 6
"""Holes of fewer pixels are left out."""
MOST_HOLES = 6
"""Of a disc, the smallest ones: large holes are no question."""


@dataclass(frozen=True, eq=False)
class DiscPair:
    """One disc under one selection of views.

    Attributes
    ----------
    name, n_views : which.
    measurement : real data.
    image : (H, W) reconstruction; ``holes`` are masks of the true ones.
    planted_image : the same with holes added; ``planted`` are their masks.
    prior : by how much the image may be wrong.
    pixel_mm : edge of a pixel.
    attenuation : of the solid disc, 1/mm.
    """

    name: str
    n_views: int
    measurement: Measurement
    image: Tensor
    holes: list[Tensor]
    planted_image: Tensor
    planted: list[Tensor]
    prior: StationaryGaussianPrior
    pixel_mm: float
    attenuation: float


def disc_pairs(data: Path, views: Sequence[int], seed: int, names: Sequence[str] | None = None) -> Iterator[DiscPair]:
    """Return every disc that is there, or those named, under every selection."""
    paths = sorted((data / "htc2022").glob("htc2022_*.npz"))
    card = load_prior("discs-128", "cpu").card if paths else None
    for path in paths:
        if names is not None and path.stem.removeprefix("htc2022_") not in names:
            continue
        sinogram, geometry, truth = read_htc2022(path)
        if truth is None or card is None:
            continue
        for n_views in views:
            chosen = Selection(n_views).of(geometry)
            scan = MeasuredScan.prepare(
                sinogram[chosen], geometry.views(chosen), card, material_of(card), device="cpu"
            )
            name = path.stem.removeprefix("htc2022_")
            yield _pair(name, n_views, scan, truth, np.random.default_rng([seed, len(name)]))


def _pair(name: str, n_views: int, scan: MeasuredScan, truth: NDArray[np.bool_], rng: np.random.Generator) -> DiscPair:
    """Reconstruct, find the true holes, and plant copies of them in solid material."""
    n = scan.image.shape[0]
    side = truth.shape[0] // n
    material = truth.reshape(n, side, n, side).mean((1, 3))
    hole = scan.mask & (material < 0.5)
    labels, count = ndi.label(hole)
    masks = sorted((labels == k for k in range(1, count + 1)), key=lambda mask: int(mask.sum()))
    masks = [mask for mask in masks if LEAST_PIXELS <= mask.sum() <= 400][:MOST_HOLES]
    image = tv(scan.measurement)
    planted_image, planted = image.clone(), []
    solid = scan.mask & ~ndi.binary_dilation(hole, iterations=3)
    for mask in masks or [_round(n, (n / 2, n / 2), 3.0)]:
        copy = _elsewhere(mask, solid, rng)
        if copy is None:
            continue
        soft = torch.nn.functional.avg_pool2d(torch.from_numpy(copy)[None, None].float(), 3, 1, 1)[0, 0]
        planted_image = planted_image - scan.attenuation * soft
        planted.append(torch.from_numpy(copy))
        solid &= ~ndi.binary_dilation(copy, iterations=6)
    prior = StationaryGaussianPrior.matern(torch.zeros(n, n), ERROR * scan.attenuation, LENGTH_PIXELS)
    measurement = replace(scan.measurement, description=f"measured: {name}")
    return DiscPair(
        name,
        n_views,
        measurement,
        image,
        [torch.from_numpy(m) for m in masks],
        planted_image,
        planted,
        prior,
        scan.image.pixel_mm,
        scan.attenuation,
    )


def _round(n: int, middle: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    rows, columns = np.indices((n, n))
    return np.asarray((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= radius**2)


def _elsewhere(
    mask: NDArray[np.bool_], solid: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    """The mask moved to where all of it and its surroundings are solid; None where there is no such place."""
    rows, columns = np.nonzero(mask)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    shape = np.ones((height + 6, width + 6), bool)
    free = np.argwhere(ndi.binary_erosion(solid, shape))
    if not len(free):
        return None
    row, column = free[rng.integers(len(free))]
    moved = np.zeros_like(mask)
    moved[rows - rows.min() + row - height // 2, columns - columns.min() + column - width // 2] = True
    return moved
