"""An abdomen made of ellipsoids: the coarse plan that a diffusion prior fills in.

Nobody would take the picture for a CT: every organ is one even grey with a soft border. It only says where
things are, at about the level of the kidneys: body wall, spine, ribs, liver, spleen, stomach, kidneys, great
vessels, bowel. What tissue looks like is left to the prior (:mod:`KLIPCore.lab.phantoms.patient`), which was
trained on real anatomy.

The plan is a function of millimetres, not of voxels: each seed is one patient (sizes, places and a smooth
bending of all outlines), seen on any grid. x runs to the patient's left, y to posterior, z to superior; the
origin is the middle of the body.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.volume.grid import Grid

Array = NDArray[np.float64]
Point = tuple[float, float, float]

WIDTH_MM = 336.0
"""Width of the body of every plan, from right to left."""

AIR_HU = -1000.0
COLUMN = 1e4
"""Semi-axis in mm of what runs through all slices."""

N_WAVES = 12
"""Plane waves that bend the outlines."""


@dataclass(frozen=True)
class Organ:
    """An evenly grey (super)ellipsoid with a soft border.

    Attributes
    ----------
    name : what it is; several parts may share one.
    hu : its HU.
    centre_mm : (x, y, z).
    radii_mm : semi-axes.
    turn_deg : rotation about z, of the first semi-axis from x towards y.
    power : 2 is an ellipsoid, more is boxier.
    edge_mm : length over which the border fades.
    bends : whether its outline follows the plan's bending; the skin does not, it fixes the scale.
    """

    name: str
    hu: float
    centre_mm: Point
    radii_mm: Point
    turn_deg: float = 0.0
    power: float = 2.0
    edge_mm: float = 1.8
    bends: bool = True

    def __post_init__(self) -> None:
        if not (min(self.radii_mm) > 0 and self.power > 0 and self.edge_mm > 0):
            raise ConfigError(f"The {self.name} needs positive radii, power and edge.", "Give lengths in mm above 0.")

    def cover(self, x: Array, y: Array, z: Array) -> Array:
        """Return 0 outside … ½ on the outline … 1 inside, at points in mm (arrays that broadcast)."""
        c, s = math.cos(math.radians(self.turn_deg)), math.sin(math.radians(self.turn_deg))
        dx, dy, dz = x - self.centre_mm[0], y - self.centre_mm[1], z - self.centre_mm[2]
        a, b, h = self.radii_mm
        q = (
            np.abs((c * dx + s * dy) / a) ** self.power
            + np.abs((c * dy - s * dx) / b) ** self.power
            + np.abs(dz / h) ** self.power
        ) ** (1 / self.power)
        cover: Array = 1 / (1 + np.exp(np.clip((q - 1) * 4 * min(a, b) / self.edge_mm, -40, 40)))
        return cover


@dataclass(frozen=True)
class Wave:
    """One component of the bending: ``amplitude · cos(k · r + phase)`` mm.

    Attributes
    ----------
    amplitude_mm : displacement in (x, y).
    k : wave vector in rad/mm.
    phase : in rad.
    """

    amplitude_mm: tuple[float, float]
    k: Point
    phase: float


@dataclass(frozen=True)
class Abdomen:
    """Organs in order of painting (later ones cover earlier ones) and how they are bent.

    Attributes
    ----------
    organs : the parts.
    waves : bending of what is under the skin.
    """

    organs: tuple[Organ, ...]
    waves: tuple[Wave, ...]

    @classmethod
    def random(cls, seed: int, bend_mm: float = 4.0) -> Abdomen:
        """Return one synthetic patient's plan.

        Parameters
        ----------
        seed : equal seeds give equal plans.
        bend_mm : root mean square displacement of the outlines along x and along y.
        """
        rng = np.random.default_rng(np.random.SeedSequence([seed, 0xAB]))
        waves = []
        for _ in range(N_WAVES):
            direction = rng.standard_normal(3) * (1.0, 1.0, 0.6)
            k = 2 * math.pi / rng.uniform(70.0, 160.0) * direction / np.linalg.norm(direction)
            amplitude = bend_mm * math.sqrt(2 / N_WAVES) * rng.standard_normal(2)
            waves.append(
                Wave(
                    (float(amplitude[0]), float(amplitude[1])),
                    (float(k[0]), float(k[1]), float(k[2])),
                    float(rng.uniform(0, 2 * math.pi)),
                )
            )
        return cls(tuple(_organs(rng)), tuple(waves))

    def mask(self, name: str, grid: Grid) -> NDArray[np.bool_]:
        """Return the (D, H, W) bool: voxels that show the organ ``name``, not what was painted over it.

        Raises
        ------
        ConfigError : there is no such organ.
        """
        if all(organ.name != name for organ in self.organs):
            raise ConfigError(
                f"The plan has no '{name}'.",
                f"It has: {', '.join(dict.fromkeys(organ.name for organ in self.organs))}.",
            )
        shown = np.zeros(grid.shape)
        for organ, box, cover in self._covers(grid):
            shown[box] = shown[box] * (1 - cover) + (organ.name == name) * cover
        return shown > 0.5

    def hu(self, grid: Grid) -> NDArray[np.float32]:
        """Return the (D, H, W) HU of the plan, air outside the body.

        Parameters
        ----------
        grid : axial slices: the k axis along z, rows along y, columns along x.
        """
        out = np.full(grid.shape, AIR_HU)
        for organ, box, cover in self._covers(grid):
            out[box] += cover * (organ.hu - out[box])
        return out.astype(np.float32)

    def _covers(self, grid: Grid) -> Iterator[tuple[Organ, tuple[slice, slice, slice], Array]]:
        """Each organ that the grid meets, the part of the grid it may lie in, and its cover there."""
        x, y, z = _axes(grid)
        bent_x, bent_y = self._bent(x, y, z)
        reach = float(max(np.abs(bent_x - x).max(), np.abs(bent_y - y).max()))
        for organ in self.organs:
            wide = max(organ.radii_mm[:2]) * (1.5 if organ.power > 2 else 1.0) + 3 * organ.edge_mm + reach
            high = organ.radii_mm[2] * (1 + 3 * organ.edge_mm / min(organ.radii_mm[:2]))
            cx, cy, cz = organ.centre_mm
            box = (_near(z.ravel(), cz, high), _near(y.ravel(), cy, wide), _near(x.ravel(), cx, wide))
            if all(part.stop > part.start for part in box):
                own_x, own_y = (bent_x[box], bent_y[box]) if organ.bends else (x[:, :, box[2]], y[:, box[1]])
                yield organ, box, organ.cover(own_x, own_y, z[box[0]])

    def _bent(self, x: Array, y: Array, z: Array) -> tuple[Array, Array]:
        """Where each point (x, y, z) lies in the unbent plan: the waves added to x and y."""
        dx, dy = (
            np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape)),
            np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape)),
        )
        for wave in self.waves:
            # cos(a + b + c) from one-dimensional factors: no cosine of a whole volume
            factor = (
                np.exp(1j * (wave.k[0] * x + wave.phase)) * np.exp(1j * wave.k[1] * y) * np.exp(1j * wave.k[2] * z)
            )
            dx += wave.amplitude_mm[0] * factor.real
            dy += wave.amplitude_mm[1] * factor.real
        return x + dx, y + dy


def _axes(grid: Grid) -> tuple[Array, Array, Array]:
    """x (1, 1, W), y (1, H, 1) and z (D, 1, 1) of an axial grid in mm.

    Raises
    ------
    ConfigError : the grid is not axial.
    """
    step = grid.affine[:3, :3]
    if np.count_nonzero(np.abs(step) > 1e-9) != 3 or not all(
        step[world, axis] for world, axis in ((2, 0), (1, 1), (0, 2))
    ):
        raise ConfigError("A plan is drawn on axial slices only.", "Give a grid whose axes are z, y and x.")
    d, h, w = grid.shape
    x = grid.origin[0] + step[0, 2] * np.arange(w)
    y = grid.origin[1] + step[1, 1] * np.arange(h)
    z = grid.origin[2] + step[2, 0] * np.arange(d)
    return x[None, None, :], y[None, :, None], z[:, None, None]


def _near(axis: Array, centre: float, size: float) -> slice:
    """The indices of a monotonic axis within ``size`` of ``centre``; empty when there are none."""
    inside = np.flatnonzero(np.abs(axis - centre) <= size)
    return slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0)


def _organs(rng: np.random.Generator) -> Iterator[Organ]:
    """A plan in the order of painting. HU are of the portal-venous phase."""
    yield from _wall_and_skeleton(rng)
    yield from _solid_organs(rng)
    yield from _vessels_and_bowel(rng)


def _about(
    rng: np.random.Generator, centre: Point, radii: Point, shift: float = 3.0, scale: float = 0.06
) -> tuple[Point, Point]:
    """A centre moved by up to ``shift`` mm along each axis, and radii scaled by up to 1 ± ``scale``."""
    c = np.asarray(centre) + shift * rng.uniform(-1, 1, 3)
    r = np.asarray(radii) * (1 + scale * rng.uniform(-1, 1))
    return (float(c[0]), float(c[1]), float(c[2])), (float(r[0]), float(r[1]), float(r[2]))


def _wall_and_skeleton(rng: np.random.Generator) -> Iterator[Organ]:
    """Skin, fat, muscles and bones."""
    fat = float(rng.uniform(12, 20))  # thickness under the skin
    half = WIDTH_MM / 2
    yield Organ("skin", 0, (0, 0, 0), (half, 116, COLUMN), power=2.3, bends=False)
    yield Organ("fat", -98, (0, 0, 0), (half - 2.5, 113.5, COLUMN), power=2.3, bends=False)
    yield Organ("wall", 58, (0, 3, 0), (half - fat, 114 - fat, COLUMN), power=2.3)
    yield Organ("belly fat", -95, (0, -5, 0), (half - fat - 12, 98 - fat, COLUMN), power=2.3)
    for side in (-1, 1):
        yield Organ("back muscle", 58, (side * 38, 84, 0), (31, 20, COLUMN))
        yield Organ("psoas", 60, (side * 34, 46, -40), (15, 19, 75))
    for angle in np.linspace(-55, 235, 12):  # ribs: slanting rods, cut by each slice as short ellipses
        t = math.radians(float(angle))
        for level in range(-96, 97, 32):
            z = level + float(rng.uniform(-9, 9))
            yield Organ(
                "rib",
                330,
                ((half - fat - 6) * math.cos(t), (108 - fat) * math.sin(t), z),
                (7.5, 4.5, 10),
                turn_deg=float(angle) + 90,
            )
    yield Organ("vertebra", 320, (0, 47, 0), (24, 19, COLUMN))
    yield Organ("marrow", 190, (0, 47, 0), (20.5, 15.5, COLUMN))
    yield Organ("spinous process", 320, (0, 86, 0), (4, 19, COLUMN))
    for side in (-1, 1):
        yield Organ("pedicle", 330, (side * 16, 72, 0), (14, 5, COLUMN), turn_deg=-side * 20)
    yield Organ("spinal canal", 25, (0, 70, 0), (8.5, 6.5, COLUMN))


def _solid_organs(rng: np.random.Generator) -> Iterator[Organ]:
    """Liver, stomach, spleen and kidneys."""
    liver = float(rng.uniform(100, 115))
    for centre, radii, turn in (
        ((-84.0, -10.0, 12.0), (47.0, 64.0, 78.0), 8.0),
        ((-34.0, -42.0, 24.0), (56.0, 31.0, 46.0), -10.0),
    ):
        yield Organ("liver", liver, *_about(rng, centre, radii), turn_deg=turn)
    yield Organ("stomach", 62, *(stomach := _about(rng, (66, -36, 26), (40, 27, 40))), turn_deg=28)
    yield Organ("stomach", 22, stomach[0], (stomach[1][0] - 7, stomach[1][1] - 7, stomach[1][2] - 7), turn_deg=28)
    yield Organ("gas", -400, (stomach[0][0] + 4, stomach[0][1] - 15, stomach[0][2] + 4), (17, 6, 18))
    yield Organ("spleen", liver + 12, *_about(rng, (110, 32, 26), (25, 46, 46)), turn_deg=-14)
    for side, z in ((-1, -24.0), (1, -14.0)):
        centre, radii = _about(rng, (side * 70, 46, z), (27, 23, 52))
        yield Organ("perirenal fat", -95, centre, (radii[0] + 5, radii[1] + 5, radii[2] + 5), turn_deg=side * 35)
        yield Organ("kidney", 180, centre, radii, turn_deg=side * 35)
        yield Organ(
            "renal pelvis", 60, (centre[0] - side * 10, centre[1] - 4, centre[2]), (11, 8, 24), turn_deg=side * 35
        )


def _vessels_and_bowel(rng: np.random.Generator) -> Iterator[Organ]:
    """Great vessels, pancreas, bowel and its small vessels."""
    yield Organ("aorta", 150, (12, 18, 0), (11, 10.5, COLUMN))
    yield Organ("vena cava", 130, (-16, 16, 0), (14, 10, COLUMN))
    yield Organ("mesenteric vessel", 145, (-8, -10, 0), (7.5, 6.5, COLUMN))
    yield Organ("mesenteric vessel", 145, (8, -6, 0), (4.5, 4.5, COLUMN))
    yield Organ("pancreas", 88, *_about(rng, (26, -6, 2), (42, 11, 17)), turn_deg=-15)
    loops = (
        (36, -66, -34),
        (-10, -68, -40),
        (76, 2, -48),
        (42, 24, -56),
        (98, -42, -36),
        (10, -38, -42),
        (60, -26, -34),
        (-58, -66, -58),
    )
    for n, place in enumerate(loops):
        centre, radii = _about(rng, place, (22, 15, 22), shift=8, scale=0.2)
        turn = float(rng.uniform(-45, 45))
        yield Organ("bowel", 75, centre, radii, turn_deg=turn)
        yield Organ(
            "bowel content",
            float(rng.uniform(5, 45)),
            centre,
            (radii[0] - 5, radii[1] - 5, radii[2] - 5),
            turn_deg=turn,
        )
        if n == 4:  # the descending colon
            yield Organ("gas", -400, (centre[0], centre[1] - 6, centre[2]), (9, 6, 15))
    for _ in range(14):  # small vessels of the mesentery
        spot = (float(rng.uniform(-20, 90)), float(rng.uniform(-50, 10)), float(rng.uniform(-60, 30)))
        yield Organ("mesenteric vessel", 110, spot, (float(rng.uniform(2.2, 3.5)), float(rng.uniform(2.2, 3.5)), 16))
