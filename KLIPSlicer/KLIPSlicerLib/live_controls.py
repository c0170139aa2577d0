"""The controls that act at once: block size, σ window, acceptable false regions, threshold and opacity.

Nothing is sampled again. Block size, false regions, rate and score are connected with the parameter node by Slicer;
the window, which has a list of names beside its numbers, is connected here. Whatever was moved, the results in the
scene are asked for another view of the same trace after a pause that a person does not notice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
import slicer.util
from slicer.i18n import tr as _

from . import parameters as choices
from .guard import Guard
from .status import sayError
from .turns import Task, Turns

if TYPE_CHECKING:
    from KLIPCore.config import RegionConfig

    from .parameters import KLIPSlicerParameterNode
    from .scene_results import SceneResults

LIVE_MSEC = 15
"""A moved slider is answered after this pause, so that a drag does not queue up answers."""


def windowNames() -> tuple[tuple[str, str], ...]:
    """Name and text of the ready-made σ windows."""
    return (
        ("recommended", _("Recommended")),
        ("fine", _("Fine (0.08 to 0.16)")),
        ("coarse", _("Coarse (0.16 to 0.32)")),
        ("large", _("Large lesions (0.32 to 1.60)")),
        ("wide", _("Wide (0.02 to 0.40, score “klip”)")),
        ("custom", _("Custom")),
    )


class LiveControls:
    """Sliders on results.

    Attributes
    ----------
    parameters : the choices; None while there is no scene.
    results : what the sliders act on; None without.

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
        self._shown: RegionConfig | None = None
        self._scored: tuple[KLIPSlicerParameterNode, str] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(LIVE_MSEC)
        self._timer.connect("timeout()", self.show)
        for name, text in windowNames():
            ui.windowComboBox.addItem(text, name)
        ui.windowComboBox.connect("currentIndexChanged(int)", self._onWindowName)
        ui.windowRangeWidget.connect("valuesChanged(double,double)", self._onWindow)
        ui.thresholdSlider.connect("valueChanged(double)", self._onThreshold)
        ui.opacitySlider.connect("valueChanged(double)", self._onOpacity)
        ui.show3DCheckBox.connect("toggled(bool)", self._onShow3D)

    def refresh(self) -> None:
        """Show what the parameter node says."""
        from KLIPCore.scores import SCORES

        parameters, names = self.parameters, self._ui.windowComboBox
        names.currentIndex = names.findData(parameters.windowName)
        self._letRateFollow()
        healthy = choices.judgedByHealth(parameters)
        for name in ("falseRegionsSlider", "signComboBox", "tissueComboBox"):
            getattr(self._ui, name).setVisible(healthy)
        for name in ("falseRegionsLabel", "signLabel", "tissueLabel"):
            getattr(self._ui, name).setVisible(healthy)
        for name in ("fdrLabel", "fdrSlider"):
            getattr(self._ui, name).setVisible(not healthy)
        low, high = choices.windowOf(parameters) or SCORES[parameters.score].window
        self._ui.windowRangeWidget.setValues(low, high)

    def _letRateFollow(self) -> None:
        """Another score brings its own rate, unless the rate was moved by hand."""
        from KLIPCore.scores import SCORES

        parameters, before = self.parameters, self._scored
        self._scored = (parameters, parameters.score)
        changed = before is not None and before[0] is parameters and before[1] != parameters.score
        if changed and abs(parameters.fdr - SCORES[before[1]].fdr) < 1e-6:
            parameters.fdr = SCORES[parameters.score].fdr

    def setResults(self, results: SceneResults | None) -> None:
        """Act on these results; None when there are none any more."""
        self.results = results
        self._shown = results.settings if results is not None else None

    def follow(self) -> None:
        """Bring the results in line with the controls, soon."""
        if self.results is not None and self.parameters is not None and self._wanted() != self._shown:
            self._timer.start()

    def stop(self) -> None:
        """Forget what was to be done soon."""
        self._timer.stop()

    def _wanted(self) -> RegionConfig | None:
        """What the controls say; None for an impossible combination."""
        from KLIPCore.errors import ConfigError

        try:
            return choices.regionConfigOf(self.parameters)
        except ConfigError:
            return None

    def show(self) -> None:
        """Map and regions as the controls say, when their turn comes; of several moves the last one counts."""
        results, wanted = self.results, self._wanted()
        if results is None or wanted is None or wanted == self._shown:
            return
        started, self._shown = time.perf_counter(), wanted

        def shown(_nothing: Any) -> None:
            logging.debug("KLIPSlicer: live update in %.0f ms", 1000 * (time.perf_counter() - started))
            if results is self.results:
                self._onShown()

        self._turns.add(Task("slider", lambda: results.showing(wanted), shown, self._onError))

    def _onError(self, error: Exception) -> None:
        sayError(error, _("Map and regions could not follow. The application log has the details."), self._say)

    def refreshThreshold(self) -> None:
        """Let the threshold's slider reach as far as the map does."""
        results, slider = self.results, self._ui.thresholdSlider
        if results is None:
            return
        with self._guard.raised():
            if results.range is not None:
                slider.maximum = max(float(results.range.high), float(results.threshold), 0.1)
            slider.value = float(results.threshold)

    def _onWindowName(self, _index: int) -> None:
        if self._guard.up or self.parameters is None:
            return
        name, numbers = self._ui.windowComboBox.currentData, self._ui.windowRangeWidget
        with slicer.util.NodeModify(self.parameters):
            if name == "custom":
                self.parameters.windowLow = round(float(numbers.minimumValue), 3)
                self.parameters.windowHigh = round(float(numbers.maximumValue), 3)
            elif name == "wide":
                self.parameters.score = "klip"
            self.parameters.windowName = name

    def _onWindow(self, low: float, high: float) -> None:
        if self._guard.up or self.parameters is None:
            return
        with slicer.util.NodeModify(self.parameters):
            self.parameters.windowName = "custom"
            self.parameters.windowLow, self.parameters.windowHigh = round(float(low), 3), round(float(high), 3)

    def _onThreshold(self, nats: float) -> None:
        if not self._guard.up and self.results is not None:
            self.results.setThreshold(float(nats))

    def _onOpacity(self, opacity: float) -> None:
        if self.results is not None:
            self.results.setOpacity(float(opacity))

    def _onShow3D(self, shown: bool) -> None:
        if self.results is not None:
            self.results.setShow3D(bool(shown))
