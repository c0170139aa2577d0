"""The KLIPSlicer module of 3D Slicer: where does a CT depart from healthy anatomy?

This file holds what Slicer asks for: module, widget, logic and test. What they do is in KLIPSlicerLib, one noun a
file; the mathematics is in KLIPCore and runs in a process of its own.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
import vtk
from KLIPSlicerLib.paths import makeKlipCoreImportable, resourcePath
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

makeKlipCoreImportable()


class KLIPSlicer(ScriptedLoadableModule):
    """What the module selector shows."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("KLIP: out-of-distribution detection")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        parent.dependencies = []
        parent.contributors = ["KLIPSlicer contributors"]
        parent.helpText = _(
            """
<p>Marks where a CT departs from the healthy anatomy that a diffusion prior knows, as a map in nats and as regions.</p>
<ol>
<li>Choose a CT of the abdomen, with contrast. Read what the prior knows, and any warning below it.</li>
<li>Press <b>Detect OOD</b>. First results appear while later slices are still examined.
<b>Cancel</b> keeps what is finished.</li>
<li>Move <b>Block size</b>: small blocks show small things, large ones faint and extended changes.
Nothing is computed again.</li>
<li>Click a region to see it in all views. Uncheck what you do not want, then <b>Export…</b></li>
</ol>
<p>The scan is simulated from the loaded volume; nothing is sent anywhere. Missing Python packages are asked for
when you press Detect for the first time.</p>
<p><b>Research software. Not a medical device.</b> It does not diagnose, and an unmarked place is not thereby
healthy.</p>
"""
        )
        parent.acknowledgementText = _(
            "An independent implementation of KLIP: A. Kheirandish, J. Hong, S. Fridovich-Keil, CVPR 2026, "
            "arXiv 2605.31596."
        )
        for name in (
            "Icons/KLIPSlicer.svg",
            "Icons/KLIPSlicer.png",
        ):  # in a checkout Resources is not beside the module
            try:
                parent.icon = qt.QIcon(str(resourcePath(name)))
                break
            except FileNotFoundError:
                continue
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Offer the synthetic study in Slicer's Sample Data module; it is made on the spot, nothing is downloaded."""
    from KLIPSlicerLib.sample_study import registerSyntheticStudy

    registerSyntheticStudy()


class KLIPSlicerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel's shell: loads the `.ui` file and follows the scene; its controls are KLIPSlicerLib.panel's."""

    def __init__(self, parent: Any = None) -> None:
        VTKObservationMixin.__init__(self)
        self.logic: KLIPSlicerLogic | None = None
        self.panel: Any = None
        self._parameterNode: Any = None
        self._connected: tuple[Any, Any] | None = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Called when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from KLIPSlicerLib.version import reasonAgainstSlicer

        reason = reasonAgainstSlicer(slicer.app.majorVersion, slicer.app.minorVersion)
        if reason:
            self.showReason(reason)
            return
        from KLIPSlicerLib.updates import reasonAgainstKlipCore

        import KLIPCore

        reason = reasonAgainstKlipCore(KLIPCore.__version__)
        if reason:
            from KLIPSlicerLib.update_controls import OldKlipCore

            self.old = OldKlipCore(self.layout, reason)
            return
        from KLIPSlicerLib.panel import Panel

        uiWidget = slicer.util.loadUI(str(resourcePath("UI/KLIPSlicer.ui")))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = KLIPSlicerLogic()
        self.panel = Panel(self.ui)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        slicer.app.connect("aboutToQuit()", self.onQuit)
        self.initializeParameterNode()
        self.panel.restoreFromScene()

    def showReason(self, reason: str) -> None:
        """Say why there is no panel, in its place."""
        label = qt.QLabel(reason)
        label.setWordWrap(True)
        label.setObjectName("reasonLabel")
        self.layout.addWidget(label)
        self.layout.addStretch(1)

    def cleanup(self) -> None:
        """Called when the module is unloaded, and before it is reloaded."""
        if self.panel is None:
            return
        self.onQuit()
        slicer.app.disconnect("aboutToQuit()", self.onQuit)
        self.setParameterNode(None)
        self.disconnectControls()
        self.removeObservers()
        self.panel = None

    def disconnectControls(self) -> None:
        """Let go of the parameter node that the controls are connected with."""
        if self._connected is not None:
            parameterNode, tag = self._connected
            parameterNode.disconnectGui(tag)
            self._connected = None

    def onReload(self) -> None:
        """The developer's button: read the module's files anew, all of them."""
        from KLIPSlicerLib.reloading import forgetParts

        forgetParts()
        super().onReload()

    def onQuit(self) -> None:
        """Leave no process behind."""
        if self.panel is not None:
            self.panel.cleanUp()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        if self.panel is not None:
            self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens a different module; a run goes on."""

    def onSceneStartClose(self, _caller: Any, _event: Any) -> None:
        """The scene is about to be emptied."""
        self.panel.closeScene()
        self.setParameterNode(None)

    def onSceneEndClose(self, _caller: Any, _event: Any) -> None:
        """The scene is empty."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, _caller: Any, _event: Any) -> None:
        """A scene was loaded: a detection in it works again."""
        self.setParameterNode(None)
        self.initializeParameterNode()
        self._parameterNode.parameterNode.Modified()  # nodes that it refers to were not there when it was read
        self.panel.restoreFromScene()

    def onNodeRemoved(self, _caller: Any, _event: Any) -> None:
        """Somebody deleted a node, or a detection replaced its own."""
        self.panel.onNodeRemoved()

    def initializeParameterNode(self) -> None:
        """Make sure that there is a parameter node, and choose the first CT when none is chosen."""
        from KLIPSlicerLib.nodes import isResult

        self.setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.inputVolume is None:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            first = next((node for node in volumes if not isResult(node)), None)
            if first is not None:
                self._parameterNode.inputVolume = first

    def setParameterNode(self, parameterNode: Any) -> None:
        """Work with these choices; None while the scene is closed.

        Controls are connected with a parameter node once, and stay so: Slicer's wrapper leaves its observers on the
        node when it is disconnected, so wrappers that come and go would pile up.
        """
        if parameterNode is self._parameterNode:
            return
        if self._parameterNode is not None:
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.panel.refresh)
        self._parameterNode = parameterNode
        self.panel.setParameters(parameterNode)
        if parameterNode is not None:
            if self._connected is None or self._connected[0] is not parameterNode:
                self.disconnectControls()
                self._connected = (parameterNode, parameterNode.connectGui(self.ui))
            self.addObserver(parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.panel.refresh)
            self.panel.refresh()


class KLIPSlicerLogic(ScriptedLoadableModuleLogic):
    """What the module does without its panel, for scripts and batches of cases."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._parameters: Any = None

    def getParameterNode(self) -> Any:
        """The scene's choices; one wrapper for as long as its node lives, because each leaves observers on it."""
        from KLIPSlicerLib.parameters import KLIPSlicerParameterNode

        node = super().getParameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = KLIPSlicerParameterNode(node)
        return self._parameters

    def detect(
        self,
        inputVolume: Any,
        *,
        otherPython: str = "",
        folder: str = "",
        timeoutSeconds: float = 3600.0,
        **choices: Any,
    ) -> Any:
        """Examine a volume, wait, and return what is in the scene then (KLIPSlicerLib.scene_results.SceneResults).

        :param inputVolume: a CT volume node.
        :param otherPython: a Python in which klip's packages are installed; Slicer's own when empty.
        :param folder: where run folders are kept; Slicer's temporary folder when empty.
        :param choices: attributes of the parameter node, e.g. ``preset="quick", blockSize=20.0``.
        :raises RuntimeError: the detection failed, was cancelled, or took too long; the message says what to do.
        """
        from KLIPSlicerLib.dependencies import Choices, Dependencies
        from KLIPSlicerLib.detection import Detection, Listener

        ended: list[Any] = []
        parameters = self.getParameterNode()
        parameters.inputVolume = inputVolume
        for name, value in choices.items():
            setattr(parameters, name, value)
        dependencies = Dependencies(Choices(otherPython))
        detection = Detection(
            Listener(
                onFinished=ended.append,
                onCancelled=lambda _results: ended.append(RuntimeError(_("The detection was cancelled."))),
                onFailed=lambda sentence: ended.append(RuntimeError(sentence)),
            )
        )
        root = Path(folder) if folder else Path(slicer.app.temporaryPath) / "KLIPSlicer"
        detection.start(parameters, dependencies.ensure(), dependencies.environment(), root)
        until = time.monotonic() + timeoutSeconds
        while not ended and time.monotonic() < until:
            slicer.app.processEvents()
            time.sleep(0.02)
        if not ended:
            detection.cancelAndWait()
            raise RuntimeError(_("The detection took longer than {n} s and was stopped.").format(n=timeoutSeconds))
        if isinstance(ended[0], Exception):
            raise ended[0]
        return ended[0]


class KLIPSlicerTest(ScriptedLoadableModuleTest):
    """Runs inside the Slicer application (Developer mode, “Reload and Test”).

    Written against Slicer's source and run on the stand-ins of Testing/Slicer; no Slicer application has run it yet.
    """

    def setUp(self) -> None:
        """An empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """All of them."""
        self.setUp()
        self.test_DetectOnSmallStudy()

    def test_DetectOnSmallStudy(self) -> None:
        """A simulated abdomen through the real `klip`, the slider, a round trip of the segmentation."""
        from KLIPSlicerLib.dependencies import Choices, Dependencies
        from KLIPSlicerLib.self_test import smallStudyNode

        self.delayDisplay("Making a simulated abdomen")
        node = smallStudyNode()
        python = qt.QSettings().value("KLIPSlicer/OtherPython") or ""
        missing = ", ".join(requirement.name for requirement in Dependencies(Choices(python)).missing())
        if missing and slicer.app.testingEnabled():  # a dashboard: nothing is installed there
            self.delayDisplay(f"Skipped: {missing} not installed, and in testing mode nothing is")
            return
        self.delayDisplay("Examining it; missing packages are asked for")
        logic = KLIPSlicerLogic()
        choices = {"preset": "quick", "steps": 2, "samples": 1, "firstSlice": 1, "lastSlice": 2}
        results = logic.detect(node, otherPython=python, **choices)
        assert results.mapNode is not None
        array = slicer.util.arrayFromVolume(results.mapNode)
        assert array.shape == slicer.util.arrayFromVolume(node).shape
        assert float(array.max()) > 0.0
        results.show(replace(results.settings, block_mm=30.0))
        assert float(slicer.util.arrayFromVolume(results.mapNode).max()) > 0.0
        assert results.segmentationNode.GetSegmentation().GetNumberOfSegments() == len(results.regions)
        self.delayDisplay("Test passed")
