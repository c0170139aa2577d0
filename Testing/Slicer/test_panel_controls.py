"""Every control of the panel, with real events, on results of known nats. No sampling here: the runs are made (made_run.py)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import panel_at_work
import pytest
import vtk
from inputs import node_of, show_run
from KLIPSlicerLib.display import sliceCompositesShowing
from KLIPSlicerLib.parameters import ALL, argumentsOf, configOf, regionConfigOf, selectionArguments
from KLIPSlicerLib.scene_results import SceneResults
from KLIPSlicerLib.study_source import boxOfRoi
from panel_at_work import opened_panel, slicer
from PySide6 import QtWidgets
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
}


@pytest.fixture
def widget(tmp_path: Path) -> Iterator[Any]:
    with opened_panel(tmp_path) as opened:
        yield opened


@pytest.fixture
def results(widget: Any, made: Any) -> SceneResults:
    """Two regions of known nats, in the panel."""
    shown = show_run(made)
    widget._parameterNode.fdr = 0.05
    widget.panel.setResults(shown)
    person.events(0.1)
    assert len(shown.regions) == 2
    return shown


# ---- controls and words


def test_every_control_has_a_tooltip_in_plain_words(widget: Any) -> None:
    seen = 0
    for name, control in vars(widget.ui).items():
        if control.className() in INTERACTIVE:
            seen += 1
            assert len(control.toolTip) > 20, f"{name} has no tooltip"
            assert control.toolTip.rstrip().endswith("."), f"{name}: not a sentence"
    assert seen >= 28


def test_everything_the_parameter_node_keeps_has_its_control(widget: Any) -> None:
    connected = {control.property("SlicerParameterName") for control in vars(widget.ui).values()} - {None}
    by_hand = {"firstSlice", "lastSlice", "prior", "windowName", "windowLow", "windowHigh", "weightsFolder"}
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

    card = json.loads((Path(KLIPCore.__file__).parent / "priors" / "zoo" / "abdomen-ct-256.json").read_text(encoding="utf-8"))
    (tmp_path / "mine.json").write_text(json.dumps({**card, "name": "mine", "anatomy": "knees"}), encoding="utf-8")
    (tmp_path / "mine.safetensors").write_bytes(b"")
    (tmp_path / "no card.safetensors").write_bytes(b"")
    widget.ui.weightsPathEdit.currentPath = str(tmp_path)
    person.choose(widget.ui.priorComboBox, "mine")
    assert widget._parameterNode.prior == str(tmp_path / "mine.safetensors")
    assert "knees" in widget.ui.priorCardLabel.text
    widget.ui.weightsPathEdit.currentPath = ""
    assert widget._parameterNode.prior == "abdomen-ct-256"


# ---- whether Detect can run


def test_detect_says_why_it_cannot_run(widget: Any, made: Any) -> None:
    ui = widget.ui
    assert (ui.detectButton.enabled, ui.detectButton.toolTip) == (False, "Choose a CT volume first.")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    person.wait(lambda: ui.inputSelector.currentNode() is empty, 2, "chosen")
    assert "empty" in ui.detectButton.toolTip
    photograph = node_of(Volume(np.random.default_rng(0).integers(0, 255, (3, 40, 40)).astype(np.float32), Grid((3, 40, 40), np.eye(4))), "photo")
    ui.inputSelector.setCurrentNode(photograph)
    person.wait(lambda: "8-bit grey values" in ui.detectButton.toolTip, 5, "not in HU")
    assert not ui.detectButton.enabled
    ui.inputSelector.setCurrentNode(node_of(made.study))
    person.wait(lambda: ui.detectButton.enabled, 5, "a CT can be examined")
    widget._parameterNode.windowName = "wide"  # outside what the score's layer records
    person.events(0.05)
    assert ui.detectButton.enabled  # it overlaps
    widget._parameterNode.windowName, widget._parameterNode.windowLow, widget._parameterNode.windowHigh = "custom", 0.4, 0.5
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


# ---- what klip is told


def test_the_command_line_makes_the_same_configuration(widget: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the panel checked and named the run folder after is what `klip detect` will run."""
    from typer.testing import CliRunner

    from KLIPCore import cli, pipeline

    seen: list[Any] = []
    monkeypatch.setattr(pipeline, "detect", lambda study, out, config, **more: seen.append((config, more)) or (_ for _ in ()).throw(SystemExit(0)))
    p = widget._parameterNode
    for change in (
        {},
        {"preset": "quick", "samples": 3, "steps": 4, "seed": 7, "views": 45, "geometry": "fan", "dose": "1e5 photons"},
        {"preset": "full", "device": "cpu", "blockSize": 17.3, "blockDepth": 6.0, "fdr": 0.07},
        {"score": "nats", "windowName": "custom", "windowLow": 0.1, "windowHigh": 0.3},
        {"score": "klip", "windowName": "wide", "firstSlice": 2, "lastSlice": 3},
    ):
        for name, value in change.items():
            setattr(p, name, value)
        box = ((-10.0, 20.0), (-5.5, 60.0), (0.0, 30.0))
        arguments = ["detect", "STUDY", "-o", str(tmp_path), *argumentsOf(configOf(p)), *selectionArguments(p, box), "--progress", "none"]
        CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
        config, more = seen[-1]
        assert config == configOf(p)
        assert more["roi"] == box
        assert more["slices"] == (None if p.firstSlice == ALL else "2:4")
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


