"""What is examined, and by which prior: priors and the chosen one's card, slices, whether volume and prior suit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ctk
import qt
import slicer.util
from slicer.i18n import tr as _

from . import parameters as choices
from .cards import cardHtml, knownPriors
from .guard import Guard
from .path_edit import onPathChanged
from .sequences import sequenceSentence
from .study_source import numberOfSlices
from .styles import CARD
from .suitability import SuitabilityCheck

if TYPE_CHECKING:
    from KLIPCore.volume.model_card import ModelCard

    from .parameters import KLIPSlicerParameterNode


class StudyControls:
    """Prior, slices and the check of the volume.

    Attributes
    ----------
    parameters : the choices; None while there is no scene.
    cards : cards of the priors that can be chosen, by what the parameter node calls them.
    error : why the chosen volume is refused; empty when it is not.
    check : of the volume, going on in the background.

    :param warn: shows warnings about the volume.
    :param onAnswer: called when the check of the volume has an answer.
    """

    def __init__(self, ui: Any, guard: Guard, warn: Callable[[list[str]], None], onAnswer: Callable[[], None]) -> None:
        self._ui, self._guard, self._warn, self._onAnswer = ui, guard, warn, onAnswer
        self.parameters: KLIPSlicerParameterNode | None = None
        self.cards: dict[str, ModelCard] = {}
        self.error = ""
        self.check = SuitabilityCheck(self._onSuitability)
        self._inputKey: Any = None
        self._priorKey: Any = None
        ui.priorCardLabel.setStyleSheet(CARD)
        ui.priorCardLabel.setTextFormat(qt.Qt.RichText)
        ui.weightsPathEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.priorComboBox.connect("currentIndexChanged(int)", self._onPrior)
        ui.slicesRangeWidget.connect("valuesChanged(double,double)", self._onSlices)
        onPathChanged(ui.weightsPathEdit, self._onWeights)

    def setParameters(self, parameters: KLIPSlicerParameterNode | None) -> None:
        """Work with these choices from now on."""
        self.parameters = parameters
        self._inputKey = self._priorKey = None

    def refresh(self) -> None:
        """Show what the parameter node says."""
        from .outputs import refreshSelectors

        self._refreshPriors()
        self._refreshInput()
        refreshSelectors(self._ui, self.parameters)

    def _refreshPriors(self) -> None:
        parameters, box = self.parameters, self._ui.priorComboBox
        if self._ui.weightsPathEdit.currentPath != parameters.weightsFolder:
            self._ui.weightsPathEdit.currentPath = parameters.weightsFolder
        if self._priorKey != parameters.weightsFolder:
            self._priorKey = parameters.weightsFolder
            self.cards = knownPriors(parameters.weightsFolder)
            box.clear()
            for name, card in self.cards.items():
                box.addItem(card.name if card.name == name else _("{name} (own)").format(name=card.name), name)
        if parameters.prior not in self.cards:
            parameters.prior = next(iter(self.cards), parameters.prior)
        box.currentIndex = box.findData(parameters.prior)
        card = self.cards.get(parameters.prior)
        self._ui.priorCardLabel.text = (
            cardHtml(card) if card else _("No prior was found. Choose a folder under “Advanced”.")
        )

    def hideResults(self) -> None:
        """Offer studies only: a map or a reconstruction of ours is nothing to examine."""
        from .nodes import isResult
        from .outputs import isChosen

        parameters, found = self.parameters, slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if parameters is None:
            return
        hidden = [
            node.GetID()
            for node in found
            if isResult(node) or (node is not parameters.inputVolume and isChosen(node, parameters))
        ]
        model = self._ui.inputSelector.sortFilterProxyModel()
        if list(model.hiddenNodeIDs) != hidden:
            model.hiddenNodeIDs = hidden

    def _refreshInput(self) -> None:
        self.hideResults()
        parameters, node = self.parameters, self.parameters.inputVolume
        image = node.GetImageData() if node is not None else None
        key = (
            (node.GetID(), image.GetMTime() if image is not None else 0, parameters.prior)
            if node is not None
            else None
        )
        slices = self._ui.slicesRangeWidget
        count = numberOfSlices(node) if node is not None else 0
        last = max(count - 1, 0)
        slices.enabled = count > 1
        slices.setRange(0, last)
        first = 0 if parameters.firstSlice == choices.ALL else min(parameters.firstSlice, last)
        slices.setValues(first, last if parameters.lastSlice == choices.ALL else min(parameters.lastSlice, last))
        if key == self._inputKey:
            return
        if self._inputKey is not None and (
            key is None or key[0] != self._inputKey[0]
        ):  # another volume: its own slices
            parameters.firstSlice = parameters.lastSlice = choices.ALL
            slices.setValues(0, last)
        self._inputKey, self.error = key, ""
        self._warn([])
        card = self.cards.get(parameters.prior)
        if node is None or card is None:
            self.check.stop()
            return
        from .nodes import volumeInSteps

        self.check.ask(key, lambda: volumeInSteps(node), card)

    def _onSuitability(self, warnings: list[str], error: str) -> None:
        self.error = error
        item = sequenceSentence(self.parameters.inputVolume) if self.parameters is not None else ""
        self._warn([*([item] if item else []), *warnings])
        self._onAnswer()

    def _onPrior(self, _index: int) -> None:
        name = self._ui.priorComboBox.currentData
        if not self._guard.up and self.parameters is not None and name:
            self.parameters.prior = str(name)

    def _onWeights(self, path: str) -> None:
        if not self._guard.up and self.parameters is not None:
            self.parameters.weightsFolder = str(path)

    def _onSlices(self, first: float, last: float) -> None:
        if self._guard.up or self.parameters is None:
            return
        whole = self._ui.slicesRangeWidget
        with slicer.util.NodeModify(self.parameters):
            self.parameters.firstSlice = choices.ALL if first <= whole.minimum else round(first)
            self.parameters.lastSlice = choices.ALL if last >= whole.maximum else round(last)
