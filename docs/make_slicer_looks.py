"""Draws the panel in light and in dark, at 100 and 200 %, in English and German: `python docs/make_slicer_looks.py`.

Results are those of a made run (Testing/Slicer/made_run.py: a simulated abdomen, nats that are drawn, not sampled), so
it takes seconds. The style is Qt's Fusion, which Slicer's own styles are made of; the dark colors are those of
Slicer's dark style. Widgets of CTK and qMRML are stand-ins.

    docs/images/slicer_panel_light.png, slicer_panel_dark.png   at 100 %
    FOLDER/panel_dark_200.png, panel_de_100.png, …              all of them, with --to FOLDER
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / part) for part in (".", "docs", "Testing/Slicer", "Testing/Python", "KLIPSlicer")]
WIDTH = 470
DARK = {
    **dict.fromkeys(("Window", "Button", "AlternateBase", "ToolTipText"), "#323232"),
    **dict.fromkeys(("WindowText", "Text", "ButtonText", "HighlightedText", "ToolTipBase"), "#ffffff"),
    **dict.fromkeys(("Highlight", "Link"), "#3ca4ff"),
    **{"Base": "#1e1e1e", "BrightText": "#ff0000", "Light": "#828284", "Midlight": "#5a5a5b"},
    **{"Mid": "#2b2b2b", "Dark": "#232323", "Shadow": "#141414"},
}
"""Colors by their roles, as Slicer's dark style names them (qSlicerDarkStyle)."""
DARK_DISABLED = {
    **dict.fromkeys(("WindowText", "Text", "HighlightedText"), "#6d6d6d"),
    **{"Base": "#1e1e1e", "ButtonText": "#b4b4b4", "Highlight": "#505050"},
}
GERMAN = REPOSITORY / "Resources" / "Translations" / "KLIPSlicer_de-DE.ts"
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
    """Show a made run in the panel, opened anew in each look and language, and take its picture."""
    import panel_at_work
    from headless import save_png
    from inputs import show_run
    from made_run import make_run
    from PySide6 import QtWidgets
    from standins import language, person

    run = make_run(folder / "run")
    for look, german in itertools.product(("light", "dark"), (False, True)):
        shown = SHOWN_IN_DOCUMENTS.get((look, scale)) if not german else None
        path = to / f"panel_{look}{'_de' if german else ''}_{100 * scale}.png" if to else None
        path = path or (REPOSITORY / "docs" / "images" / shown if shown else None)
        if path is None:
            continue
        QtWidgets.QApplication.setStyle("Fusion")
        QtWidgets.QApplication.setPalette(palette(look))
        with (
            language.speaking(GERMAN) if german else nullcontext(),
            panel_at_work.opened_panel(folder / path.stem) as widget,
        ):
            results = show_run(run)
            widget._parameterNode.score, widget._parameterNode.fdr = "hypodense", 0.05
            widget.panel.setResults(results)
            person.events(0.2)
            person.wait(lambda panel=widget.panel: not panel.study.check.working, 60, "the study is checked")
            name_organs(widget, results)
            person.click_cell(widget.ui.regionTable, 0, 2)
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
    """Fusion's own colors, or those of Slicer's dark style."""
    from PySide6 import QtGui, QtWidgets

    made = QtWidgets.QStyleFactory.create("Fusion").standardPalette()
    if look == "dark":
        roles, groups = QtGui.QPalette.ColorRole, QtGui.QPalette.ColorGroup
        for name, color in DARK.items():
            made.setColor(getattr(roles, name), QtGui.QColor(color))
        for name, color in DARK_DISABLED.items():
            made.setColor(groups.Disabled, getattr(roles, name), QtGui.QColor(color))
        made.setColor(roles.PlaceholderText, QtGui.QColor("#999999"))
    return made


if __name__ == "__main__":
    main()
