"""A study as a radiologist looks at it, whatever the order it is stored in.

Everything that is drawn is first turned so that slices count from the feet, rows run from front to back and
columns from the patient's right to the left: patient right on image left, as on every reading-room screen.
Letters at the picture's edges come from the turned grid's own directions, so an oblique study says so (``"LP"``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError
from KLIPCore.maps.regions import Region, label_volume
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.units import Window
from KLIPCore.volume.volume import Volume

ABDOMEN = Window(-125.0, 275.0)
MARGIN_MM = 12.0
"""Air shown around the body."""


def direction_letters(direction: NDArray[np.floating]) -> str:
    """Return where an LPS direction points.

    ``"L"``, ``"P"``, ``"S"``, …, or two letters when oblique (second component above 0.3).
    """
    letters = [positive if v > 0 else negative for v, positive, negative in zip(direction, "LPS", "RAI", strict=True)]
    order = np.argsort(-np.abs(direction), kind="stable")
    return letters[order[0]] + (letters[order[1]] if abs(direction[order[1]]) > 0.3 else "")


@dataclass(frozen=True, eq=False)
class Scene:
    """All that pictures of a result show, in display order.

    Attributes
    ----------
    ct : (D, H, W) HU; k from the feet, rows from anterior, columns from the patient's right.
    kl : (D, H, W) nats of the block centred at each voxel.
    labels : (D, H, W) uint16 region labels.
    regions : the regions, strongest first.
    reconstruction : (D, H, W) HU of the posterior mean, or None.
    grid : the turned grid.
    window : HU shown from black to white.
    low, high : nats at which the overlay begins to show, and is brightest.
    crop : rows and columns around the body that pictures show.
    examined : slices with any tested voxel, from the feet; the others were not looked at.
    units : what the map, and what totals of regions and slices are in.
    """

    ct: NDArray[np.float32]
    kl: NDArray[np.float32]
    labels: NDArray[np.uint16]
    regions: tuple[Region, ...]
    reconstruction: NDArray[np.float32] | None
    grid: Grid
    window: Window
    low: float
    high: float
    crop: tuple[slice, slice]
    examined: tuple[int, ...]
    units: tuple[str, str] = ("nats", "nats")

    @classmethod
    def of(
        cls,
        ct: Volume,
        kl_map: Volume,
        regions: Sequence[Region] = (),
        *,
        reconstruction: Volume | None = None,
        body: NDArray[np.bool_] | None = None,
        window: Window = ABDOMEN,
        scale: tuple[float, float] | None = None,
        units: tuple[str, str] = ("nats", "nats"),
    ) -> Scene:
        """Turn a result for display.

        Parameters
        ----------
        ct, kl_map, reconstruction : volumes on one grid.
        regions : found on that grid.
        body : (D, H, W) bool in the volumes' order, where the scan was tested: pictures are cropped to it and
            the scale is set in it; None: everywhere.
        window : HU shown from black to white.
        scale : nats at which the overlay begins and is brightest; None: the 80th and 99.9th percentile in
            the body, the same for all pictures of the study.
        units : as in :class:`Scene`.

        Raises
        ------
        GeometryError : the volumes are not on one grid.
        """
        grid = ct.grid
        _check_grids(grid, {"KL map": kl_map, "reconstruction": reconstruction}, body)
        order, flips = grid.lps_axes()

        def turned(array: NDArray) -> NDArray:
            return np.flip(array.transpose(order), tuple(axis for axis, flip in enumerate(flips) if flip))

        inside = np.ones(grid.shape, bool) if body is None or not body.any() else body
        values = kl_map.array[inside]
        low, high = scale or (float(np.percentile(values, 80)), float(np.percentile(values, 99.9)))
        oriented = grid.oriented(order, flips)
        return cls(
            ct=turned(ct.array),
            kl=turned(kl_map.array),
            labels=turned(label_volume(regions, grid)),
            regions=tuple(regions),
            reconstruction=None if reconstruction is None else turned(reconstruction.array),
            grid=oriented,
            window=window,
            low=low,
            high=max(high, low + 1e-6),
            crop=_around(turned(inside), oriented),
            examined=tuple(int(k) for k in np.flatnonzero(turned(inside).any((1, 2)))),
            units=units,
        )

    @property
    def legend(self) -> str:
        """What stands beside the overlay's colours."""
        unit = self.units[0]
        return "KL per block [nats]" if unit == "nats" else f"Block [{unit}]"

    @property
    def slices(self) -> int:
        """Number of slices."""
        return self.ct.shape[0]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """mm between slices, rows and columns."""
        k, j, i = self.grid.spacing
        return float(k), float(j), float(i)

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Letters for the left, right, top and bottom edge of an axial picture."""
        _, rows, columns = self.grid.directions.T
        return (
            direction_letters(-columns),
            direction_letters(columns),
            direction_letters(-rows),
            direction_letters(rows),
        )

    def z_mm(self, k: int) -> float:
        """Return LPS z of the middle of slice k."""
        _, h, w = self.grid.shape
        return float(self.grid.to_world((k, (h - 1) / 2, (w - 1) / 2))[2])

    def regions_on(self, k: int) -> list[Region]:
        """Return regions that touch slice k, strongest first."""
        return [region for region in self.regions if region.slices[0] <= k <= region.slices[1]]

    def key_slices(self, maximum: int = 8) -> list[int]:
        """Return the peak slices of the strongest regions, in the order of the regions, none twice.

        Without regions the slice of most nats.
        """
        chosen = list(dict.fromkeys(region.peak_slice for region in self.regions))[:maximum]
        return chosen or [int(np.argmax(self.kl.max((1, 2))))]


def _around(body: NDArray[np.bool_], grid: Grid) -> tuple[slice, slice]:
    """Rows and columns of the body in any slice, with a margin of air."""
    out = []
    for axis in (1, 2):
        seen = np.flatnonzero(body.any(tuple({0, 1, 2} - {axis})))
        margin = round(MARGIN_MM / grid.spacing[axis])
        out.append(slice(max(0, int(seen[0]) - margin), min(body.shape[axis], int(seen[-1]) + 1 + margin)))
    return out[0], out[1]


def _check_grids(grid: Grid, volumes: Mapping[str, Volume | None], body: NDArray[np.bool_] | None) -> None:
    """Refuse what does not lie on the CT's grid.

    Raises
    ------
    GeometryError : a volume or the body mask does not.
    """
    for what, other in volumes.items():
        if other is not None and not other.grid.same_as(grid):
            raise GeometryError(f"The {what} does not lie on the CT's grid.", "Bring it onto the study's grid first.")
    if body is not None and body.shape != grid.shape:
        raise GeometryError(
            f"The body mask has shape {body.shape}, the CT {grid.shape}.", "Pass the mask of this very study."
        )
