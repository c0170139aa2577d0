"""Things that are not healthy anatomy, put into a CT on purpose, with their exact places.

A detector is measured on lesions whose every voxel is known. Each class here is one kind: its fields say where
it lies in millimetres and what it does to the HU; :func:`implant` turns any number of them into a new volume
and a label array.

    depth(r)   signed distance in mm from the outline, positive inside
    mask       voxels whose centre has depth ≥ 0 and that are tissue: inside the body, no gas
    weight     0 … 1, rises from −edge/2 to +edge/2 of depth, smoothly: ½ on the outline

The kinds have a module each: :mod:`tumours <KLIPCore.lab.phantoms.tumour>`, :mod:`stars
<KLIPCore.lab.phantoms.star>`, :mod:`metal <KLIPCore.lab.phantoms.metal>`; images that are no CT have scars
(:mod:`KLIPCore.lab.phantoms.photo`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.lab.phantoms.metal import MetalRod
from KLIPCore.lab.phantoms.shape import Array, Lesion, Point, require
from KLIPCore.lab.phantoms.star import Star
from KLIPCore.lab.phantoms.tumour import PUSH_REACH, Outline, Tumour
from KLIPCore.volume.body import body_masks
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.units import Window
from KLIPCore.volume.volume import Volume

__all__ = [
    "PUSH_REACH",
    "Lesion",
    "MetalRod",
    "Outline",
    "Star",
    "Tumour",
    "implant",
    "place_tumours",
    "tissue_mask",
]

Box = tuple[slice, slice, slice]

GAS_HU = -300.0
"""Voxels below this are gas or lung: nothing is implanted there."""

BODY_WINDOW = Window(-125.0, 275.0)
"""Window in which the body is told from the air."""

MOST_LESIONS = 255
"""Labels are numbers of 8 bits."""


def tissue_mask(volume: Volume) -> NDArray[np.bool_]:
    """Return the (D, H, W) bool in the volume's own order: inside the body, no gas, no lung."""
    lps, orientation = volume.oriented_lps()
    body = np.stack([body_masks(BODY_WINDOW.apply(s[None]))[0] for s in lps.array])
    return np.asarray(orientation.restore(body & (lps.array > GAS_HU)), bool)


def implant(volume: Volume, lesions: Sequence[Lesion], seed: int = 0) -> tuple[Volume, NDArray[np.uint8]]:
    """Return a volume with lesions, and where they are.

    Parameters
    ----------
    volume : (D, H, W) HU, in any orientation.
    lesions : what to put in; where several overlap, changes add up and the later one has the label.
    seed : of textures and irregular outlines; lesion n depends on (seed, n) alone.

    Returns
    -------
    implanted : the changed volume on the same grid; the given one is untouched.
    labels : (D, H, W) uint8, 1 + the lesion's place in ``lesions`` inside it, 0 elsewhere.

    Raises
    ------
    ConfigError : too many lesions.
    GeometryError : a lesion covers no voxel of tissue.
    """
    require(len(lesions) <= MOST_LESIONS, f"{len(lesions)} lesions are too many.", f"Implant at most {MOST_LESIONS}.")
    tissue = tissue_mask(volume)
    grid = volume.grid
    hu = volume.array.astype(np.float64)
    labels = np.zeros(grid.shape, np.uint8)
    for n, lesion in enumerate(lesions):
        rng = np.random.default_rng(np.random.SeedSequence([seed, n]))
        box = _box_around(grid, lesion.centre_lps_mm, lesion.reach_mm)
        corner = np.array([part.start for part in box], float)
        index = np.stack(np.meshgrid(*(np.arange(part.start, part.stop) for part in box), indexing="ij"), axis=-1)
        points = grid.to_world(index)
        depth = lesion.depth_mm(points, rng)
        inside = (depth >= 0) & tissue[box]
        if not inside.any():
            raise GeometryError(
                f"Lesion {n + 1} ({type(lesion).__name__}) covers no voxel of tissue.",
                "Place it inside the body, or make it larger.",
            )
        before = lesion.pushed(hu[box], points, grid, corner)
        after = lesion.paint(before, _weight(depth, lesion.edge_mm), depth, grid, rng)
        hu[box] = np.where(tissue[box], after, hu[box])
        labels[box][inside] = n + 1
    return volume.with_array(hu), labels


