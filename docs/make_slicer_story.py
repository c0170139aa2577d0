"""Draws the story of a reading in six pictures: `python docs/make_slicer_story.py [RUN]`.

Somebody clicks: a finished run of the demo's synthetic study is shown, one sign is kept, a region is jumped to, read
and noted, the export menu is opened, and the scene is saved, closed and opened again. Nothing is sampled. Widgets are
Qt's own with stand-ins for CTK and qMRML (Testing/Slicer/standins); numbers and the view are real.

    docs/images/slicer_story.png
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / part) for part in (".", "docs", "Testing/Slicer", "Testing/Python", "KLIPSlicer")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_LOGGING_RULES", "qt.qpa.*=false")

import make_slicer_images as pictures  # noqa: E402
import numpy as np  # noqa: E402
from headless import SliceView, load_dicom, save_png  # noqa: E402
from panel_at_work import opened_panel, picture, slicer  # noqa: E402
from PySide6 import QtCore, QtGui, QtWidgets  # noqa: E402
from standins import person  # noqa: E402

WIDTH, HEIGHT = 470, 366
"""Pixels of a picture of the story, without its caption."""
ABOVE_HEAD, ABOVE_MENU = 12, 92
"""Pixels that are shown above a section's head, and above the opened menu."""


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description="Draw the story of a reading.")
    parser.add_argument("run", nargs="?", type=Path, default=REPOSITORY / "demo", help="folder of klip demo")
    parser.add_argument("--to", type=Path, default=pictures.IMAGES, help="where the picture goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, opened_panel(Path(folder)) as widget:
        tiles = story(widget, arguments.run, Path(folder))
    rows = [pictures.side_by_side(*tiles[n : n + 3]) for n in (0, 3)]
    save_png(np.concatenate([rows[0], pictures.stripe(rows[0].shape[1]), rows[1]]), arguments.to / "slicer_story.png")


def story(widget: Any, run: Path, folder: Path) -> list[np.ndarray]:
    """Click, and take a picture of each step."""
    from KLIPSlicerLib.scene_results import SceneResults

    ui, scene = widget.ui, slicer.mrmlScene
    study = run / "synthetic" / "ct"
    slicer.dicomDatabase.add(study)
    node = load_dicom(pictures.series(study), "Synthetic CT")
    person.wait(lambda: ui.inputSelector.currentNode() is node and ui.detectButton.enabled, 60, "the study is loaded")
    person.wait(lambda: not widget.panel.study.check.working, 60, "it is checked")
    tiles = [around(widget, ui.studyButton, "1  Load a study (here a synthetic one), press Detect OOD")]
    widget.panel.setResults(SceneResults.create(node, run))
    results = widget.panel.results
    person.choose(ui.signComboBox, "darker")
    person.wait(lambda: results.settings.sign == "darker", 30, "the sign follows")
    person.events(0.2)
    tiles.append(around(widget, ui.regionsButton, "2  Keep what is darker than expected"))
    view = SliceView("Red", WIDTH, HEIGHT)
    results.showInSliceViews()
    view.fit()
    person.click_cell(ui.regionTable, 0, 2)
    tiles.append(pictures.captioned(view.pixels(), "3  A click on a region takes all views there"))
    person.press(ui.regionTable, QtCore.Qt.Key.Key_1)
    person.type_text(ui.noteLineEdit, "new since 2024")
    tiles.append(around(widget, ui.regionsButton, "4  Say what it is (key 1: real), with a note"))
    tiles.append(pictures.captioned(with_menu(widget), "5  Export what is checked"))
    view.close()
    scene.WriteToMRB(str(folder / "story.mrb"))
    scene.Clear(0)
    person.events(0.2)
    scene.ReadFromMRB(str(folder / "story.mrb"))
    person.wait(lambda: widget.panel.results is not None, 30, "the detection is taken up")
    person.events(0.2)
    person.click_cell(ui.regionTable, 0, 2)
    tiles.append(around(widget, ui.regionsButton, "6  Saved, closed, opened again: all of it is there"))
    return tiles


def around(widget: Any, section: Any, caption: str) -> np.ndarray:
    """The panel from the head of a section on, over a caption."""
    whole = picture(widget, WIDTH)
    top = max(QtWidgets.QWidget.mapTo(section, widget.parent, QtCore.QPoint(0, 0)).y() - ABOVE_HEAD, 0)
    cut = whole[top : top + HEIGHT]
    return pictures.captioned(cut, caption)


def with_menu(widget: Any) -> np.ndarray:
    """The end of the section Regions, with the menu that its button opens laid where Qt puts it."""
    button, parent = widget.ui.exportButton, widget.parent
    whole = picture(widget, WIDTH).copy()
    menu = QtWidgets.QPushButton.menu(button)
    QtWidgets.QMenu.ensurePolished(menu)
    QtWidgets.QMenu.resize(menu, QtWidgets.QMenu.sizeHint(menu))
    image = QtWidgets.QMenu.grab(menu).toImage().convertToFormat(QtGui.QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    drawn = rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)
    corner = QtWidgets.QWidget.mapTo(button, parent, QtCore.QPoint(0, QtWidgets.QWidget.height(button)))
    bottom = min(corner.y() + drawn.shape[0], whole.shape[0])
    whole[corner.y() : bottom, corner.x() : corner.x() + drawn.shape[1]] = drawn[: bottom - corner.y()]
    top = min(corner.y() - ABOVE_MENU, whole.shape[0] - HEIGHT)
    return whole[top : top + HEIGHT]


if __name__ == "__main__":
    main()
