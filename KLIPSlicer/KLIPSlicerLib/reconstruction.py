"""The reconstruction of a detection as a volume in HU, filled slice by slice while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import slicer.util

from KLIPCore.volume.model_card import ModelCard
from KLIPSlicerLib import nodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from KLIPCore.maps.trace import SliceTrace
    from KLIPCore.runs.live import LiveMap
    from KLIPSlicerLib.nodes import VoxelOrder


def begin(node: Any, live: LiveMap) -> None:
    """Fill a volume with air, the lower end of the prior's window, and show that window where none is known."""
    card = ModelCard.from_dict(live.run["prior"])
    slicer.util.arrayFromVolume(node).fill(card.window.lo_hu)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
        shown = node.GetDisplayNode()
        shown.SetAutoWindowLevel(False)
        shown.SetWindowLevelMinMax(card.window.lo_hu, card.window.hi_hu)


def add(node: Any, live: LiveMap, order: VoxelOrder, new: Sequence[SliceTrace]) -> None:
    """Write slices into it, in place."""
    framing, card = live.framing, ModelCard.from_dict(live.run["prior"])
    slices = framing.orientation.view(order.sourceView(slicer.util.arrayFromVolume(node)))
    for piece in new:
        seen = framing.frame_of(piece.index).push(piece.reconstruction[None], slices.shape[1:])[0]
        slices[piece.index] = card.window.invert(np.clip(seen, 0, 1))
    nodes.voxelsModified(node)
