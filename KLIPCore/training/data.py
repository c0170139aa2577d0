"""From folders of CT to a stack of framed training slices.

A training set is a list of sources; each says which files it takes and how their numbers become HU. Every volume goes
through exactly the steps a study goes through at detection time (window, body mask, couch removal, frame),
so that the prior sees in training what it will see in use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, EmptyInputError
from KLIPCore.volume.body import body_masks
from KLIPCore.volume.frame import MIN_BODY_FRACTION, Frame
from KLIPCore.volume.units import Window


@dataclass(frozen=True)
class DataSource:
    """Some volumes and how to read them.

    Attributes
    ----------
    name : what the model card calls it.
    pattern : glob below the data folder, with ``{case}`` where a case name goes.
    cases : the cases taken; empty means every match of ``*``.
    slope, intercept : HU = slope · stored + intercept.
    licence : as the card states it.
    """

    name: str
    pattern: str
    cases: tuple[str, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    licence: str = ""

    def files(self, root: Path) -> list[Path]:
        """The source's files below ``root``, sorted.

        Raises
        ------
        EmptyInputError : a named case, or any file at all, is missing.
        """
        found: list[Path] = []
        for case in self.cases or ("*",):
            matches = sorted(root.glob(self.pattern.format(case=case)))
            if not matches:
                raise EmptyInputError(
                    f"No file matches {self.pattern.format(case=case)} below the data folder.", "Check --data and the training configuration."
                )
            found += matches
        return found


def read_slices(path: Path, source: DataSource, window: Window, size: int, body_fraction: float) -> tuple[NDArray[np.uint8], float]:
    """Framed slices of one volume whose array is in display order (row 0 anterior, column 0 patient right).

    Returns
    -------
    slices : (N, size, size) uint8, intensity · 255, air outside the body; slices without a body are left out.
    pixel_mm : edge of their pixels, 0 where the file does not know its spacing.
    """
    image = sitk.ReadImage(str(path))
    hu = sitk.GetArrayFromImage(image).astype(np.float32) * source.slope + source.intercept
    if hu.ndim != 3:
        raise ConfigError(f"{path.name} has {hu.ndim} dimensions.", "Train on 3-D volumes.")
    intensity = window.apply(hu)
    masks = body_masks(intensity)
    spacing = image.GetSpacing()
    frame = Frame.of_body(masks, (spacing[1], spacing[0]), size, body_fraction)
    keep = masks.mean((1, 2)) > MIN_BODY_FRACTION
    framed = frame.pull(np.where(masks, intensity, 0.0))[keep]
    return np.round(np.clip(framed, 0, 1) * 255).astype(np.uint8), 0.0 if spacing[0] == 1.0 else frame.pixel_mm


def load_training_set(
    root: Path, sources: Iterable[DataSource], window: Window, size: int = 256, body_fraction: float = 0.875
) -> tuple[NDArray[np.uint8], list[dict[str, object]]]:
    """All slices (N, size, size) uint8 of all sources, and one provenance entry a volume for the model card."""
    stacks, entries = [], []
    for source in sources:
        for path in source.files(root):
            slices, pixel_mm = read_slices(path, source, window, size, body_fraction)
            stacks.append(slices)
            entries.append({"source": source.name, "file": path.name, "n_slices": len(slices), "pixel_mm": round(pixel_mm, 3), "licence": source.licence})
    if not stacks:
        raise ConfigError("The training configuration names no source.", "Add at least one entry under 'sources'.")
    return np.concatenate(stacks), entries
