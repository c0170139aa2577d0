"""What physics alone tells of a study: noise, metal, cut field of view, HU scale, slices that do not follow.

No law of healthy anatomy is needed here. Each quantity has two plain bounds, stated with it: beyond the first a person
should look, beyond the second (where there is one) the numbers are not what they claim to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.maps.typicality import AIR, SMALLEST_BODY, inner_body
from KLIPCore.volume.grid import Grid

NOISE_HU = (60.0, 150.0)
"""Standard deviation of noise in soft tissue. Clinical abdominal CT has 8 to 25 HU."""

METAL_HU, METAL_ML = 2500.0, 0.3
"""Denser than cortical bone and calcium; volume of it that makes streaks (a surgical clip is a tenth of it)."""

CUT = (0.2, 0.45)
"""Part of the image's rim, or of the largest circle in it, that lies within the body. The prior's training slices are
cropped to the body themselves: 0 to 0.37."""

FAT_HU, FAT_OFF = -100.0, (30.0, 60.0)
"""Fat lies between -120 and -80 HU at every tube voltage in use; distance of its peak from -100."""

AIR_HU, AIR_OFF = -1000.0, (40.0, 80.0)
"""Distance of the peak of air around the body from -1000; padding at -1024 is within."""

JUMP = 3.0
"""Change of the coarse anatomy from one slice to the next, as a multiple of the median of its neighbours'; 1.2 to 2.8
in sound studies."""

COARSE, COARSE_PIXELS, WINDOW_HU = 4.0, 128, (-125.0, 275.0)
"""Standard deviation that leaves coarse anatomy, in pixels of slices so many across; HU that are compared."""

ENDS = 2
"""Steps at either end that are not looked at: they have too few neighbours."""

JITTER_MM = 3.0
"""Median distance of a body's centre from the mean of those above and below, twice; 0.1 to 2.3 in sound studies."""

UPSIDE_DOWN = (0.05, 0.2)
"""Air in the inner body of the lowest fifth of the slices, less that of the highest: lungs are at the upper end."""

MOST_SLICES = 16
"""As many slices, evenly spread, serve for noise and peaks."""

LEAST_PEAK = 0.02
"""Part of the body that must lie near a peak for it to be one."""


class Remark(NamedTuple):
    """A quantity beyond its bounds.

    Attributes
    ----------
    about : what it is about, in a word or two.
    serious : whether beyond the second bound, too.
    clause : what was found.
    """

    about: str
    serious: bool
    clause: str


@dataclass(frozen=True)
class Physical:
    """The quantities of one study; NaN where one cannot be told.

    Attributes
    ----------
    noise_hu : standard deviation of what a Gaussian of 2 pixels removes from soft tissue, by its median.
    metal_ml : volume above :data:`METAL_HU` in the body.
    cut : part of the image's rim, or of its inscribed circle, within the body; mean over slices.
    fat_hu, air_hu : where the histogram of the body has its peak of fat, and that of what is around it its air.
    jump : largest change between neighbouring slices, as a multiple of the median of those around it.
    jitter_mm : how far the body's centre lies from the line through those above and below, twice.
    repeated : how many slices equal the one below.
    upside_down : air at the lower end less air at the upper end, parts of the inner body.
    """

    noise_hu: float
    metal_ml: float
    cut: float
    fat_hu: float
    air_hu: float
    jump: float
    jitter_mm: float
    repeated: int
    upside_down: float

    def remarks(self) -> list[Remark]:
        """Return what is beyond its bounds."""
        fat, air = abs(self.fat_hu - FAT_HU), abs(self.air_hu - AIR_HU)
        asked = [
            ("noise", self.noise_hu, NOISE_HU, f"noise of {self.noise_hu:.0f} HU in soft tissue (usual: 8 to 35)"),
            ("metal", self.metal_ml, (METAL_ML, inf), f"{self.metal_ml:.1f} mL of metal, which makes streaks"),
            ("cropped", self.cut, CUT, f"the field of view cuts the body over {self.cut:.0%} of the image's rim"),
            ("HU scale", fat, FAT_OFF, f"fat lies at {self.fat_hu:.0f} HU and not near -100: HU shifted or rescaled"),
            ("HU scale", air, AIR_OFF, f"air lies at {self.air_hu:.0f} HU and not near -1000: HU shifted or rescaled"),
            (
                "missing slices or motion",
                self.jump,
                (JUMP, inf),
                f"two neighbouring slices differ {self.jump:.1f} times as much as those around them: slices are "
                "missing or out of order, or the patient moved",
            ),
            ("motion", self.jitter_mm, (JITTER_MM, inf), f"the body moves {self.jitter_mm:.1f} mm between slices"),
            ("repeated slices", self.repeated, (0, inf), f"{self.repeated} slices repeat the one below"),
            ("upside down", self.upside_down, UPSIDE_DOWN, "lung lies at the lower end: head and feet look exchanged"),
        ]
        return [
            Remark(about, value > bounds[1], sentence)
            for about, value, bounds, sentence in asked
            if value > bounds[0]  # which NaN is not
        ]


