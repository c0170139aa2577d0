"""The part of ``slicer.parameterNodeWrapper`` that the module uses: typed attributes that live in a MRML node.

Values are stored as Slicer stores them (numbers and text as parameters, nodes as references), so scenes look
alike. The exact type of a widget decides how it is connected, as in Slicer; what Slicer would refuse is refused.
"""

from __future__ import annotations

import typing
from typing import Annotated, Any

import ctk
import qt
import slicer
import vtk

__all__ = ["Choice", "Default", "Maximum", "Minimum", "WithinRange", "parameterNodeWrapper"]

PROPERTY = "SlicerParameterName"


class WithinRange:
    """Between two bounds, both included."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: float) -> None:
        """Raise ValueError for what is not allowed."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


class Minimum(WithinRange):
    """Not below a bound."""

    def __init__(self, minimum: float) -> None:
        super().__init__(minimum, float("inf"))


class Maximum(WithinRange):
    """Not above a bound."""

    def __init__(self, maximum: float) -> None:
        super().__init__(float("-inf"), maximum)


class Choice:
    """One of some values."""

    def __init__(self, choices: list[Any]) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        """Raise ValueError for what is not allowed."""
        if value not in self.choices:
            raise ValueError(f"{value} is not one of {self.choices}")


class Default:
    """The value of a parameter that was never set."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Parameter:
    """How one attribute is kept in the node."""

    def __init__(self, name: str, annotation: Any, owner: type) -> None:
        self.name = name
        self.kind, *self.notes = (
            typing.get_args(annotation) if typing.get_origin(annotation) is Annotated else (annotation,)
        )
        self.is_node = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        if not self.is_node and self.kind not in (int, float, str, bool):
            raise TypeError(f"{name}: {self.kind} cannot be stored")
        defaults = [note.value for note in self.notes if isinstance(note, Default)]
        fallback = (
            None if self.is_node else next((n.choices[0] for n in self.notes if isinstance(n, Choice)), self.kind())
        )
        self.default = getattr(owner, name, defaults[0] if defaults else fallback)

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        if not node.HasParameter(self.name):
            return self.default
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)

    def write(self, node: Any, value: Any) -> None:
        if self.is_node:
            if value is not None and not isinstance(value, self.kind):
                raise ValueError(f"{self.name} cannot be a {type(value).__name__}")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        allowed = (int, float) if self.kind is float else (self.kind,)
        if not isinstance(value, allowed) or (self.kind is not bool and isinstance(value, bool)):
            raise ValueError(f"{self.name} cannot be {value!r}")
        for note in self.notes:
            if hasattr(note, "validate"):
                note.validate(value)
        node.SetParameter(self.name, str(value))


class _Connector:
    """Between one parameter and one widget; which one is decided by the widget's exact type."""

    def __init__(self, widget: Any, parameter: _Parameter) -> None:
        self.widget, self.kind = widget, type(widget)
        bounds = next((n for n in parameter.notes if isinstance(n, WithinRange)), None)
        self.integer = parameter.kind is int
        if parameter.is_node and self.kind is slicer.qMRMLNodeComboBox:
            widget.nodeTypes = [parameter.kind.__name__]
            self.signal = widget.currentNodeChanged
        elif parameter.kind in (int, float) and self.kind in (
            ctk.ctkSliderWidget,
            slicer.qMRMLSliderWidget,
            qt.QDoubleSpinBox,
        ):
            if bounds is None:
                raise RuntimeError("A slider needs bounds.")
            widget.minimum, widget.maximum = bounds.minimum, bounds.maximum
            self.signal = widget.valueChanged
        elif parameter.kind is int and self.kind in (qt.QSpinBox, qt.QSlider):
            if bounds is not None:
                widget.minimum, widget.maximum = int(bounds.minimum), int(min(bounds.maximum, 2**31 - 1))
            self.signal = widget.valueChanged
        elif parameter.kind is bool and self.kind is qt.QCheckBox:
            self.signal = widget.toggled
        elif parameter.kind is str and self.kind is qt.QLineEdit:
            self.signal = widget.textChanged
        elif parameter.kind in (int, float, str, bool) and self.kind is qt.QComboBox:
            self.choices = next(n.choices for n in parameter.notes if isinstance(n, Choice))
            widget.clear()
            for choice in self.choices:
                widget.addItem(str(choice))
            self.signal = widget.currentIndexChanged
        else:
            raise RuntimeError(f"No connector between {parameter.kind} and {self.kind.__name__}.")

    def read(self) -> Any:
        if self.kind is slicer.qMRMLNodeComboBox:
            return self.widget.currentNode()
        if self.kind is qt.QComboBox:
            return self.choices[self.widget.currentIndex]
        if self.kind is qt.QCheckBox:
            return self.widget.checked
        if self.kind is qt.QLineEdit:
            return self.widget.text
        return int(self.widget.value) if self.integer else self.widget.value

    def write(self, value: Any) -> None:
        if self.kind is slicer.qMRMLNodeComboBox:
            self.widget.setCurrentNode(value)
        elif self.kind is qt.QComboBox:
            self.widget.currentIndex = self.choices.index(value)  # a ValueError for what is not offered, as in Slicer
        elif self.kind is qt.QCheckBox:
            self.widget.checked = value
        elif self.kind is qt.QLineEdit:
            self.widget.text = value
        else:
            self.widget.value = value


