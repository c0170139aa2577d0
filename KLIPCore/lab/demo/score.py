"""How well known lesions were found: a finished run of :mod:`KLIPCore.lab.demo.demo` against what was put there.

A lesion is found when a flagged region touches it; beside that, blocks are compared over the body, as for real lesions
(:mod:`KLIPCore.lab.evaluation`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import TraceError
from KLIPCore.lab.evaluation.auroc import auroc
from KLIPCore.maps.kl_map import KLMap
from KLIPCore.maps.regions import label_volume
from KLIPCore.runs.rerun import Detection
from KLIPCore.volume.framed_study import Framing
from KLIPCore.volume.volume import Volume


@dataclass(frozen=True)
class LesionScore:
    """What became of one lesion.

    Attributes
    ----------
    label : its number in ``truth.seg.nrrd``.
    radius_mm : mean of its semi-axes.
    volume_ml : of its mask.
    slices : first and last slice, counted from the feet.
    beats : fraction of the lesion-free blocks of the body that have fewer nats than the lesion's strongest block.
    covered : fraction of it that lies in flagged regions.
    regions : names of those regions.
    """

    label: int
    radius_mm: float
    volume_ml: float
    slices: tuple[int, int]
    beats: float
    covered: float
    regions: tuple[str, ...]


@dataclass(frozen=True)
class DemoScore:
    """How well known lesions were found.

    Attributes
    ----------
    auroc : mean over slices with a lesion of the AUROC of body blocks, those that hold a lesion's pixel
        against all others.
    n_slices : how many slices that are.
    lesions : one entry a lesion.
    n_regions : flagged regions.
    false_regions : names of those that touch no lesion.
    """

    auroc: float
    n_slices: int
    lesions: tuple[LesionScore, ...]
    n_regions: int
    false_regions: tuple[str, ...]

    @property
    def n_found(self) -> int:
        """Lesions that a region touches."""
        return sum(bool(lesion.regions) for lesion in self.lesions)


def score_demo(found: Detection, truth: Volume) -> DemoScore:
    """Compare what was found with what is there.

    Parameters
    ----------
    found : a finished run.
    truth : (D, H, W) labels 1, 2, … of the lesions, 0 elsewhere, on the study's voxels in any order of axes.

    Raises
    ------
    TraceError : the labels lie on other voxels than the study.
    """
    framing = found.study
    turned, _ = truth.oriented_lps()
    if not turned.grid.same_as(framing.lps_grid):
        raise TraceError(
            "The truth does not lie on the voxels of the study.", "Remove the demo's folder and run it again."
        )
    labels = np.rint(turned.array).astype(np.int64)
    numbers = [int(n) for n in np.unique(labels) if n > 0]
    flagged = framing.orientation.apply(label_volume(found.report.regions, framing.grid))
    names = {region.label: region.name for region in found.report.regions}
    in_cell, in_block = lesion_cells(found.kl_map, framing, labels)
    healthy = np.sort(found.kl_map.nats[found.kl_map.tested & ~in_block.any(0)])
    lesions = []
    for n, cells in zip(numbers, in_cell, strict=True):
        mask = labels == n
        peak = float(found.kl_map.nats[cells].max(initial=0.0))
        touched = [int(label) for label in np.unique(flagged[mask]) if label > 0]
        slices = np.flatnonzero(mask.any((1, 2)))
        volume = float(mask.sum() * framing.grid.voxel_volume_mm3)
        lesions.append(
            LesionScore(
                label=n,
                radius_mm=(3 * volume / (4 * math.pi)) ** (1 / 3),
                volume_ml=volume / 1000,
                slices=(int(slices[0]), int(slices[-1])),
                beats=float(np.searchsorted(healthy, peak) / max(len(healthy), 1)),
                covered=float((flagged[mask] > 0).mean()),
                regions=tuple(names[label] for label in touched),
            )
        )
    positive, tested = np.asarray(in_block.any(0)), found.kl_map.tested
    with_lesion = [s for s in range(len(positive)) if (positive[s] & tested[s]).any()]
    curves = [auroc(found.kl_map.nats[s][tested[s]], positive[s][tested[s]]) for s in with_lesion]
    true = {name for lesion in lesions for name in lesion.regions}
    return DemoScore(
        auroc=float(np.mean(curves)) if curves else float("nan"),
        n_slices=len(curves),
        lesions=tuple(lesions),
        n_regions=len(names),
        false_regions=tuple(name for name in names.values() if name not in true),
    )


def lesion_cells(
    kl_map: KLMap, framing: Framing, labels: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which base cells of a map belong to which lesion.

    Parameters
    ----------
    kl_map : of n slices, h × w cells each.
    framing : of its study.
    labels : (D, H, W) on the LPS grid.

    Returns
    -------
    in_cell : (n_lesions, n, h, w) bool, the cell holds a pixel of the lesion; lesions in rising order of label.
    in_block : likewise for the block centred at the cell.
    """
    numbers = [int(n) for n in np.unique(labels) if n > 0]
    n_cells = kl_map.nats.shape[-1]
    step = framing.frame.size // n_cells
    reach = max(1, round(kl_map.block_mm / framing.frame.pixel_mm / step))
    in_cell = np.zeros((len(numbers), *kl_map.nats.shape), bool)
    for place, k in enumerate(kl_map.indices):
        for m, n in enumerate(numbers):
            if (labels[k] == n).any():
                pixels = framing.frame_of(k).pull((labels[k : k + 1] == n).astype(np.float32), order=0)[0] > 0.5
                in_cell[m, place] = pixels.reshape(n_cells, step, n_cells, step).any((1, 3))
    return in_cell, ndi.maximum_filter(in_cell, (1, 1, reach, reach))