# ---- live controls


def test_sliders_change_map_regions_and_table_at_once(widget: Any, results: SceneResults, capsys: pytest.CaptureFixture[str]) -> None:
    ui = widget.ui
    assert ui.regionTable.rowCount == 2
    total = ui.regionTable.item(0, 1).text()
    before = slicer.util.arrayFromVolume(results.mapNode).max()
    person.drag(ui.blockSizeSlider, 0.5)
    wanted = widget._parameterNode.blockSize
    assert 18 < wanted < 26
    person.wait(lambda: results.settings.block_mm == pytest.approx(wanted), 1, "the map follows")
    assert slicer.util.arrayFromVolume(results.mapNode).max() > before
    assert ui.regionTable.item(0, 1).text() != total
    times = []
    for block in (10.0, 14.0, 18.0):
        widget._parameterNode.blockSize = block
        started = time.perf_counter()
        widget.panel.live.show()
        times.append(time.perf_counter() - started)
        assert results.settings.block_mm == block
    with capsys.disabled():
        print(f"\n[panel] live update of {len(results.live.trace.slices)} slices: {1000 * min(times):.0f} ms")
    assert min(times) < 0.2


def test_false_discoveries_and_window_act_live(widget: Any, results: SceneResults) -> None:
    ui = widget.ui
    person.drag(ui.fdrSlider, 1.0)
    person.wait(lambda: results.settings.fdr == pytest.approx(0.9), 1, "the rate follows")
    assert "90 %" in ui.summaryLabel.text
    person.choose(ui.windowComboBox, "Coarse")
    person.wait(lambda: results.settings.window == (0.16, 0.32), 1, "the window follows")
    assert (ui.windowRangeWidget.minimumValue, ui.windowRangeWidget.maximumValue) == (0.16, 0.32)
    ui.windowRangeWidget.setValues(0.1, 0.32)
    assert widget._parameterNode.windowName == "custom"
    assert ui.windowComboBox.currentText == "Custom"
    person.wait(lambda: results.settings.window == (0.1, 0.32), 1, "the numbers follow")
    person.choose(ui.windowComboBox, "Recommended")
    person.wait(lambda: results.settings.window is None, 1, "back to the score's own")


def test_what_the_trace_cannot_answer_is_said_and_nothing_changes(widget: Any, results: SceneResults) -> None:
    before = slicer.util.arrayFromVolume(results.mapNode).copy()
    person.choose(widget.ui.scoreComboBox, "nats")
    person.wait(lambda: widget.ui.statusLabel.visible, 1, "a sentence")
    assert "renoised" in widget.ui.statusLabel.text
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(results.mapNode), before)


def test_opacity_and_threshold_change_the_picture_only(widget: Any, results: SceneResults) -> None:
    ui, view = widget.ui, panel_at_work.view("Axial")
    results.showInSliceViews()
    view.fit()
    results.jumpTo(0)
    regions = [r.total_nats for r in results.regions]
    shown = view.pixels()
    person.drag(ui.opacitySlider, 0.0)
    assert [c.GetForegroundOpacity() for c in sliceCompositesShowing(results.mapNode)] == [0.0]
    bare = view.pixels()
    assert (shown != bare).any()
    person.drag(ui.opacitySlider, 1.0)
    assert ui.thresholdSlider.value == pytest.approx(results.threshold, abs=0.1)
    full = view.pixels()
    ui.thresholdSlider.value = ui.thresholdSlider.maximum
    assert results.threshold == pytest.approx(ui.thresholdSlider.maximum)
    assert (view.pixels() != full).any()
    assert [r.total_nats for r in results.regions] == regions


# ---- the table


def test_headings_sort_by_number(widget: Any, results: SceneResults) -> None:
    table = widget.ui.regionTable
    nats = [r.total_nats for r in results.regions]
    assert widget.panel.found.table.order == sorted((0, 1), key=lambda i: -nats[i])
    person.click_header(table, 1)
    assert widget.panel.found.table.order == sorted((0, 1), key=lambda i: nats[i])
    person.click_header(table, 5)
    assert [results.regions[i].slices for i in widget.panel.found.table.order] == sorted(r.slices for r in results.regions)
    assert table.item(0, 0).text() == results.regions[widget.panel.found.table.order[0]].name


def test_a_click_jumps_to_the_region_of_that_row_however_sorted(widget: Any, results: SceneResults) -> None:
    view = panel_at_work.view("Axial")
    table = widget.ui.regionTable
    for column in (1, 1, 3):
        person.click_header(table, column)
        for row in (0, 1):
            view.node.SetSliceOffset(900.0)
            person.click_cell(table, row, 2)
            region = results.regions[widget.panel.found.table.order[row]]
            assert panel_at_work.place("Axial") == pytest.approx(region.peak_lps_mm[2], abs=1e-3)


