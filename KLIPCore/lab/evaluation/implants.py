"""Things put into healthy volumes on purpose, with exact masks: what a detector must find, whatever else it finds.

Each chosen slice of a healthy volume (the donor) gets one tumour, star or piece of metal
(:mod:`KLIPCore.lab.phantoms.lesions`), at a random place where it fits; sizes and contrasts take turns, so
that each is met about equally often. The same slices without it serve as the healthy ones: same anatomy, same
simulated noise. Figures over whole images (does this slice hold something?) are therefore about the implant,
and never about a scanner or a patient.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, EmptyInputError
from KLIPCore.lab.phantoms.lesions import Lesion, MetalRod, Star, Tumour
from KLIPCore.lab.phantoms.shape import Point
from KLIPCore.volume.grid import Grid

Kind = Literal["tumour", "star", "metal"]

NOTCH = 0.45
"""Inner over outer radius of a star, unless its ``shape`` says otherwise: that of a five-pointed star, .38,
with slightly fuller arms.
"""


@dataclass(frozen=True)
class Implant:
    """A recipe.

    Attributes
    ----------
    name : of its rows in the table.
    kind : tumour (a lumpy ellipsoid), star, or metal (a rod lying in the slice).
    radii_mm : mean radius of a tumour, distance of a star's points from its middle, half the length of a rod.
    hu : what a tumour or star adds to the HU that are there; what metal shows instead of them.
    where : it lies wholly inside the organ, or inside the body.
    seed : of places, turns, textures, and the order of sizes and contrasts.
    shape : further fields of :class:`KLIPCore.lab.phantoms.tumour.Tumour`, :class:`KLIPCore.lab.phantoms.star.Star` or
        :class:`KLIPCore.lab.phantoms.metal.MetalRod`, e.g. ``edge_mm``, ``texture_hu``; a rod needs its ``radius_mm``.

    Raises
    ------
    ConfigError : a field is impossible.
    """

    name: str
    kind: Kind
    radii_mm: tuple[float, ...]
    hu: tuple[float, ...]
    where: Literal["organ", "body"] = "organ"
    seed: int = 0
    shape: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in ("tumour", "star", "metal"):
            raise ConfigError(f"There is no implant of kind '{self.kind}'.", "Choose tumour, star or metal.")
        if self.where not in ("organ", "body"):
            raise ConfigError(f"Nothing can be implanted in '{self.where}'.", "Choose organ or body.")
        if not self.radii_mm or not self.hu or min(self.radii_mm) <= 0:
            raise ConfigError(
                f"The implant '{self.name}' needs radii above 0 and HU.",
                "Give lists, e.g. radii_mm: [5, 10], hu: [-50].",
            )
        try:
            self.lesion((0.0, 0.0, 0.0), self.radii_mm[0], self.hu[0], 5.0, np.random.default_rng(0))
        except TypeError as error:
            raise ConfigError(
                f"The shape of the implant '{self.name}' cannot be used ({error}).",
                f"Use the fields of a {self.kind}.",
            ) from error

    def lesion(self, centre: Point, radius: float, hu: float, height_mm: float, rng: np.random.Generator) -> Lesion:
        """Return one of them at a place.

        ``height_mm`` is how far it may reach across slices, in both directions together.
        """
        if self.kind == "tumour":
            a, b = radius * (1 + 0.15 * rng.uniform(-1, 1, 2))
            return Tumour(
                centre, (float(a), float(b), min(radius, height_mm / 2)), hu, float(rng.uniform(-90, 90)), **self.shape
            )
        if self.kind == "star":
            return Star(
                centre,
                radius,
                **{
                    "inner_mm": NOTCH * radius,
                    "height_mm": height_mm,
                    "contrast_hu": hu,
                    "turn_deg": rng.uniform(0, 360),
                }
                | self.shape,
            )
        angle = rng.uniform(0, np.pi)
        x, y, z = centre
        along = radius * np.array([np.cos(angle), np.sin(angle)])
        return MetalRod((x - along[0], y - along[1], z), (x + along[0], y + along[1], z), hu=hu, **self.shape)

    @property
    def reach(self) -> float:
        """Largest in-plane extent over the radius."""
        if self.kind == "tumour":
            return 1.15 * (1 + 2 * float(self.shape.get("irregularity", 0.0)))
        return 1.0

    def room(self, region: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
        """Return the (D, H, W) distance in mm from each voxel of the region to what is not of it, within its slice."""
        spacing = grid.spacing[1:]
        return np.stack([ndi.distance_transform_edt(np.pad(s, 1), sampling=spacing)[1:-1, 1:-1] for s in region])

    def slices(self, room: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return slices in which the smallest of them has a place."""
        return np.flatnonzero(room.max((1, 2)) > self.reach * min(self.radii_mm))

    def place(self, room: NDArray[np.float64], grid: Grid, slices: Sequence[int]) -> list[Lesion]:
        """Return one in each of the slices, the largest that its turn allows and the slice has room for.

        Parameters
        ----------
        room : what :meth:`room` gave, slices from the feet.
        grid : of it, in LPS order.
        slices : rising.

        Raises
        ------
        EmptyInputError : a slice has no room for even the smallest.
        """
        turns = self._turns()
        made = []
        for n, k in enumerate(slices):
            rng = np.random.default_rng(np.random.SeedSequence([self.seed, int(k)]))
            radius, hu = next(turns)
            fitting = [
                r for r in sorted(self.radii_mm, reverse=True) if r <= radius and room[k].max() > self.reach * r
            ]
            if not fitting:
                smaller = [r for r in self.radii_mm if room[k].max() > self.reach * r]
                if not smaller:
                    raise EmptyInputError(
                        f"Slice {k} has no room for an implant '{self.name}'.", "Choose smaller radii."
                    )
                fitting = [min(smaller)]
            places = np.argwhere(room[k] > self.reach * fitting[0])
            row, column = places[rng.integers(len(places))]
            x, y, z = grid.to_world(np.array([k, row, column], float))
            made.append(
                self.lesion(
                    (float(x), float(y), float(z)),
                    fitting[0],
                    hu,
                    self._height(n, slices, float(grid.spacing[0])),
                    rng,
                )
            )
        return made

    def _turns(self) -> Iterator[tuple[float, float]]:
        """Sizes and contrasts in random order, each pair once before any comes again."""
        pairs = list(itertools.product(self.radii_mm, self.hu))
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, 0x7F]))
        while True:
            yield from (pairs[n] for n in rng.permutation(len(pairs)))

    def _height(self, n: int, slices: Sequence[int], step_mm: float) -> float:
        """Thick enough to fill its slice, too thin to touch (or push) the neighbouring chosen ones."""
        gaps = [abs(slices[m] - slices[n]) for m in (n - 1, n + 1) if 0 <= m < len(slices)]
        return max(1.2 * step_mm, 2 / 3 * min(gaps, default=9) * step_mm)
