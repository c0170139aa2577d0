"""The menu under Export: asks where to, and writes the checked regions there (KLIPSlicerLib.exports)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from .failures import sentenceOf

if TYPE_CHECKING:
    from .scene_results import SceneResults

FOLDER_KINDS = ("dicom", "stl")
"""Kinds that are several files: a folder is asked for."""


def kinds() -> list[tuple[str, str, str, str]]:
    """Kind, text of the action, tooltip, and file filter (empty: no file, or a folder) of each entry."""
    return [
        (
            "scene",
            _("Segmentation in the scene"),
            _("A copy of the checked regions as a segmentation of its own, which the sliders leave alone."),
            "",
        ),
        (
            "seg.nrrd",
            _("Segmentation file (.seg.nrrd)…"),
            _("For 3D Slicer: segments with names and colors."),
            "*.seg.nrrd",
        ),
        (
            "nifti",
            _("Label image (.nii.gz)…"),
            _("For other programs: 1 for the first region, 2 for the second, …"),
            "*.nii.gz",
        ),
        (
            "dicom-seg",
            _("DICOM SEG (.dcm)…"),
            _("For a PACS: refers to the original images. Needs a volume that was loaded from DICOM and not changed."),
            "*.dcm",
        ),
        (
            "dicom",
            _("DICOM results: SEG, map and report…"),
            _("For a PACS: the segmentation, the map as Parametric Map and the numbers as Structured Report."),
            "",
        ),
        ("stl", _("Surfaces (.stl)…"), _("One surface a region, for 3-D programs."), ""),
        ("report", _("Report (.html)…"), _("One page with pictures, regions, readings and all settings."), "*.html"),
        (
            "json",
            _("Numbers and readings (.json)…"),
            _("For programs: regions, what you said of them, settings."),
            "*.json",
        ),
    ]


class ExportMenu:
    """Fills a button's menu.

    :param results: what is there to export; None for nothing.
    :param say: shows a sentence.
    """

    def __init__(self, button: Any, results: Callable[[], SceneResults | None], say: Callable[..., None]) -> None:
        self._button, self._results, self._say = button, results, say
        self._menu = qt.QMenu(button)
        self._menu.setToolTipsVisible(True)
        self._actions = []
        for kind, text, tip, pattern in kinds():
            action = qt.QAction(text, self._menu)
            action.setToolTip(tip)
            action.setObjectName(f"export {kind}")
            action.connect("triggered(bool)", lambda *_a, k=kind, p=pattern: self.export(k, p))
            self._menu.addAction(action)
            self._actions.append(action)
        button.setMenu(self._menu)

    def refresh(self) -> None:
        """Enable what can be exported, and say why the rest cannot. A report can be made of no regions, too."""
        results = self._results()
        self._button.enabled = results is not None
        self._button.toolTip = (
            _("Save the checked regions: in the scene, as a file, as DICOM SEG, as surfaces or as a report.")
            if results is not None
            else _("Nothing has been examined yet.")
        )
        for action, (kind, _text, tip, _pattern) in zip(self._actions, kinds(), strict=True):
            reason = self.reasonAgainst(kind)
            action.enabled = not reason
            action.setToolTip(reason or tip)

    def reasonAgainst(self, kind: str) -> str:
        """Why this cannot be exported, in a sentence; empty when it can."""
        from .exports import WITHOUT_REGIONS, reasonAgainstDicomSeg

        results = self._results()
        if results is None:
            return _("Nothing has been examined yet.")
        if kind not in WITHOUT_REGIONS and not results.visibleRegions:
            return _("No region is checked.")
        return reasonAgainstDicomSeg(results) if kind in ("dicom-seg", "dicom") else ""

    def export(self, kind: str, pattern: str) -> None:
        """Ask where to, and write."""
        results = self._results()
        if results is None:
            return
        path = self._ask(kind, pattern)
        if path == "" and kind != "scene":
            return
        from .exports import exportRegions
        from .styles import ERROR

        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            exportRegions(results, kind, path or None)
        except Exception as error:  # writers of several projects raise what they like
            self._say(sentenceOf(error), ERROR)
            return
        finally:
            slicer.app.restoreOverrideCursor()
        self._say(_("Saved in {path}.").format(path=path) if path else _("The segmentation is in the scene."))

    def _ask(self, kind: str, pattern: str) -> str:
        """Where to; empty when the user thinks better of it."""
        if kind == "scene":
            return ""
        title = _("Export the checked regions")
        start = qt.QSettings().value("KLIPSlicer/ExportFolder") or str(Path.home())
        if kind in FOLDER_KINDS:
            path = str(qt.QFileDialog.getExistingDirectory(self._button, title, start))
        else:
            suggestion = str(Path(start) / ("regions" + pattern.removeprefix("*")))
            path = str(qt.QFileDialog.getSaveFileName(self._button, title, suggestion, pattern))
            if path and not path.endswith(pattern.removeprefix("*")):
                path += pattern.removeprefix("*")
        if path:
            qt.QSettings().setValue(
                "KLIPSlicer/ExportFolder", path if kind in FOLDER_KINDS else str(Path(path).parent)
            )
        return path
