"""Where air and fat lie in a histogram: the points that fix the scale of Hounsfield in a patient.

Water is 0 by definition and soft tissue is near it in any multiple of HU. A factor shows in what is far from 0: air is
-1000, and fat, which every body but a head has much of, lies about -100. Halved, they lie at -500 and -50, where
nothing in a patient makes a peak of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAT_HU = (-150, -62)
"""Fat's peak, from 80 kV to 140 kV and from lean to stout."""
NO_TISSUE_HU = ((-62, -12), (-300, -150))
"""Between fat and water, and between lung and fat, no tissue has a peak."""
ORGANS_ABOVE_FAT, ORGANS_HU = (120, 200), (10, 90)
"""How far above fat's peak that of muscle or of organs lies; where the brightest peak of a body lies at least, and the
darkest at most."""
LEAST_PROMINENCE, LEAST_MASS = 0.04, 0.03
"""Of a peak: height above the valley beside it as part of the highest, and voxels as part of all soft tissue."""
SURE = 6.0
"""Standard deviations of its count by which a peak stands above the valley beside it."""
SOFT_RANGE_HU = (-320, 300)
SMOOTHING_HU = 5
GAS_BELOW_HU = -180
"""Darker than fat in any patient: lung, bowel gas and the air around."""
AIR_HU, LEAST_AIR_IN_GAS = (-1060, -940), 0.1
"""Air, and its part of all gas where a patient lies in it."""
LEAST_GAS = 0.01
"""Part of all voxels that must be gas before its darkest is asked about."""
DARKEST, DARKEST_HU = 0.02, -850
"""This part of the gas, the air in the airways at least, is darker than the latter."""
NO_AIR_HU, MUCH_GAS = (-1060, -930), 0.1
"""Where so large a part of a volume is gas that air is around the patient, its darkest is darker than the latter, and
the middle of all that is darker no darker than the former.
"""
BELOW_AIR_HU = -1090
"""No scanner's air is darker."""
AIR_WIDTH_HU, LEAST_AROUND = 60, 0.5
"""Width of the peak of air and the least part of the gas in it, where it is around the patient; lungs are broader."""
DARK_LUNG_HU = -640
"""So dark is a lung where air was filled in as one value and is not counted."""
PILES = ((0.06, 0.2, 4.0), (0.15, 0.65, 0.0))
"""What was clipped falls off slowly above the clip, scaled air does not: within the first part of the clip's value lie
the second part of the gas and the third number of times more voxels than in as much above it.
"""
PLATEAU, ALONE = 0.002, 0.02
"""One value that this part of all voxels shares was filled in or clipped; beside a filling lies less than the latter
part of it.
"""


@dataclass(frozen=True, eq=False)
class Gas:
    """Dark voxels without what was filled in.

    Attributes
    ----------
    counts : how many voxels have which HU, from ``lowest`` up to :data:`GAS_BELOW_HU`.
    lowest : HU of the first.
    clip : the lowest value where many voxels share it, as after clipping; None where they do not.
    fillings : values that stand alone.
    """

    counts: NDArray[np.float64]
    lowest: int
    clip: int | None
    fillings: tuple[int, ...]

    @classmethod
    def of(cls, counts: NDArray[np.int64], lowest: int) -> Gas:
        """Return the gas in a histogram from ``lowest`` up."""
        dark, size, fillings, clip = counts[: GAS_BELOW_HU - lowest].astype(np.float64), counts.sum(), [], None
        for at in map(int, np.flatnonzero(dark >= PLATEAU * size)):
            many = dark[at]
            if dark[max(at - 100, 0) : at + 101].sum() - many < ALONE * many:
                fillings.append(at + lowest)
                dark[at] = 0
            elif clip is None and dark[:at].sum() < ALONE * many:  # nothing is darker
                clip, dark[at] = at + lowest, 0
        return cls(dark, lowest, clip, tuple(fillings))

    def between(self, low: int, high: int) -> float:
        """Return voxels with ``low`` ≤ HU < ``high``."""
        return float(self.counts[max(low - self.lowest, 0) : max(high - self.lowest, 0)].sum())

    def is_around(self) -> bool:
        """Return whether a peak of air lies where air belongs."""
        return self.between(*AIR_HU) >= max(LEAST_AIR_IN_GAS * self.counts.sum(), 1.0)

    def misplaced(self, size: int) -> tuple[int, bool] | None:
        """Return HU of the darkest of it if that is no air, and whether it is far from that.

        None where air is right, was clipped or is not there.

        ``size`` : voxels of the volume.
        """
        n = self.counts.sum()
        if n < LEAST_GAS * size:
            return None
        summed, much = np.cumsum(self.counts), n >= MUCH_GAS * size
        below = float(self.between(self.lowest, NO_AIR_HU[1]))
        middle = int(np.searchsorted(summed, 0.5 * below)) + self.lowest
        if much and below > DARKEST * n and middle < NO_AIR_HU[0]:
            return middle, False
        darkest = int(np.searchsorted(summed, DARKEST * n)) + self.lowest
        filled = any(AIR_HU[0] <= value < AIR_HU[1] for value in self.fillings)
        far = darkest >= (DARK_LUNG_HU if filled else DARKEST_HU)
        around = much and self.between(darkest, darkest + AIR_WIDTH_HU) > LEAST_AROUND * n
        if not far and (filled or not around or darkest < NO_AIR_HU[1]):
            return None
        if self.clip is not None and self.clip > AIR_HU[1] and not self._is_piled(self.clip):
            return None  # all air is that value, which is not counted
        return darkest, far

    def _is_piled(self, clip: int) -> bool:
        """Return whether a peak lies just above the lowest value, as of air that was clipped before it was scaled."""
        n = self.counts.sum()
        for part, least, falls in PILES:
            ends = [int(clip * (1 - part * turn)) for turn in range(3)]
            near, beyond = self.between(ends[0], ends[1]), self.between(ends[1], ends[2])
            if near > max(falls * beyond, least * n):
                return True
        return False


