"""A study as its prior wants to see it.

Between the file and the mathematics stand four questions: which way is up, where is the patient, at which
scale was the prior trained, and does this study suit it at all. A :class:`FramedStudy` holds the answers, and
the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from KLIPCore.volume.body import body_masks
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window
from KLIPCore.volume.volume import Orientation, Volume

NO_BODY = 1.5
"""A body by this factor wider or narrower than all those the prior knows is no adult's."""

CHEST_AIR = 0.3
"""A slice with more than this part of its body below -300 HU shows lungs; their bases do so in abdominal scans too."""

CHEST_MM = 60.0
"""Lungs over more than this height are a chest, not the top of an abdomen."""


@dataclass(frozen=True, eq=False)
class Framing:
    """Where a study's voxels lie in the prior's frame: all that a map needs to land on the study again.

    Attributes
    ----------
    grid : the study's own grid.
    orientation : between the study's array order and LPS order (k to Superior, j to Posterior, i to Left).
    body : (D, H, W) bool body masks on the LPS grid; slices counted from the feet.
    frame : LPS slices ↔ the prior's square.
    """

    grid: Grid
    orientation: Orientation
    body: NDArray[np.bool_]
    frame: Frame

    @property
    def lps_grid(self) -> Grid:
        """The same voxels in LPS order."""
        return self.grid.oriented(self.orientation.order, self.orientation.flips)

    @cached_property
    def reach(self) -> float:
        """Largest distance of a body's pixel from the middle of its frame, in frame pixels, over all slices.

        Half the frame's side just fits its disc.
        """
        farthest = 0.0
        for body, centre in zip(self.body, self.frame.centres, strict=True):
            offsets = (np.argwhere(body) - centre) / self.frame.pixel
            farthest = max(farthest, float(np.hypot(*offsets.T).max(initial=0.0)))
        return farthest

    def mask(self, index: int) -> NDArray[np.float32]:
        """Return (size, size) body mask of slice ``index`` in the frame, 0 or 1."""
        return self.frame_of(index).pull(self.body[index : index + 1].astype(np.float32), order=0)[0]

    def frame_of(self, index: int) -> Frame:
        """Return the frame of one slice."""
        return Frame(self.frame.size, self.frame.centres[index : index + 1], self.frame.pixel, self.frame.pixel_mm)

    def to_study(self, lps_array: NDArray[np.floating], unit: str) -> Volume:
        """Return a volume on the study's own grid from an array on the LPS grid."""
        return Volume(self.orientation.restore(np.asarray(lps_array, np.float32)), self.grid, unit=unit)


@dataclass(frozen=True, eq=False)
class FramedStudy(Framing):
    """A framed study with its images.

    Attributes
    ----------
    study : the volume as it was read.
    lps : the same voxels in LPS order.
    warnings : sentences about what makes the result less trustworthy.
    """

    study: Volume
    lps: Volume
    warnings: tuple[str, ...] = ()

    def intensity(self, index: int, card: ModelCard, factor: int = 1) -> NDArray[np.float32]:
        """Return (size·factor, size·factor) windowed intensity of a slice in the frame, air outside the body."""
        windowed = np.where(self.body[index], card.window.apply(self.lps.array[index]), 0.0)
        return self.frame_of(index).pull(windowed[None], factor=factor)[0]

    @classmethod
    def of(cls, study: Volume, body: NDArray[np.bool_], frame: Frame, warnings: tuple[str, ...] = ()) -> FramedStudy:
        """Return a study whose body masks and frame are known."""
        lps, orientation = study.oriented_lps()
        return cls(study.grid, orientation, body, frame, study, lps, warnings)


def frame_study(study: Volume, card: ModelCard) -> FramedStudy:
    """Turn, mask and frame a study for a prior.

    Parameters
    ----------
    study : (D, H, W) volume in HU.
    card : what the prior was trained for.

    Raises
    ------
    InputError : no slice shows a body.
    """
    lps, _ = study.oriented_lps()
    body = np.stack([body_masks(card.window.apply(s[None]))[0] for s in lps.array])
    spacing = lps.grid.spacing
    frame = Frame.of_body(body, (float(spacing[1]), float(spacing[2])), card.size, card.body_fraction)
    return FramedStudy.of(study, body, frame, tuple(suitability(lps, body, frame, card)))


@dataclass(frozen=True)
class SeenSlice:
    """What :func:`suitability` asks of the body on one slice.

    Attributes
    ----------
    inside, soft, bone : pixels of the body, those in the prior's HU window, and those as dense as bone.
    lung : whether more of it is lung or air than abdominal scans show.
    touching : whether it touches the left or right edge of the slice.
    """

    inside: int
    soft: int
    bone: int
    lung: bool
    touching: bool

    @classmethod
    def of(cls, image: NDArray[np.float32], mask: NDArray[np.bool_], window: Window) -> SeenSlice:
        """Look at a slice, (H, W) HU, and its body mask."""
        inside = image[mask]
        return cls(
            inside.size,
            int(np.count_nonzero((inside > window.lo_hu) & (inside < window.hi_hu))),
            int(np.count_nonzero(inside > 300)),
            bool(inside.size and np.mean(inside < -300) > CHEST_AIR),
            bool(mask[:, 0].any() or mask[:, -1].any()),
        )


