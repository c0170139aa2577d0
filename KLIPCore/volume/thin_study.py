"""A study of which some slices are framed: what a verdict in seconds needs of a thousand of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from KLIPCore.volume.body import body_masks
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.framed_study import FramedStudy, SeenSlice, unsuited_slices
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.volume import Volume

MOST_SLICES = 100
"""Slices that are framed at most: laws over a whole study need no more, and framing takes most of the time."""


@dataclass(frozen=True, eq=False)
class ThinStudy:
    """Evenly spread slices of a study, framed, and all of them.

    Attributes
    ----------
    framed : the chosen slices, on a grid whose slices lie that much farther apart.
    whole : every slice, in LPS order.
    nearest : (D,) for each slice of ``whole``, the chosen one that stands for it.
    """

    framed: FramedStudy
    whole: Volume
    nearest: NDArray[np.intp]

    @property
    def complete(self) -> bool:
        """Whether every slice was chosen."""
        return len(self.framed.body) == len(self.nearest)

    def unsuited(self, card: ModelCard) -> dict[str, str]:
        """Return what the prior has not seen, as :func:`KLIPCore.volume.framed_study.unsuited` does of every slice."""
        chosen, masks, frame = self.framed.lps.array, self.framed.body, self.framed.frame
        seen = [SeenSlice.of(image, mask, card.window) for image, mask in zip(chosen, masks, strict=True)]
        cut = float(frame.truncated(masks).max(initial=0.0))
        return unsuited_slices(self.whole.grid, frame, card, [seen[k] for k in self.nearest], cut)


def thin_study(study: Volume, card: ModelCard, most: int = MOST_SLICES) -> ThinStudy:
    """Turn a study, choose slices of it, and frame those.

    Parameters
    ----------
    study : (D, H, W) volume in HU.
    card : what the prior was trained for.
    most : as many slices at most.

    Raises
    ------
    InputError : no chosen slice shows a body.
    """
    lps, _ = study.oriented_lps()
    n = len(lps.array)
    step = -(-n // most)
    chosen = np.arange(step // 2, n, step)
    thin = lps if step == 1 else _some(lps, chosen, step)
    body = np.stack([body_masks(card.window.apply(plane[None]))[0] for plane in thin.array])
    _, dy, dx = thin.grid.spacing
    frame = Frame.of_body(body, (float(dy), float(dx)), card.size, card.body_fraction)
    nearest = np.minimum(np.arange(n) // step, len(chosen) - 1)
    return ThinStudy(FramedStudy.of(thin, body, frame), lps, nearest)


def _some(lps: Volume, chosen: NDArray[np.intp], step: int) -> Volume:
    """Slices that are ``step`` apart."""
    affine = lps.grid.affine.copy()
    affine[:3, 3] = lps.grid.to_world([chosen[0], 0, 0])
    affine[:3, 0] *= step
    array = lps.array[chosen]
    source = replace(lps.source, sop_uids=(), files=())
    return Volume(array, Grid((len(chosen), *lps.grid.shape[1:]), affine, lps.grid.frame_uid), source, lps.unit)
