"""The module's panel, opened for a test, and a DICOM study on disk for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6-Essentials (pip install klipcore[test])")

import standins

slicer = standins.install()

import headless  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
from PySide6 import QtGui, QtWidgets  # noqa: E402
from small_study import small_study  # noqa: E402
from standins import person  # noqa: E402

from KLIPCore.io.dicom_series import write_dicom_series  # noqa: E402


@contextmanager
def opened_panel(folder: Path) -> Iterator[Any]:
    """The module's widget, as Slicer shows it: in an empty scene, with this test's Python and a results
    folder of its own.
    """
    import qt

    import KLIPSlicer

    headless.clear()
    qt.QSettings().clear()
    qt.QSettings().setValue("KLIPSlicer/OtherPython", sys.executable)
    qt.QSettings().setValue("KLIPSlicer/ResultsFolder", str(folder / "results"))
    widget = KLIPSlicer.KLIPSlicerWidget()
    widget.parent.resize(480, 1500)
    try:
        yield widget
    finally:
        for shown in VIEWS.values():
            shown.close()
        VIEWS.clear()
        widget.cleanup()
        widget.parent.close()
        widget.parent.deleteLater()
        person.events(0.05)
        headless.clear()
        person.events(0.05)


def fast_choices(widget: Any) -> None:
    """As little sampling as makes a map, with the small prior."""
    parameters = widget._parameterNode
    parameters.preset, parameters.steps, parameters.samples = "quick", 3, 1
    parameters.prior = "abdomen-ct-256-small"


def dicom_study(folder: Path) -> Path:
    """The small simulated abdomen with a lesion, as a DICOM series."""
    write_dicom_series(small_study(), folder, seed=1)
    return folder


def load_study(folder: Path) -> Any:
    """Load a DICOM folder as Slicer's DICOM module does: Slicer's own reader, instance UIDs, database."""
    node = headless.load_dicom([str(path) for path in sorted(folder.iterdir())])
    slicer.dicomDatabase.add(folder)
    return node


def klip_processes() -> list[psutil.Process]:
    """Processes that this one has started, directly or not, and that are alive."""
    alive = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
        except psutil.NoSuchProcess:
            continue
    return alive


def picture(widget: Any, width: int) -> np.ndarray:
    """(height, width, 3) uint8 of the panel, as high as it needs to be."""
    parent = widget.parent
    for _ in range(2):
        person.events(0.1)
        QtWidgets.QWidget.resize(parent, width, QtWidgets.QWidget.layout(parent).totalHeightForWidth(width))
    person.events(0.1)
    image = QtWidgets.QWidget.grab(parent).toImage().convertToFormat(QtGui.QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


VIEWS: dict[str, Any] = {}
"""Slice views of the panel that is open, by orientation; they close with it."""


def view(orientation: str) -> Any:
    """The slice view of an orientation, beside the open panel."""
    if orientation not in VIEWS:
        VIEWS[orientation] = headless.SliceView(f"Panel{orientation}", 240, 200)
        VIEWS[orientation].node.SetOrientation(orientation)
    return VIEWS[orientation]


def place(orientation: str) -> float:
    """World coordinate of a view's plane along the axis that it steps along."""
    return float(
        view(orientation).node.GetSliceToRAS().GetElement({"Sagittal": 0, "Coronal": 1, "Axial": 2}[orientation], 3)
    )
