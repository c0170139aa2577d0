"""The button that runs and cancels: what it is called, whether it can be pressed, and if not, why not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from . import parameters as choices
from .outputs import checkOutputs
from .platforms import reasonAgainstDevice
from .study_source import boxOfRoi, numberOfSlices
from .styles import CANCEL, DETECT

if TYPE_CHECKING:
    from .study_controls import StudyControls


class DetectButton:
    """Detect OOD, which becomes Cancel.

    Attributes
    ----------
    stopping : Cancel was pressed and the run is not gone yet.

    :param study: what would be examined.
    """

    def __init__(self, button: Any, study: StudyControls) -> None:
        self._button, self._study = button, study
        self.stopping = False
        button.setStyleSheet(DETECT)

    def refresh(self, running: bool) -> None:
        """Name and tooltip, while something runs or not."""
        button = self._button
        if running:
            button.text = _("Stopping…") if self.stopping else _("Cancel")
            button.toolTip = _("Stop now. Slices that are finished are kept, and used again the next time.")
            button.enabled = not self.stopping
            button.setStyleSheet(CANCEL)
            return
        reason = self.reasonNotToDetect()
        button.text = _("Detect OOD")
        button.toolTip = reason or _(
            "Examine the volume: mark where it departs from the anatomy that the prior knows."
        )
        button.enabled = not reason
        button.setStyleSheet(DETECT)

    def preparing(self) -> None:
        """Detect was pressed, and nothing runs yet that could be cancelled."""
        self._button.enabled = False

    def reasonNotToDetect(self) -> str:
        """Why Detect cannot run, in a sentence; empty when it can."""
        from KLIPCore.errors import KlipError

        from .nodes import isResult

        study, parameters = self._study, self._study.parameters
        if parameters is None or parameters.inputVolume is None:
            return _("Choose a CT volume first.")
        if numberOfSlices(parameters.inputVolume) == 0:
            return _("The chosen volume is empty. Load a CT first.")
        if isResult(parameters.inputVolume):
            return _("This volume is a result of KLIP. Choose the CT that was examined.")
        if study.error:
            return study.error
        if parameters.prior not in study.cards:
            return _("Choose a prior first.")
        reason = reasonAgainstDevice(parameters.device, sys.platform)
        if reason:
            return reason
        try:
            choices.configOf(parameters)
            checkOutputs(parameters)
            if parameters.roi is not None:
                checkRoi(parameters.roi, parameters.inputVolume)
        except KlipError as error:
            return str(error)
        return ""


def checkRoi(roi: Any, volume: Any) -> None:
    """Raise ConfigError for a box that misses the volume."""
    import numpy as np

    from KLIPCore.errors import ConfigError

    from .nodes import gridOfNode

    grid = gridOfNode(volume)
    box = np.array(boxOfRoi(roi, volume))
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T
    corners = grid.to_world(ends)
    if (box[:, 1] < corners.min(0)).any() or (box[:, 0] > corners.max(0)).any() or (box[:, 1] <= box[:, 0]).any():
        raise ConfigError(
            _("The region of interest lies outside the volume."), _("Move it onto the volume, or choose None.")
        )
