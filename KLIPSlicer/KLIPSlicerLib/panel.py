"""The panel: connects its controls with a detection and its results. It computes nothing itself.

Choices live in the parameter node, which Slicer's connectors keep equal to most controls. The rest is cared for one
noun a file: what is examined (study_controls), the button (detect_button), what is said (status), the sliders
(live_controls), what was found (results_list), this computer (computer). This class lets them work together.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from .audit_controls import AuditControls
from .computer import Computer
from .detect_button import DetectButton
from .detection import Detection, Listener
from .failures import sentenceOf
from .form_labels import alignLabels
from .guard import Guard
from .live_controls import LiveControls
from .log_view import LogView
from .look_within import LookWithin
from .outputs import Outputs
from .queue_controls import Queue
from .results_list import ResultsList
from .server_controls import ServerControls
from .status import Status
from .study_controls import StudyControls
from .styles import ERROR, NOTE, WARNING

if TYPE_CHECKING:
    from .parameters import KLIPSlicerParameterNode
    from .scene_results import SceneResults


class Panel:
    """Connects the controls of ``Resources/UI/KLIPSlicer.ui`` with a detection and its results.

    Attributes
    ----------
    detection : the run in the background.
    status, study, button, live, within, found, computer, server, queue, audit, log : the parts.
    """

    def __init__(self, ui: Any) -> None:
        self.detection = Detection(
            Listener(
                self._onProgress,
                self.setResults,
                self._onFinished,
                self._onCancelled,
                self._onFailed,
                self._onNote,
                lambda line: self.log.add(line),
            )
        )
        self._parameters: KLIPSlicerParameterNode | None = None
        self._started = 0.0
        self._guard = Guard()
        self.log = LogView(ui)
        self.status = Status(ui)
        self.study = StudyControls(ui, self._guard, self.status.warn, self.refreshDetect)
        self.button = DetectButton(ui.detectButton, self.study)
        turns = self.detection.turns
        self.live = LiveControls(ui, self._guard, turns, self.status.say, self._onShown)
        self.within = LookWithin(ui, self._guard, turns, self.status.say, self._onShown)
        self.found = ResultsList(ui, self.status.say)
        self.computer = Computer(ui)
        self.computer.update.busy = lambda: self.detection.running
        self.server = ServerControls(ui)
        self.queue = Queue(
            ui,
            current=lambda: self._parameters.inputVolume if self._parameters is not None else None,
            choose=self._choose,
            start=self._beginNext,
            busy=lambda: self.detection.running or self.study.check.working,
            cancel=self._cancel,
        )
        self.audit = AuditControls(
            ui, self._guard, self.computer, lambda line: self.log.add(line), lambda: self.detection.running
        )
        ui.disclaimerLabel.setStyleSheet(NOTE)
        alignLabels(ui)
        ui.detectButton.connect("clicked(bool)", self.onDetect)

    # ---- what was chosen

    def setParameters(self, parameters: KLIPSlicerParameterNode | None) -> None:
        """Work with these choices from now on; None when the scene closes."""
        self._parameters = self.live.parameters = self.within.parameters = self.audit.parameters = parameters
        self.study.setParameters(parameters)
        if parameters is not None:
            self.refresh()

    def refresh(self, *_event: Any) -> None:
        """Bring everything in line with the parameter node."""
        if self._parameters is None or self._guard.up:
            return
        with self._guard.raised():
            self.study.refresh()
            self.live.refresh()
            self.within.refresh()
        self.refreshDetect()
        self.audit.refresh()
        self.queue.refresh()
        self.live.follow()
        self.within.follow()

    def refreshDetect(self) -> None:
        """Name and tooltip of the button that runs and cancels."""
        self.button.refresh(self.detection.running)
        self.audit.refreshButton()

    # ---- Detect and Cancel

    def onDetect(self, *_clicked: Any) -> None:
        """Start, or cancel what is running."""
        if self.detection.running:
            self._cancel()
        else:
            self._begin()

    def _choose(self, node: Any) -> None:
        """Show another volume."""
        if self._parameters is not None:
            self._parameters.inputVolume = node

    def _cancel(self) -> None:
        """Stop what is running."""
        self.button.stopping = True
        self.status.say(_("Stopping…"))
        self.detection.cancel()
        self.refreshDetect()

    def _begin(self, outputs: Outputs | None = None) -> bool:
        """Examine the volume that is shown; whether that began."""
        dependencies = self.computer.dependencies()
        self.button.preparing()  # events go on while another Python is asked what it has
        try:  # no wait cursor: what is missing is asked for in dialogs
            server = self.server.arguments()
            interpreter = dependencies.interpreter() if server else dependencies.ensure()
            folder = self.computer.outputFolder()
            self.detection.start(self._parameters, interpreter, dependencies.environment(), folder, server, outputs)
        except Exception as error:  # installers raise what they like, and the button must come back
            sentence = sentenceOf(error)
            self.status.say(sentence, ERROR)
            self.log.add(sentence)
            self.refreshDetect()
            return False
        self._started, self.button.stopping = time.monotonic(), False
        self.status.begin()
        self.refreshDetect()
        return True

    def _beginNext(self) -> bool:
        """Examine the volume that the queue has chosen; nobody has looked whether its button is enabled.

        Each volume gets new nodes: in chosen ones the next would replace what was found in the one before.
        """
        reason = self.button.reasonNotToDetect()
        if reason:
            self.status.say(reason, ERROR)
        return not reason and self._begin(Outputs())

    def _onNote(self, sentence: str) -> None:
        self.log.add(sentence)
        self.status.note(sentence)

    def _onProgress(self, stage: str, fraction: float, detail: str, seconds: float | None) -> None:
        if not self.button.stopping:
            self.status.progress(stage, fraction, detail, seconds)
            self.queue.told(fraction)

    def _onFinished(self, results: SceneResults) -> None:
        self._ended()
        self.setResults(results)
        n, seconds = len(results.regions), time.monotonic() - self._started
        took = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        text = _("1 region stands out ({took}).") if n == 1 else _("{n} regions stand out ({took}).")
        self.status.say(text.format(n=n, took=took))
        self.log.add(text.format(n=n, took=took))
        self.queue.ended(text.format(n=n, took=took))

    def _onCancelled(self, results: SceneResults | None) -> None:
        self._ended()
        if results is not None:
            self.setResults(results)
        self.status.say(_("Stopped. Finished slices are kept: Detect OOD continues with the others."))
        self.log.add(_("Stopped."))
        self.queue.ended(_("Stopped."))

    def _onFailed(self, sentence: str) -> None:
        self._ended()
        self.status.say(sentence, ERROR)
        self.queue.ended(sentence)

    def _ended(self) -> None:
        self.button.stopping = False
        self.status.end()
        self.refreshDetect()

    # ---- results

    @property
    def results(self) -> SceneResults | None:
        """What the sliders act on; None without."""
        return self.live.results

    def setResults(self, results: SceneResults | None) -> None:
        """Show these results and let the sliders act on them; None when there are none any more."""
        self.live.setResults(results)
        if results is not self.within.results:
            self.within.setResults(results)
        self.study.hideResults()
        self._refreshResults()
        self.live.follow()
        self.within.follow()

    def _onShown(self) -> None:
        if not self.detection.running:
            self.status.say("")
        self._refreshResults()

    def _refreshResults(self) -> None:
        self.found.refresh(self.results)
        self.live.refreshThreshold()

    # ---- scene and application

    def restoreFromScene(self) -> None:
        """Take up the last detection of a scene that was loaded, and put the controls where it left them."""
        from KLIPCore.errors import KlipError

        from .scene_results import SceneResults

        if self.detection.running or self._parameters is None:
            return
        self.audit.restoreFromScene()
        for node in reversed(SceneResults.allInScene(slicer.mrmlScene)):
            try:
                results = SceneResults.restore(node)
            except KlipError as error:
                self.status.say(str(error), WARNING)
                continue
            if results is not None:
                self.setResults(results)
                return

    def onNodeRemoved(self) -> None:
        """Let go of results of which a node was deleted: sliders and table cannot act on the rest."""
        if self.results is None or self.results.whole:
            return
        self.setResults(None)
        if not self.detection.running:
            self.status.say(_("A part of the results was deleted from the scene. Press Detect OOD again."))

    def closeScene(self) -> None:
        """Stop and forget everything: the scene is about to be emptied."""
        self.cleanUp()
        self.setParameters(None)
        self.setResults(None)
        self.audit.closeScene()
        self.status.say("")

    def cleanUp(self) -> None:
        """End what runs in the background: the module or the application is about to end."""
        self.queue.stop()
        self.detection.cancelAndWait()
        self.audit.cleanUp()
        self.server.cleanUp()
        self.study.check.stop()
        self.live.stop()
        self.within.stop()
