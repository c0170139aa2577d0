"""Things that are not healthy anatomy, put into a CT on purpose, with their exact places.

A detector is measured on lesions whose every voxel is known. Each class here is one kind: its fields say where it lies in
millimetres and what it does to the HU; :func:`implant` turns any number of them into a new volume and a label array.

    depth(r)   signed distance in mm from the outline, positive inside
    mask       voxels whose centre has depth ≥ 0 and that are tissue: inside the body, no gas
    weight     0 … 1, rises from −edge/2 to +edge/2 of depth, smoothly: ½ on the outline

A :class:`Tumour` *adds* to the HU that are there, so the scanner's own noise stays; metal *replaces* them. Nothing changes where
the weight is 0, except around a tumour with a mass effect, which pushes its surroundings aside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.volume.body import body_masks
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.units import Window
from KLIPCore.volume.volume import Volume

Array = NDArray[np.float64]
Point = tuple[float, float, float]
Box = tuple[slice, slice, slice]

GAS_HU = -300.0
"""Voxels below this are gas or lung: nothing is implanted there."""

BODY_WINDOW = Window(-125.0, 275.0)
"""Window in which the body is told from the air."""

MOST_LESIONS = 255
"""Labels are numbers of 8 bits."""

PUSH_REACH = 3.0
"""A mass effect fades to nothing at this many radii."""


def _require(condition: bool, message: str, remedy: str) -> None:
    if not condition:
        raise ConfigError(message, remedy)


@dataclass(frozen=True)
class Outline:
    """A lumpy sphere: radius 1 + a·h(u) in the direction u, scaled to keep a sphere's volume.

    Attributes
    ----------
    waves : (n, 3) wave vectors of h.
    phases : (n,) their phases.
    mean, gain : h = gain · (Σ cos(k·u + φ) − mean) has mean 0 and mean square a² over all directions.
    scale : what restores the volume.
    """

    waves: Array
    phases: Array
    mean: float
    gain: float
    scale: float

    @classmethod
    def random(cls, irregularity: float, rng: np.random.Generator) -> Outline:
        """An outline whose radius varies by ``irregularity`` (root mean square, relative)."""
        waves = rng.standard_normal((8, 3))
        waves *= rng.uniform(2.0, 5.0, (8, 1)) / np.linalg.norm(waves, axis=1, keepdims=True)
        raw = cls(waves, rng.uniform(0, 2 * math.pi, 8), 0.0, 1.0, 1.0)
        values = raw._sum(_directions(4000))
        gain = irregularity / float(values.std())
        shape = replace(raw, mean=float(values.mean()), gain=gain)
        return replace(shape, scale=float((shape.radius(_directions(4000)) ** 3).mean() ** (-1 / 3)))

    def _sum(self, u: Array) -> Array:
        total: Array = np.cos(u @ self.waves.T + self.phases).sum(-1)
        return total

    def radius(self, u: Array) -> Array:
        """Relative radius in the directions u (..., 3); at least a third of the mean."""
        return self.scale * np.maximum(1 + self.gain * (self._sum(u) - self.mean), 1 / 3)


def _directions(n: int) -> Array:
    """(n, 3) unit vectors spread evenly over the sphere (a Fibonacci spiral)."""
    k = np.arange(n) + 0.5
    z, angle = 1 - 2 * k / n, math.pi * (1 + math.sqrt(5)) * k
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=-1)


@dataclass(frozen=True)
class Tumour:
    """A soft-tissue lesion: an ellipsoid, or an irregular body of the same volume.

    Attributes
    ----------
    centre_lps_mm : where its middle lies.
    radii_mm : semi-axes along x, y, z before turning.
    contrast_hu : added inside; liver metastases lie 30 to 70 HU below a portal-venous liver.
    turn_deg : rotation about z, from x towards y.
    edge_mm : length over which the border fades; 0 is sharp.
    texture_hu, texture_mm : standard deviation and length of a random unevenness inside.
    irregularity : relative root mean square deviation of the radius, 0 (ellipsoid) to 0.3.
    rim_hu, rim_mm : added in a shell of that thickness just inside the outline (rim enhancement).
    mass_effect : part of its volume by which the surroundings are pushed outward, 0 (it only replaces) to 1.
    """

    centre_lps_mm: Point
    radii_mm: Point
    contrast_hu: float = -50.0
    turn_deg: float = 0.0
    edge_mm: float = 2.0
    texture_hu: float = 0.0
    texture_mm: float = 4.0
    irregularity: float = 0.0
    rim_hu: float = 0.0
    rim_mm: float = 3.0
    mass_effect: float = 0.0

    def __post_init__(self) -> None:
        _require(min(self.radii_mm) > 0, f"A tumour with radii of {self.radii_mm} mm has no volume.", "Give positive radii.")
        _require(self.edge_mm >= 0 and self.texture_hu >= 0 and self.rim_mm >= 0, "A tumour's edge, texture and rim must not be negative.", "Give 0 or more.")
        _require(self.texture_mm > 0, "A texture needs a length.", "Give texture_mm above 0.")
        _require(0 <= self.irregularity <= 0.3, f"An irregularity of {self.irregularity} is out of range.", "Choose 0 to 0.3.")
        _require(0 <= self.mass_effect <= 1, f"A mass effect of {self.mass_effect} is out of range.", "Choose 0 to 1.")

    @property
    def volume_mm3(self) -> float:
        """4/3 π abc, whatever the irregularity."""
        return 4 / 3 * math.pi * math.prod(self.radii_mm)

    @property
    def reach_mm(self) -> float:
        """Distance from the centre beyond which nothing changes."""
        return max(self.radii_mm) * (PUSH_REACH if self.mass_effect > 0 else 1 + 4 * self.irregularity) + self.edge_mm

    def _unit(self, points: Array) -> Array:
        """Points (..., 3) in LPS mm → coordinates in which the ellipsoid is the unit sphere."""
        c, s = math.cos(math.radians(self.turn_deg)), math.sin(math.radians(self.turn_deg))
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        unit: Array = (points - np.asarray(self.centre_lps_mm)) @ turn.T / np.asarray(self.radii_mm)
        return unit

    def depth_mm(self, points: Array, rng: np.random.Generator) -> Array:
        """Signed depth of points (..., 3) in LPS mm: exact for spheres, to first order in the distance otherwise."""
        unit = self._unit(points)
        q = np.linalg.norm(unit, axis=-1)
        slope = np.linalg.norm(unit / np.asarray(self.radii_mm), axis=-1) / np.maximum(q, 1e-12)
        outline = 1.0
        if self.irregularity > 0:
            outline = Outline.random(self.irregularity, rng).radius(unit / np.maximum(q, 1e-12)[..., None])  # type: ignore[assignment]
        return (outline - q) / np.maximum(slope, 1 / max(self.radii_mm))

    def paint(self, hu: Array, weight: Array, depth: Array, grid: Grid, rng: np.random.Generator) -> Array:
        """HU with the tumour in it: hu + weight · (contrast + texture + rim)."""
        change = np.full(hu.shape, float(self.contrast_hu))
        if self.texture_hu > 0:
            field = ndi.gaussian_filter(rng.standard_normal(hu.shape), self.texture_mm / grid.spacing, mode="wrap")
            change += self.texture_hu * field / max(float(field.std()), 1e-12)
        if self.rim_hu:
            change += self.rim_hu * ((depth >= 0) & (depth < self.rim_mm))
        return hu + weight * change

    def pushed(self, hu: Array, points: Array, grid: Grid, corner: Array) -> Array:
        """HU (box) after the mass effect: tissue of the inner sphere is spread over the shell around it.

        In units of the radius, what is seen at q was at s with s³ = q³ − m·f(q), f falling from 1 at the surface to 0 at
        :data:`PUSH_REACH`: near the tumour volume is kept, further away tissue gives way.
        """
        unit = self._unit(points)
        q = np.linalg.norm(unit, axis=-1)
        fade = np.clip((PUSH_REACH - q) / (PUSH_REACH - 1), 0, 1)
        source = np.cbrt(np.maximum(q**3 - self.mass_effect * fade**2, 0.0)) / np.maximum(q, 1e-12)
        moved = (q > 1e-6) & (q < PUSH_REACH)
        places = np.asarray(self.centre_lps_mm) + (points - np.asarray(self.centre_lps_mm)) * np.where(moved, source, 1.0)[..., None]
        index = np.moveaxis(grid.to_index(places) - corner, -1, 0)
        shifted: Array = np.where(moved, ndi.map_coordinates(hu, index, order=1, mode="nearest"), hu)
        return shifted


@dataclass(frozen=True)
class Star:
    """A star of even contrast, the same on all the slices it spans: an artefact no anatomy has, as in KLIP's own tests.

    Attributes
    ----------
    centre_lps_mm : its middle.
    outer_mm, inner_mm : distance of the points and of the notches from it.
    height_mm : extent along z.
    contrast_hu : added inside.
    n_points : how many points.
    turn_deg : where the first point lies, from x towards y.
    edge_mm : length over which the border fades; 0 is sharp.
    """

    centre_lps_mm: Point
    outer_mm: float
    inner_mm: float
    height_mm: float
    contrast_hu: float = 100.0
    n_points: int = 5
    turn_deg: float = -90.0
    edge_mm: float = 0.0

    def __post_init__(self) -> None:
        _require(0 < self.inner_mm <= self.outer_mm and self.height_mm > 0, "A star needs 0 < inner ≤ outer and a height.", "Give positive lengths in mm.")
        _require(self.n_points >= 3, f"A star of {self.n_points} points encloses nothing.", "Give at least 3.")
        _require(self.edge_mm >= 0, "An edge must not be negative.", "Give 0 or more.")

    @property
    def volume_mm3(self) -> float:
        """n R r sin(π/n) · height: 2n triangles."""
        return self.n_points * self.outer_mm * self.inner_mm * math.sin(math.pi / self.n_points) * self.height_mm

    @property
    def reach_mm(self) -> float:
        """Distance from the centre beyond which nothing changes."""
        return math.hypot(self.outer_mm + self.edge_mm, self.height_mm / 2 + self.edge_mm)

    def depth_mm(self, points: Array, rng: np.random.Generator) -> Array:
        """Signed depth of points (..., 3) in LPS mm, from the nearest side's line; exact but for the outside of a corner."""
        d = points - np.asarray(self.centre_lps_mm)
        sector = math.pi / self.n_points
        angle = np.arctan2(d[..., 1], d[..., 0]) - math.radians(self.turn_deg)
        folded = np.abs((angle + sector) % (2 * sector) - sector)  # every side is the same one: from a point to the next notch
        r = np.hypot(d[..., 0], d[..., 1])
        point, notch = np.array([self.outer_mm, 0.0]), self.inner_mm * np.array([math.cos(sector), math.sin(sector)])
        side = (notch - point) / np.linalg.norm(notch - point)
        x, y = r * np.cos(folded) - point[0], r * np.sin(folded)
        within = y * side[0] - x * side[1]
        return np.minimum(within, self.height_mm / 2 - np.abs(d[..., 2]))

    def paint(self, hu: Array, weight: Array, depth: Array, grid: Grid, rng: np.random.Generator) -> Array:
        """hu + weight · contrast."""
        return hu + weight * self.contrast_hu


