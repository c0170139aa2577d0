"""The reconstruction of a detection as a volume in HU, filled slice by slice while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import slicer.util

from KLIPCore.volume.model_card import ModelCard
from KLIPSlicerLib import nodes
from KLIPSlicerLib.steps import aside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from KLIPCore.maps.trace import SliceTrace
    from KLIPCore.runs.live import LiveMap
    from KLIPSlicerLib.nodes import VoxelOrder
    from KLIPSlicerLib.steps import Steps


def beginning(node: Any, live: LiveMap, wasShown: bool) -> Steps[None]:
    """Fill a volume with air, the lower end of the prior's window, and show that window.

    :param wasShown: whether somebody chose another window before.
    """
    card, voxels = ModelCard.from_dict(live.run["prior"]), slicer.util.arrayFromVolume(node)
    if not wasShown:
        node.GetDisplayNode().SetWindowLevelMinMax(card.window.lo_hu, card.window.hi_hu)
    yield from aside(lambda: voxels.fill(card.window.lo_hu))


def adding(node: Any, live: LiveMap, order: VoxelOrder, new: Sequence[SliceTrace]) -> Steps[None]:
    """Write slices into it, in place."""
    framing, card = live.framing, ModelCard.from_dict(live.run["prior"])
    slices = framing.orientation.view(order.sourceView(slicer.util.arrayFromVolume(node)))

    def write() -> None:
        for piece in new:
            seen = framing.frame_of(piece.index).push(piece.reconstruction[None], slices.shape[1:])[0]
            slices[piece.index] = card.window.invert(np.clip(seen, 0, 1))

    yield from aside(write)
    nodes.voxelsModified(node)
