"""CTK's widgets, as much of each as the panel uses: the same names of properties and signals, Qt's own parts
inside.
"""

from __future__ import annotations

from typing import Any

import qt
from PySide6 import QtCore, QtGui, QtWidgets

Signal, Property = QtCore.Signal, QtCore.Property

__all__ = [
    "ctkCheckBox",
    "ctkCheckablePushButton",
    "ctkCollapsibleButton",
    "ctkColorPickerButton",
    "ctkComboBox",
    "ctkDirectoryButton",
    "ctkDoubleRangeSlider",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "ctkMessageBox",
    "ctkPathLineEdit",
    "ctkRangeWidget",
    "ctkSliderWidget",
]

HEADER = 24
"""Height in pixels of a collapsible button's header."""


class ctkCollapsibleButton(qt.QWidget):
    """A titled area that folds."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self.setContentsMargins(0, HEADER, 0, 2)

    def _set_text(self, text: str) -> None:
        self._text = text
        self.update()

    def _set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        for child in QtCore.QObject.children(self):
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(not collapsed)
        self.setMaximumHeight(HEADER + 2 if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)

    text = Property(str, lambda self: self._text, _set_text)
    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)

    def childEvent(self, event: Any) -> None:
        if self._collapsed and event.added() and isinstance(event.child(), QtWidgets.QWidget):
            event.child().setVisible(False)
        super().childEvent(event)

    def mousePressEvent(self, event: Any) -> None:
        if event.position().y() < HEADER:
            self.collapsed = not self._collapsed

    def sizeHint(self) -> Any:
        return QtCore.QSize(200, HEADER + 2) if self._collapsed else QtWidgets.QWidget.sizeHint(self)

    minimumSizeHint = sizeHint

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        palette = QtWidgets.QWidget.palette(self)
        bar = QtCore.QRectF(0, 1, QtWidgets.QWidget.width(self), HEADER - 5)
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        shade = palette.button().color()
        painter.setBrush(shade.lighter(125) if shade.lightness() < 128 else shade.darker(108))
        painter.drawRoundedRect(bar, 3, 3)
        painter.setBrush(palette.buttonText())
        x, y = 11.0, bar.center().y()
        tip = [(-3, -4), (4, 0), (-3, 4)] if self._collapsed else [(-4, -3), (4, -3), (0, 4)]
        painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(x + dx, y + dy) for dx, dy in tip]))
        painter.setPen(palette.buttonText().color())
        font = painter.font()
        font.setBold(True)
        painter.setFont(font)
        painter.drawText(bar.adjusted(22, 0, 0, 0), int(QtCore.Qt.AlignmentFlag.AlignVCenter), self._text)
        painter.end()


class ctkSliderWidget(qt.QWidget):
    """A slider with a spin box."""

    valueChanged = Signal(float)
    STEPS = 1000

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider, self._spin = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal), QtWidgets.QDoubleSpinBox()
        self._slider.setRange(0, self.STEPS)
        self._spin.setFixedWidth(92)
        row.addWidget(self._slider, 1)
        row.addWidget(self._spin)
        self._spin.valueChanged.connect(self._follow)
        self._slider.valueChanged.connect(self._lead)

    def _lead(self, place: int) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._spin.setValue(low + place / self.STEPS * (high - low))

    def _follow(self, value: float) -> None:
        self._place(value)
        self.valueChanged.emit(value)

    def _place(self, value: float) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._slider.blockSignals(True)
        self._slider.setValue(round(self.STEPS * (value - low) / (high - low)) if high > low else 0)
        self._slider.blockSignals(False)

    def _bound(self, which: str, value: float) -> None:
        getattr(self._spin, which)(value)
        self._place(self._spin.value())

    value = Property(float, lambda self: self._spin.value(), lambda self, v: self._spin.setValue(v))
    minimum = Property(float, lambda self: self._spin.minimum(), lambda self, v: self._bound("setMinimum", v))
    maximum = Property(float, lambda self: self._spin.maximum(), lambda self, v: self._bound("setMaximum", v))
    singleStep = Property(float, lambda self: self._spin.singleStep(), lambda self, v: self._spin.setSingleStep(v))
    pageStep = Property(float, lambda self: self._spin.singleStep(), lambda self, v: None)
    decimals = Property(int, lambda self: self._spin.decimals(), lambda self, v: self._spin.setDecimals(v))
    suffix = Property(str, lambda self: self._spin.suffix(), lambda self, v: self._spin.setSuffix(v))
    tracking = Property(bool, lambda self: True, lambda self, v: None)


class ctkRangeWidget(qt.QWidget):
    """Two bounds of an interval."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._low, self._high = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        self._bar = _Interval(self)
        for spin in (self._low, self._high):
            spin.setFixedWidth(72)
            spin.valueChanged.connect(self._changed)
        self._range, self._quiet = (0.0, 99.0), False
        row.addWidget(self._low)
        row.addWidget(self._bar, 1)
        row.addWidget(self._high)
        self.setRange(0.0, 99.0)

    def setRange(self, low: float, high: float) -> None:
        """The bounds of the bounds."""
        self._range = (low, high)
        for spin in (self._low, self._high):
            spin.setRange(low, high)
        self._bar.update()

    def setValues(self, low: float, high: float) -> None:
        """Both bounds at once."""
        before = (self._low.value(), self._high.value())
        self._quiet = True
        self._low.setValue(min(low, high))
        self._high.setValue(max(low, high))
        self._quiet = False
        self._bar.update()
        if before != (self._low.value(), self._high.value()):
            self._tell()

    def _changed(self, _value: float) -> None:
        if self._quiet:
            return
        if self._low.value() > self._high.value():
            self.setValues(self._low.value(), self._low.value())
        self._bar.update()
        self._tell()

    def _tell(self) -> None:
        self.minimumValueChanged.emit(self._low.value())
        self.maximumValueChanged.emit(self._high.value())
        self.valuesChanged.emit(self._low.value(), self._high.value())

    def _both(self, setter: str, value: Any) -> None:
        getattr(self._low, setter)(value)
        getattr(self._high, setter)(value)

    minimum = Property(float, lambda self: self._range[0], lambda self, v: self.setRange(v, self._range[1]))
    maximum = Property(float, lambda self: self._range[1], lambda self, v: self.setRange(self._range[0], v))
    minimumValue = Property(
        float, lambda self: self._low.value(), lambda self, v: self.setValues(v, self._high.value())
    )
    maximumValue = Property(
        float, lambda self: self._high.value(), lambda self, v: self.setValues(self._low.value(), v)
    )
    singleStep = Property(float, lambda self: self._low.singleStep(), lambda self, v: self._both("setSingleStep", v))
    decimals = Property(int, lambda self: self._low.decimals(), lambda self, v: self._both("setDecimals", v))


