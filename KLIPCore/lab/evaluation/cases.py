"""Scans with masks, and what one slice of them says about every block.

Blocks that hold a labelled pixel are positive, all others in the region (body, or organ) are negative. Lesion
slices are spread evenly over a scan; *clean* slices are those far from any lesion: same scanner, same patient,
so that a detector cannot score a domain for a disease.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import EmptyInputError, GeometryError
from KLIPCore.io.images import read_image
from KLIPCore.lab.evaluation.config import Case, EvaluationConfig
from KLIPCore.lab.evaluation.implants import Implant
from KLIPCore.lab.phantoms.lesions import implant, tissue_mask
from KLIPCore.priors.prior import Prior
from KLIPCore.volume.framed_study import FramedStudy, frame_study
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

__all__ = ["MIN_LESION_PIXELS", "Case", "EvaluationConfig", "LabelledStudy", "SliceTruth", "spread"]

MIN_LESION_PIXELS = 20
"""A slice counts as a lesion slice when its label has at least this many pixels in the frame."""


@dataclass(frozen=True, eq=False)
class SliceTruth:
    """What is known of one slice, on the prior's frame.

    Attributes
    ----------
    index : slice, counted from the feet.
    has_lesion : whether it is a lesion slice (otherwise a clean one).
    lesion, organ : (size, size) bool.
    positive, inside : (h, w) bool over base cells: the block centred there holds a labelled pixel; the cell
        lies in the organ.
    pixel_mm : edge of a frame pixel.
    cell : pixels along a base cell.
    number : (size, size) int32, which lesion of the scan each pixel belongs to (touching voxels, slices
        included, are one), 0 outside; None where the scan's lesions are not told apart.
    """

    index: int
    has_lesion: bool
    lesion: NDArray[np.bool_]
    organ: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    pixel_mm: float
    cell: int
    number: NDArray[np.int32] | None = None


@dataclass(frozen=True, eq=False)
class LabelledStudy:
    """A framed study, its labels, and the slices to evaluate.

    Attributes
    ----------
    case : where it comes from.
    framed : the study.
    label : (D, H, W) int64 on the LPS grid.
    lesion_slices, clean_slices : slice numbers counted from the feet.
    config : of the evaluation.
    """

    case: Case
    framed: FramedStudy
    label: NDArray[np.int64]
    lesion_slices: list[int]
    clean_slices: list[int]
    config: EvaluationConfig

    @property
    def indices(self) -> list[int]:
        """All slices to evaluate, rising."""
        return sorted({*self.lesion_slices, *self.clean_slices})

    @cached_property
    def lesion(self) -> NDArray[np.bool_]:
        """(D, H, W) voxels of lesions."""
        return np.isin(self.label, self.case.lesion_values or self.config.lesion_values)

    @cached_property
    def organ(self) -> NDArray[np.bool_]:
        """(D, H, W) voxels of the organ, lesions included."""
        return np.isin(self.label, self.case.organ_values or self.config.organ_values)

    @cached_property
    def lesion_numbers(self) -> NDArray[np.int32]:
        """(D, H, W) number of each lesion of the scan; voxels that touch, corners included, are one."""
        return np.asarray(ndi.label(self.lesion, structure=np.ones((3, 3, 3), bool))[0], np.int32)

    def with_config(self, config: EvaluationConfig) -> LabelledStudy:
        """Return the same study and slices under other settings of the run or the blocks.

        What was worked out of the labels is kept.
        """
        made = replace(self, config=config)
        made.__dict__.update(
            {name: self.__dict__[name] for name in ("lesion", "organ", "lesion_numbers") if name in self.__dict__}
        )
        return made

    @cached_property
    def tissue(self) -> NDArray[np.bool_]:
        """(D, H, W) voxels of the body that are no gas."""
        return self.framed.orientation.apply(tissue_mask(self.framed.study)) & self.framed.body

    @classmethod
    def read(cls, config: EvaluationConfig, case: Case, data: Path, prior: Prior) -> LabelledStudy:
        """Read a case and choose its slices; those of a donor of implants are all clean.

        Raises
        ------
        EmptyInputError : a file is missing, or a donor's organ has no room for the implants.
        GeometryError : image and label have different shapes.
        """
        for name in (case.image, case.label):
            if not (data / name).is_file():
                raise EmptyInputError(
                    f"{name} is missing below the data folder.", "Check --data and the evaluation configuration."
                )
        volume, stored = read_image(data / case.image), read_image(data / case.label)
        if volume.array.shape != stored.array.shape:
            raise GeometryError(
                f"{case.name}: image and label have different shapes.", "Use the label of that very image."
            )
        if case.slices is not None:
            box = (slice(*case.slices), slice(None), slice(None))
            if not 0 <= case.slices[0] < case.slices[1] <= volume.grid.shape[0]:
                raise GeometryError(
                    f"{case.name}: there are no slices {case.slices[0]} to {case.slices[1]}.",
                    f"It has {volume.grid.shape[0]}.",
                )
            volume, stored = volume.cropped(box), stored.cropped(box)
        framed = frame_study(_in_hu(volume, case), prior.card)
        label = framed.orientation.apply(np.round(stored.array).astype(np.int64))
        study = cls(case, framed, label, [], [], config)
        body = np.asarray(framed.body.any((1, 2)), bool)
        if config.implants:
            fit = body & study.organ.any((1, 2))
            for recipe in config.implants:
                fit = fit & np.isin(np.arange(len(fit)), recipe.slices(study.room(recipe)))
            if not fit.any():
                raise EmptyInputError(
                    f"{case.name}: no slice has room for every implant.", "Choose smaller radii, or another donor."
                )
            return replace(study, clean_slices=spread(np.flatnonzero(fit), config.max_slices or int(fit.sum())))
        pixels = study.lesion.sum((1, 2)) / np.prod(framed.frame.pixel)
        with_any = study.lesion.any((1, 2))
        near = ndi.binary_dilation(with_any, iterations=config.margin) if config.margin else with_any
        with_lesion = np.flatnonzero((pixels >= MIN_LESION_PIXELS) & body)
        without = np.flatnonzero(~near & body)
        return replace(
            study,
            lesion_slices=spread(with_lesion, config.max_slices or len(with_lesion)),
            clean_slices=spread(without, config.clean_slices),
        )

    @classmethod
    def read_reference(cls, config: EvaluationConfig, case: Case, data: Path, prior: Prior) -> LabelledStudy:
        """Read a healthy scan, and choose ``config.reference_slices`` of its slices with the organ; all are clean.

        Raises
        ------
        EmptyInputError : a file is missing, or the organ is nowhere.
        GeometryError : image and label have different shapes.
        """
        study = cls.read(replace(config, implants=(), max_slices=1, clean_slices=0), case, data, prior)
        with_organ = np.flatnonzero(study.organ.any((1, 2)) & study.framed.body.any((1, 2)))
        if not with_organ.size:
            raise EmptyInputError(
                f"{case.name}: no slice has the organ.", "Check organ_values, or take another reference scan."
            )
        return replace(study, lesion_slices=[], clean_slices=spread(with_organ, config.reference_slices))

    def room(self, recipe: Implant) -> NDArray[np.float64]:
        """Return the (D, H, W) mm from each voxel, within its slice, to what the implant must not touch.

        The outside of organ or body, and gas.
        """
        region = self.tissue & self.organ if recipe.where == "organ" else self.tissue
        return recipe.room(region, self.framed.lps.grid)

    def implanted(self, recipe: Implant) -> LabelledStudy:
        """Return this healthy study with one implant in each of its clean slices, framed as before.

        Those are its lesion slices.

        Raises
        ------
        EmptyInputError : a slice has no room for one.
        """
        framed, slices = self.framed, self.clean_slices
        changed, labels = implant(framed.study, recipe.place(self.room(recipe), framed.lps.grid, slices), recipe.seed)
        lesion = framed.orientation.apply(labels) > 0
        case = replace(self.case, name=f"{self.case.name}-{recipe.name}", lesion_values=(2,), organ_values=(1, 2))
        label = np.where(lesion, 2, self.organ.astype(np.int64))
        return LabelledStudy(case, FramedStudy.of(changed, framed.body, framed.frame), label, slices, [], self.config)

    def truth(self, index: int, cell: int) -> SliceTruth:
        """Return what is known of slice ``index`` on base cells of ``cell`` pixels."""
        frame = self.framed.frame_of(index)
        lesion = frame.pull(self.lesion[index : index + 1].astype(np.float32), order=0)[0] > 0.5
        organ = frame.pull(self.organ[index : index + 1].astype(np.float32), order=0)[0] > 0.5
        number = np.round(frame.pull(self.lesion_numbers[index : index + 1].astype(np.float32), order=0)[0]).astype(
            np.int32
        )
        reach = max(1, round(self.config.block_mm / frame.pixel_mm))
        positive, inside = block_truth(lesion, organ, reach, cell)
        return SliceTruth(
            index, index in self.lesion_slices, lesion, organ, positive, inside, frame.pixel_mm, cell, number
        )


def block_truth(
    lesion: NDArray[np.bool_], organ: NDArray[np.bool_], reach: int, cell: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which blocks of a slice hold a lesion's pixel, and which base cells lie inside the organ, (h, w) each.

    Parameters
    ----------
    lesion, organ : (H, W) bool on the frame.
    reach, cell : edge of a block, and of a base cell, in pixels.
    """
    middles = slice(cell // 2, None, cell)
    inside = ndi.uniform_filter(organ.astype(np.float32), cell)[middles, middles] > 0.5
    return ndi.maximum_filter(lesion, reach)[middles, middles], inside


def _in_hu(volume: Volume, case: Case) -> Volume:
    """A case's image in HU, with the voxel size that it is said to have."""
    changed = (
        volume
        if (case.slope, case.intercept) == (1.0, 0.0)
        else volume.with_array(volume.array * np.float32(case.slope) + np.float32(case.intercept))
    )
    if case.spacing_mm is None:
        return changed
    if len(case.spacing_mm) != 3 or min(case.spacing_mm) <= 0:
        raise GeometryError(
            f"{case.name}: a voxel of {case.spacing_mm} mm is impossible.",
            "Give three edges above 0: slice, row, column.",
        )
    affine = volume.grid.affine.copy()
    affine[:3, :3] = volume.grid.directions * np.asarray(case.spacing_mm)
    return replace(changed, grid=Grid(volume.grid.shape, affine, volume.grid.frame_uid))


def spread(indices: NDArray[np.integer], n: int) -> list[int]:
    """Return at most ``n`` of the indices, evenly spread, both ends included."""
    if len(indices) <= n:
        return [int(k) for k in indices]
    return [int(k) for k in indices[np.linspace(0, len(indices) - 1, n).round().astype(int)]] if n else []
