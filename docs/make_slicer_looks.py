"""Draws the panel in light and in dark, at 100 and 200 %, in English and German: `python docs/make_slicer_looks.py`.

Results are those of a made run (Testing/Slicer/made_run.py: a simulated abdomen, nats that are drawn, not sampled), so
it takes seconds. Style and palettes are Qt's Fusion, which Slicer's own styles are made of; widgets of CTK and qMRML
are stand-ins.

    docs/images/slicer_panel_light.png, slicer_panel_dark.png   at 100 %
    FOLDER/panel_dark_200.png, panel_de_100.png, …              all of them, with --to FOLDER
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / part) for part in (".", "docs", "Testing/Slicer", "Testing/Python", "KLIPSlicer")]
WIDTH = 470
DARK = {"Window": 0x2D, "Base": 0x1E, "AlternateBase": 0x26, "Button": 0x3A, "ToolTipBase": 0x1E}
SHOWN_IN_DOCUMENTS = {("light", 1): "slicer_panel_light.png", ("dark", 1): "slicer_panel_dark.png"}


def main() -> None:
    """Write the pictures, each scale in a process of its own: Qt asks for it once."""
    parser = argparse.ArgumentParser(description="Draw the panel's looks.")
    parser.add_argument("--scale", type=int, help="only this scale, in this process")
    parser.add_argument("--to", type=Path, help="write all pictures there, instead of the documents' two")
    arguments = parser.parse_args()
    if arguments.scale is None:
        for scale in (1, 2) if arguments.to else (1,):
            to = ["--to", str(arguments.to)] if arguments.to else []
            environment = {**os.environ, "QT_SCALE_FACTOR": str(scale), "QT_QPA_PLATFORM": "offscreen"}
            subprocess.run([sys.executable, __file__, "--scale", str(scale), *to], check=True, env=environment)
        return
    with tempfile.TemporaryDirectory() as folder:
        draw(arguments.scale, Path(folder), arguments.to)


def draw(scale: int, folder: Path, to: Path | None) -> None:
    """Show a made run in the panel, opened anew in each look, and take its picture."""
    import panel_at_work
    from headless import save_png
    from inputs import show_run
    from KLIPSlicerLib.form_labels import alignLabels
    from made_run import make_run
    from PySide6 import QtWidgets
    from standins import person

    run = make_run(folder / "run")
    for look in ("light", "dark"):
        QtWidgets.QApplication.setStyle("Fusion")
        QtWidgets.QApplication.setPalette(palette(look))
        with panel_at_work.opened_panel(folder / look) as widget:
            results = show_run(run)
            widget._parameterNode.score, widget._parameterNode.fdr = "hypodense", 0.05
            widget.panel.setResults(results)
            person.events(0.2)
            person.wait(lambda panel=widget.panel: not panel.study.check.working, 60, "the study is checked")
            name_organs(widget, results)
            person.click_cell(widget.ui.regionTable, 0, 2)
            for language in ("", "de"):
                if language:
                    translate(widget.parent)
                    alignLabels(widget.ui)
                shown = SHOWN_IN_DOCUMENTS.get((look, scale)) if not language else None
                path = to / f"panel_{look}{'_' + language if language else ''}_{100 * scale}.png" if to else None
                path = path or (REPOSITORY / "docs" / "images" / shown if shown else None)
                if path is not None:
                    save_png(panel_at_work.picture(widget, WIDTH), path, colors=256)


def name_organs(widget: Any, results: Any) -> None:
    """Choose a segmentation of the simulated abdomen: its two halves."""
    from panel_at_work import slicer
    from standins import person
    from test_panel_within import halves, segmentation

    halved = halves(slicer.util.arrayFromVolume(results.inputNode).shape)
    organs = segmentation({name: halved[name] for name in ("Right half", "Left half")}, results.inputNode)
    person.events(0.1)
    widget.ui.organsSelector.setCurrentNode(organs)
    person.wait(lambda: results.regions[0].organ is not None, 60, "the organs are looked up")


def palette(look: str) -> Any:
    """Fusion's own colors, or dark ones like those of Slicer's dark style."""
    from PySide6 import QtGui, QtWidgets

    made = QtWidgets.QStyleFactory.create("Fusion").standardPalette()
    if look == "dark":
        roles = QtGui.QPalette.ColorRole
        for name, grey in DARK.items():
            made.setColor(getattr(roles, name), QtGui.QColor(grey, grey, grey))
        for name in ("WindowText", "Text", "ButtonText", "ToolTipText", "BrightText"):
            made.setColor(getattr(roles, name), QtGui.QColor(0xE6, 0xE6, 0xE6))
            disabled = QtGui.QColor(0x88, 0x88, 0x88)
            made.setColor(QtGui.QPalette.ColorGroup.Disabled, getattr(roles, name), disabled)
        made.setColor(roles.PlaceholderText, QtGui.QColor(0x99, 0x99, 0x99))
    return made


def translate(parent: Any) -> None:
    """Put German texts in place of the English ones of widgets, to see whether they fit."""
    from PySide6 import QtWidgets
    from standins.ctk_widgets import ctkCollapsibleButton

    file = REPOSITORY / "Resources" / "Translations" / "KLIPSlicer_de-DE.ts"
    texts = {
        message.findtext("source"): message.findtext("translation")
        for message in ElementTree.parse(file).getroot().iter("message")
    }
    for kind in (QtWidgets.QLabel, QtWidgets.QAbstractButton):
        for child in QtWidgets.QWidget.findChildren(parent, kind):
            if texts.get(kind.text(child)):
                kind.setText(child, texts[kind.text(child)])
    for child in QtWidgets.QWidget.findChildren(parent, ctkCollapsibleButton):
        if texts.get(child._text):
            child._set_text(texts[child._text])


if __name__ == "__main__":
    main()
