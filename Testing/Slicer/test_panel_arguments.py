"""What klip is told: the panel's choices as arguments and as a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs import node_of
from KLIPSlicerLib.parameters import ALL, argumentsOf, configOf, regionConfigOf, selectionArguments
from KLIPSlicerLib.study_source import boxOfRoi
from panel_at_work import slicer
from standins import person


def test_the_command_line_makes_the_same_configuration(
    widget: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the panel checked and named the run folder after is what `klip detect` will run."""
    from typer.testing import CliRunner

    from KLIPCore import cli
    from KLIPCore.detection import detect as pipeline

    seen: list[Any] = []
    monkeypatch.setattr(
        pipeline,
        "detect",
        lambda study, out, config, **more: seen.append((config, more)) or (_ for _ in ()).throw(SystemExit(0)),
    )
    study = tmp_path / "STUDY"
    study.mkdir()
    p = widget._parameterNode
    for change in (
        {},
        {
            "preset": "quick",
            "samples": 3,
            "steps": 4,
            "seed": 7,
            "views": 45,
            "geometry": "fan",
            "dose": "1e5 photons",
        },
        {"preset": "full", "device": "cpu", "blockSize": 17.3, "blockDepth": 6.0, "fdr": 0.07},
        {"score": "nats", "windowName": "custom", "windowLow": 0.1, "windowHigh": 0.3},
        {"score": "klip", "windowName": "wide", "firstSlice": 2, "lastSlice": 3},
    ):
        for name, value in change.items():
            setattr(p, name, value)
        box = ((-10.0, 20.0), (-5.5, 60.0), (0.0, 30.0))
        arguments = [
            "detect",
            str(study),
            "-o",
            str(tmp_path),
            *argumentsOf(configOf(p)),
            *selectionArguments(p, box),
            "--progress",
            "none",
        ]
        CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
        config, more = seen[-1]
        assert config == configOf(p)
        assert more["part"].roi == box
        assert more["part"].slices == (None if p.firstSlice == ALL else "2:4")
    assert len(seen) == 5


def test_slices_are_counted_from_the_feet(widget: Any, made: Any) -> None:
    ui, p = widget.ui, widget._parameterNode
    node = node_of(made.study)
    person.wait(lambda: ui.inputSelector.currentNode() is node, 2, "chosen")
    assert (ui.slicesRangeWidget.minimum, ui.slicesRangeWidget.maximum) == (0, 5)
    assert selectionArguments(p, None) == []
    ui.slicesRangeWidget.setValues(2, 5)
    assert selectionArguments(p, None) == ["--slices=2:"]
    ui.slicesRangeWidget.setValues(2, 3)
    assert selectionArguments(p, None) == ["--slices=2:4"]
    ui.inputSelector.setCurrentNode(node_of(made.study, "another"))
    assert (p.firstSlice, p.lastSlice) == (ALL, ALL)


def test_a_region_of_interest_respects_transforms(widget: Any, made: Any) -> None:
    """The box that klip gets is in the volume's own coordinates, wherever a transform has moved it."""
    turn = np.array([[0.0, -1, 0, 30], [1, 0, 0, -20], [0, 0, 1, 7], [0, 0, 0, 1]])
    node = node_of(made.study, transform=turn)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    lps_low, lps_high = np.array([-90.0, -40.0, 4.0]), np.array([-50.0, 20.0, 14.0])
    centre_ras = (lps_low + lps_high) / 2 * (-1, -1, 1)
    roi.SetCenter(*centre_ras)
    roi.SetSize(*(lps_high - lps_low))
    roi.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    np.testing.assert_allclose(boxOfRoi(roi, node), np.stack([lps_low, lps_high], 1), atol=1e-6)
    roi.SetAndObserveTransformNodeID(None)
    world = turn @ [*centre_ras, 1.0]
    roi.SetCenter(*world[:3])
    roi.SetSize(60.0, 40.0, 10.0)  # x and y exchanged by the turn
    np.testing.assert_allclose(boxOfRoi(roi, node), np.stack([lps_low, lps_high], 1), atol=1e-6)


def test_the_live_settings_are_those_of_the_controls(widget: Any) -> None:
    p = widget._parameterNode
    p.blockSize, p.fdr, p.falseRegions, p.sign, p.tissue = 20.0, 0.1, 3.0, "darker", "all"
    settings = regionConfigOf(p)
    assert (settings.block_mm, settings.fdr, settings.window, settings.depth_mm) == (20.0, None, None, 0.0)
    assert (settings.false_regions, settings.sign, settings.tissue) == (3.0, "darker", "all")
    p.score = "hypodense"  # which no reference of health judges
    assert regionConfigOf(p).fdr == 0.1
