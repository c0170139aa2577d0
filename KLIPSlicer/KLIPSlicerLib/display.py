"""How a KL map is shown: its colors, their range, a threshold, a legend, the slice views.

A KL map is a continuous float32 volume. Saved as whole numbers, or shown with a range taken from its extremes,
it would be one flat color; so the range comes from the null. In every scan looked at, log nats of body blocks
are close to normal (:mod:`KLIPCore.maps.null`), and positions on that scale keep their meaning when a slider
moves: a larger block has more nats everywhere, but the same share of it is unusual. A :class:`NatsRange`
therefore knows its limits both in nats and in standard deviations of log nats, and carries a user's own limits
from one setting to the next. Surprise, minus the logarithm of how rare a block is in health, is such a scale itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from KLIPCore.errors import TraceError
from KLIPCore.maps.null import BulkNull
from KLIPCore.maps.verdict import DRAWN, FORMING
from KLIPSlicerLib.paths import resourcePath

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from KLIPCore.maps.regions import Region
    from KLIPCore.runs.live import LiveView

COLOR_NODE_NAME = "KL map colors"
MAP_OPACITY = 0.6
"""Of the map over the CT, to begin with: colors are plain to see and so is the tissue under them."""

THRESHOLD_Z = 2.0
"""Blocks above this many standard deviations of the bulk show: 2 % of a scan in which nothing is unusual.
Regions are formed a little higher (:class:`KLIPCore.config.RegionConfig`), so every region lies on colors."""

BRIGHTEST_Z = 4.5
"""At least this many standard deviations span the colors, so that a scan without findings does not glow."""

BRIGHTEST_SURPRISE = 2 * FORMING
"""The last color of a map of surprise reaches at least so high: a scan without findings does not glow."""

SAMPLE = 200_000
"""About so many voxels tell the range: blocks are many voxels wide, neighbors say the same."""


@dataclass(frozen=True)
class NatsRange:
    """What the colors mean, in nats.

    Attributes
    ----------
    threshold : below it nothing shows.
    low, high : nats of the first and the last color.
    null : the bulk of the body's nats; None where there are too few to say.
    """

    threshold: float
    low: float
    high: float
    null: BulkNull | None = None

    @classmethod
    def ofMap(cls, kl: NDArray[np.float32], found: Sequence[Region] = ()) -> NatsRange:
        """The range for a map (k, j, i) in nats that is 0 outside the body, and the regions found in it."""
        step = max(1, round((kl.size / SAMPLE) ** 0.5))
        sample = kl[:, ::step, ::step]
        body = sample[sample > 0]
        top = max([float(body.max(initial=0.0)), *(region.peak_nats for region in found)]) or 1.0
        try:
            null = BulkNull.fit(body)
        except TraceError:  # a few voxels, or all of them alike: show what there is
            return cls(0.5 * top, 0.0, top)
        brightest = max(BRIGHTEST_Z, min(float(null.z(np.array(top))), 2 * BRIGHTEST_Z))
        threshold = null.nats_at(THRESHOLD_Z)
        return cls(threshold, threshold, min(null.nats_at(brightest), max(top, null.nats_at(BRIGHTEST_Z))), null)

    @classmethod
    def ofView(cls, view: LiveView) -> NatsRange:
        """The range for what settings show: surprise, judged by health, has a scale of its own, and needs no null."""
        if not view.by_health:
            return cls.ofMap(view.kl_map.array, view.regions)
        weakest = DRAWN * FORMING  # down to which the weakest region is drawn: 5 of 100 healthy blocks exceed it
        return cls(weakest, weakest, max([BRIGHTEST_SURPRISE, *(region.peak_nats for region in view.regions)]))

    def moved(self, nats: float, new: NatsRange) -> float:
        """Nats that are as unusual under ``new`` as ``nats`` is under this range."""
        if nats <= 0:
            return nats
        if self.null is None or new.null is None:
            return nats * new.high / self.high
        return new.null.nats_at(float(self.null.z(np.array(nats))))


def klColorNode(scene: Any) -> Any:
    """The scene's color table for KL maps, made from ``Resources/ColorTables/KLIP.ctbl`` when it is not there."""
    for node in slicer.util.getNodesByClass("vtkMRMLColorTableNode", scene):
        if node.GetAttribute("KLIP.ColorTable"):
            return node
    colors = readColorTable(resourcePath("ColorTables/KLIP.ctbl"))
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", COLOR_NODE_NAME)
    wasModifying = node.StartModify()
    node.SetTypeToUser()
    node.SetNumberOfColors(len(colors))
    for n, (red, green, blue) in enumerate(colors):
        node.SetColor(n, f"kl_{n}", red, green, blue, 1.0)
    node.SetAttribute("KLIP.ColorTable", "1")
    node.SetAttribute("Category", "KLIP")
    node.EndModify(wasModifying)
    return node


def readColorTable(path: Path) -> list[tuple[float, float, float]]:
    """RGB in 0..1 of a ``.ctbl`` file, in the order of its lines."""
    rows = (
        line.split() for line in path.read_text(encoding="ascii").splitlines() if line and not line.startswith("#")
    )
    return [(int(r) / 255, int(g) / 255, int(b) / 255) for _number, _name, r, g, b, _alpha in rows]