def test_a_hidden_region_stays_hidden_while_sliders_move(widget: Any, results: SceneResults) -> None:
    table = widget.ui.regionTable
    weak = widget.panel.found.table.order[1]
    name = results.regions[weak].name
    person.click_checkbox(table, 1)
    assert [results.isRegionVisible(i) for i in (0, 1)] == [i != weak for i in (0, 1)]
    widget._parameterNode.blockSize = 14.0
    person.wait(lambda: results.settings.block_mm == 14.0, 1, "the slider acts")
    unchecked = [row for row in range(table.rowCount) if table.item(row, 0).checkState() == person.QtCore.Qt.CheckState.Unchecked]
    assert [table.item(row, 0).text() for row in unchecked] == [name]


# ---- export


@pytest.mark.parametrize(("kind", "ending"), [("seg.nrrd", ".seg.nrrd"), ("nifti", ".nii.gz")])
def test_export_through_the_menu_and_a_file_dialog(widget: Any, results: SceneResults, tmp_path: Path, kind: str, ending: str) -> None:
    import SimpleITK as sitk

    person.click_checkbox(widget.ui.regionTable, 1)  # one of two is exported
    target = tmp_path / "mine"
    person.answer_file_dialog(str(target))
    person.choose_from_menu(widget.ui.exportButton, f"export {kind}")
    written = tmp_path / f"mine{ending}"
    person.wait(written.is_file, 10, widget.ui.statusLabel.text)
    assert str(written) in widget.ui.statusLabel.text
    assert len(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(written))))) == 2


def test_an_export_that_fails_says_why(widget: Any, results: SceneResults, tmp_path: Path) -> None:
    """The made run is no DICOM study."""
    person.answer_file_dialog(str(tmp_path / "x.dcm"))
    person.choose_from_menu(widget.ui.exportButton, "export dicom-seg")
    person.wait(lambda: "DICOM" in widget.ui.statusLabel.text, 10, "a sentence")
    assert not list(tmp_path.glob("x.dcm*"))


def test_a_dialog_that_is_closed_writes_nothing(widget: Any, results: SceneResults) -> None:
    def escape() -> None:
        dialog = QtWidgets.QApplication.activeModalWidget()
        assert isinstance(dialog, QtWidgets.QFileDialog)
        dialog.reject()

    person.QtCore.QTimer.singleShot(400, escape)
    person.choose_from_menu(widget.ui.exportButton, "export nifti")
    person.events(0.1)
    assert "Saved" not in widget.ui.statusLabel.text


# ---- the scene


def test_choices_live_in_the_scene_and_results_come_back_with_it(widget: Any, results: SceneResults, tmp_path: Path) -> None:
    p = widget._parameterNode
    p.blockSize, p.fdr, p.views = 16.0, 0.2, 50
    person.wait(lambda: results.settings.block_mm == 16.0, 1, "the slider acts")
    widget.ui.inputSelector.setCurrentNode(results.inputNode)
    scene = slicer.mrmlScene
    for node in (results.inputNode, results.mapNode, results.reconstructionNode, results.segmentationNode, results.tableNode, results.traceNode):
        node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(str(tmp_path / f"{node.GetID()}.{storage.GetDefaultWriteFileExtension()}"))
        assert storage.WriteData(node)
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(0)
    person.events(0.1)
    assert widget.panel.results is None
    assert widget.ui.regionTable.rowCount == 0
    assert not widget.ui.exportButton.enabled
    assert widget._parameterNode.blockSize == 12.0
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Connect()
    person.events(0.2)
    assert widget._parameterNode.blockSize == 16.0
    assert widget.ui.blockSizeSlider.value == 16.0
    assert widget.ui.viewsSpinBox.value == 50
    assert widget.panel.results is not None
    assert widget.ui.regionTable.rowCount == len(widget.panel.results.regions) > 0
    person.drag(widget.ui.blockSizeSlider, 0.6)  # the slider works again, without a run folder
    person.wait(lambda: widget.panel.results.settings.block_mm > 20, 2, "the restored map follows")


def test_closing_the_scene_ends_a_run(widget: Any, made: Any) -> None:
    node = node_of(made.study)
    person.wait(lambda: widget.ui.inputSelector.currentNode() is node and widget.ui.detectButton.enabled, 5, "ready")
    person.click(widget.ui.detectButton)
    person.wait(panel_at_work.klip_processes, 10, "it runs")
    slicer.mrmlScene.Clear(0)
    person.wait(lambda: not panel_at_work.klip_processes(), 2, "it is gone")
    assert not widget.panel.detection.running
    assert not list(widget.panel.computer.outputFolder().glob("input/*"))
    assert widget.ui.detectButton.text == "Detect OOD"


def test_the_live_settings_are_those_of_the_controls(widget: Any) -> None:
    p = widget._parameterNode
    p.blockSize, p.fdr = 20.0, 0.1
    settings = regionConfigOf(p)
    assert (settings.block_mm, settings.fdr, settings.window, settings.depth_mm) == (20.0, 0.1, None, 0.0)
    assert vtk.vtkVersion.GetVTKMajorVersion() >= 9