def measure(
    lps: NDArray[np.float32],
    grid: Grid,
    body: NDArray[np.bool_],
    images: NDArray[np.float32],
    inside: NDArray[np.bool_],
) -> Physical:
    """Return the physical quantities of a study.

    Parameters
    ----------
    lps : (D, H, W) HU in LPS order.
    grid : of these.
    body : (D, H, W) masks like them.
    images, inside : (D, n, n) framed intensity and masks, as :meth:`KLIPCore.maps.typicality.Typicality.judge` takes
        them.
    """
    chosen = np.unique(np.linspace(0, len(lps) - 1, min(len(lps), MOST_SLICES)).round().astype(int))
    floor = float(lps.min())
    smooth = [ndi.gaussian_filter(lps[k], 2.0) for k in chosen]
    jump, repeated = jumps(lps, body)
    return Physical(
        noise_hu=_noise([lps[k] for k in chosen], smooth, [body[k] for k in chosen]),
        metal_ml=float(np.count_nonzero((lps > METAL_HU) & body) * np.prod(grid.spacing) / 1000),
        cut=cut_by_field(body),
        fat_hu=_peak(np.concatenate([lps[k][body[k]] for k in chosen]), (-190, -20), floor),
        air_hu=_peak(np.concatenate([lps[k][~body[k]] for k in chosen]), (-1190, -300), None),
        jump=jump,
        jitter_mm=_jitter(body, grid.spacing),
        repeated=repeated,
        upside_down=_upside_down(images, inside),
    )


def _noise(planes: Sequence[NDArray], smooth: Sequence[NDArray], body: Sequence[NDArray]) -> float:
    """Robust standard deviation of high frequencies in soft tissue."""
    rest = [
        (plane - mean)[inside & (mean > 0) & (mean < 150)]
        for plane, mean, inside in zip(planes, smooth, body, strict=True)
    ]
    found = np.concatenate(rest)
    return float(1.4826 * np.median(np.abs(found))) if len(found) > SMALLEST_BODY else float("nan")


def rim_part(body: NDArray[np.bool_]) -> float:
    """Return which part of an image's rim lies within the body.

    Parameters
    ----------
    body : (H, W) bool.
    """
    return float(np.concatenate([body[0], body[-1], body[:, 0], body[:, -1]]).mean())


def cut_by_field(body: NDArray[np.bool_]) -> float:
    """Return the mean over slices with a body of the larger part: of the rim, or of the inscribed circle, within it.

    NaN where no slice has one.

    Parameters
    ----------
    body : (D, H, W) bool on the study's slices.
    """
    _, height, width = body.shape
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    rows = np.clip(((height - 1) / 2 * (1 + 0.985 * np.sin(angle))).round().astype(int), 0, height - 1)
    columns = np.clip(((width - 1) / 2 * (1 + 0.985 * np.cos(angle))).round().astype(int), 0, width - 1)
    parts = [max(rim_part(m), m[rows, columns].mean()) for m in body if m.any()]
    return float(np.mean(parts)) if parts else float("nan")


def _peak(values: NDArray[np.float32], span: tuple[int, int], clipped: float | None) -> float:
    """HU of the highest inner point of a smoothed histogram; NaN where there is none.

    Parameters
    ----------
    values : HU.
    span : where to look.
    clipped : a value that clipping has heaped up, which is no tissue's.
    """
    width = 4
    kept = values[values != clipped] if clipped is not None else values
    counts, edges = np.histogram(kept, np.arange(span[0], span[1] + 1, width))
    if not len(values) or counts.sum() < LEAST_PEAK * len(values):
        return float("nan")
    line = ndi.gaussian_filter1d(counts.astype(float), 2.0, mode="nearest")
    inner = np.flatnonzero((line[1:-1] >= line[:-2]) & (line[1:-1] > line[2:])) + 1
    if not len(inner):
        return float("nan")
    return float(edges[inner[np.argmax(line[inner])]] + width / 2)


def jumps(
    lps: NDArray[np.float32], body: NDArray[np.bool_], nearest: NDArray[np.intp] | None = None
) -> tuple[float, int]:
    """Return the largest change between slices as a multiple of its neighbours' median, and how many repeat another.

    Only where both slices show the body: a couch that is taken for a part of it in one of them is no change.

    Parameters
    ----------
    lps : (D, H, W) HU in LPS order.
    body : (n, H, W) masks: of every slice, or of some.
    nearest : (D,) which mask stands for each slice; None: every slice has its own.
    """
    step = max(1, round(lps.shape[2] / COARSE_PIXELS))
    masks = body[:, ::step, ::step]
    masks = masks if nearest is None else masks[nearest]
    seen = np.flatnonzero(masks.sum((1, 2)) >= SMALLEST_BODY)
    planes = np.clip(lps[seen, ::step, ::step], *WINDOW_HU)
    repeated = sum(bool((lps[a] == lps[b]).all()) for a, b in pairwise(seen))
    if len(seen) < 2 * ENDS + 6:
        return float("nan"), repeated
    coarse = ndi.gaussian_filter(planes, (0, COARSE, COARSE))
    both = masks[seen]
    change = np.array([np.abs(coarse[k + 1] - coarse[k])[both[k] & both[k + 1]].mean() for k in range(len(seen) - 1)])
    around = [np.median(np.delete(change[max(k - 3, 0) : k + 4], min(k, 3))) for k in range(len(change))]
    return float((change / np.maximum(around, 0.1))[ENDS:-ENDS].max()), repeated


def _jitter(body: NDArray[np.bool_], spacing: NDArray[np.floating]) -> float:
    """Median second difference of the centre of the body along the slices, in mm."""
    weights = [(m.sum(1), m.sum(0)) for m in body if m.any()]
    at = np.array([[np.average(np.arange(len(w)), weights=w) for w in both] for both in weights]) * spacing[1:]
    return float(np.median(np.hypot(*(at[2:] - 2 * at[1:-1] + at[:-2]).T))) if len(at) > 4 else float("nan")


def _upside_down(images: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Air in the inner body at the lower end less that at the upper end."""
    seen = [k for k in range(len(images)) if inside[k].sum() >= SMALLEST_BODY]
    if len(seen) < 10:
        return float("nan")
    air = np.array([(images[k][inner_body(inside[k])] < AIR).mean() for k in seen])
    end = max(2, len(seen) // 5)
    return float(air[:end].mean() - air[-end:].mean())
