"""The panel: what each control does. It computes nothing itself.

Choices live in the parameter node, which Slicer's connectors keep equal to most controls; this class cares for the
rest: which priors there are, whether the volume suits, whether Detect can run and why not, progress, and the live
controls, which ask the results in the scene for another view of the same trace.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctk
import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from . import parameters as choices
from .cards import cardHtml, knownPriors
from .dependencies import Choices, Dependencies, DependencyError
from .detection import Detection, Listener
from .export_menu import ExportMenu
from .region_table import RegionTable
from .study_source import boxOfRoi, numberOfSlices
from .suitability import SuitabilityCheck

if TYPE_CHECKING:
    from KLIPCore.config import RegionConfig

    from .parameters import KLIPSlicerParameterNode
    from .scene_results import SceneResults

LIVE_MSEC = 15
"""A moved slider is answered after this pause, so that a drag does not queue up answers."""

SETTINGS = "KLIPSlicer/"
"""Prefix of what belongs to the computer, not to the scene."""

PLAIN, WARNING, ERROR = (
    "QLabel { padding: 2px; }",
    "QLabel { background: #fff3d1; color: #5a4300; border: 1px solid #e8cb75; border-radius: 4px; padding: 6px; }",
    "QLabel { background: #fde8e6; color: #8c1d18; border: 1px solid #f0b4ae; border-radius: 4px; padding: 6px; }",
)
CARD = "QLabel { background: #eef2f6; color: #28323c; border-radius: 4px; padding: 6px; }"
DETECT = (
    "QPushButton { background: #1f6feb; color: white; font-weight: bold; border: none; border-radius: 5px; }"
    "QPushButton:hover { background: #3b82f6; } QPushButton:pressed { background: #1a5fcb; }"
    "QPushButton:disabled { background: #c3ccd6; color: #f4f6f8; }"
)
CANCEL = (
    "QPushButton { background: #b3372f; color: white; font-weight: bold; border: none; border-radius: 5px; }"
    "QPushButton:hover { background: #c94a41; } QPushButton:disabled { background: #c3ccd6; color: #f4f6f8; }"
)


def stageNames() -> dict[str, str]:
    """What the run's stages are called."""
    return {
        "start": _("Starting"),
        "read": _("Reading the study"),
        "frame": _("Finding the body"),
        "sample": _("Examining"),
        "map": _("Adding up nats"),
        "export": _("Writing results"),
        "done": _("Done"),
        "result": _("Done"),
    }


def timeLeft(seconds: float | None) -> str:
    """How long it will take, as people say it."""
    if seconds is None:
        return ""
    if seconds < 10:
        return _("a few seconds left")
    if seconds < 90:
        return _("about {n} s left").format(n=round(seconds / 10) * 10)
    if seconds < 5400:
        return _("about {n} min left").format(n=round(seconds / 60))
    return _("about {n} h left").format(n=f"{seconds / 3600:.1f}")


