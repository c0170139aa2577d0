"""From a map of nats to places: connected regions with a centroid, a volume and a p-value.

Upstream, a false-discovery rate has turned p-values into a boolean map of significant voxels. Here significant
voxels that touch (faces, edges or corners: the 26 neighbours) become one :class:`Region`. With 5 mm slices a
corner neighbour may be 5.1 mm away; a lesion seen on two slices in slightly different places is still one
region, which is what a reader expects.

Two maps, two meanings
    ``kl_map``   each voxel holds the nats of the whole *block* centred there: blocks overlap, so its sum
                 means nothing.
                 Its maximum is a region's **peak**.
    ``density``  nats per mm³, each nat counted once: its integral over a region is the region's **total**.

A block flags every voxel whose block touches the abnormal tissue, so a region may reach up to half a block (6 mm of
12) beyond it: volumes and extents are those of the flagged region, not of a lesion.

Slices are counted from the feet, the lowest one being 0, whatever the order they are stored in.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.maps.fdr import q_values as adjusted
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

Box = tuple[slice, slice, slice]
RGB = tuple[float, float, float]
Point = tuple[float, float, float]

NEIGHBOURS = np.ones((3, 3, 3), bool)
"""26-neighbourhood: voxels that share a face, an edge or a corner belong together."""

PALETTE: tuple[RGB, ...] = (
    (0.00, 0.85, 1.00),  # cyan
    (0.45, 1.00, 0.30),  # green
    (1.00, 0.45, 0.75),  # pink
    (0.60, 0.65, 1.00),  # periwinkle
    (0.10, 0.95, 0.70),  # aquamarine
    (1.00, 0.95, 0.35),  # lemon
    (0.80, 0.50, 1.00),  # violet
    (1.00, 0.65, 0.30),  # orange
)
"""Outline colours that stand out from grey CT and from a dark-red-to-yellow overlay; the first ones most."""


@dataclass(frozen=True, eq=False)
class Region:
    """A connected place where the scan departs from the prior.

    Attributes
    ----------
    label : 1, 2, …; its value in a label volume.
    name : for people, e.g. ``"OOD 1"``.
    box : smallest array box around the region, in the map's array order (k, j, i).
    mask : bool of the box's shape, True inside.
    centroid_lps_mm : mean of its voxel centres, (x, y, z) LPS mm.
    volume_mm3 : number of voxels × voxel volume.
    extent_mm : its box's edges along the grid axes nearest to x, y and z, voxel edge to voxel edge.
    peak_nats : largest block KL in it, nats.
    peak_lps_mm : centre of that voxel, (x, y, z) LPS mm.
    total_nats : integral of the nats density over it.
    p_value : smallest p-value in it; from a KL map, the chance of even one such cluster in a scan like this.
    q_value : smallest adjusted p-value in it; from a KL map, the false-discovery rate at which the cluster is
        still reported.
    slices : first and last slice it touches, both included, counted from the feet starting at 0.
    peak_slice : the slice of the peak, counted likewise.
    colour : RGB in 0..1.
    expected : regions as strong that a healthy study of this size would show; None where no reference judged.
    organ : the organ it lies in, ``"outside"`` of all that are known, or None where none is known.
    broad : found over several centimetres (:mod:`KLIPCore.maps.averages`): its outline is rough.
    """

    label: int
    name: str
    box: Box
    mask: NDArray[np.bool_]
    centroid_lps_mm: Point
    volume_mm3: float
    extent_mm: Point
    peak_nats: float
    peak_lps_mm: Point
    total_nats: float
    p_value: float
    q_value: float
    slices: tuple[int, int]
    peak_slice: int
    colour: RGB
    expected: float | None = None
    organ: str | None = None
    broad: bool = False

    @property
    def volume_ml(self) -> float:
        """Volume in mL (1 mL = 1000 mm³)."""
        return self.volume_mm3 / 1000.0

    @property
    def hex_colour(self) -> str:
        """``#rrggbb``."""
        return "#" + "".join(f"{round(255 * c):02x}" for c in self.colour)

    def full_mask(self, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
        """Return the (D, H, W) bool over the whole map of that shape."""
        out = np.zeros(shape, bool)
        out[self.box] = self.mask
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready numbers (no mask)."""
        return {
            "label": self.label,
            "name": self.name,
            "centroid_lps_mm": list(self.centroid_lps_mm),
            "volume_mm3": self.volume_mm3,
            "extent_mm": list(self.extent_mm),
            "peak_nats": self.peak_nats,
            "peak_lps_mm": list(self.peak_lps_mm),
            "total_nats": self.total_nats,
            "p_value": self.p_value,
            "q_value": self.q_value,
            "slices_from_feet": list(self.slices),
            "peak_slice_from_feet": self.peak_slice,
            "voxels": int(self.mask.sum()),
            **({} if self.expected is None else {"expected_in_healthy_study": self.expected, "broad": self.broad}),
            "colour": self.hex_colour,
            "organ": self.organ,
        }


def region_colour(label: int) -> RGB:
    """Return the colour of region ``label`` (1, 2, …): the palette first, then evenly scattered bright hues."""
    if label <= len(PALETTE):
        return PALETTE[label - 1]
    n = label - len(PALETTE)
    hue = (n * 0.6180339887) % 1.0  # golden ratio: any few neighbours in the sequence lie far apart on the wheel
    return colorsys.hsv_to_rgb(hue, (0.45, 0.8)[n % 2], 1.0)


@dataclass(frozen=True)
class RegionLimits:
    """Which regions are kept, and in which order.

    Attributes
    ----------
    minimum_volume_mm3 : smaller regions are dropped.
    maximum_regions : only that many of the strongest are kept.
    order_by : ``"total"`` nats of the region, or ``"rarity"``: its smallest p-value, of equal ones the higher peak.
    name_prefix : regions are called ``"{name_prefix} {label}"``.

    Raises
    ------
    ConfigError : a limit is out of its range.
    """

    minimum_volume_mm3: float = 0.0
    maximum_regions: int = 50
    order_by: Literal["total", "rarity"] = "total"
    name_prefix: str = "OOD"

    def __post_init__(self) -> None:
        if not 1 <= self.maximum_regions <= 65535:
            raise ConfigError(
                f"{self.maximum_regions} regions were asked for at most.",
                "Ask for 1 to 65535: labels are 16-bit numbers.",
            )
        if not self.minimum_volume_mm3 >= 0:
            raise ConfigError(f"A minimum volume of {self.minimum_volume_mm3} mm³ is impossible.", "Give 0 or more.")
        if self.order_by not in ("total", "rarity"):
            raise ConfigError(f"Regions cannot be ordered by {self.order_by!r}.", 'Order them by "total" or "rarity".')


@dataclass(frozen=True, eq=False)
class KnownRegions:
    """What somebody knows already who asks for regions.

    Attributes
    ----------
    components : (D, H, W) integers above 0 that say which significant voxels belong together; None: those that touch.
    within : box outside of which nothing is significant: large volumes need not be searched whole.
    tested : (D, H, W) bool, where a test was made (the body); None: everywhere, which makes q-values larger
        than need be.
    q_values : adjusted p-values, shaped like the p-values; None: Benjamini–Hochberg over ``tested``.
    """

    components: NDArray[np.integer] | None = None
    within: Box | None = None
    tested: NDArray[np.bool_] | None = None
    q_values: NDArray[np.floating] | None = None


def find_regions(
    kl_map: Volume,
    significant: NDArray[np.bool_] | None,
    p_values: NDArray[np.floating],
    density: NDArray[np.floating],
    *,
    known: KnownRegions | None = None,
    limits: RegionLimits | None = None,
) -> list[Region]:
    """Return the significant voxels as connected regions, the strongest first.

    Parameters
    ----------
    kl_map : (D, H, W) nats of the block centred at each voxel.
    significant : (D, H, W) bool; None with known components: every voxel that bears a number.
    p_values : (D, H, W) p-value of the block centred at each voxel; 1 where not tested. With known components
        also (n,), one for each.
    density : (D, H, W) nats per mm³, each nat counted once.
    known : components, box, tested voxels and q-values where they are there already.
    limits : which regions are kept.

    Returns
    -------
    Regions labelled 1, 2, … in that order; empty when nothing is significant or everything is too small.

    Raises
    ------
    GeometryError : the arrays are not of the map's shape.
    ConfigError : neither significant voxels nor components are given.
    """
    known, limits = known or KnownRegions(), limits or RegionLimits()
    _check_shapes(kl_map.grid.shape, significant, p_values, density, known)
    components = known.components
    if components is None:
        if significant is None:
            raise ConfigError("Neither significant voxels nor components were given.", "Pass one of them.")
        components, _ = ndi.label(np.asarray(significant, bool), structure=NEIGHBOURS)
    elif significant is not None:
        components = np.where(significant, components, 0)
    boxes = _boxes(components, known.within)
    kept = _strongest(components, boxes, kl_map, density, np.asarray(p_values), limits)
    if not kept:
        return []
    q = adjusted(np.asarray(p_values), known.tested) if known.q_values is None else known.q_values
    maps = (np.asarray(p_values), np.asarray(q), np.asarray(density))
    regions = []
    for label, component in enumerate(kept, start=1):
        box = boxes[component]
        mask = components[box] == component
        regions.append(_measure(component, label, f"{limits.name_prefix} {label}", box, mask, kl_map, *maps))
    return regions


def _check_shapes(
    shape: tuple[int, ...],
    significant: NDArray[np.bool_] | None,
    p_values: NDArray[np.floating],
    density: NDArray[np.floating],
    known: KnownRegions,
) -> None:
    """Refuse arrays that are not of the map's shape."""
    arrays: dict[str, NDArray[Any] | None] = {
        "significance mask": significant,
        "p-values": p_values,
        "density": density,
        "components": known.components,
        "mask of tested voxels": known.tested,
        "q-values": known.q_values,
    }
    for what, array in arrays.items():
        if array is None:
            continue
        one_each = known.components is not None and what in ("p-values", "q-values") and np.ndim(array) == 1
        if np.shape(array) != shape and not one_each:
            raise GeometryError(
                f"The {what} has shape {np.shape(array)}, the KL map {shape}.",
                "Pass all of them on the study's own grid.",
            )


def _strongest(
    components: NDArray[np.integer],
    boxes: dict[int, Box],
    kl_map: Volume,
    density: NDArray[np.floating],
    p: NDArray[np.floating],
    limits: RegionLimits,
) -> list[int]:
    """The numbers of the components that are kept, strongest first; of equals, the one met first in the array."""
    found: list[tuple[float, float, int]] = []
    for component, box in boxes.items():
        inside = components[box] == component
        if inside.sum() * kl_map.grid.voxel_volume_mm3 >= limits.minimum_volume_mm3 * (1 - 1e-9):
            if limits.order_by == "total":
                found.append((-float(np.sum(density[box][inside], dtype=np.float64)), 0.0, component))
            else:
                rarity = _smallest(p, component, box, inside)
                found.append((rarity, -float(kl_map.array[box][inside].max()), component))
    return [component for *_, component in sorted(found)[: limits.maximum_regions]]


def _smallest(values: NDArray[np.floating], component: int, box: Box, mask: NDArray[np.bool_]) -> float:
    """Smallest value in a component, of a map or of one number a component."""
    return float(values[component - 1] if values.ndim == 1 else values[box][mask].min())


def _boxes(components: NDArray[np.integer], within: Box | None) -> dict[int, Box]:
    """The smallest box around each number that some voxel bears."""
    corner = [part.start or 0 for part in within] if within else [0, 0, 0]
    searched = components[within] if within else components
    found = ndi.find_objects(searched) if searched.size else []
    out: dict[int, Box] = {}
    for number, box in enumerate(found, start=1):
        if box is not None:
            i, j, k = (slice(part.start + c, part.stop + c) for part, c in zip(box, corner, strict=True))
            out[number] = (i, j, k)
    return out


def _measure(
    component: int,
    label: int,
    name: str,
    box: Box,
    mask: NDArray[np.bool_],
    kl_map: Volume,
    p: NDArray[np.floating],
    q: NDArray[np.floating],
    density: NDArray[np.floating],
) -> Region:
    """All numbers of one component, read from the maps inside its box; p and q are maps, or hold one number
    a component.
    """
    grid = kl_map.grid
    corner = np.array([part.start for part in box])
    nats = np.where(mask, kl_map.array[box], -np.inf)
    peak = corner + np.unravel_index(int(np.argmax(nats)), nats.shape)
    (order, flips) = grid.lps_axes()
    edges = np.array(mask.shape) * grid.spacing
    k = order[0]  # the array axis that runs from feet to head

    def from_feet(index: int) -> int:
        return grid.shape[k] - 1 - index if flips[0] else index

    ends = sorted((from_feet(box[k].start), from_feet(box[k].stop - 1)))
    return Region(
        label=label,
        name=name,
        box=box,
        mask=mask,
        centroid_lps_mm=_point(grid.to_world(corner + np.argwhere(mask).mean(0))),
        volume_mm3=float(mask.sum() * grid.voxel_volume_mm3),
        extent_mm=_point(edges[list(order)][::-1]),
        peak_nats=float(nats.max()),
        peak_lps_mm=_point(grid.to_world(peak)),
        total_nats=float(np.sum(density[box][mask], dtype=np.float64) * grid.voxel_volume_mm3),
        p_value=_smallest(p, component, box, mask),
        q_value=_smallest(q, component, box, mask),
        slices=(ends[0], ends[1]),
        peak_slice=from_feet(int(peak[k])),
        colour=region_colour(label),
    )


def _point(values: NDArray[np.floating]) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))


def label_volume(regions: Sequence[Region], grid: Grid) -> NDArray[np.uint16]:
    """Return the (D, H, W) uint16 on ``grid``: each region's label inside it, 0 elsewhere.

    Raises
    ------
    GeometryError : a region reaches outside the grid, so it was found on another one.
    """
    out = np.zeros(grid.shape, np.uint16)
    for region in regions:
        if any(part.stop > n for part, n in zip(region.box, grid.shape, strict=True)):
            raise GeometryError(
                f"Region {region.name} lies outside a grid of {grid.shape} voxels.",
                "Pass the grid of the map it was found on.",
            )
        out[region.box][region.mask] = region.label
    return out
