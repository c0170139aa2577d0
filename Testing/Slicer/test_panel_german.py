"""The panel as a Slicer in German shows it: no English sentence is left in it, and nothing is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import panel_at_work
import pytest
from inputs import show_run
from KLIPSlicerLib.styles import DETECT
from PySide6 import QtCore, QtGui, QtWidgets
from standins import language, person

GERMAN = Path(__file__).resolve().parents[2] / "Resources" / "Translations" / "KLIPSlicer_de-DE.ts"


@pytest.fixture
def german(tmp_path: Path, made: Any) -> Iterator[Any]:
    """The panel with results of the default score, all of it unfolded."""
    with language.speaking(GERMAN), panel_at_work.opened_panel(tmp_path) as widget:
        widget.panel.setResults(show_run(made))
        for button in QtWidgets.QWidget.findChildren(widget.parent, sections()):
            button.collapsed = False
        person.wait(lambda: not widget.panel.study.check.working, 10, "the study is checked")
        person.events(0.2)
        yield widget


def sections() -> type:
    """The class of the folding areas."""
    import ctk

    return ctk.ctkCollapsibleButton


def shown(widget: Any) -> Iterator[tuple[str, str]]:
    """Name of a control, and each text that a person reads on it or in its tooltip."""
    for child in QtWidgets.QWidget.findChildren(widget.parent, QtWidgets.QWidget):
        name = QtCore.QObject.objectName(child) or type(child).__name__
        yield name, QtWidgets.QWidget.toolTip(child)
        if isinstance(child, QtWidgets.QLabel | QtWidgets.QAbstractButton | sections()):
            yield name, child.text if isinstance(child.text, str) else child.text()
        if isinstance(child, QtWidgets.QLineEdit):
            yield name, QtWidgets.QLineEdit.placeholderText(child)
        if isinstance(child, QtWidgets.QComboBox):
            yield from (
                (name, QtWidgets.QComboBox.itemText(child, n)) for n in range(QtWidgets.QComboBox.count(child))
            )
        if isinstance(child, QtWidgets.QTableWidget):
            heads = [
                QtWidgets.QTableWidget.horizontalHeaderItem(child, n)
                for n in range(QtWidgets.QTableWidget.columnCount(child))
            ]
            yield from ((name, text) for head in heads if head is not None for text in (head.text(), head.toolTip()))
        if isinstance(child, QtWidgets.QPushButton) and QtWidgets.QPushButton.menu(child) is not None:
            for action in QtWidgets.QPushButton.menu(child).actions():
                yield from ((name, text) for text in (QtGui.QAction.text(action), QtGui.QAction.toolTip(action)))


def test_nothing_of_ours_is_left_in_english(german: Any) -> None:
    """What differs from its translation is shown nowhere, also not with numbers in it."""
    known = language.read(GERMAN)
    english = {text for (_context, text), own in known.items() if own != text and "{" not in text}
    english -= set(known.values())  # what is also a German word
    seen = list(shown(german))
    assert len(seen) > 300
    assert sorted({(name, text) for name, text in seen if text.rstrip(" ▾▴") in english}) == []
    assert german.ui.detectButton.text == "Auffälligkeiten suchen"
    assert "Kein Medizinprodukt" in german.ui.disclaimerLabel.text
    assert (
        "gesunde Studie dieser Größe" in german.ui.summaryLabel.text or "Nichts fällt" in german.ui.summaryLabel.text
    )


def test_what_is_said_while_it_works_is_german_too(german: Any) -> None:
    ui = german.ui
    person.wait(lambda: ui.detectButton.enabled, 10, ui.detectButton.toolTip)
    panel_at_work.fast_choices(german)
    person.click(ui.detectButton)
    assert ui.detectButton.text == "Abbrechen"
    person.wait(panel_at_work.klip_processes, 60, ui.statusLabel.text)
    person.click(ui.detectButton)
    person.wait(lambda: not german.panel.detection.running and not panel_at_work.klip_processes(), 10, "it is gone")
    assert "Fertige Schichten bleiben" in ui.statusLabel.text
    assert ui.detectButton.text == "Auffälligkeiten suchen"


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_nothing_is_cut_off_in_a_panel_as_wide_as_slicers(german: Any, scale: float) -> None:
    """Labels of one line, buttons and entries of lists, with texts of 100 and of 150 %."""
    parent = german.parent
    font = QtGui.QFont(parent.font)
    font.setPointSizeF(scale * font.pointSizeF())
    for child in QtWidgets.QWidget.findChildren(parent, QtWidgets.QWidget):
        QtWidgets.QWidget.setFont(child, font)
    german.ui.detectButton.setStyleSheet(DETECT)
    QtWidgets.QWidget.resize(parent, round(470 * scale), 2600)
    person.events(0.2)
    cut = []
    for child in QtWidgets.QWidget.findChildren(parent, QtWidgets.QWidget):
        if not QtWidgets.QWidget.isVisible(child):
            continue
        one_line = isinstance(child, QtWidgets.QLabel) and not QtWidgets.QLabel.wordWrap(child)
        if one_line or isinstance(child, QtWidgets.QPushButton | QtWidgets.QCheckBox):
            needed = QtWidgets.QWidget.sizeHint(child).width()
            if QtWidgets.QWidget.width(child) < needed:
                cut.append((QtCore.QObject.objectName(child), QtWidgets.QWidget.width(child), needed))
        right = QtWidgets.QWidget.mapTo(child, parent, QtCore.QPoint(QtWidgets.QWidget.width(child), 0)).x()
        if right > QtWidgets.QWidget.width(parent):
            cut.append((QtCore.QObject.objectName(child), right, QtWidgets.QWidget.width(parent)))
    assert cut == []
