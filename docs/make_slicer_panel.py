"""Draws the panel of the Slicer module, alone and beside the views: `python docs/make_slicer_panel.py [RUN]`.

Somebody clicks: the demo's synthetic study is loaded, Detect is pressed, `klip` examines it in its own
process, the block-size slider is dragged, a region is clicked. Widgets are Qt's own with stand-ins for CTK and
qMRML (Testing/Slicer/standins), so in Slicer they look a little different; the numbers and the views are real.

    docs/images/slicer_panel_running.png   while later slices are still examined
    docs/images/slicer_panel_before.png    blocks of 12 mm
    docs/images/slicer_panel_after.png     blocks of 20 mm
    docs/images/slicer_screenshot.png      panel and views together
"""

from __future__ import annotations

import argparse
import os
import shutil
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
import panel_at_work  # noqa: E402
from headless import SliceView, ThreeDView, load_dicom, save_png  # noqa: E402
from panel_at_work import opened_panel, picture, slicer  # noqa: E402
from standins import person  # noqa: E402

PANEL_WIDTH = 470
UPPER, LOWER = 740, 512
"""Heights of the views: together about as high as the panel."""
FLAT = 256
"""Colors of a picture of the panel alone."""
BLOCK_AFTER = 20.0
LONGEST_S = 1800


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description="Draw the Slicer module's panel.")
    parser.add_argument("run", nargs="?", type=Path, default=REPOSITORY / "demo", help="folder of klip demo")
    parser.add_argument("--to", type=Path, default=pictures.IMAGES, help="where the pictures go")
    parser.add_argument("--keep", type=Path, help="results folder to continue in, and to keep")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp())
    try:
        with opened_panel(folder) as widget:
            draw(widget, arguments.run / "synthetic" / "ct", arguments.to)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def draw(widget: Any, study: Path, to: Path) -> None:
    """Click through the story and take pictures."""
    ui = widget.ui
    views = {
        name: SliceView(name, pictures.WIDTH, height)
        for name, height in (("Red", UPPER), ("Yellow", LOWER), ("Green", LOWER))
    }
    space = ThreeDView(pictures.WIDTH, UPPER)
    slicer.dicomDatabase.add(study)
    node = load_dicom(pictures.series(study), "Synthetic CT")
    person.wait(lambda: ui.inputSelector.currentNode() is node and ui.detectButton.enabled, 60, "the study is loaded")
    person.wait(lambda: not widget.panel.study.check.working, 60, "it is checked")
    person.choose(ui.presetComboBox, "quick")
    ui.pythonPathEdit.currentPath = sys.executable
    person.click(ui.detectButton)
    person.wait(
        lambda: ui.progressBar.value > 450 and widget.panel.results is not None, LONGEST_S, "half of the slices"
    )
    save_png(picture(widget, PANEL_WIDTH), to / "slicer_panel_running.png", FLAT)
    person.wait(lambda: not widget.panel.detection.running, LONGEST_S, "the run ends")
    results = widget.panel.results
    person.click(ui.show3DCheckBox)
    person.click_cell(ui.regionTable, 0, 2)
    save_png(picture(widget, PANEL_WIDTH), to / "slicer_panel_before.png", FLAT)
    low, high = ui.blockSizeSlider.minimum, ui.blockSizeSlider.maximum
    person.drag(ui.blockSizeSlider, (BLOCK_AFTER - low) / (high - low))
    widget._parameterNode.blockSize = BLOCK_AFTER
    person.wait(lambda: results.settings.block_mm == BLOCK_AFTER, 30, "the map follows")
    person.click_cell(ui.regionTable, 0, 2)
    panel = picture(widget, PANEL_WIDTH)
    save_png(panel, to / "slicer_panel_after.png", FLAT)
    place = np.array(results.regions[widget.panel.found.table.order[0]].peak_lps_mm)
    pictures.frame(views, space, results, place * (-1, -1, 1))
    save_png(together(panel, views, space), to / "slicer_screenshot.png")


def together(panel: np.ndarray, views: dict[str, SliceView], space: ThreeDView) -> np.ndarray:
    """The panel at the left, the views at the right, as in Slicer's window."""
    shown = {name: pictures.headed(name, drawn.pixels()) for name, drawn in [*views.items(), ("3D", space)]}
    upper = pictures.side_by_side(shown["Red"], shown["3D"])
    lower = pictures.side_by_side(shown["Green"], shown["Yellow"])
    right = np.concatenate([upper, pictures.stripe(upper.shape[1]), lower])
    height = max(panel.shape[0], right.shape[0])
    return pictures.captioned(
        pictures.side_by_side(
            filled(panel, height, panel[-1, 0]), filled(right, height, np.array(pictures.BACKGROUND))
        ),
        "Synthetic study (klip demo). Views: Slicer's own, off screen. Panel: Qt with stand-ins for CTK and qMRML.",
    )


def filled(picture: np.ndarray, height: int, color: np.ndarray) -> np.ndarray:
    """A picture with as many rows as asked for."""
    return np.concatenate(
        [picture, np.broadcast_to(color.astype(np.uint8), (height - picture.shape[0], picture.shape[1], 3))]
    )


if __name__ == "__main__":
    assert panel_at_work.slicer is not None
    main()
