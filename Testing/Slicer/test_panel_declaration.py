"""The panel's controls offer what the library declares: ranges, units, defaults, choices."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from KLIPSlicerLib.parameters import DOSES, WINDOWS, configOf, rangeOf

from KLIPCore.config import PRESETS, SECTIONS, Config
from KLIPCore.declare import Setting, settings_of

UI = Path(__file__).resolve().parents[2] / "Resources" / "UI" / "KLIPSlicer.ui"

DECLARED = {
    "prior": ("", "prior"),
    "preset": ("", "preset"),
    "device": ("", "device"),
    "views": ("measurement", "n_views"),
    "geometry": ("measurement", "geometry"),
    "seed": ("sampling", "seed"),
    "score": ("regions", "score"),
    "blockSize": ("regions", "block_mm"),
    "blockDepth": ("regions", "depth_mm"),
}
"""Parameters of the panel that are settings of the library, by section and name, with the same default."""


def declared(section: str, name: str) -> Setting:
    """A setting's declaration."""
    return settings_of(SECTIONS.get(section, Config))[name]


def controls() -> dict[str, dict[str, str]]:
    """Properties of the `.ui` file's widgets, by the parameter they are bound to and by their own name."""
    found = {}
    for widget in ElementTree.parse(UI).getroot().iter("widget"):
        properties = {p.get("name", ""): "".join(p.itertext()).strip() for p in widget.findall("property")}
        found[properties.get("SlicerParameterName", widget.get("name", ""))] = properties
    return found


@pytest.mark.parametrize(
    ("parameter", "section", "name"),
    [
        ("blockSize", "regions", "block_mm"),
        ("blockDepth", "regions", "depth_mm"),
        ("fdr", "regions", "fdr"),
        ("falseRegions", "regions", "false_regions"),
    ],
)
def test_a_sliders_range_and_unit_are_the_declared_ones(parameter: str, section: str, name: str) -> None:
    known, control = declared(section, name), controls()[parameter]
    assert (float(control["minimum"]), float(control["maximum"])) == rangeOf(known)
    assert control.get("suffix", "").strip() == known.unit
    low, high = rangeOf(known)
    for edge in (low, high):
        SECTIONS[section](**{name: edge})  # the library takes all that the slider offers


def test_the_window_ends_where_the_record_does() -> None:
    assert float(controls()["windowRangeWidget"]["maximum"]) == declared("record", "sigma_large").default
    widest = max(window[1] for window in WINDOWS.values() if window is not None)
    assert widest == declared("record", "sigma_large").default


def test_the_panel_starts_with_the_declared_defaults(widget: Any) -> None:
    chosen = {parameter: getattr(widget._parameterNode, parameter) for parameter in DECLARED}
    assert chosen == {parameter: declared(*place).default for parameter, place in DECLARED.items()}
    config = configOf(widget._parameterNode)
    assert config == PRESETS["default"]
    widget._parameterNode.score = "hypodense"
    assert configOf(widget._parameterNode) == PRESETS["default"].updated(
        {"regions": {"score": "hypodense", "fdr": widget._parameterNode.fdr}}
    )


def test_a_number_is_bounded_as_declared(widget: Any) -> None:
    for parameter, name in (("views", "n_views"), ("samples", "n_samples"), ("steps", "n_steps")):
        known = declared("measurement" if name == "n_views" else "sampling", name)
        control = getattr(widget.ui, f"{parameter}SpinBox")
        lowest = known.ge if parameter == "views" else 0  # 0 is what the preset says
        assert (control.minimum, control.maximum) == (lowest, known.le)


def test_the_panels_choices_are_the_librarys(widget: Any) -> None:
    for parameter, place in (
        ("preset", ("", "preset")),
        ("geometry", ("measurement", "geometry")),
        ("score", ("regions", "score")),
    ):
        control = getattr(widget.ui, f"{parameter}ComboBox")
        assert {control.itemText(k) for k in range(control.count)} == set(declared(*place).choices)
    for photons in DOSES.values():
        SECTIONS["measurement"](photons=photons)
