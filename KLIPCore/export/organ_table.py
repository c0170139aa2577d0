"""What a run has to say by organ: volume, regions, and the largest value of the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.maps.regions import Region
from KLIPCore.volume.organs import OrganMap


@dataclass(frozen=True)
class OrganRow:
    """What there is to say of one organ.

    Attributes
    ----------
    organ : its name.
    volume_ml : of the organ, in mL.
    regions : reported regions that lie in it.
    flagged_ml : volume of those regions, in mL.
    largest : largest value of the map in it, in the map's unit.
    """

    organ: str
    volume_ml: float
    regions: int
    flagged_ml: float
    largest: float


def organ_rows(
    organs: OrganMap, regions: Sequence[Region], kl_map: NDArray[np.floating], voxel_ml: float
) -> list[OrganRow]:
    """Return a row for each organ that is there, largest first.

    Parameters
    ----------
    organs : on the map's grid.
    regions : with their organs named.
    kl_map : (slices, rows, columns), NaN or 0 where nothing was tested.
    voxel_ml : volume of a voxel in mL.
    """
    rows = []
    for number in organs.present:
        inside = kl_map[organs.labels == number]
        own = [region for region in regions if region.organ == organs.called(number)]
        ml = sum(region.volume_ml for region in own)
        highest = float(np.nan_to_num(inside).max())
        rows.append(OrganRow(organs.called(number), float(inside.size * voxel_ml), len(own), ml, highest))
    return sorted(rows, key=lambda row: -row.volume_ml)
