"""Controls and words of the panel, with real events: what it says of the prior, of the volume, and why
Detect cannot run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs import node_of, second_of_three
from panel_at_work import slicer
from standins import person

from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

INTERACTIVE = {
    "QPushButton",
    "QComboBox",
    "QSpinBox",
    "QCheckBox",
    "QTableWidget",
    "QProgressBar",
    "qMRMLNodeComboBox",
    "ctkSliderWidget",
    "ctkRangeWidget",
    "ctkPathLineEdit",
    "QLineEdit",
    "QPlainTextEdit",
}


def test_every_control_has_a_tooltip_in_plain_words(widget: Any) -> None:
    seen = 0
    for name, control in vars(widget.ui).items():
        if control.className() in INTERACTIVE:
            seen += 1
            assert len(control.toolTip) > 20, f"{name} has no tooltip"
            assert control.toolTip.rstrip().endswith("."), f"{name}: not a sentence"
    assert seen >= 33


def test_everything_the_parameter_node_keeps_has_its_control(widget: Any) -> None:
    connected = {control.property("SlicerParameterName") for control in vars(widget.ui).values()} - {None}
    by_hand = {"firstSlice", "lastSlice", "prior", "windowName", "windowLow", "windowHigh", "weightsFolder", "segment"}
    by_hand |= {"auditSlice", "auditBy", "auditSinogram"}
    kept = set(type(widget._parameterNode).__annotations__)
    assert connected | by_hand == kept
    assert connected <= kept


def test_the_card_says_what_the_prior_knows(widget: Any) -> None:
    text = widget.ui.priorCardLabel.text
    assert "adult abdomen" in text
    assert "-125 to 275 HU" in text
    assert "not a medical device" in text
    assert "Not a medical device" in widget.ui.disclaimerLabel.text


def test_own_weights_appear_in_the_list(widget: Any, tmp_path: Path) -> None:
    import json

    import KLIPCore

    card = json.loads(
        (Path(KLIPCore.__file__).parent / "priors" / "zoo" / "abdomen-ct-256.json").read_text(encoding="utf-8")
    )
    (tmp_path / "mine.json").write_text(json.dumps({**card, "name": "mine", "anatomy": "knees"}), encoding="utf-8")
    (tmp_path / "mine.safetensors").write_bytes(b"")
    (tmp_path / "no card.safetensors").write_bytes(b"")
    widget.ui.weightsPathEdit.currentPath = str(tmp_path)
    person.choose(widget.ui.priorComboBox, "mine")
    assert widget._parameterNode.prior == str(tmp_path / "mine.safetensors")
    assert "knees" in widget.ui.priorCardLabel.text
    widget.ui.weightsPathEdit.currentPath = ""
    assert widget._parameterNode.prior == "abdomen-ct-256"


def test_detect_says_why_it_cannot_run(widget: Any, made: Any) -> None:
    ui = widget.ui
    assert (ui.detectButton.enabled, ui.detectButton.toolTip) == (False, "Choose a CT volume first.")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    person.wait(lambda: ui.inputSelector.currentNode() is empty, 2, "chosen")
    assert "empty" in ui.detectButton.toolTip
    photograph = node_of(
        Volume(
            np.random.default_rng(0).integers(0, 255, (3, 40, 40)).astype(np.float32), Grid((3, 40, 40), np.eye(4))
        ),
        "photo",
    )
    ui.inputSelector.setCurrentNode(photograph)
    person.wait(lambda: "8-bit grey values" in ui.detectButton.toolTip, 5, "not in HU")
    assert not ui.detectButton.enabled
    ui.inputSelector.setCurrentNode(node_of(made.study))
    person.wait(lambda: ui.detectButton.enabled, 5, "a CT can be examined")
    widget._parameterNode.windowName = "wide"  # outside what the score's layer records
    person.events(0.05)
    assert ui.detectButton.enabled  # it overlaps
    widget._parameterNode.windowName, widget._parameterNode.windowLow, widget._parameterNode.windowHigh = (
        "custom",
        0.01,
        0.05,
    )
    person.events(0.05)
    assert not ui.detectButton.enabled
    assert "outside what would be recorded" in ui.detectButton.toolTip


def test_a_box_that_misses_the_volume_is_told(widget: Any, made: Any) -> None:
    ui, node = widget.ui, node_of(made.study)
    person.wait(lambda: ui.inputSelector.currentNode() is node, 2, "chosen")
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetCenter(5000.0, 0.0, 0.0)
    roi.SetSize(20.0, 20.0, 20.0)
    person.events(0.05)
    ui.roiSelector.setCurrentNode(roi)
    assert "lies outside the volume" in ui.detectButton.toolTip
    ui.roiSelector.setCurrentNode(None)
    assert ui.detectButton.enabled


def test_a_chest_is_warned_about(widget: Any) -> None:
    _, j, i = np.meshgrid(np.arange(20), np.arange(96), np.arange(96), indexing="ij")
    body = ((i - 48) / 42) ** 2 + ((j - 48) / 32) ** 2 < 1
    lungs = (((abs(i - 48) - 20) / 15) ** 2 + ((j - 48) / 22) ** 2) < 1
    hu = np.where(lungs, -850.0, np.where(body, 40.0, -1000.0)).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 4.0], [0, 4.0, 0], [5.0, 0, 0]]
    node_of(Volume(hu, Grid(hu.shape, affine)), "chest")
    person.wait(lambda: widget.ui.warningLabel.visible, 10, "a warning")
    assert "show lung or air as a chest does" in widget.ui.warningLabel.text
    assert "Expect the map to flag normal anatomy" in widget.ui.warningLabel.text
    assert widget.ui.detectButton.enabled  # a warning, not a refusal


def test_results_are_not_offered_as_studies(widget: Any, results: Any) -> None:
    box = widget.ui.inputSelector._box
    person.events(0.05)
    assert [box.itemText(n) for n in range(box.count())] == [results.inputNode.GetName()]
    widget._parameterNode.inputVolume = results.mapNode  # by a script
    assert not widget.ui.detectButton.enabled
    assert "is a result of KLIP" in widget.ui.detectButton.toolTip
    widget._parameterNode.inputVolume = None
    slicer.mrmlScene.RemoveNode(results.inputNode)
    person.events(0.05)
    widget.enter()
    assert widget._parameterNode.inputVolume is None  # not the first volume there is


def test_an_error_that_nobody_foresaw_is_told_once(widget: Any, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Slicer whose scipy is too old: the timer must stop, and there is a sentence."""
    from KLIPCore.io import judgement

    asked: list[int] = []

    def fail(_volume: Any) -> None:
        asked.append(1)
        raise AttributeError("module 'scipy.ndimage' has no attribute 'x'")

    monkeypatch.setattr(judgement, "checking", fail)
    node_of(made.study)
    person.wait(lambda: "could not be looked through" in widget.ui.detectButton.toolTip, 5, "a sentence")
    person.events(0.2)
    assert len(asked) == 1
    assert not widget.panel.study.check.working
    assert "AttributeError" in widget.ui.detectButton.toolTip
    assert not widget.ui.detectButton.enabled


def test_apples_graphics_are_offered_and_refused_elsewhere(
    widget: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from KLIPSlicerLib import detect_button

    node_of(made.study)
    person.wait(lambda: widget.ui.detectButton.enabled, 5, "ready")
    person.choose(widget.ui.deviceComboBox, "mps")
    assert widget._parameterNode.device == "mps"
    for platform, can in (("linux", False), ("darwin", True)):
        monkeypatch.setattr(detect_button.sys, "platform", platform)
        widget.panel.refreshDetect()
        assert widget.ui.detectButton.enabled == can, widget.ui.detectButton.toolTip


def test_the_item_of_a_sequence_that_is_examined_is_named(widget: Any, made: Any) -> None:
    node = node_of(made.study)
    shown = second_of_three(node)
    person.events(0.1)
    widget.ui.inputSelector.setCurrentNode(shown)
    person.wait(lambda: "item 2 of 3 of a sequence" in widget.ui.warningLabel.text, 10, "it is said")
    person.click(widget.ui.detectButton)
    assert "item 2 of 3 of a sequence" in widget.ui.logText.plainText
    person.click(widget.ui.detectButton)
    person.wait(lambda: not widget.panel.detection.running, 10, "it is cancelled")