class _Interval(QtWidgets.QWidget):
    """The bar between two spin boxes: shows what part of the range is chosen."""

    def __init__(self, owner: ctkRangeWidget) -> None:
        super().__init__(owner)
        self._owner = owner
        self.setMinimumSize(60, 18)

    def paintEvent(self, event: Any) -> None:
        low, high = self._owner._range
        span = max(high - low, 1e-12)
        a, b = ((spin.value() - low) / span for spin in (self._owner._low, self._owner._high))
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        groove = QtCore.QRectF(6, self.height() / 2 - 2, self.width() - 12, 4)
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(self.palette().mid())
        painter.drawRoundedRect(groove, 2, 2)
        painter.setBrush(self.palette().highlight())
        painter.drawRoundedRect(
            QtCore.QRectF(groove.left() + a * groove.width(), groove.top(), max(2.0, (b - a) * groove.width()), 4),
            2,
            2,
        )
        for place in (a, b):
            painter.drawEllipse(QtCore.QPointF(groove.left() + place * groove.width(), groove.center().y()), 6, 6)
        painter.end()


class ctkPathLineEdit(qt.QWidget):
    """A path, typed or browsed. An empty line is no valid input to CTK: emptied, it says so and does not say
    that the path changed.
    """

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    Dirs, Files, Drives, NoDot, NoDotDot, NoDotAndDotDot, Writable, Executable, Readable = (
        1,
        2,
        4,
        0x2000,
        0x4000,
        0x6000,
        0x20,
        0x40,
        0x10,
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._edit, self._browse, self._filters = QtWidgets.QLineEdit(), QtWidgets.QToolButton(), 0
        self._browse.setText("…")
        row.addWidget(self._edit, 1)
        row.addWidget(self._browse)
        self._valid = False
        self._edit.textChanged.connect(self._updated)

    def _updated(self, text: str) -> None:
        before, self._valid = self._valid, bool(text)
        if self._valid:
            self.currentPathChanged.emit(text)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    currentPath = Property(str, lambda self: self._edit.text(), lambda self, v: self._edit.setText(v))
    filters = Property(int, lambda self: self._filters, lambda self, v: setattr(self, "_filters", v))
    placeholderText = Property(
        str, lambda self: self._edit.placeholderText(), lambda self, v: self._edit.setPlaceholderText(v)
    )


class ctkMessageBox(qt.QMessageBox):
    """A message box; CTK's can also be told not to come again."""

    dontShowAgainVisible = Property(bool, lambda self: False, lambda self, v: None)

    def exec_(self) -> int:
        """Show it and wait."""
        return int(QtWidgets.QMessageBox.exec(self))


def _named(name: str, base: type) -> type:
    """A CTK class that the panel does not use, but that Slicer's code compares types with."""
    return type(name, (base,), {})


ctkCheckBox = _named("ctkCheckBox", qt.QCheckBox)
ctkCheckablePushButton = _named("ctkCheckablePushButton", qt.QPushButton)
ctkColorPickerButton = _named("ctkColorPickerButton", qt.QPushButton)
ctkComboBox = _named("ctkComboBox", qt.QComboBox)
ctkDirectoryButton = _named("ctkDirectoryButton", qt.QWidget)
ctkDoubleRangeSlider = _named("ctkDoubleRangeSlider", qt.QWidget)
ctkDoubleSlider = _named("ctkDoubleSlider", qt.QSlider)
ctkDoubleSpinBox = _named("ctkDoubleSpinBox", qt.QDoubleSpinBox)