class Panel:
    """Connects the controls of ``Resources/UI/KLIPSlicer.ui`` with a detection and its results.

    Attributes
    ----------
    detection : the run in the background.
    results : what the sliders act on; None without.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.detection = Detection(
            Listener(self._onProgress, self._onResults, self._onFinished, self._onCancelled, self._onFailed)
        )
        self.results: SceneResults | None = None
        self._parameters: KLIPSlicerParameterNode | None = None
        self._shown: RegionConfig | None = None
        self._started = 0.0
        self._stopping = False
        self._updating = False
        self._inputError = ""
        self._inputKey: Any = None
        self._priorKey: Any = None
        self._check = SuitabilityCheck(self._onSuitability)
        self._table = RegionTable(ui.regionTable, self._onJump, self._onVisible)
        self._export = ExportMenu(ui.exportButton, lambda: self.results, self._say)
        self._liveTimer = qt.QTimer()
        self._liveTimer.setSingleShot(True)
        self._liveTimer.setInterval(LIVE_MSEC)
        self._liveTimer.connect("timeout()", self.showLive)
        self._setUp()

    def _setUp(self) -> None:
        ui = self.ui
        ui.detectButton.setStyleSheet(DETECT)
        ui.priorCardLabel.setStyleSheet(CARD)
        ui.priorCardLabel.setTextFormat(qt.Qt.RichText)
        ui.progressBar.setVisible(False)
        ui.progressBar.setFixedHeight(8)
        ui.statusLabel.setVisible(False)
        ui.warningLabel.setVisible(False)
        ui.disclaimerLabel.setStyleSheet("QLabel { color: #7a8794; }")
        ui.environmentLabel.setStyleSheet("QLabel { color: #7a8794; }")
        ui.summaryLabel.text = _("Nothing has been examined yet.")
        for name, text in self._windowNames():
            ui.windowComboBox.addItem(text, name)
        for edit, kind, key in self._paths():
            edit.filters = kind
            if key:
                edit.currentPath = qt.QSettings().value(SETTINGS + key) or ""
        ui.detectButton.connect("clicked(bool)", self.onDetect)
        ui.priorComboBox.connect("currentIndexChanged(int)", self._onPrior)
        ui.slicesRangeWidget.connect("valuesChanged(double,double)", self._onSlices)
        ui.windowComboBox.connect("currentIndexChanged(int)", self._onWindowName)
        ui.windowRangeWidget.connect("valuesChanged(double,double)", self._onWindow)
        ui.thresholdSlider.connect("valueChanged(double)", self._onThreshold)
        ui.opacitySlider.connect("valueChanged(double)", self._onOpacity)
        ui.show3DCheckBox.connect("toggled(bool)", self._onShow3D)
        ui.weightsPathEdit.connect("currentPathChanged(QString)", self._onWeights)
        ui.checkButton.connect("clicked(bool)", self._onCheck)
        for edit, _kind, key in self._paths():
            if key:
                edit.connect(
                    "currentPathChanged(QString)", lambda path, k=key: qt.QSettings().setValue(SETTINGS + k, path)
                )

    def _windowNames(self) -> tuple[tuple[str, str], ...]:
        return (
            ("recommended", _("Recommended")),
            ("fine", _("Fine (0.08 to 0.16)")),
            ("coarse", _("Coarse (0.16 to 0.32)")),
            ("wide", _("Wide (0.02 to 0.40, score “klip”)")),
            ("custom", _("Custom")),
        )

    def _paths(self) -> tuple[tuple[Any, Any, str], ...]:
        ui, kinds = self.ui, ctk.ctkPathLineEdit
        return (
            (ui.weightsPathEdit, kinds.Dirs, ""),
            (ui.pythonPathEdit, kinds.Files | kinds.Dirs, "OtherPython"),
            (ui.wheelsPathEdit, kinds.Dirs, "WheelFolder"),
            (ui.outputPathEdit, kinds.Dirs, "ResultsFolder"),
        )

    # ---- what was chosen

    def setParameters(self, parameters: KLIPSlicerParameterNode | None) -> None:
        """Work with these choices from now on; None when the scene closes."""
        self._parameters = parameters
        self._inputKey = self._priorKey = None
        if parameters is not None:
            self.refresh()

    def refresh(self, *_event: Any) -> None:
        """Bring everything in line with the parameter node."""
        parameters = self._parameters
        if parameters is None or self._updating:
            return
        self._updating = True
        try:
            self._refreshPriors()
            self._refreshInput()
            self._refreshWindow()
        finally:
            self._updating = False
        self.refreshDetect()
        if self.results is not None and self._wanted() != self._shown:
            self._liveTimer.start()

    def _refreshPriors(self) -> None:
        parameters, box = self._parameters, self.ui.priorComboBox
        if self.ui.weightsPathEdit.currentPath != parameters.weightsFolder:
            self.ui.weightsPathEdit.currentPath = parameters.weightsFolder
        if self._priorKey != parameters.weightsFolder:
            self._priorKey = parameters.weightsFolder
            self._cards = knownPriors(parameters.weightsFolder)
            box.clear()
            for name, card in self._cards.items():
                box.addItem(card.name if card.name == name else _("{name} (own)").format(name=card.name), name)
        if parameters.prior not in self._cards:
            parameters.prior = next(iter(self._cards), parameters.prior)
        box.currentIndex = box.findData(parameters.prior)
        card = self._cards.get(parameters.prior)
        self.ui.priorCardLabel.text = (
            cardHtml(card) if card else _("No prior was found. Choose a folder under “Advanced”.")
        )

    def _refreshInput(self) -> None:
        parameters, node = self._parameters, self._parameters.inputVolume
        image = node.GetImageData() if node is not None else None
        key = (
            (node.GetID(), image.GetMTime() if image is not None else 0, parameters.prior)
            if node is not None
            else None
        )
        count = numberOfSlices(node) if node is not None else 0
        last = max(count - 1, 0)
        self.ui.slicesRangeWidget.enabled = count > 1
        self.ui.slicesRangeWidget.setRange(0, last)
        first = 0 if parameters.firstSlice == choices.ALL else min(parameters.firstSlice, last)
        self.ui.slicesRangeWidget.setValues(
            first, last if parameters.lastSlice == choices.ALL else min(parameters.lastSlice, last)
        )
        if key == self._inputKey:
            return
        if self._inputKey is not None and (
            key is None or key[0] != self._inputKey[0]
        ):  # another volume: its own slices
            parameters.firstSlice = parameters.lastSlice = choices.ALL
            self.ui.slicesRangeWidget.setValues(0, last)
        self._inputKey, self._inputError = key, ""
        self._tellWarnings([])
        card = self._cards.get(parameters.prior)
        if node is None or card is None:
            self._check.stop()
            return
        from .nodes import volumeFromNode

        self._check.ask(key, lambda: volumeFromNode(node), card)

    def _refreshWindow(self) -> None:
        from KLIPCore.config import SCORES

        parameters = self._parameters
        self.ui.windowComboBox.currentIndex = self.ui.windowComboBox.findData(parameters.windowName)
        low, high = choices.windowOf(parameters) or SCORES[parameters.score].window
        self.ui.windowRangeWidget.setValues(low, high)

    def _onPrior(self, _index: int) -> None:
        name = self.ui.priorComboBox.currentData
        if not self._updating and self._parameters is not None and name:
            self._parameters.prior = str(name)

    def _onWeights(self, path: str) -> None:
        if not self._updating and self._parameters is not None:
            self._parameters.weightsFolder = str(path)

    def _onSlices(self, first: float, last: float) -> None:
        if self._updating or self._parameters is None:
            return
        whole = self.ui.slicesRangeWidget
        with slicer.util.NodeModify(self._parameters):
            self._parameters.firstSlice = choices.ALL if first <= whole.minimum else round(first)
            self._parameters.lastSlice = choices.ALL if last >= whole.maximum else round(last)

    def _onWindowName(self, _index: int) -> None:
        if self._updating or self._parameters is None:
            return
        name = self.ui.windowComboBox.currentData
        with slicer.util.NodeModify(self._parameters):
            if name == "custom":
                self._parameters.windowLow = round(float(self.ui.windowRangeWidget.minimumValue), 3)
                self._parameters.windowHigh = round(float(self.ui.windowRangeWidget.maximumValue), 3)
            elif name == "wide":
                self._parameters.score = "klip"
            self._parameters.windowName = name

    def _onWindow(self, low: float, high: float) -> None:
        if self._updating or self._parameters is None:
            return
        with slicer.util.NodeModify(self._parameters):
            self._parameters.windowName = "custom"
            self._parameters.windowLow, self._parameters.windowHigh = round(float(low), 3), round(float(high), 3)

    # ---- whether the volume suits, and whether Detect can run

    def _onSuitability(self, warnings: list[str], error: str) -> None:
        self._inputError = error
        self._tellWarnings(warnings)
        self.refreshDetect()

    def _tellWarnings(self, warnings: list[str]) -> None:
        label = self.ui.warningLabel
        label.setStyleSheet(WARNING)
        label.text = "\n".join(f"• {w}" if len(warnings) > 1 else w for w in warnings)
        label.setVisible(bool(warnings))

    def reasonNotToDetect(self) -> str:
        """Why Detect cannot run, in a sentence; empty when it can."""
        from KLIPCore.errors import KlipError

        parameters = self._parameters
        if parameters is None or parameters.inputVolume is None:
            return _("Choose a CT volume first.")
        if numberOfSlices(parameters.inputVolume) == 0:
            return _("The chosen volume is empty. Load a CT first.")
        if self._inputError:
            return self._inputError
        if parameters.prior not in self._cards:
            return _("Choose a prior first.")
        try:
            choices.configOf(parameters)
            if parameters.roi is not None:
                self._checkRoi()
        except KlipError as error:
            return str(error)
        return ""

    def _checkRoi(self) -> None:
        """Raise ConfigError for a box that misses the volume."""
        import numpy as np

        from KLIPCore.errors import ConfigError

        from .nodes import gridOfNode

        grid = gridOfNode(self._parameters.inputVolume)
        box = np.array(boxOfRoi(self._parameters.roi, self._parameters.inputVolume))
        ends = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T
        corners = grid.to_world(ends)
        if (box[:, 1] < corners.min(0)).any() or (box[:, 0] > corners.max(0)).any() or (box[:, 1] <= box[:, 0]).any():
            raise ConfigError(
                _("The region of interest lies outside the volume."), _("Move it onto the volume, or choose None.")
            )

    def refreshDetect(self) -> None:
        """Name and tooltip of the button that runs and cancels."""
        button = self.ui.detectButton
        if self.detection.running:
            button.text = _("Stopping…") if self._stopping else _("Cancel")
            button.toolTip = _("Stop now. Slices that are finished are kept, and used again the next time.")
            button.enabled = not self._stopping
            button.setStyleSheet(CANCEL)
            return
        reason = self.reasonNotToDetect()
        button.text = _("Detect OOD")
        button.toolTip = reason or _(
            "Examine the volume: mark where it departs from the anatomy that the prior knows."
        )
        button.enabled = not reason
        button.setStyleSheet(DETECT)

    # ---- Detect and Cancel

    def dependencies(self) -> Dependencies:
        """The Python that was chosen under “This computer”."""
        return Dependencies(
            Choices(str(self.ui.pythonPathEdit.currentPath or ""), str(self.ui.wheelsPathEdit.currentPath or ""))
        )

    def outputFolder(self) -> Path:
        """Below which run folders are kept."""
        chosen = str(self.ui.outputPathEdit.currentPath or "")
        return Path(chosen) if chosen else Path(slicer.app.temporaryPath) / "KLIPSlicer"

    def onDetect(self, *_clicked: Any) -> None:
        """Start, or cancel what is running."""
        from KLIPCore.errors import KlipError

        if self.detection.running:
            self._stopping = True
            self._say(_("Stopping…"))
            self.detection.cancel()
            self.refreshDetect()
            return
        dependencies = self.dependencies()
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            interpreter = dependencies.ensure()
            self.detection.start(self._parameters, interpreter, dependencies.environment(), self.outputFolder())
        except (KlipError, DependencyError, OSError) as error:
            self._say(str(error), ERROR)
            return
        finally:
            slicer.app.restoreOverrideCursor()
        self._started, self._stopping = time.monotonic(), False
        self.ui.progressBar.value = 0
        self.ui.progressBar.setVisible(True)
        self._say(_("Starting…"))
        self.refreshDetect()

    def _onCheck(self, *_clicked: Any) -> None:
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            self.ui.environmentLabel.text = self.dependencies().describe()
        finally:
            slicer.app.restoreOverrideCursor()

    def _say(self, text: str, style: str = PLAIN) -> None:
        """Show a sentence under the button."""
        self.ui.statusLabel.setStyleSheet(style)
        self.ui.statusLabel.text = text
        self.ui.statusLabel.setVisible(bool(text))

    # ---- what the detection says

    def _onProgress(self, stage: str, fraction: float, detail: str, seconds: float | None) -> None:
        if self._stopping:
            return
        self.ui.progressBar.value = round(1000 * fraction)
        parts = [stageNames().get(stage, stage)]
        if stage == "sample":
            parts[0] += " " + detail
            parts.append(timeLeft(seconds))
        self._say(" · ".join(part for part in parts if part))

    def _onResults(self, results: SceneResults) -> None:
        self.setResults(results)

    def _onFinished(self, results: SceneResults) -> None:
        self._ended()
        self.setResults(results)
        n, seconds = len(results.regions), time.monotonic() - self._started
        took = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        text = _("1 region stands out ({took}).") if n == 1 else _("{n} regions stand out ({took}).")
        self._say(text.format(n=n, took=took))

    def _onCancelled(self, results: SceneResults | None) -> None:
        self._ended()
        if results is not None:
            self.setResults(results)
        self._say(_("Stopped. Finished slices are kept: Detect OOD continues with the others."))

    def _onFailed(self, sentence: str) -> None:
        self._ended()
        self._say(sentence, ERROR)

    def _ended(self) -> None:
        self._stopping = False
        self.ui.progressBar.setVisible(False)
        self.refreshDetect()

    # ---- results and live controls

    def setResults(self, results: SceneResults | None) -> None:
        """Let the live controls act on these results; None when there are none any more."""
        self.results = results
        self._shown = results.settings if results is not None else None
        self._refreshResults()
        if results is not None and self._parameters is not None and self._wanted() != self._shown:
            self._liveTimer.start()

    def _wanted(self) -> RegionConfig | None:
        """What the live controls say; None for an impossible combination."""
        from KLIPCore.errors import ConfigError

        try:
            return choices.regionConfigOf(self._parameters)
        except ConfigError:
            return None

    def showLive(self) -> None:
        """Map, regions and table as the live controls say."""
        from KLIPCore.errors import KlipError

        if self.results is None or self._parameters is None:
            return
        started = time.perf_counter()
        try:
            wanted = choices.regionConfigOf(self._parameters)
            if wanted == self._shown:
                return
            self._shown = wanted
            self.results.show(wanted)
        except KlipError as error:
            self._say(str(error), WARNING)
            return
        if not self.detection.running:
            self._say("")
        self._refreshResults()
        logging.debug("KLIPSlicer: live update in %.0f ms", 1000 * (time.perf_counter() - started))

    def _refreshResults(self) -> None:
        results, ui = self.results, self.ui
        regions = results.regions if results is not None else ()
        self._table.show(regions, results.isRegionVisible if results is not None else lambda i: True)
        self._export.refresh()
        if results is None:
            ui.summaryLabel.text = _("Nothing has been examined yet.")
            return
        ui.summaryLabel.text = self._summary(regions)
        self._updating = True
        try:
            if results.range is not None:
                ui.thresholdSlider.maximum = max(float(results.range.high), float(results.threshold), 0.1)
            ui.thresholdSlider.value = float(results.threshold)
        finally:
            self._updating = False

    def _summary(self, regions: Any) -> str:
        if not regions:
            return _("Nothing stands out from what chance would mark. That does not mean that nothing is there.")
        volume = sum(region.volume_ml for region in regions)
        fdr = round(100 * self.results.settings.fdr)
        text = _("1 region, {ml} mL.") if len(regions) == 1 else _("{n} regions, {ml} mL together.")
        return (
            text.format(n=len(regions), ml=f"{volume:.0f}" if volume >= 10 else f"{volume:.1f}")
            + " "
            + _("At most {fdr} % of what is marked is expected to be chance.").format(fdr=fdr)
        )

    def _onThreshold(self, nats: float) -> None:
        if not self._updating and self.results is not None:
            self.results.setThreshold(float(nats))

    def _onOpacity(self, opacity: float) -> None:
        if self.results is not None:
            self.results.setOpacity(float(opacity))

    def _onShow3D(self, shown: bool) -> None:
        if self.results is not None:
            self.results.setShow3D(bool(shown))

    def _onJump(self, i: int) -> None:
        if self.results is not None:
            self.results.jumpTo(i)

    def _onVisible(self, i: int, visible: bool) -> None:
        if self.results is not None:
            self.results.setRegionVisible(i, visible)
            self._export.refresh()

    # ---- scene and application

    def restoreFromScene(self) -> None:
        """Take up the last detection of a scene that was loaded, and put the controls where it left them."""
        from KLIPCore.errors import KlipError

        from .scene_results import SceneResults

        if self.detection.running or self._parameters is None:
            return
        for node in reversed(SceneResults.allInScene(slicer.mrmlScene)):
            try:
                results = SceneResults.restore(node)
            except KlipError as error:
                self._say(str(error), WARNING)
                continue
            if results is not None:
                self.setResults(results)
                return

    def closeScene(self) -> None:
        """Stop and forget everything: the scene is about to be emptied."""
        self.detection.cancelAndWait()
        self._check.stop()
        self._liveTimer.stop()
        self.setParameters(None)
        self.setResults(None)
        self._say("")

    def cleanUp(self) -> None:
        """End what runs in the background: the module or the application is about to end."""
        self.detection.cancelAndWait()
        self._check.stop()
        self._liveTimer.stop()
