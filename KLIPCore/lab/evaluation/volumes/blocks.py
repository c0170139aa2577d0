"""How a map's blocks rank in the slices with lesions, in the whole body and inside an organ.

Voxel figures are of the map as it is carried to the study's grid, and of all of its slices together. What single-slice
evaluations report is another figure: blocks that hold a labelled pixel against all others of the same slice, one curve
a slice, mean over the slices (:mod:`KLIPCore.lab.evaluation.figures`). It is asked here of the maps of whole runs, so
that a score which pools neighbouring slices has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.auroc import auroc, mean_of
from KLIPCore.lab.evaluation.cases import MIN_LESION_PIXELS, block_truth
from KLIPCore.maps.kl_map import KLMap
from KLIPCore.volume.framed_study import Framing


@dataclass(frozen=True)
class BlockFigures:
    """How blocks rank in one scan; NaN where there is nothing to rank.

    Attributes
    ----------
    body, organ : mean AUROC over the slices with lesions, of blocks in the body and of those inside the organ.
    slices : how many slices that are.
    """

    body: float
    organ: float
    slices: int


def block_figures(
    cells: KLMap, framing: Framing, lesion: NDArray[np.bool_], organ: NDArray[np.bool_] | None
) -> BlockFigures:
    """Return how the blocks of a map rank.

    Parameters
    ----------
    cells : the map over base cells.
    framing : of its study.
    lesion, organ : (D, H, W) bool on the study's grid; an organ holds its lesions. None where no organ is known.
    """
    lesions = framing.orientation.apply(lesion)
    organs = None if organ is None else framing.orientation.apply(organ)
    cell = framing.frame.size // cells.nats.shape[-1]
    reach = max(1, round(cells.block_mm / framing.frame.pixel_mm))
    body: list[float] = []
    inside: list[float] = []
    for place, index in enumerate(cells.indices):
        framed = _framed(framing, lesions, index)
        if framed.sum() < MIN_LESION_PIXELS:
            continue
        own = np.zeros_like(framed) if organs is None else _framed(framing, organs, index)
        positive, within = block_truth(framed, own, reach, cell)
        for region, out in ((cells.tested[place], body), (within, inside)):
            chosen = region | positive
            out.append(auroc(cells.nats[place][chosen], positive[chosen]))
    return BlockFigures(mean_of(body), mean_of(inside) if organ is not None else float("nan"), len(body))


def _framed(framing: Framing, mask: NDArray[np.bool_], index: int) -> NDArray[np.bool_]:
    """A slice of a mask on the LPS grid, on the prior's frame."""
    pulled = framing.frame_of(index).pull(mask[index : index + 1].astype(np.float32), order=0)
    return np.asarray(pulled[0] > 0.5)