def setUpMapDisplay(mapNode: Any) -> None:
    """Give a map its colors, and a legend in the slice views."""
    _setUpColors(mapNode, klColorNode(mapNode.GetScene()), legendTitle("nats"))  # until a map is shown


def setUpNullSpaceDisplay(node: Any, title: str) -> None:
    """Colors of a share, 0 to 1 at most, and a legend; where there is no body, nothing."""
    voxels = slicer.util.arrayFromVolume(node)
    _setUpColors(node, klColorNode(node.GetScene()), title).SetLabelFormat("%.2f")
    display = node.GetDisplayNode()
    display.SetInterpolate(False)
    display.SetWindowLevelMinMax(0.0, max(0.1, float(np.quantile(voxels[voxels > 0], 0.995)) if voxels.any() else 0.1))
    display.SetThreshold(1e-6, 1e30)
    display.SetApplyThreshold(True)


def setUpResidualDisplay(node: Any, title: str, shown: float, limit: float) -> None:
    """Purple below 0 and orange above, beyond ``shown`` standard deviations, and a legend."""
    _setUpColors(node, residualColorNode(node.GetScene(), shown / limit), title).SetLabelFormat("%.0f")
    node.GetDisplayNode().SetInterpolate(False)
    node.GetDisplayNode().SetWindowLevelMinMax(-limit, limit)


def residualColorNode(scene: Any, clear: float) -> Any:
    """The scene's color table for residuals: transparent in the middle part ``clear`` of its range."""
    for node in slicer.util.getNodesByClass("vtkMRMLColorTableNode", scene):
        if node.GetAttribute("KLIP.Residual"):
            return node
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "Residual colors")
    wasModifying = node.StartModify()
    node.SetTypeToUser()
    node.SetNumberOfColors(256)
    for n in range(256):
        t = (n - 127.5) / 127.5
        part = 0.35 + 0.65 * abs(t)
        red, green, blue = (1.0, 0.62, 0.15) if t > 0 else (0.68, 0.42, 1.0)
        node.SetColor(n, f"residual_{n}", part * red, part * green, part * blue, 0.0 if abs(t) < clear else 1.0)
    node.SetAttribute("KLIP.Residual", "1")
    node.SetAttribute("Category", "KLIP")
    node.EndModify(wasModifying)
    return node


def _setUpColors(mapNode: Any, colorNode: Any, title: str) -> Any:
    """Give a map colors of its own and a legend in the slice views; the legend's display node."""
    mapNode.CreateDefaultDisplayNodes()
    display = mapNode.GetDisplayNode()
    display.SetAndObserveColorNodeID(colorNode.GetID())
    display.SetAutoWindowLevel(False)
    display.SetInterpolate(True)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(display)
    legend.SetTitleText(title)
    legend.SetNumberOfLabels(5)
    legend.SetPosition(0.97, 0.5)
    legend.SetSize(0.06, 0.45)  # the text grows with the width
    legend.SetVisibility(True)
    return legend


def legendTitle(unit: str) -> str:
    """What stands above the colors of a map in this unit."""
    return _("KL (nats per block)") if unit == "nats" else _("{unit} per block").format(unit=unit.capitalize())


def legendOf(mapNode: Any) -> Any:
    """A map's legend display node, or None."""
    return slicer.modules.colors.logic().GetColorLegendDisplayNode(mapNode)


def applyRange(mapNode: Any, values: NatsRange, unit: str = "nats") -> None:
    """Set threshold and colors of a map, and say what its numbers are; one notification."""
    display = mapNode.GetDisplayNode()
    wasModifying = display.StartModify()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(values.low, values.high)
    display.SetThreshold(values.threshold, 1e30)
    display.SetApplyThreshold(True)
    display.EndModify(wasModifying)
    legend = legendOf(mapNode)
    if legend is not None:
        legend.SetTitleText(legendTitle(unit))
        # about four characters each: Slicer makes the text as large as they fit
        legend.SetLabelFormat("%.0f" if values.high >= 100 else "%.1f" if values.high >= 10 else "%.2f")


def showInSliceViews(inputNode: Any, mapNode: Any, opacity: float = MAP_OPACITY) -> None:
    """The CT behind, the map in front, in all slice views."""
    slicer.util.setSliceViewerLayers(background=inputNode, foreground=mapNode, foregroundOpacity=opacity)
    legend = legendOf(mapNode) if mapNode is not None else None
    if legend is not None:
        legend.Modified()  # views look whether its volume is shown when the legend changes, not when their layers do


def sliceCompositesShowing(mapNode: Any) -> list[Any]:
    """The composite nodes of the slice views that have the map in front."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", mapNode.GetScene())
    return [node for node in composites if node.GetForegroundVolumeID() == mapNode.GetID()]


def jumpSliceViews(scene: Any, worldRas: Any) -> None:
    """All slice views to a world point, centered on it, and the crosshair with them."""
    r, a, s = (float(v) for v in worldRas)
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, r, a, s, slicer.vtkMRMLSliceNode.CenteredJumpSlice)
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(r, a, s)