def tissue_peaks(counts: NDArray[np.int64], lowest: int) -> list[int]:
    """Return HU of the peaks between lung and bone.

    Parameters
    ----------
    counts : how many voxels have which HU, from ``lowest`` up, without those of a window's edges.
    lowest : HU of the first.
    """
    low, high = SOFT_RANGE_HU
    margin = 4 * SMOOTHING_HU
    part = counts[low - margin - lowest : high + margin - lowest].astype(np.float64)
    at = np.arange(-margin, margin + 1)
    bell = np.exp(-0.5 * (at / SMOOTHING_HU) ** 2)
    smooth = np.convolve(part, bell / bell.sum(), "valid")
    top, total = smooth.max(), smooth.sum()
    inner, kept = smooth[1:-1], []
    for place in map(int, np.flatnonzero((inner > smooth[:-2]) & (inner >= smooth[2:])) + 1):
        left, right = _valley(smooth[place::-1]), _valley(smooth[place:])
        height = smooth[place] - max(smooth[place - left], smooth[place + right])
        sure = height * 2 * SMOOTHING_HU > SURE * np.sqrt(smooth[place] * 2 * SMOOTHING_HU)
        mass = smooth[place - left : place + right + 1].sum()
        if sure and height > LEAST_PROMINENCE * top and mass > LEAST_MASS * total:
            kept.append(place + low)
    return kept


def _valley(falling: NDArray[np.float64]) -> int:
    """Steps from a peak, the first element, to the lowest place before anything higher, or before the end."""
    higher = np.flatnonzero(falling > falling[0])
    return int(np.argmin(falling[: higher[0] if len(higher) else len(falling)]))


def contradiction(counts: NDArray[np.int64], lowest: int, ends: tuple[float, float]) -> tuple[str, bool] | None:
    """Return what lies where nothing in a patient does.

    Parameters
    ----------
    counts : how many voxels have which HU, from ``lowest`` up.
    lowest : HU of the first.
    ends : lowest and highest value.

    Returns
    -------
    A clause, and whether nothing else speaks for Hounsfield units; None where air and fat are right or unseen.
    """
    gas = Gas.of(counts, lowest)
    tissue = counts.copy()
    for end in ends:  # the edges of a window, if it is one
        tissue[min(max(round(end) - lowest, 0), len(tissue) - 1)] = 0
    peaks = tissue_peaks(tissue, lowest)
    fat = any(FAT_HU[0] <= peak < FAT_HU[1] for peak in peaks)
    wrong = None if fat else misplaced_fat(peaks)
    air = gas.misplaced(int(counts.sum()))
    if air is not None:
        together = wrong is not None and (wrong > FAT_HU[1]) == (air[0] > AIR_HU[1])  # one shift moves both
        alone = air[0] < BELOW_AIR_HU or (not fat and (air[1] or together))
        return f"air seems to lie near {air[0]} instead of -1000", alone
    if wrong is not None:
        return f"fat seems to lie near {wrong} instead of -100", not gas.is_around()
    if len(peaks) > 1 and peaks[-1] < ORGANS_HU[0] and gas.is_around():
        return f"nothing denser than {peaks[-1]} makes a peak, where muscle and organs lie near 50", False
    return None


def misplaced_fat(peaks: list[int]) -> int | None:
    """Return HU of the peak that fat seems to have, where none lies at fat's place; None where that cannot be told.

    Parameters
    ----------
    peaks : of :func:`tissue_peaks`, rising.
    """
    wrong = next((peak for low, high in NO_TISSUE_HU for peak in peaks if low <= peak < high), None)
    if wrong is not None or not peaks:
        return wrong
    near, far = ORGANS_ABOVE_FAT
    like_fat = any(near <= peak - peaks[0] < far for peak in peaks[1:])
    return peaks[0] if like_fat or peaks[0] > ORGANS_HU[1] else None
