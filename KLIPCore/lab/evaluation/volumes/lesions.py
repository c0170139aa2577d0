"""Lesions as a reader counts them: 3-D components, which of them a reported region touches, and what else is reported.

A lesion is a component of the mask, voxels that touch by a face, an edge or a corner being one. It is *large* when the
ball of its volume has the diameter asked for, and *found* when a reported region holds a voxel of it. A region that
touches no lesion, of any size, is *false*; in a healthy study every region is. Regions on small lesions count neither
way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.maps.regions import Region
from KLIPCore.volume.grid import Grid


@dataclass(frozen=True, eq=False)
class Lesions:
    """The lesions of one scan.

    Attributes
    ----------
    numbers : (D, H, W) int32, 1, 2, … in lesions, 0 outside.
    diameter_mm : (n,) diameter of the ball of each one's volume.
    """

    numbers: NDArray[np.int32]
    diameter_mm: NDArray[np.float64]

    @classmethod
    def of(cls, mask: NDArray[np.bool_], grid: Grid) -> Lesions:
        """Return components of a mask (D, H, W) on a grid."""
        numbers, n = ndi.label(mask, structure=np.ones((3, 3, 3), bool))
        volume = np.bincount(numbers.ravel(), minlength=n + 1)[1:] * grid.voxel_volume_mm3
        return cls(np.asarray(numbers, np.int32), np.cbrt(6 * volume / np.pi))

    def large(self, diameter_mm: float) -> NDArray[np.intp]:
        """Return numbers of the lesions of more than this diameter."""
        return np.flatnonzero(self.diameter_mm > diameter_mm) + 1


@dataclass(frozen=True)
class Touch:
    """What one region lies on.

    Attributes
    ----------
    rank : how unusual it is, smaller being more so: regions as strong that a healthy study would show, or the
        false-discovery rate at which it is still reported.
    lesions : numbers of the lesions it holds a voxel of.
    voxels, shared : its voxels, and those of them in lesions.
    """

    rank: float
    lesions: tuple[int, ...]
    voxels: int
    shared: int


def touches(regions: Sequence[Region], lesions: Lesions) -> list[Touch]:
    """Return what each region lies on; its box is on the lesions' grid."""
    out = []
    for region in regions:
        own = lesions.numbers[region.box][region.mask]
        on = own[own > 0]
        rank = region.q_value if region.expected is None else region.expected
        out.append(Touch(float(rank), tuple(int(k) for k in np.unique(on)), int(own.size), int(on.size)))
    return out


@dataclass(frozen=True)
class PointFigures:
    """What is reported of one scan at one setting.

    Attributes
    ----------
    setting : the setting's name, e.g. ``"default"`` or ``"≤ 1 false region"``.
    found, found_large : lesions that a region touches, all and large ones.
    regions, false : regions, and those that touch no lesion.
    dice : overlap of all regions with all lesions; NaN without a lesion.
    """

    setting: str
    found: int
    found_large: int
    regions: int
    false: int
    dice: float


def point_figures(setting: str, reported: Sequence[Touch], lesions: Lesions, lesion_mm: float) -> PointFigures:
    """Count what some regions of a scan lie on."""
    touched = {number for touch in reported for number in touch.lesions}
    size = int(np.count_nonzero(lesions.numbers))
    shared, voxels = sum(t.shared for t in reported), sum(t.voxels for t in reported)
    return PointFigures(
        setting,
        len(touched),
        len(touched.intersection(lesions.large(lesion_mm).tolist())),
        len(reported),
        sum(not t.lesions for t in reported),
        2 * shared / (size + voxels) if size else float("nan"),
    )
