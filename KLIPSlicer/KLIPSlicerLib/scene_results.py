"""Everything one detection puts into the scene, and the sliders' way to it.

::

    study (subject hierarchy)
    ├── CT                          the input
    └── KLIP: CT                    a folder
        ├── CT reconstruction       posterior mean, HU
        ├── CT KL map               float32 nats of the block centered at each voxel
        ├── CT regions              one segment a region: name, color, terminology, numbers as tags
        ├── CT region table
        └── CT KLIP trace           what the sliders need, as text (KLIPSlicerLib.live)

The text node is the detection: it refers to all the others, each of them refers back to it, and its attributes
hold the settings. So a detection is found again from any of its nodes after the scene was saved and loaded,
run folder or not.

All volumes have the input's own matrix and parent transform, to the bit. One shared labelmap serves all
segments: moving a slider overwrites its voxels and the map's, and tells each node once.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from KLIPCore.config import RegionConfig
from KLIPCore.errors import TraceError
from KLIPSlicerLib import display, live, nodes, reconstruction, regions, result_nodes
from KLIPSlicerLib.detection_nodes import DetectionNodes
from KLIPSlicerLib.hidden import Hidden
from KLIPSlicerLib.nodes import TRACE
from KLIPSlicerLib.readings import Readings
from KLIPSlicerLib.result_nodes import (
    FOLDER,
    MAP,
    RECONSTRUCTION,
    SEARCH,
    SETTINGS,
)
from KLIPSlicerLib.steps import aside, atOnce
from KLIPSlicerLib.trace_text import settingText, textOf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from KLIPCore.export.report import Reading
    from KLIPCore.maps.regions import Region
    from KLIPCore.maps.trace import SliceTrace
    from KLIPCore.runs.live import LiveMap, LiveView
    from KLIPCore.runs.search import Search
    from KLIPSlicerLib.steps import Steps


class SceneResults(DetectionNodes):
    """One detection in the scene. Make it with :meth:`create` or :meth:`restore`.

    Attributes
    ----------
    traceNode : the text node that holds everything together.
    readings : what the reader said of regions.
    hidden : which regions are unchecked.
    view : what the present settings show; None until the first :meth:`show`.
    """

    def __init__(self, traceNode: Any) -> None:
        super().__init__(traceNode)
        self.readings, self.hidden = Readings(traceNode), Hidden(traceNode)
        self.view: LiveView | None = None
        self._spare: LiveView | None = None
        self.range: display.NatsRange | None = None
        self._live: LiveMap | None = None
        self._growing: live.GrowingRun | None = None
        self._order: nodes.VoxelOrder | None = None

    # ---- made, restored, removed

    @classmethod
    def create(cls, inputNode: Any, runFolder: str | Path, chosen: Mapping[str, Any] | None = None) -> SceneResults:
        """Put a run into the scene: finished, or growing with at least one slice done.

        Parameters
        ----------
        inputNode : the CT that was examined.
        runFolder : what ``klip detect -o`` was given.
        chosen : role → a node of the scene whose contents are replaced; new nodes for the other roles.

        Raises
        ------
        TraceError : no run there, or too little of it is done; nothing in the scene has changed then.
        GeometryError : the run is of another volume.
        """
        return atOnce(cls.creating(inputNode, runFolder, chosen))

    @classmethod
    def creating(
        cls, inputNode: Any, runFolder: str | Path, chosen: Mapping[str, Any] | None = None
    ) -> Steps[SceneResults]:
        """:meth:`create` in steps of some milliseconds; given up, it leaves no node of its own."""
        grid = nodes.gridOfNode(inputNode)

        def read() -> tuple[live.GrowingRun, Sequence[SliceTrace], LiveMap, nodes.VoxelOrder, LiveView]:
            growing = live.GrowingRun(runFolder)
            new, liveMap = growing.readNew(), growing.liveMap()
            order = nodes.VoxelOrder.between(growing.framing.grid, grid)
            return growing, new, liveMap, order, live.viewOf(liveMap, liveMap.settings)

        growing, new, liveMap, order, view = yield from aside(read)
        if inputNode.GetScene() is None:
            raise TraceError(_("The examined volume is no longer in the scene."), _("Load it again."))
        chosen = {role: node for role, node in (chosen or {}).items() if node.GetScene() is not None}
        wasShown = RECONSTRUCTION in chosen and chosen[RECONSTRUCTION].GetDisplayNode() is not None
        made = cls(result_nodes.makeNodes(inputNode, chosen))
        made._growing, made._live, made._order = growing, liveMap, order
        made.traceNode.SetAttribute(FOLDER, str(growing.folder.path))
        try:
            yield from reconstruction.beginning(made.reconstructionNode, liveMap, wasShown)
            yield from reconstruction.adding(made.reconstructionNode, liveMap, order, new)
            voxels = slicer.util.arrayFromVolume(made.mapNode)
            yield from aside(lambda: voxels.fill(0))
            yield from made._putting(view)
            made.showInSliceViews()
            if growing.isComplete:
                yield from made.finishing()
        except BaseException:
            if made.traceNode.GetScene() is not None:
                made.remove(list(chosen.values()))
            raise
        return made

    @classmethod
    def restore(cls, referencingNode: Any) -> SceneResults | None:
        """The detection that a node belongs to, e.g. after a scene was loaded; None when it belongs to none.

        Nothing in the scene changes, not even segments that were edited by hand: that is up to the next slider.

        Parameters
        ----------
        referencingNode : any node of a detection, or a node that refers to one with the role ``KLIP.Trace``.

        Raises
        ------
        TraceError : the stored trace is damaged or missing.
        """
        traceNode = referencingNode
        if traceNode is not None and not traceNode.GetNodeReference(MAP):
            traceNode = referencingNode.GetNodeReference(TRACE)
        if traceNode is None or not traceNode.GetNodeReference(MAP):
            return None
        made = cls(traceNode)
        if not made.whole:
            raise TraceError(_("A part of the results was deleted from the scene."), _("Run the detection again."))
        made._live = live.searchingAs(live.decode(textOf(traceNode)), traceNode.GetAttribute(SEARCH))
        made._order = nodes.VoxelOrder.between(made._live.framing.grid, nodes.gridOfNode(made.mapNode))
        made.view = made._live.update(made.settings)
        made.range = display.NatsRange.ofView(made.view)
        return made

    # ---- live

    @property
    def live(self) -> LiveMap:
        """The trace behind the sliders."""
        if self._live is None:
            raise TraceError(_("There is no trace behind these results."), _("Run the detection again."))
        return self._live

    @property
    def regions(self) -> tuple[Region, ...]:
        """What stands out under the present settings, strongest first."""
        return () if self.view is None else self.view.regions

    @property
    def settings(self) -> RegionConfig:
        """The present settings of the sliders."""
        stored = json.loads(self.traceNode.GetAttribute(SETTINGS) or "null")
        if stored is None:
            return self.live.settings
        return RegionConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()})

    def show(self, settings: RegionConfig) -> None:
        """Map, regions and table under other settings; no sampling.

        Raises
        ------
        TraceError : the trace cannot answer them; what was shown stays.
        """
        atOnce(self.showing(settings))

    def showing(self, settings: RegionConfig) -> Steps[None]:
        """:meth:`show` in steps of some milliseconds; what was shown stays until all of the new is known."""
        self._refuseParts()
        view = yield from aside(lambda: live.viewOf(self.live, settings, self._spare))
        yield from self._putting(view)

    def _refuseParts(self) -> None:
        """Raise TraceError where a node was deleted."""
        if not self.whole:
            raise TraceError(_("A part of the results was deleted from the scene."), _("Run the detection again."))

    def _putting(self, view: LiveView) -> Steps[None]:
        """Map, regions and table into the scene's nodes; voxels first, then all notifications at once."""
        self._refuseParts()
        assert self._order is not None
        order, image = self._order, regions.labelmapFor(self.segmentationNode, self.mapNode, view.regions)
        labels = order.sourceView(regions.voxelsOf(image))
        voxels = nodes.voxelsLike(self.mapNode, order.apply(view.kl_map.array))
        box = self._bodyBox

        def write() -> display.NatsRange:
            np.copyto(voxels[box], order.apply(view.kl_map.array)[box])
            regions.paint(labels, view.regions)
            return display.NatsRange.ofView(view)

        shownRange = yield from aside(write)
        self._refuseParts()
        settings, hidden = view.settings, self.hidden.peaks(self)
        nodes.voxelsModified(self.mapNode)
        self._showRange(shownRange, settings.chosen.unit)
        if self.view is not None:  # its map is written over next time; nothing else of it is needed
            self._spare = self.view
        self.view = view
        regions.describeSegments(self.segmentationNode, image, view.regions)
        self._fillTable()
        self.traceNode.SetAttribute(SETTINGS, json.dumps(asdict(settings)))
        self.hidden.hide(self, hidden)

    def look(self, search: Search) -> None:
        """Look for regions elsewhere, and name them by other organs; no sampling.

        Raises
        ------
        ConfigError : nothing was examined of what is to be looked within; what was shown stays.
        """
        atOnce(self.looking(search))

    def looking(self, search: Search) -> Steps[None]:
        """:meth:`look` in steps of some milliseconds."""
        self._live, text = yield from aside(lambda: (self.live.looking(search), live.encodeSearch(search)))
        if self._growing is not None:
            self._growing.search = search
        self.traceNode.SetAttribute(SEARCH, text)
        yield from self.showing(self.settings)

    def addPartial(self) -> int:
        """Read slices that were finished meanwhile and show them.

        Returns
        -------
        how many there were; when the run is complete, its trace is stored with the scene.
        """
        return atOnce(self.addingPartial())

    def addingPartial(self) -> Steps[int]:
        """:meth:`addPartial` in steps of some milliseconds."""
        growing = self._growing
        if growing is None:
            return 0
        self._refuseParts()
        new = yield from aside(growing.readNew)
        if new:
            assert self._order is not None
            self._live, self._spare = growing.liveMap(), None
            yield from reconstruction.adding(self.reconstructionNode, self.live, self._order, new)
            yield from self.showing(self.settings)
            if growing.isComplete:
                yield from self.finishing()
        return len(new)

    def finish(self) -> None:
        """Store the trace with the scene, for a run that ended or was cancelled; no more slices are expected."""
        atOnce(self.finishing())

    def finishing(self) -> Steps[None]:
        """:meth:`finish` in steps of some milliseconds."""
        yield from settingText(self.traceNode, lambda: live.encode(self.live))
        self._growing = None

    # ---- display

    def showInSliceViews(self) -> None:
        """The CT behind, the map in front, in all slice views."""
        display.showInSliceViews(self.inputNode, self.mapNode)

    @property
    def opacity(self) -> float:
        """Of the map over the CT, 0 to 1."""
        views = display.sliceCompositesShowing(self.mapNode)
        return views[0].GetForegroundOpacity() if views else display.MAP_OPACITY

    def setOpacity(self, opacity: float) -> None:
        """Of the map over the CT, 0 to 1, in the slice views that show it."""
        for composite in display.sliceCompositesShowing(self.mapNode):
            composite.SetForegroundOpacity(opacity)

    @property
    def threshold(self) -> float:
        """Nats below which the map is not shown."""
        return float(self.mapNode.GetDisplayNode().GetLowerThreshold())

    def setThreshold(self, nats: float | None) -> None:
        """Nats below which the map is not shown; None follows the null again.

        A threshold set here, or in the Volumes module, keeps its meaning when the block size changes: it stays
        as unusual.
        """
        assert self.range is not None
        value = self.range.threshold if nats is None else nats
        self.mapNode.GetDisplayNode().SetThreshold(value, 1e30)

    def setRegionVisible(self, i: int, visible: bool) -> None:
        """Show or hide region ``i`` of :attr:`regions`; hidden regions are not exported."""
        segment = regions.segmentId(self.regions[i])
        self.segmentationNode.GetDisplayNode().SetSegmentVisibility(segment, bool(visible))
        self.hidden.keep(self)

    def isRegionVisible(self, i: int) -> bool:
        """Whether region ``i`` is shown, here or in the Segmentations module."""
        return bool(self.segmentationNode.GetDisplayNode().GetSegmentVisibility(regions.segmentId(self.regions[i])))

    @property
    def visibleRegions(self) -> list[Region]:
        """The regions that are shown, strongest first."""
        return [region for i, region in enumerate(self.regions) if self.isRegionVisible(i)]

    def readingOf(self, i: int) -> Reading | None:
        """What the reader said of region ``i``."""
        return self.readings.of(self.regions[i], self.live.framing.grid)

    def setReading(self, i: int, reading: Reading | None) -> None:
        """Say what region ``i`` is; it is saved with the scene and exported."""
        self.readings.set(self.regions[i], self.live.framing.grid, reading)
        self._fillTable()

    def _fillTable(self) -> None:
        """Bring the table node in line with the regions and what is said of them."""
        said = self.readings.ofAll(self.regions, self.live.framing.grid)
        regions.updateTable(self.tableNode, self.regions, said)

    def jumpTo(self, i: int) -> None:
        """All slice views to the strongest block of region ``i``."""
        world = nodes.worldFromLps(self.mapNode, self.regions[i].peak_lps_mm)
        display.jumpSliceViews(self.traceNode.GetScene(), world)

    def setShow3D(self, shown: bool) -> None:
        """Show or hide the regions' surfaces in 3-D views; while shown, they follow the sliders."""
        regions.setShow3D(self.segmentationNode, shown)

    # ---- inner parts

    @cached_property
    def _bodyBox(self) -> tuple[slice, slice, slice]:
        """Where, in the node's array, the map can be other than 0."""
        assert self._order is not None
        framing = self.live.framing
        body = self._order.apply(framing.orientation.restore(framing.body))
        ends = [np.flatnonzero(body.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        return tuple(slice(int(e[0]), int(e[-1]) + 1) for e in ends)  # type: ignore[return-value]

    def _showRange(self, new: display.NatsRange, unit: str) -> None:
        """Follow the null; limits that a user moved keep their place on its scale."""
        node, old = self.mapNode.GetDisplayNode(), self.range
        shown = new
        if old is not None:
            present = {
                "threshold": float(node.GetLowerThreshold()),
                "low": float(node.GetWindowLevelMin()),
                "high": float(node.GetWindowLevelMax()),
            }
            moved = {k: v for k, v in present.items() if not np.isclose(v, getattr(old, k), rtol=1e-4)}
            shown = replace(new, **{k: old.moved(v, new) for k, v in moved.items()})
        display.applyRange(self.mapNode, shown, unit)
        self.range = new