def _chest(seen: Sequence[SeenSlice], spacing_mm: float) -> list[int]:
    """Slices in which lung is more than abdominal scans show at their upper end: none unless they span
    :data:`CHEST_MM`.
    """
    lung = [k for k, one in enumerate(seen) if one.lung]
    return lung if lung and (lung[-1] - lung[0] + 1) * spacing_mm > CHEST_MM else []


def suitability(lps: Volume, body: NDArray[np.bool_], frame: Frame, card: ModelCard) -> list[str]:
    """Return what about this study the prior has not seen, and what that means for the result: one sentence each.

    Parameters
    ----------
    lps : the study in LPS order.
    body : (D, H, W) bool body masks like it.
    frame : of those bodies.
    card : what the prior was trained for.
    """
    return list(unsuited(lps, body, frame, card).values())


def unsuited(lps: Volume, body: NDArray[np.bool_], frame: Frame, card: ModelCard) -> dict[str, str]:
    """Return the sentences of :func:`suitability`, each by what it is about.

    ``size``, ``chest``, ``bone``, ``window``, ``coarse``, ``spacing``, ``outside``, ``cut`` or ``axes``.
    """
    seen = [SeenSlice.of(image, mask, card.window) for image, mask in zip(lps.array, body, strict=True)]
    return unsuited_slices(lps.grid, frame, card, seen, float(frame.truncated(body).max(initial=0.0)))


def _unsuited_tissue(card: ModelCard, seen: Sequence[SeenSlice], spacing_mm: float) -> dict[str, str]:
    """What :func:`unsuited_slices` says of what the body is made of."""
    out: dict[str, str] = {}
    inside = sum(one.inside for one in seen)
    if inside:
        soft = sum(one.soft for one in seen) / inside
        bone = sum(one.bone for one in seen) / inside
        chest = _chest(seen, spacing_mm)
        if chest:
            out["chest"] = (
                f"Slices {chest[0]} to {chest[-1]} show lung or air as a chest does. The prior was trained on: "
                f"{card.anatomy}. "
                "Expect the map to flag normal anatomy there; leave them out with --slices."
            )
        if bone > 0.15:
            out["bone"] = (
                f"{100 * bone:.0f} % of the body is bone-dense. The prior was trained on: {card.anatomy}. Expect "
                "the map to flag normal anatomy."
            )
        elif soft < 0.5:
            out["window"] = (
                f"Only {100 * soft:.0f} % of the body lies in the prior's window ({card.window.lo_hu:g} to "
                f"{card.window.hi_hu:g} HU). Check that values are HU."
            )
    return out


def unsuited_slices(
    grid: Grid, frame: Frame, card: ModelCard, seen: Sequence[SeenSlice], cut: float
) -> dict[str, str]:
    """Return what :func:`unsuited` does, of slices that were looked at one by one.

    Parameters
    ----------
    grid : the study in LPS order.
    frame : of its bodies.
    card : what the prior was trained for.
    seen : its slices, from the feet.
    cut : largest fraction of a slice's body outside the prior's square.
    """
    out = {}
    lo, hi = card.pixel_mm_range
    across = card.size * card.body_fraction
    if not lo <= frame.pixel_mm <= hi:
        out["size"] = (
            f"The body is {frame.pixel_mm * across:.0f} mm wide; the prior knows bodies of {lo * across:.0f} to "
            f"{hi * across:.0f} mm. "
            "Texture and organ sizes will look unusual to it, and the map may flag them."
        )
        if not lo / NO_BODY < frame.pixel_mm < NO_BODY * hi:
            out["size"] += " No adult is of that size: check the voxel size, which may be in cm or inches."
    out |= _unsuited_tissue(card, seen, float(grid.spacing[0]))
    spacing = grid.spacing
    if max(spacing[1], spacing[2]) > 1.5 * frame.pixel_mm:
        out["coarse"] = (
            f"In-plane resolution ({spacing[1]:.2f} x {spacing[2]:.2f} mm) is coarser than the prior's "
            f"({frame.pixel_mm:.2f} mm): fine texture is missing."
        )
    if spacing[0] > 10:
        out["spacing"] = f"Slices are {spacing[0]:.1f} mm apart: small lesions may fall between them."
    if cut > 0.02:
        out["outside"] = f"Up to {100 * cut:.0f} % of the body lies outside the prior's square and is not examined."
    touching = np.mean([one.touching for one in seen])
    if touching > 0.2:
        out["cut"] = (
            "The body is cut off by the field of view: the scale of the anatomy is a guess, and its rim may be "
            "flagged."
        )
    axis = np.abs(grid.directions[2, 0])
    if axis < 0.8:
        out["axes"] = (
            "Slices are not axial. The prior was trained on axial slices; expect the map to flag normal anatomy."
        )
    return out