@dataclass(frozen=True)
class MetalRod:
    """A straight cylinder of one HU: a needle, a screw, a stent's wire.

    Attributes
    ----------
    start_lps_mm, end_lps_mm : centres of its flat ends.
    radius_mm : its radius.
    hu : what it shows, whatever was there; 3000 is where 12-bit scanners end.
    edge_mm : length over which the border fades; 0 is sharp.
    """

    start_lps_mm: Point
    end_lps_mm: Point
    radius_mm: float
    hu: float = 3000.0
    edge_mm: float = 0.0

    def __post_init__(self) -> None:
        _require(self.radius_mm > 0 and self.length_mm > 0, "A rod needs a radius and two different ends.", "Give lengths in mm above 0.")
        _require(self.edge_mm >= 0, "An edge must not be negative.", "Give 0 or more.")

    @property
    def length_mm(self) -> float:
        """Distance between the ends."""
        return math.dist(self.start_lps_mm, self.end_lps_mm)

    @property
    def centre_lps_mm(self) -> Point:
        """Its middle."""
        x, y, z = (np.asarray(self.start_lps_mm) + np.asarray(self.end_lps_mm)) / 2
        return float(x), float(y), float(z)

    @property
    def volume_mm3(self) -> float:
        """π r² · length."""
        return math.pi * self.radius_mm**2 * self.length_mm

    @property
    def reach_mm(self) -> float:
        """Distance from the centre beyond which nothing changes."""
        return math.hypot(self.length_mm / 2 + self.edge_mm, self.radius_mm + self.edge_mm)

    def depth_mm(self, points: Array, rng: np.random.Generator) -> Array:
        """Signed depth of points (..., 3) in LPS mm; exact but for the outside of the ends' rims."""
        axis = (np.asarray(self.end_lps_mm) - np.asarray(self.start_lps_mm)) / self.length_mm
        d = points - np.asarray(self.centre_lps_mm)
        along = d @ axis
        across = np.linalg.norm(d - along[..., None] * axis, axis=-1)
        return np.minimum(self.radius_mm - across, self.length_mm / 2 - np.abs(along))

    def paint(self, hu: Array, weight: Array, depth: Array, grid: Grid, rng: np.random.Generator) -> Array:
        """A mixture of what was there and the metal, by weight."""
        return (1 - weight) * hu + weight * self.hu


