"""Which regions are unchecked, kept by place: what a slider makes vanish and return stays unchecked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from KLIPSlicerLib import regions
from KLIPSlicerLib.result_nodes import HIDDEN

if TYPE_CHECKING:
    from KLIPSlicerLib.scene_results import SceneResults


class Hidden:
    """The unchecked regions of one detection, in an attribute of its text node.

    :param traceNode: the detection's text node.
    """

    def __init__(self, traceNode: Any) -> None:
        self._node = traceNode

    def peaks(self, results: SceneResults) -> list[list[float]]:
        """LPS peaks of unchecked regions, past ones included."""
        peaks = json.loads(self._node.GetAttribute(HIDDEN) or "[]")
        grid = results.live.framing.grid
        for i, region in enumerate(results.regions):
            peaks = [peak for peak in peaks if not regions.contains(region, grid, peak)]
            if not results.isRegionVisible(i):
                peaks.append(list(region.peak_lps_mm))
        return peaks

    def keep(self, results: SceneResults) -> None:
        """Note which regions are unchecked now."""
        self._node.SetAttribute(HIDDEN, json.dumps(self.peaks(results)))

    def hide(self, results: SceneResults, peaks: list[list[float]]) -> None:
        """Hide the regions that hold one of these points, show the others."""
        shown, grid = results.segmentationNode.GetDisplayNode(), results.live.framing.grid
        for region in results.regions:
            held = any(regions.contains(region, grid, peak) for peak in peaks)
            shown.SetSegmentVisibility(regions.segmentId(region), not held)
        self._node.SetAttribute(HIDDEN, json.dumps(peaks))
