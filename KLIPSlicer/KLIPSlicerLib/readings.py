"""What a reader says of a region: real, a normal variant, an artefact, or unsure, and a note in words.

Readings live in an attribute of the detection's text node, so they are saved with the scene. Each is kept by its place
(the region's peak when it was given), not by the region's number: a slider that makes a region vanish, return or grow
does not move the reading to another one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from KLIPCore.export.report import VERDICTS, Reading
from KLIPSlicerLib import regions

if TYPE_CHECKING:
    from KLIPCore.maps.regions import Region
    from KLIPCore.volume.grid import Grid

ATTRIBUTE = "KLIP.Readings"
"""Of the text node: a JSON list of places (LPS mm), verdicts and notes."""


class Readings:
    """The readings of one detection.

    :param traceNode: the detection's text node.
    """

    def __init__(self, traceNode: Any) -> None:
        self._node = traceNode

    def of(self, region: Region, grid: Grid) -> Reading | None:
        """What was said of a region; of several, what was said nearest to its peak."""
        inside = [entry for entry in self._stored() if regions.contains(region, grid, entry["peak_lps_mm"])]
        if not inside:
            return None
        near = min(inside, key=lambda entry: np.linalg.norm(np.subtract(entry["peak_lps_mm"], region.peak_lps_mm)))
        return Reading(near["verdict"], near["note"])

    def ofAll(self, found: Sequence[Region], grid: Grid) -> dict[int, Reading]:
        """Label of a region → what was said of it, for those of which something was said."""
        said = {region.label: self.of(region, grid) for region in found}
        return {label: reading for label, reading in said.items() if reading is not None}

    def set(self, region: Region, grid: Grid, reading: Reading | None) -> None:
        """Say something of a region, in place of what was said of it before; None takes it back."""
        kept = [entry for entry in self._stored() if not regions.contains(region, grid, entry["peak_lps_mm"])]
        if reading is not None and (reading.verdict or reading.note):
            place = [float(x) for x in region.peak_lps_mm]
            kept.append({"peak_lps_mm": place, "verdict": reading.verdict, "note": reading.note})
        self._node.SetAttribute(ATTRIBUTE, json.dumps(kept) if kept else None)

    def _stored(self) -> list[dict[str, Any]]:
        """All entries; what another hand has written into the scene and is none, is passed over."""
        try:
            entries = json.loads(self._node.GetAttribute(ATTRIBUTE) or "[]")
            return [
                {
                    "peak_lps_mm": [float(x) for x in entry["peak_lps_mm"]],
                    "verdict": entry["verdict"] if entry["verdict"] in VERDICTS else "",
                    "note": str(entry["note"]),
                }
                for entry in entries
                if len(entry["peak_lps_mm"]) == 3
            ]
        except (ValueError, TypeError, KeyError):
            return []