@dataclass(frozen=True)
class IntensityShift:
    """All tissue brighter or darker: a scanner out of calibration, another contrast phase.

    Attributes
    ----------
    shift_hu : added to every voxel of tissue.
    """

    shift_hu: float
    edge_mm: float = 0.0

    @property
    def reach_mm(self) -> float:
        """It is everywhere."""
        return math.inf

    @property
    def centre_lps_mm(self) -> Point:
        """Of no meaning: it is everywhere."""
        return 0.0, 0.0, 0.0

    def depth_mm(self, points: Array, rng: np.random.Generator) -> Array:
        """Infinitely deep everywhere."""
        return np.full(points.shape[:-1], np.inf)

    def paint(self, hu: Array, weight: Array, depth: Array, grid: Grid, rng: np.random.Generator) -> Array:
        """hu + shift."""
        return hu + weight * self.shift_hu


Lesion = Tumour | Star | MetalRod | IntensityShift


def tissue_mask(volume: Volume) -> NDArray[np.bool_]:
    """(D, H, W) bool in the volume's own order: inside the body, no gas, no lung."""
    lps, orientation = volume.oriented_lps()
    body = np.stack([body_masks(BODY_WINDOW.apply(s[None]))[0] for s in lps.array])
    return np.asarray(orientation.restore(body & (lps.array > GAS_HU)), bool)


