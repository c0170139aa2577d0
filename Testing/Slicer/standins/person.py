"""Somebody at the panel: real mouse and key events, and patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from busy import in_vain
from PySide6 import QtCore, QtGui, QtTest, QtWidgets

LEFT = QtCore.Qt.MouseButton.LeftButton


def events(seconds: float = 0.05) -> None:
    """Let Qt work for a while: some turns at least, however little of the machine this process gets meanwhile."""
    until, turns = time.monotonic() + seconds, 0
    while time.monotonic() < until or turns < 5:
        turns += 1
        QtWidgets.QApplication.processEvents()
        time.sleep(0.002)


def wait(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Let Qt work until something is so, which takes so many seconds at most on a quiet machine; returns what the
    condition returned.
    """
    began = time.monotonic()
    while not in_vain(began, seconds):
        QtWidgets.QApplication.processEvents()
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"Waited {seconds:g} s in vain: {what}")


def click(widget: Any) -> None:
    """Click the middle of a widget that is shown and enabled."""
    assert QtWidgets.QWidget.isVisible(widget), f"{QtCore.QObject.objectName(widget)} is not shown"
    assert QtWidgets.QWidget.isEnabled(widget), (
        f"{QtCore.QObject.objectName(widget)} is disabled: {QtWidgets.QWidget.toolTip(widget)}"
    )
    QtTest.QTest.mouseClick(widget, LEFT)


def drag(slider_widget: Any, part: float) -> None:
    """Press the handle of a slider widget and drag it to a part (0 to 1) of its range."""
    slider = slider_widget._slider
    groove, option = QtWidgets.QStyle.SubControl, QtWidgets.QStyleOptionSlider()
    QtWidgets.QSlider.initStyleOption(slider, option)
    style, complex_slider = QtWidgets.QApplication.style(), QtWidgets.QStyle.ComplexControl.CC_Slider
    handle = style.subControlRect(complex_slider, option, groove.SC_SliderHandle, slider).center()
    rail = style.subControlRect(complex_slider, option, groove.SC_SliderGroove, slider)
    target = QtCore.QPoint(round(rail.left() + part * rail.width()), handle.y())
    QtTest.QTest.mousePress(slider, LEFT, QtCore.Qt.KeyboardModifier.NoModifier, handle)
    for step in (0.5, 1.0):
        place = handle + (target - handle) * step
        move = QtGui.QMouseEvent(
            QtCore.QEvent.Type.MouseMove,
            QtCore.QPointF(place),
            slider.mapToGlobal(QtCore.QPointF(place)),
            LEFT,
            LEFT,
            QtCore.Qt.KeyboardModifier.NoModifier,
        )
        QtWidgets.QApplication.sendEvent(slider, move)
    QtTest.QTest.mouseRelease(slider, LEFT, QtCore.Qt.KeyboardModifier.NoModifier, target)


def press(widget: Any, key: Any) -> None:
    """Press a key on a widget that can be reached with the keyboard."""
    QtWidgets.QWidget.setFocus(widget)
    QtTest.QTest.keyClick(widget, key)


def type_text(line_edit: Any, text: str) -> None:
    """Replace a line's text and leave it with Enter."""
    QtWidgets.QLineEdit.setFocus(line_edit)
    QtWidgets.QLineEdit.selectAll(line_edit)
    QtTest.QTest.keyClick(line_edit, QtCore.Qt.Key.Key_Delete)
    QtTest.QTest.keyClicks(line_edit, text)
    QtTest.QTest.keyClick(line_edit, QtCore.Qt.Key.Key_Return)


def click_cell(table: Any, row: int, column: int) -> None:
    """Click a cell of a table."""
    rect = QtWidgets.QTableWidget.visualItemRect(table, QtWidgets.QTableWidget.item(table, row, column))
    QtTest.QTest.mouseClick(
        QtWidgets.QTableWidget.viewport(table), LEFT, QtCore.Qt.KeyboardModifier.NoModifier, rect.center()
    )


def click_checkbox(table: Any, row: int) -> None:
    """Click the checkbox in a row's first cell."""
    item = QtWidgets.QTableWidget.item(table, row, 0)
    option = QtWidgets.QStyleOptionViewItem()
    option.initFrom(table)
    option.rect = QtWidgets.QTableWidget.visualItemRect(table, item)
    option.features = (
        QtWidgets.QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
        | QtWidgets.QStyleOptionViewItem.ViewItemFeature.HasDecoration
    )
    option.checkState = item.checkState()
    box = QtWidgets.QApplication.style().subElementRect(
        QtWidgets.QStyle.SubElement.SE_ItemViewItemCheckIndicator, option, table
    )
    QtTest.QTest.mouseClick(
        QtWidgets.QTableWidget.viewport(table), LEFT, QtCore.Qt.KeyboardModifier.NoModifier, box.center()
    )


def click_header(table: Any, column: int) -> None:
    """Click a column's heading."""
    header = QtWidgets.QTableWidget.horizontalHeader(table)
    x = header.sectionViewportPosition(column) + header.sectionSize(column) // 2
    QtTest.QTest.mouseClick(
        header.viewport(), LEFT, QtCore.Qt.KeyboardModifier.NoModifier, QtCore.QPoint(x, header.height() // 2)
    )


def choose(combo_box: Any, text: str) -> None:
    """Open a combo box and choose an entry with the keyboard."""
    place = QtWidgets.QComboBox.findText(combo_box, text, QtCore.Qt.MatchFlag.MatchStartsWith)
    assert place >= 0, f"no entry '{text}'"
    QtWidgets.QComboBox.setFocus(combo_box)
    QtTest.QTest.keyClick(combo_box, QtCore.Qt.Key.Key_Home)
    for _ in range(place):
        QtTest.QTest.keyClick(combo_box, QtCore.Qt.Key.Key_Down)


def choose_from_menu(button: Any, name: str) -> None:
    """Click a button that opens a menu, and in it the action with this object name."""
    menu = QtWidgets.QPushButton.menu(button)
    action = next(a for a in menu.actions() if QtCore.QObject.objectName(a) == name)

    def press() -> None:
        assert menu.isVisible()
        QtTest.QTest.mouseClick(
            menu, LEFT, QtCore.Qt.KeyboardModifier.NoModifier, menu.actionGeometry(action).center()
        )

    QtCore.QTimer.singleShot(50, press)
    click(button)


def answer_file_dialog(path: str, seconds: float = 5.0) -> None:
    """When a file dialog opens, type a path and press Enter."""
    until = time.monotonic() + seconds

    def answer() -> None:
        dialog = QtWidgets.QApplication.activeModalWidget()
        if isinstance(dialog, QtWidgets.QFileDialog):
            edit = dialog.findChild(QtWidgets.QLineEdit, "fileNameEdit")
            edit.setText(path)
            QtTest.QTest.keyClick(edit, QtCore.Qt.Key.Key_Return)
            if QtWidgets.QApplication.activeModalWidget() is dialog:
                dialog.done(QtWidgets.QDialog.DialogCode.Accepted)
        elif time.monotonic() < until:
            QtCore.QTimer.singleShot(30, answer)

    QtCore.QTimer.singleShot(30, answer)
