"""The controls that say within which segments regions are looked for, and by whose organs they are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import slicer.util
from slicer.i18n import tr as _

from .guard import Guard
from .organs import ALL_SEGMENTS, EVERYWHERE, Choice, searchWithin, segmentNames
from .status import sayError
from .turns import Task, Turns

if TYPE_CHECKING:
    from .parameters import KLIPSlicerParameterNode
    from .scene_results import SceneResults
    from .steps import Steps


class LookWithin:
    """A selector of segmentations and a list of their segments, acting on results.

    Attributes
    ----------
    parameters : the choices; None while there is no scene.
    results : what the choice acts on; None without.

    :param turns: where work on results waits for its turn.
    :param say: shows a sentence.
    :param onShown: called when the results show something else than before.
    """

    def __init__(
        self, ui: Any, guard: Guard, turns: Turns, say: Callable[..., None], onShown: Callable[[], None]
    ) -> None:
        self._ui, self._guard, self._turns, self._say, self._onShown = ui, guard, turns, say, onShown
        self.parameters: KLIPSlicerParameterNode | None = None
        self.results: SceneResults | None = None
        self._applied: tuple[Any, ...] = ()
        self._asked: object | None = None  # what is looked up for
        ui.segmentComboBox.connect("currentIndexChanged(int)", self._onSegment)

    @property
    def working(self) -> bool:
        """Whether segments are being looked up."""
        return self._asked is not None

    def refresh(self) -> None:
        """Show what the parameter node says."""
        from .nodes import isResult

        segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        hidden = [node.GetID() for node in segmentations if isResult(node)]
        model = self._ui.organsSelector.sortFilterProxyModel()
        if list(model.hiddenNodeIDs) != hidden:
            model.hiddenNodeIDs = hidden
        box, names = self._ui.segmentComboBox, segmentNames(self.parameters.organs)
        entries = {EVERYWHERE: _("Everywhere"), **({ALL_SEGMENTS: _("All segments")} if names else {}), **names}
        if [(box.itemData(n), box.itemText(n)) for n in range(box.count)] != list(entries.items()):
            box.clear()
            for identifier, name in entries.items():
                box.addItem(name, identifier)
        box.enabled = bool(names)
        box.currentIndex = max(0, box.findData(self.parameters.segment))

    def setResults(self, results: SceneResults | None) -> None:
        """Act on these results; None when there are none any more."""
        self.stop()
        self.results, self._applied = results, ()

    def follow(self) -> None:
        """Bring the results in line with the choice, between events."""
        if self.results is None or self.parameters is None or self.results.inputNode is None:
            return
        choice = Choice(self.parameters.organs, self.parameters.segment)
        if choice.key == self._applied:
            return
        self._applied = choice.key
        results, self._asked = self.results, object()
        asked = self._asked

        def looking() -> Steps[None]:
            live = results.live
            search = yield from searchWithin(choice, results.inputNode, live.framing.grid, live.roi)
            yield from results.looking(search)

        def shown(_nothing: Any) -> None:
            if asked is self._asked:
                self._asked = None
                self._onShown()

        def failed(error: Exception) -> None:
            if asked is self._asked:
                self._asked = None
                otherwise = _("The segmentation could not be read. The application log has the details.")
                sayError(error, otherwise, self._say)

        self._turns.add(Task("within", looking, shown, failed))

    def stop(self) -> None:
        """Heed no more what is being done."""
        self._asked = None

    def _onSegment(self, _index: int) -> None:
        if not self._guard.up and self.parameters is not None:
            self.parameters.segment = str(self._ui.segmentComboBox.currentData or EVERYWHERE)
