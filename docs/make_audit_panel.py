"""Draws the panel's audit section beside the slice: `python docs/make_audit_panel.py`.

The plan of a synthetic patient with one lesion that was scanned and one that was painted into the reconstruction, as
in docs/make_audit_images.py. Somebody clicks; `klip audit` runs in its own process. Widgets are Qt's with stand-ins
for CTK and qMRML (Testing/Slicer/standins), so in Slicer they look a little different.

    docs/images/audit_panel.png
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import make_audit_images as audited
import make_slicer_panel as panel
import numpy as np
from headless import SliceView, save_png
from inputs import node_of
from panel_at_work import opened_panel, slicer
from standins import person
from test_panel_within import segmentation

from KLIPCore.io.sinogram import write_sinogram
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.units import mu_to_hu
from KLIPCore.volume.volume import Volume

WIDTH, HEIGHT = 720, 860
LONGEST_S = 1800


def main() -> None:
    """Draw."""
    with tempfile.TemporaryDirectory() as name, opened_panel(Path(name)) as widget:
        draw(widget, Path(name))


def draw(widget: object, folder: Path) -> None:
    """Click through an audit and take a picture."""
    ui = widget.ui  # type: ignore[attr-defined]
    case = audited.case()
    pixel, size = case.subject.pixel_mm, len(case.subject.image)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, pixel], [0, pixel, 0], [5.0, 0, 0]])
    affine[:3, 3] = -pixel * (size - 1) / 2, -pixel * (size - 1) / 2, 0.0
    grid = Grid((1, size, size), affine)
    node = node_of(Volume(mu_to_hu(case.subject.image.numpy())[None], grid), "Reconstruction")
    view = SliceView("Red", WIDTH, HEIGHT)
    write_sinogram(folder / "scan.npz", case.subject.measurement.y.numpy(), case.scanner.A.geometry)
    names = ("Lesion A", "Lesion B")
    masks = {name: mask[None] for name, mask in zip(names, case.masks, strict=True)}
    outlined = segmentation(masks, node)
    outlined.SetDisplayVisibility(False)
    for section in ("studyButton", "liveButton", "regionsButton"):
        getattr(ui, section).collapsed = True
    ui.auditSection.collapsed = False
    ui.auditSelector.setCurrentNode(node)
    ui.auditSegmentsSelector.setCurrentNode(outlined)
    ui.auditSinogramEdit.currentPath = str(folder / "scan.npz")
    person.events(0.2)
    person.click(ui.auditButton)
    audit = widget.panel.audit  # type: ignore[attr-defined]
    person.wait(lambda: audit.shown is not None or not audit.auditing.running, LONGEST_S, "the audit ends")
    person.choose(ui.auditOverlayComboBox, "Residual")
    ui.auditSinogramEdit.currentPath = "scan.npz"
    person.click_cell(ui.auditTable, 0, 1)
    left, right = panel.grabbed(widget), view.pixels()
    height = max(left.shape[0], right.shape[0])
    save_png(
        panel.pictures.side_by_side(
            panel.filled(left, height, left[-1, 0]),
            panel.filled(right, height, np.array(panel.pictures.BACKGROUND)),
        ),
        audited.HERE / "images" / "audit_panel.png",
    )


if __name__ == "__main__":
    assert slicer is not None
    main()
