"""What was found: a summary in a sentence, the table of regions, and the menu that exports them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from .export_menu import ExportMenu
from .reading_controls import ReadingControls, shortly, verdictNames
from .region_table import RegionTable

if TYPE_CHECKING:
    from KLIPCore.config import RegionConfig
    from KLIPCore.maps.typicality import StudyFit

    from .scene_results import SceneResults


class ResultsList:
    """Shows results and lets rows act on the scene.

    Attributes
    ----------
    results : what is shown; None for nothing.
    table : of the regions.

    :param say: shows a sentence.
    """

    def __init__(self, ui: Any, say: Callable[..., None]) -> None:
        self._summaryLabel = ui.summaryLabel
        self._summaryLabel.text = _("Nothing has been examined yet.")
        self.results: SceneResults | None = None
        self._reading = ReadingControls(ui, self._onReading)
        self.table = RegionTable(ui.regionTable, self._onJump, self._onVisible, self._onVerdict, self._onCurrent)
        self._export = ExportMenu(ui.exportButton, lambda: self.results, say)

    def refresh(self, results: SceneResults | None) -> None:
        """Show these results as they are now."""
        self.results = results
        regions = results.regions if results is not None else ()
        self._fillTable()
        self._export.refresh()
        if results is None:
            self._summaryLabel.text = _("Nothing has been examined yet.")
            return
        text = summary(regions, results.settings, results.live.fit, results.live.where.names)
        rests = results.view.rests_on if results.view is not None else ""
        self._summaryLabel.text = f"{text}\n{rests}" if rests else text

    def _fillTable(self) -> None:
        results = self.results
        if results is None:
            self.table.show((), lambda i: True, {})
            return
        said = results.readings.ofAll(results.regions, results.live.framing.grid)
        texts = {label: shortly(reading) for label, reading in said.items()}
        self.table.show(results.regions, results.isRegionVisible, texts)

    def _onCurrent(self) -> None:
        i = self.table.current if self.results is not None else -1
        self._reading.show(self.results.readingOf(i) if i >= 0 else None, i >= 0)

    def _onReading(self, verdict: str, note: str) -> None:
        self._say(self.table.current, verdict, note)

    def _onVerdict(self, i: int, n: int) -> None:
        """A digit was pressed: another verdict, the same note."""
        if self.results is not None:
            before = self.results.readingOf(i)
            self._say(i, list(verdictNames())[n], before.note if before else "")

    def _say(self, i: int, verdict: str, note: str) -> None:
        from KLIPCore.export.report import Reading

        reading = Reading(verdict, note)
        if self.results is not None and i >= 0 and (self.results.readingOf(i) or Reading()) != reading:
            self.results.setReading(i, reading)
            self._fillTable()

    def _onJump(self, i: int) -> None:
        if self.results is not None:
            self.results.jumpTo(i)

    def _onVisible(self, i: int, visible: bool) -> None:
        if self.results is not None:
            self.results.setRegionVisible(i, visible)
            self._export.refresh()


def summary(regions: Any, settings: RegionConfig, fit: StudyFit | None, within: Sequence[str] = ()) -> str:
    """Whether the study belongs under the prior, how much was found, and how much of it health would show.

    :param fit: None where nobody can say whether the study belongs.
    :param within: names of the segments that were looked within; empty for everywhere.
    """
    healthy = settings.fdr is None and all(region.expected is not None for region in regions)
    if not regions:
        text = _("Nothing stands out from what chance would mark. That does not mean that nothing is there.")
    else:
        volume = sum(region.volume_ml for region in regions)
        text = _("1 region, {ml} mL.") if len(regions) == 1 else _("{n} regions, {ml} mL together.")
        text = text.format(n=len(regions), ml=f"{volume:.0f}" if volume >= 10 else f"{volume:.1f}") + " "
        if healthy:
            shown = f"{settings.false_regions:g}"
            text += (
                _("As much average healthy tissue shows {n}.").format(n=shown)
                if within
                else _("A healthy study of this size shows {n}.").format(n=shown)
            )
        else:
            text += _("At most {fdr} % of what is marked is expected to be chance.").format(
                fdr=round(100 * settings.rate)
            )
    if within:
        names = ", ".join(within[:3]) + (", …" if len(within) > 3 else "")
        text = _("Within {names} alone: {text}").format(names=names, text=text)
    return text if fit is None or fit.belongs else f"{fit.sentence()}\n{text}"
