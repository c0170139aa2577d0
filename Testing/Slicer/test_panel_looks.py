"""What can be held of looks without eyes: contrast, colors for color-blind readers, and a way through by keyboard."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from KLIPSlicerLib import styles
from KLIPSlicerLib.display import readColorTable
from KLIPSlicerLib.form_labels import LABELS
from KLIPSlicerLib.paths import resourcePath
from KLIPSlicerLib.scene_results import SceneResults
from PySide6 import QtCore, QtTest, QtWidgets
from standins import person

from KLIPCore.maps.regions import PALETTE

READABLE = 4.5
"""Least contrast of text, after the Web Content Accessibility Guidelines."""

BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as dichromats see it: Machado, Oliveira and Fernandes, IEEE TVCG 15, 2009, 1291."""


def linear(rgb: Any) -> np.ndarray:
    """sRGB in 0..1 → linear."""
    rgb = np.asarray(rgb, float)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def luminance(rgb: Any) -> np.ndarray:
    """Relative luminance of sRGB colors."""
    return linear(rgb) @ [0.2126, 0.7152, 0.0722]


def contrast(one: str, other: str) -> float:
    """Of two colors in hexadecimal."""
    names = {"white": "#ffffff"}
    seen = [
        float(luminance([int(names.get(c, c)[i : i + 2], 16) / 255 for i in (1, 3, 5)])) + 0.05 for c in (one, other)
    ]
    return max(seen) / min(seen)


@pytest.mark.parametrize("style", [styles.DETECT, styles.CANCEL], ids=["detect", "cancel"])
def test_the_large_button_can_be_read_in_every_state(style: str) -> None:
    backgrounds = re.findall(r"background: (#\w+)", style)
    assert len(backgrounds) >= 3
    for background in backgrounds:
        assert contrast(background, "white") >= READABLE, background


def test_labels_follow_the_applications_colors() -> None:
    """A text color of our own would vanish on one of Slicer's two styles; washes must let the ground through."""
    for style in (styles.PLAIN, styles.WARNING, styles.ERROR, styles.CARD, styles.NOTE):
        assert not re.search(r"[^-]color:", style)
        for wash in re.findall(r"background: ([^;]+);", style):
            assert float(wash.removesuffix(")").split(",")[3]) < 64
    assert "border-left: 6px" in styles.ERROR, "an error differs from a warning without its color"


@pytest.mark.parametrize("kind", ["normal", *BLINDNESS])
def test_a_brighter_color_is_more_for_every_reader(kind: str) -> None:
    """The map's colors rise in luminance all the way, also as color-blind readers see them."""
    colors = linear(readColorTable(resourcePath("ColorTables/KLIP.ctbl")))
    seen = colors @ np.array(BLINDNESS[kind]).T if kind in BLINDNESS else colors
    brightness = np.clip(seen, 0, 1) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > -1e-3).all()
    assert brightness[-1] > brightness[0] + 0.4


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_first_outlines_differ_for_color_blind_readers(kind: str) -> None:
    """Neighbors in the table, by color or by brightness; beyond them the table's jump tells regions apart."""
    seen = np.clip(linear(PALETTE[:4]) @ np.array(BLINDNESS[kind]).T, 0, 1) ** (1 / 2.4)
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[np.triu_indices(4, 1)]
    assert apart.min() > 0.12


def test_every_control_is_reached_by_tab_from_top_to_bottom(widget: Any, results: SceneResults) -> None:
    for name in ("queueButton", "outputsButton", "auditSection", "advancedButton", "computerButton", "logButton"):
        getattr(widget.ui, name).collapsed = False
    person.events(0.1)
    controls = (QtWidgets.QAbstractButton, QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox, QtWidgets.QLineEdit)
    wanted = {
        child
        for kind in (*controls, QtWidgets.QTableWidget, QtWidgets.QPlainTextEdit)
        for child in QtWidgets.QWidget.findChildren(widget.parent, kind)
        if QtWidgets.QWidget.isVisible(child)
        and QtWidgets.QWidget.isEnabled(child)
        and QtWidgets.QWidget.focusPolicy(child) & QtCore.Qt.FocusPolicy.TabFocus
        and not QtCore.QObject.objectName(child).startswith("qt_spinbox")
    }
    assert len(wanted) > 40
    QtWidgets.QWidget.activateWindow(widget.parent)
    QtWidgets.QWidget.setFocus(widget.ui.inputSelector._box)
    reached, heights = set(), []
    for _ in range(3 * len(wanted)):
        now = QtWidgets.QApplication.focusWidget()
        if now in reached:
            break
        reached.add(now)
        heights.append(QtWidgets.QWidget.mapTo(now, widget.parent, QtCore.QPoint(0, 0)).y())
        QtTest.QTest.keyClick(now, QtCore.Qt.Key.Key_Tab)
    names = sorted(QtCore.QObject.objectName(child) or type(child).__name__ for child in wanted - reached)
    assert names == []
    turned = heights.index(min(heights))
    walked = heights[turned:] + heights[:turned]
    backwards = sum(later < earlier - 40 for earlier, later in pairwise(walked))
    assert backwards == 0, [(a, b) for a, b in pairwise(walked) if b < a - 40]


def test_controls_of_all_sections_stand_in_one_column(widget: Any) -> None:
    """Every label at the left of a form is as wide as the widest, so no section begins its controls elsewhere."""
    root = ElementTree.parse(resourcePath("UI/KLIPSlicer.ui")).getroot()
    left = [
        item.find("widget").get("name")  # type: ignore[union-attr]
        for form in root.iter("layout")
        if form.get("class") == "QFormLayout"
        for item in form.findall("item")
        if item.get("column") == "0" and item.get("colspan") is None
    ]
    assert sorted(left) == sorted(LABELS)
    widths = {QtWidgets.QLabel.minimumWidth(getattr(widget.ui, name)) for name in left}
    assert len(widths) == 1
    assert widths.pop() >= max(QtWidgets.QLabel.sizeHint(getattr(widget.ui, name)).width() for name in left)
