"""Labelled CT for the network that names organs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.errors import UnreadableFileError
from KLIPCore.volume.body import body_masks
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.units import Window


@dataclass(frozen=True, eq=False)
class LabelledStudy:
    """One patient, framed as at detection time.

    Attributes
    ----------
    case : str
    slices : Tensor, (D, S, S) uint8, intensity x 255
    labels : Tensor, (D, S, S) uint8, classes of :data:`KLIPCore.organs.network.ORGANS`
    slice_mm : float, distance of slices
    """

    case: str
    slices: Tensor
    labels: Tensor
    slice_mm: float


def read_labelled(case: str, image: Path, labels: Path, slice_mm: float, hu: tuple[float, float]) -> LabelledStudy:
    """Read a patient of BTCV's 8-bit copies.

    Parameters
    ----------
    case : str
        What the patient is called in tables.
    image, labels : Path
        Volumes on one grid, in display order.
    slice_mm : float, mm
        Distance of slices; the copies do not know theirs.
    hu : (slope, intercept)
        HU = slope x stored + intercept.

    Raises
    ------
    UnreadableFileError
        A file cannot be read, or the two differ in size.
    """
    try:
        stored, marked = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (image, labels))
    except RuntimeError as error:
        raise UnreadableFileError(f"The labelled patient {case} cannot be read.", "Copy its files again.") from error
    if stored.shape != marked.shape:
        raise UnreadableFileError(f"Image and labels of {case} differ in size.", "Copy its files again.")
    return frame_labelled(case, stored.astype(np.float32) * hu[0] + hu[1], marked, slice_mm)


def frame_labelled(
    case: str,
    hu: NDArray[np.float32],
    labels: NDArray[np.uint8],
    slice_mm: float,
    window: Window | None = None,
) -> LabelledStudy:
    """Frame a volume and its labels, both (D, H, W), as detection frames a study."""
    intensity = (window or Window(-125.0, 275.0)).apply(hu)
    masks = body_masks(intensity)
    frame = Frame.of_body(masks)
    framed = frame.pull(np.where(masks, intensity, 0.0))
    return LabelledStudy(
        case,
        torch.from_numpy(np.round(np.clip(framed, 0, 1) * 255).astype(np.uint8)),
        torch.from_numpy(frame.pull(labels.astype(np.float32), order=0).astype(np.uint8)),
        slice_mm,
    )