def _weight(depth: Array, edge_mm: float) -> Array:
    """Smooth step of the depth: 0 at −edge/2, 1 at +edge/2 (3t² − 2t³)."""
    if edge_mm == 0:
        return (depth >= 0).astype(np.float64)
    t = np.clip(depth / edge_mm + 0.5, 0.0, 1.0)
    weight: Array = t * t * (3 - 2 * t)
    return weight


def _box_around(grid: Grid, centre: Point, reach_mm: float) -> Box:
    """The voxels that a ball may touch; one voxel at least, so that what lies outside is noticed and not an
    empty array.
    """
    if math.isinf(reach_mm):
        return slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2])
    middle = grid.to_index(centre)
    half = reach_mm * np.linalg.norm(
        np.linalg.inv(grid.affine[:3, :3]), axis=1
    )  # how far a ball extends along each index
    starts = np.clip(np.floor(middle - half), 0, np.array(grid.shape) - 1).astype(int)
    stops = np.clip(np.ceil(middle + half) + 1, starts + 1, np.array(grid.shape)).astype(int)
    return slice(starts[0], stops[0]), slice(starts[1], stops[1]), slice(starts[2], stops[2])


def place_tumours(
    mask: NDArray[np.bool_],
    grid: Grid,
    radii_mm: Sequence[float],
    seed: int,
    *,
    template: Tumour | None = None,
    gap_mm: float = 8.0,
    elongation: float = 0.15,
) -> tuple[Tumour, ...]:
    """Place tumours at random inside a mask, apart from each other and from the mask's border.

    Parameters
    ----------
    mask : (D, H, W) bool, e.g. an organ; outside the array counts as outside the mask.
    grid : of the mask; axes at right angles.
    radii_mm : mean radius of each tumour.
    seed : equal seeds give equal places.
    template : everything but centre, radii and turn is taken from it.
    gap_mm : smallest distance between the surfaces of two tumours.
    elongation : largest relative deviation of a semi-axis from the mean radius.

    Returns
    -------
    One tumour a radius, in the order given; all of them lie inside the mask.

    Raises
    ------
    ConfigError : they do not fit.
    """
    require(
        mask.shape == grid.shape, f"A mask of {mask.shape} on a grid of {grid.shape}.", "Pass the grid of the mask."
    )
    require(
        0 <= elongation < 1 and gap_mm >= 0 and all(r > 0 for r in radii_mm),
        "Radii must be positive, the elongation below 1.",
        "Check the arguments.",
    )
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x71]))
    template = template or Tumour((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    free_mm = ndi.distance_transform_edt(np.pad(mask, 1), sampling=grid.spacing)[1:-1, 1:-1, 1:-1]
    placed: dict[int, Tumour] = {}
    for n in sorted(range(len(radii_mm)), key=lambda m: -radii_mm[m]):  # the largest has the fewest places
        a, b, c = radii_mm[n] * (1 + elongation * rng.uniform(-1, 1, 3))
        own = max(a, b, c) * (1 + 2 * template.irregularity) + template.edge_mm / 2
        points = _apart(grid.to_world(np.argwhere(free_mm > own)), placed.values(), own, gap_mm)
        if not len(points):
            raise ConfigError(
                f"There is no room for a tumour of {radii_mm[n]:g} mm radius.",
                "Choose smaller or fewer tumours, or a larger mask.",
            )
        x, y, z = points[rng.integers(len(points))]
        placed[n] = replace(
            template,
            centre_lps_mm=(float(x), float(y), float(z)),
            radii_mm=(float(a), float(b), float(c)),
            turn_deg=float(rng.uniform(-90, 90)),
        )
    return tuple(placed[n] for n in range(len(radii_mm)))


def _apart(points: Array, placed: Iterable[Tumour], own_mm: float, gap_mm: float) -> Array:
    """The points around which a ball of radius ``own_mm`` keeps its distance from the surface of every tumour."""
    for other in placed:
        reach = own_mm + max(other.radii_mm) + gap_mm
        points = points[np.linalg.norm(points - np.asarray(other.centre_lps_mm), axis=1) > reach]
    return points
