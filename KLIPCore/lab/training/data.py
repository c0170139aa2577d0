"""From folders of CT to a stack of framed training slices.

A training set is a list of sources; each says which files it takes and how their numbers become HU. Every volume goes
through exactly the steps a study goes through at detection time (window, body mask, couch removal, frame),
so that the prior sees in training what it will see in use.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, EmptyInputError, GeometryError, UnreadableFileError
from KLIPCore.io.study import read_study
from KLIPCore.lab.training.phases import N_LABELS, LabelledOrgans, organ_means
from KLIPCore.maps.physical import rim_part
from KLIPCore.physics.disc import RADIUS_MM, SimulatedDiscs
from KLIPCore.volume.body import body_masks
from KLIPCore.volume.frame import MIN_BODY_FRACTION, Frame
from KLIPCore.volume.geometry import ImageGrid2D
from KLIPCore.volume.units import Window


@dataclass(frozen=True)
class DataSource:
    """Some volumes and how to read them.

    Attributes
    ----------
    name : what the model card calls it.
    pattern : glob below the data folder, with ``{case}`` where a case name goes; a match that is a folder is a
        DICOM study.
    cases : the cases taken; empty means every match of ``*``.
    exclude : what is left out: a glob for file or folder names, with ``:LO-HI`` for a range of its slices only
        (both counted, from 0).
    slope, intercept : HU = slope · stored + intercept.
    oriented : the files' directions are to be trusted, and slices are turned by them (always so for DICOM);
        otherwise the arrays must be in display order (row 0 anterior, column 0 the patient's right), as 8-bit
        copies without geometry often are.
    labels : glob of the organs' labels of each case, with ``{case}``: files on the grids of the volumes, numbered as
        :data:`KLIPCore.lab.training.phases.PHASES_HU`; empty for none.
    licence : as the card states it.
    simulated : ``discs`` takes no files but ``n_slices`` solid discs of :mod:`KLIPCore.physics.disc`, drawn
        with ``seed``.
    n_slices, seed : how many simulated slices, and of which seed; two sources of one seed would share their slices.
    """

    name: str
    pattern: str = ""
    cases: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    oriented: bool = False
    labels: str = ""
    licence: str = ""
    simulated: str = ""
    n_slices: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labels and not self.cases:
            raise ConfigError(
                f"The source '{self.name}' has labels but names no cases.",
                "List its cases, so that each finds its own labels.",
            )
        if (
            self.simulated not in ("", "discs")
            or bool(self.simulated) == bool(self.pattern)
            or (self.simulated and self.n_slices < 1)
        ):
            raise ConfigError(
                f"The source '{self.name}' says neither which files nor what to simulate, or both.",
                "Give a pattern, or simulated: discs with n_slices of at least 1.",
            )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build it from a configuration's entry; case names may be numbers there.

        Raises
        ------
        TypeError : a field is unknown or missing.
        """
        lists = {key: tuple(str(v) for v in fields.get(key, ())) for key in ("cases", "exclude")}
        return cls(**{**fields, **lists})

    def left_out(self, name: str) -> bool | list[tuple[int, int]]:
        """Return whether a whole file is excluded, or which slices of it (first, last).

        Raises
        ------
        ConfigError : a range that cannot be read.
        """
        ranges = []
        for entry in self.exclude:
            pattern, colon, part = entry.partition(":")
            if not fnmatch.fnmatch(name, pattern):
                continue
            if not colon:
                return True
            try:
                first, last = (int(n) for n in part.split("-"))
            except ValueError as error:
                raise ConfigError(
                    f"'{entry}' excludes nothing that can be understood.",
                    "Write a file name, or NAME:LO-HI for some of its slices.",
                ) from error
            ranges.append((first, last))
        return ranges

    def files(self, root: Path) -> list[Path]:
        """Return the source's files below ``root``, sorted.

        Raises
        ------
        EmptyInputError : a named case, or any file at all, is missing.
        """
        return [path for path, _ in self.labelled_files(root)]

    def labelled_files(self, root: Path) -> list[tuple[Path, Path | None]]:
        """Return the source's files below ``root``, sorted, each with that of its organs' labels if there is one.

        Raises
        ------
        EmptyInputError : a named case, its labels, or any file at all, is missing.
        """
        found: list[tuple[Path, Path | None]] = []
        for case in self.cases or ("*",):
            matches = _matches(root, self.pattern.format(case=case))
            labels = _matches(root, self.labels.format(case=case))[0] if self.labels else None
            found += [(match, labels) for match in matches if self.left_out(match.name) is not True]
        return found


def _matches(root: Path, pattern: str) -> list[Path]:
    """Return what a glob finds below the data folder, at least one file or folder."""
    matches = sorted(root.glob(pattern))
    if not matches:
        raise EmptyInputError(
            f"No file matches {pattern} below the data folder.", "Check --data and the training configuration."
        )
    return matches


class FramedVolume(NamedTuple):
    """Training slices of one volume.

    Attributes
    ----------
    slices : (N, size, size) uint8, intensity · 255, air outside the body; slices without a body and excluded
        ones are left out.
    entry : for the model card; spacing None and pixel 0 where the file does not know its spacing.
    labels : (N, size, size) uint8 labels of organs; None where there are none.
    """

    slices: NDArray[np.uint8]
    entry: dict[str, Any]
    labels: NDArray[np.uint8] | None = None


class TrainingSet(NamedTuple):
    """Training slices of all sources.

    Attributes
    ----------
    slices : (N, size, size) uint8.
    entries : one provenance entry a volume, for the model card.
    organs : labels of the slices; None where no source has any.
    """

    slices: NDArray[np.uint8]
    entries: list[dict[str, Any]]
    organs: LabelledOrgans | None


def read_hu(path: Path, source: DataSource) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Return the (D, H, W) HU in display order, and the voxels' (slice, row, column) spacing in mm.

    Raises
    ------
    ConfigError, GeometryError, UnreadableFileError : the file cannot be used; for DICOM, what
        :func:`KLIPCore.io.study.read_study` raises.
    """
    if path.is_dir() or source.oriented:
        volume, _ = read_study(path).oriented_lps()
        k, j, i = (float(v) for v in volume.grid.spacing)
        return (volume.array * source.slope + source.intercept).astype(np.float32), (k, j, i)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise UnreadableFileError(f"{path.name} cannot be read.", "Copy it again, or exclude it.") from error
    hu = sitk.GetArrayFromImage(image).astype(np.float32) * source.slope + source.intercept
    if hu.ndim != 3:
        raise ConfigError(f"{path.name} has {hu.ndim} dimensions.", "Train on 3-D volumes.")
    if not np.allclose(np.abs(np.sort(np.abs(image.GetDirection()))[-3:]), 1.0, atol=1e-3):
        raise GeometryError(
            f"The slices of {path.name} lie askew (gantry tilt, or an oblique reformat).",
            "Exclude it, or resample it to axial slices first.",
        )
    i, j, k = image.GetSpacing()
    return hu, (k, j, i)


def read_slices(
    path: Path, source: DataSource, window: Window, size: int, body_fraction: float, labels: Path | None = None
) -> FramedVolume:
    """Return framed slices of one volume, with the organs' labels of ``labels``, a file on the volume's grid.

    Raises
    ------
    ConfigError : the labels are not on the volume's grid.
    UnreadableFileError : a file cannot be read.
    """
    hu, spacing = read_hu(path, source)
    intensity = window.apply(hu)
    masks = body_masks(intensity)
    frame = Frame.of_body(masks, (spacing[1], spacing[2]), size, body_fraction)
    keep = masks.mean((1, 2)) > MIN_BODY_FRACTION
    ranges = source.left_out(path.name)
    for first, last in ranges if isinstance(ranges, list) else []:
        keep[max(first, 0) : last + 1] = False
    framed = frame.pull(np.where(masks, intensity, 0.0))[keep]
    known = spacing[2] != 1.0 or path.is_dir() or source.oriented
    entry = {
        "source": source.name,
        "file": path.name,
        "n_slices": len(framed),
        "spacing_mm": [round(v, 3) for v in spacing] if known else None,
        "pixel_mm": round(frame.pixel_mm, 3) if known else 0.0,
        "licence": source.licence,
        "cut": round(rim_share(masks[keep]), 3),
    }
    slices = np.round(np.clip(framed, 0, 1) * 255).astype(np.uint8)
    if labels is None:
        return FramedVolume(slices, entry)
    marked, _ = read_hu(labels, replace(source, slope=1.0, intercept=0.0))
    if marked.shape != hu.shape or not 0 <= marked.min() <= marked.max() < N_LABELS:
        raise ConfigError(
            f"{labels.name} is no set of organ labels for {path.name}.",
            f"Give labels 0 to {N_LABELS - 1} on the volume's own grid.",
        )
    return FramedVolume(slices, entry, frame.pull(marked, order=0).astype(np.uint8)[keep])


def rim_share(masks: NDArray[np.bool_]) -> float:
    """Return the mean share of the image's rim within the body, over the slices (D, H, W) that show one."""
    shares = [rim_part(m) for m in masks if m.any()]
    return float(np.mean(shares)) if shares else 0.0


def simulated_slices(
    source: DataSource, window: Window, size: int, body_fraction: float
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return simulated slices as :func:`read_slices` gives read ones.

    A body of nominal size takes ``body_fraction`` of the side.
    """
    pixel_mm = 2 * RADIUS_MM / (body_fraction * size)
    made = SimulatedDiscs(source.n_slices, source.seed).slices(ImageGrid2D((size, size), pixel_mm), window)
    entry = {
        "source": source.name,
        "file": f"SIMULATED {source.simulated}, seed {source.seed}",
        "n_slices": source.n_slices,
        "spacing_mm": [0.0, round(pixel_mm, 4), round(pixel_mm, 4)],
        "pixel_mm": round(pixel_mm, 4),
        "licence": source.licence,
    }
    return np.round(np.clip(made, 0, 1) * 255).astype(np.uint8), entry


def load_training_set(
    root: Path, sources: Iterable[DataSource], window: Window, size: int = 256, body_fraction: float = 0.875
) -> TrainingSet:
    """Return all slices of all sources.

    Raises
    ------
    ConfigError : there are none.
    EmptyInputError : a file is missing.
    """
    volumes: list[FramedVolume] = []
    for source in sources:
        if source.simulated:
            volumes.append(FramedVolume(*simulated_slices(source, window, size, body_fraction)))
            continue
        for path, labels in source.labelled_files(root):
            volumes.append(read_slices(path, source, window, size, body_fraction, labels))
    if not sum(len(volume.slices) for volume in volumes):
        raise ConfigError(
            "The training configuration's sources hold no slices.",
            "Name at least one source under 'sources', and exclude less.",
        )
    slices = np.concatenate([volume.slices for volume in volumes])
    return TrainingSet(slices, [volume.entry for volume in volumes], _organs(volumes, window))


def _organs(volumes: Sequence[FramedVolume], window: Window) -> LabelledOrgans | None:
    """Return the labels of all volumes, one after the other; None where no volume has any."""
    if all(volume.labels is None for volume in volumes):
        return None
    labels = [np.zeros_like(v.slices) if v.labels is None else v.labels for v in volumes]
    means = [organ_means(volume.slices, own) for volume, own in zip(volumes, labels, strict=True)]
    return LabelledOrgans(torch.from_numpy(np.concatenate(labels)), torch.from_numpy(np.concatenate(means)), window)