def parameterNodeWrapper(owner: type) -> type:
    """Make the annotated attributes of a class live in a MRML node given to its constructor."""
    parameters = {
        name: _Parameter(name, note, owner) for name, note in typing.get_type_hints(owner, include_extras=True).items()
    }

    def construct(self: Any, node: Any) -> None:
        self.parameterNode, self._guis, self._next, self._updating = node, {}, 0, False
        for parameter in parameters.values():
            if not parameter.is_node and not node.HasParameter(parameter.name):
                parameter.write(node, parameter.default)

    def connect(self: Any, gui: Any) -> int:
        connections = []
        for widget in list(vars(gui).values()):
            name = widget.property(PROPERTY)
            if name:
                connector = _Connector(widget, parameters[name])
                connector.write(parameters[name].read(self.parameterNode))

                def changed(*_: Any, c: _Connector = connector, p: _Parameter = parameters[name]) -> None:
                    if not self._updating:
                        p.write(self.parameterNode, c.read())

                connector.signal.connect(changed)
                connections.append((parameters[name], connector, changed))

        def refresh(*_: Any) -> None:
            if self._updating:
                return
            self._updating = True
            try:
                for parameter, connector, _slot in [each for gui in self._guis.values() for each in gui]:
                    connector.write(parameter.read(self.parameterNode))
            finally:
                self._updating = False

        self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, refresh)
        tag, self._next = self._next, self._next + 1
        self._guis[tag] = connections
        return tag

    def disconnect(self: Any, tag: int | None) -> None:
        if tag in self._guis:
            connections = self._guis.pop(
                tag
            )  # the node is still observed, as in Slicer: wrappers must not be made anew and anew
            for _parameter, connector, slot in connections:
                connector.signal.disconnect(slot)

    for name, parameter in parameters.items():
        setattr(
            owner,
            name,
            property(
                lambda self, p=parameter: p.read(self.parameterNode),
                lambda self, value, p=parameter: p.write(self.parameterNode, value),
            ),
        )
    owner.__init__ = construct  # type: ignore[misc]
    owner.connectGui, owner.disconnectGui = connect, disconnect  # type: ignore[attr-defined]
    owner.StartModify = lambda self: self.parameterNode.StartModify()  # type: ignore[attr-defined]
    owner.EndModify = lambda self, was: self.parameterNode.EndModify(was)  # type: ignore[attr-defined]
    owner.AddObserver = lambda self, event, call, priority=0.0: self.parameterNode.AddObserver(event, call, priority)  # type: ignore[attr-defined]
    owner.RemoveObserver = lambda self, tag: self.parameterNode.RemoveObserver(tag)  # type: ignore[attr-defined]
    return owner
