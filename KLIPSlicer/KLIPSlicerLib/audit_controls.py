"""The section that audits a reconstruction: what is compared with what, the button, and what the data say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ctk
import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from . import parameters as choices
from .audit_run import AuditFiles, Auditing, AuditListener, AuditOrder
from .audit_scene import NULL_SPACE, RESIDUAL, AuditInScene
from .audit_table import AuditTable
from .failures import sentenceOf
from .guard import Guard
from .path_edit import onPathChanged
from .status import stageNames
from .study_source import numberOfSlices
from .styles import CANCEL, DETECT, ERROR, PLAIN, WARNING

if TYPE_CHECKING:
    from .computer import Computer
    from .parameters import KLIPSlicerParameterNode

SINOGRAM, VOLUME = "sinogram", "volume"
"""What a reconstruction is compared with."""


class AuditControls:
    """Choices, button, progress and results of an audit.

    Attributes
    ----------
    parameters : the choices; None while there is no scene.
    auditing : the run in the background.
    shown : the audit that the table shows; None without.

    :param log: writes a line into the log.
    :param busy: whether a detection runs.
    """

    def __init__(
        self, ui: Any, guard: Guard, computer: Computer, log: Callable[[str], None], busy: Callable[[], bool]
    ) -> None:
        self._ui, self._guard, self._computer, self._log, self._busy = ui, guard, computer, log, busy
        self.parameters: KLIPSlicerParameterNode | None = None
        self.shown: AuditInScene | None = None
        self._stopping = False
        self._node = ""
        self.auditing = Auditing(
            AuditListener(self._onProgress, self._onFinished, self._onCancelled, self._onFailed, log)
        )
        ui.auditByComboBox.addItem(_("Its sinogram, a file"), SINOGRAM)
        ui.auditByComboBox.addItem(_("Another volume"), VOLUME)
        for text, role in ((_("What was not measured"), NULL_SPACE), (_("Residual"), RESIDUAL), (_("Nothing"), "")):
            ui.auditOverlayComboBox.addItem(text, role)
        ui.auditSinogramEdit.filters = ctk.ctkPathLineEdit.Files
        ui.auditProgressBar.setFixedHeight(8)
        ui.auditProgressBar.setVisible(False)
        self.table = AuditTable(ui.auditTable, self._onJump)
        ui.auditButton.connect("clicked(bool)", self.onAudit)
        ui.auditPageButton.connect("clicked(bool)", self._onPage)
        ui.auditByComboBox.connect("currentIndexChanged(int)", self._onBy)
        ui.auditOverlayComboBox.connect("currentIndexChanged(int)", self._onOverlay)
        ui.auditSliceSlider.connect("valueChanged(double)", self._onSlice)
        onPathChanged(ui.auditSinogramEdit, self._onSinogram)
        self._say("")
        self.setShown(None)

    # ---- what was chosen

    def refresh(self) -> None:
        """Show what the parameter node says."""
        parameters, ui = self.parameters, self._ui
        if parameters is None:
            return
        with self._guard.raised():
            self._hideResults()
            ui.auditByComboBox.currentIndex = ui.auditByComboBox.findData(parameters.auditBy)
            bySinogram = parameters.auditBy == SINOGRAM
            for widget in (ui.auditSinogramLabel, ui.auditSinogramEdit):
                widget.setVisible(bySinogram)
            for widget in (ui.auditReferenceLabel, ui.auditReferenceSelector):
                widget.setVisible(not bySinogram)
            if ui.auditSinogramEdit.currentPath != parameters.auditSinogram:
                ui.auditSinogramEdit.currentPath = parameters.auditSinogram
            self._refreshSlice()
        self.refreshButton()

    def _refreshSlice(self) -> None:
        """Offer the slices of the chosen volume; of another volume, the middle one."""
        parameters, slider = self.parameters, self._ui.auditSliceSlider
        node = parameters.auditVolume
        count = numberOfSlices(node) if node is not None else 0
        slider.enabled = count > 1
        slider.minimum, slider.maximum = 0, max(count - 1, 0)
        chosen = node.GetID() if node is not None else ""
        if count and (parameters.auditSlice == choices.ALL or (self._node and chosen != self._node)):
            parameters.auditSlice = count // 2
        self._node = chosen or self._node
        slider.value = min(max(parameters.auditSlice, 0), max(count - 1, 0))

    def _hideResults(self) -> None:
        """Offer no audit's own maps and segments."""
        found = [AuditInScene.restore(node) for node in slicer.util.getNodesByClass("vtkMRMLTextNode")]
        own = [audit.node(role) for audit in found if audit is not None for role in audit.roles]
        hidden = [node.GetID() for node in own if node is not None]
        for selector in (self._ui.auditSelector, self._ui.auditReferenceSelector, self._ui.auditSegmentsSelector):
            model = selector.sortFilterProxyModel()
            if list(model.hiddenNodeIDs) != hidden:
                model.hiddenNodeIDs = hidden

    def refreshButton(self) -> None:
        """Name and tooltip of the button, and whether it can be pressed."""
        button = self._ui.auditButton
        if self.auditing.running:
            button.text = _("Stopping…") if self._stopping else _("Cancel")
            button.toolTip = _("Stop now. Nothing is kept of an audit that is not finished.")
            button.enabled = not self._stopping
            button.setStyleSheet(CANCEL)
            return
        reason = self.reasonNotToAudit()
        button.text = _("Audit")
        button.toolTip = reason or _("Ask the data which structures of this slice were measured.")
        button.enabled = not reason
        button.setStyleSheet(DETECT)
        if not self.shown:
            self._ui.auditSummaryLabel.text = reason or _("Nothing has been audited yet.")

    def reasonNotToAudit(self) -> str:
        """Why Audit cannot run, in a sentence; empty when it can."""
        parameters = self.parameters
        if parameters is None or parameters.auditVolume is None:
            return _("Choose the reconstruction that is to be audited.")
        if numberOfSlices(parameters.auditVolume) == 0:
            return _("The chosen reconstruction is empty.")
        if self._busy():
            return _("A detection is running. Wait until it ends, or cancel it.")
        if parameters.auditBy == SINOGRAM:
            if not parameters.auditSinogram.lower().endswith((".npz", ".mat")):
                return _("Choose the sinogram that it was made from, a file .npz or .mat.")
            return ""
        return self._reasonAgainstReference()

    def _reasonAgainstReference(self) -> str:
        from .nodes import gridOfNode

        node, reference = self.parameters.auditVolume, self.parameters.auditReference
        if reference is None:
            return _("Choose the volume that it is compared with.")
        if reference is node:
            return _("A volume cannot be compared with itself. Choose another one.")
        if numberOfSlices(reference) == 0 or not gridOfNode(reference).same_as(gridOfNode(node), 1e-3):
            return _("The two volumes lie on different voxels. Resample one to the other first.")
        return ""

    # ---- Audit and Cancel

    def onAudit(self, *_clicked: Any) -> None:
        """Start, or cancel what is running."""
        if self.auditing.running:
            self._stopping = True
            self.auditing.cancel()
            self.refreshButton()
            return
        parameters, dependencies = self.parameters, self._computer.dependencies()
        self._ui.auditButton.enabled = False  # events go on while another Python is asked what it has
        try:
            self.auditing.start(
                AuditOrder(
                    parameters.auditVolume,
                    int(parameters.auditSlice),
                    parameters.auditSinogram if parameters.auditBy == SINOGRAM else parameters.auditReference,
                    parameters.auditSegments,
                    dependencies.ensure(),
                    dependencies.environment(),
                    self._computer.outputFolder(),
                )
            )
        except Exception as error:  # installers raise what they like, and the button must come back
            self._onFailed(sentenceOf(error))
            return
        self._stopping = False
        self._audited = parameters.auditVolume.GetID()
        self._ui.auditProgressBar.value = 0
        self._ui.auditProgressBar.setVisible(True)
        self._say(_("Starting…"))
        self.refreshButton()

    def _onProgress(self, stage: str, fraction: float, detail: str, _seconds: float | None) -> None:
        if not self._stopping:
            self._ui.auditProgressBar.value = round(1000 * fraction)
            self._say(" · ".join(part for part in (stageNames().get(stage, stage), detail) if part))

    def _onFinished(self, files: AuditFiles) -> None:
        node = slicer.mrmlScene.GetNodeByID(self._audited)
        self._ended()
        if node is None:
            self._onFailed(_("The audited volume is no longer in the scene."))
            return
        self.setShown(AuditInScene.create(node, files))
        self._hideResults()
        self._onOverlay()
        warnings = [str(sentence) for sentence in files.record["warnings"]]
        belongs = bool(files.record["belongs"])
        self._say("\n".join(warnings), PLAIN if not warnings else WARNING if belongs else ERROR)
        self._log(str(files.record["summary"]))

    def _onCancelled(self) -> None:
        self._ended()
        self._say(_("Stopped."))

    def _onFailed(self, sentence: str) -> None:
        self._ended()
        self._say(sentence, ERROR)

    def _ended(self) -> None:
        self._stopping = False
        self._ui.auditProgressBar.setVisible(False)
        self.refreshButton()

    def _say(self, text: str, style: str = PLAIN) -> None:
        label = self._ui.auditStatusLabel
        label.setStyleSheet(style)
        label.text = text
        label.setVisible(bool(text))

    # ---- results

    def setShown(self, audit: AuditInScene | None) -> None:
        """Show an audit of the scene; None for none."""
        self.shown = audit
        ui = self._ui
        for widget in (ui.auditTable, ui.auditOverlayLabel, ui.auditOverlayComboBox, ui.auditPageButton):
            widget.setVisible(audit is not None)
        self.table.show(audit.regions if audit is not None else [])
        if audit is None:
            ui.auditSummaryLabel.text = _("Nothing has been audited yet.")
            return
        ui.auditSummaryLabel.text = str(audit.record["summary"])
        ui.auditTable.setVisible(bool(audit.regions))
        ui.auditPageButton.enabled = audit.page.is_file()
        ui.auditPageButton.toolTip = (
            _("Pictures, every number and where they come from, in the web browser.")
            if audit.page.is_file()
            else _("The page is no longer where it was written. Audit again.")
        )

    def restoreFromScene(self) -> None:
        """Take up the last audit of a scene that was loaded."""
        if not self.auditing.running:
            self.setShown(AuditInScene.last(slicer.mrmlScene))

    def closeScene(self) -> None:
        """Forget everything: the scene is about to be emptied."""
        self.cleanUp()
        self._node = ""
        self.setShown(None)
        self._say("")

    def cleanUp(self) -> None:
        """End what runs in the background."""
        self.auditing.cancelAndWait()

    # ---- hands on controls

    def _onJump(self, i: int) -> None:
        if self.shown is not None and self.shown.node(NULL_SPACE) is not None:
            self.shown.jumpTo(i)

    def _onPage(self, *_clicked: Any) -> None:
        if self.shown is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.shown.page)))

    def _onOverlay(self, *_index: Any) -> None:
        if self.shown is not None and not self._guard.up:
            self.shown.show(str(self._ui.auditOverlayComboBox.currentData or ""))

    def _onBy(self, *_index: Any) -> None:
        if not self._guard.up and self.parameters is not None:
            self.parameters.auditBy = str(self._ui.auditByComboBox.currentData)

    def _onSinogram(self, path: str) -> None:
        if not self._guard.up and self.parameters is not None:
            self.parameters.auditSinogram = path

    def _onSlice(self, value: float) -> None:
        if not self._guard.up and self.parameters is not None:
            self.parameters.auditSlice = round(value)