def implant(volume: Volume, lesions: Sequence[Lesion], seed: int = 0) -> tuple[Volume, NDArray[np.uint8]]:
    """A volume with lesions, and where they are.

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
    _require(len(lesions) <= MOST_LESIONS, f"{len(lesions)} lesions are too many.", f"Implant at most {MOST_LESIONS}.")
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
            raise GeometryError(f"Lesion {n + 1} ({type(lesion).__name__}) covers no voxel of tissue.", "Place it inside the body, or make it larger.")
        before = lesion.pushed(hu[box], points, grid, corner) if isinstance(lesion, Tumour) and lesion.mass_effect > 0 else hu[box]
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
    """The voxels that a ball may touch; one voxel at least, so that what lies outside is noticed and not an empty array."""
    if math.isinf(reach_mm):
        return slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2])
    middle = grid.to_index(centre)
    half = reach_mm * np.linalg.norm(np.linalg.inv(grid.affine[:3, :3]), axis=1)  # how far a ball extends along each index
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
    """Tumours at random places inside a mask, apart from each other and from the mask's border.

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
    _require(mask.shape == grid.shape, f"A mask of {mask.shape} on a grid of {grid.shape}.", "Pass the grid of the mask.")
    _require(0 <= elongation < 1 and gap_mm >= 0 and all(r > 0 for r in radii_mm), "Radii must be positive, the elongation below 1.", "Check the arguments.")
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x71]))
    template = template or Tumour((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    free_mm = ndi.distance_transform_edt(np.pad(mask, 1), sampling=grid.spacing)[1:-1, 1:-1, 1:-1]
    placed: dict[int, Tumour] = {}
    for n in sorted(range(len(radii_mm)), key=lambda m: -radii_mm[m]):  # the largest has the fewest places
        a, b, c = radii_mm[n] * (1 + elongation * rng.uniform(-1, 1, 3))
        own = max(a, b, c) * (1 + 2 * template.irregularity) + template.edge_mm / 2
        places = np.argwhere(free_mm > own)
        points = grid.to_world(places)
        for other in placed.values():
            apart = np.linalg.norm(points - np.asarray(other.centre_lps_mm), axis=1) > own + max(other.radii_mm) + gap_mm
            points = points[apart]
        if not len(points):
            raise ConfigError(f"There is no room for a tumour of {radii_mm[n]:g} mm radius.", "Choose smaller or fewer tumours, or a larger mask.")
        x, y, z = points[rng.integers(len(points))]
        placed[n] = replace(
            template, centre_lps_mm=(float(x), float(y), float(z)), radii_mm=(float(a), float(b), float(c)), turn_deg=float(rng.uniform(-90, 90))
        )
    return tuple(placed[n] for n in range(len(radii_mm)))
