"""The whole story with real clicks: load a DICOM study, Detect, Cancel, Detect again, slider, table, export.
Real `klip`, real scene.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import panel_at_work
import patience
import pydicom
import pytest
from busy import longest
from KLIPSlicerLib import detection
from KLIPSlicerLib.nodes import worldFromLps
from panel_at_work import klip_processes, slicer
from PySide6.QtCore import Qt
from small_study import LESION_LPS_MM
from standins import person

from KLIPCore.priors import checkpoint


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return panel_at_work.dicom_study(tmp_path_factory.mktemp("story") / "ct")


@pytest.mark.slow
def test_from_loading_to_export(widget: Any, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ui = widget.ui
    assert not ui.detectButton.enabled
    assert "Choose a CT volume" in ui.detectButton.toolTip
    node = panel_at_work.load_study(study)
    person.wait(lambda: ui.inputSelector.currentNode() is node, 5, "the loaded volume is chosen")
    person.wait(lambda: ui.warningLabel.visible, 5, "the coarse grid is warned about")
    assert "coarser than the prior's" in ui.warningLabel.text
    assert ui.detectButton.enabled
    views = {name: panel_at_work.view(name) for name in ("Axial", "Sagittal", "Coronal")}
    panel_at_work.fast_choices(widget)

    # Detect: first results come while later slices are still examined
    person.click(ui.detectButton)
    assert ui.detectButton.text == "Cancel"
    patience.wait_for_panel(widget, lambda: "slice" in ui.statusLabel.text, "progress names the slice")
    patience.wait_for_panel(widget, lambda: widget.panel.results is not None, "first results")
    assert widget.panel.detection.running
    assert ui.progressBar.visible
    assert 0 < ui.progressBar.value < 1000
    assert "left" in ui.statusLabel.text
    partial = widget.panel.results
    assert np.count_nonzero(slicer.util.arrayFromVolume(partial.mapNode).any(axis=(1, 2))) < 4

    # Cancel: everything is gone within two seconds (on a quiet machine), what is finished stays
    assert klip_processes()
    pressed = time.monotonic()
    person.click(ui.detectButton)
    person.wait(lambda: not klip_processes(), 5, "all processes are gone")
    took = time.monotonic() - pressed
    assert took < longest(2.0)
    person.wait(lambda: not widget.panel.detection.running, 5, "the panel knows")
    assert "Finished slices are kept" in ui.statusLabel.text
    assert ui.detectButton.text == "Detect OOD"
    folder = widget.panel.detection.runFolder
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "trace").iterdir()}
    assert 1 <= len(kept) < 4
    assert not list(folder.rglob("*.part"))
    assert widget.panel.results.mapNode is not None  # what was finished is still shown

    # Detect again: continued, not done twice
    person.click(ui.detectButton)
    patience.wait(
        lambda: not widget.panel.detection.running, "the run ends", lambda: ui.statusLabel.text, lambda: True
    )
    assert "out" in ui.statusLabel.text, ui.statusLabel.text
    assert {name: (folder / "trace" / name).stat().st_mtime_ns for name in kept} == kept
    results = widget.panel.results
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1  # the partial results were replaced
    region = results.regions[0]  # a phantom is not healthy anatomy: there may be others
    assert np.linalg.norm(np.subtract(region.centroid_lps_mm, LESION_LPS_MM)) < 15  # the lesion that is there
    assert ui.regionTable.rowCount == len(results.regions)
    assert ui.regionTable.item(0, 0).text() == region.name

    # the slider: another map from the same trace, at once
    before = slicer.util.arrayFromVolume(results.mapNode).copy()
    person.drag(ui.blockSizeSlider, 0.7)
    person.wait(lambda: results.settings.block_mm > 20, 2, "the map follows the slider")
    assert widget._parameterNode.blockSize == pytest.approx(results.settings.block_mm)
    assert not np.array_equal(slicer.util.arrayFromVolume(results.mapNode), before)
    assert not klip_processes()

    # what a healthy study may show: more of it marks more, and says so
    few = len(results.regions)
    assert ui.falseRegionsSlider.visible
    assert not ui.fdrSlider.visible
    person.drag(ui.falseRegionsSlider, 1.0)
    person.wait(lambda: results.settings.false_regions == 10.0, 2, "the acceptable number follows")
    assert len(results.regions) >= few
    assert all(region.expected <= 10.0 for region in results.regions)
    assert "A healthy study of this size shows 10" in ui.summaryLabel.text
    person.choose(ui.signComboBox, "darker")
    person.wait(lambda: results.settings.sign == "darker", 2, "the sign follows")

    # the table: a click jumps, a checkbox hides
    for view in views.values():
        view.node.SetSliceOffset(500.0)
    person.click_cell(ui.regionTable, 0, 2)  # column 1, the organ, is hidden where none is known
    world = worldFromLps(results.mapNode, results.regions[0].peak_lps_mm)
    assert [panel_at_work.place(name) for name in ("Sagittal", "Coronal", "Axial")] == pytest.approx(
        list(world), abs=1e-3
    )
    for view in views.values():
        view.node.SetSliceOffset(500.0)
    person.click_checkbox(ui.regionTable, 0)
    assert not results.isRegionVisible(0)
    assert panel_at_work.place("Axial") == 500.0  # a checkbox does not jump
    others = range(1, ui.regionTable.rowCount)  # larger blocks may flag more than the lesion
    for row in others:
        person.click_checkbox(ui.regionTable, row)
    enabled = {action.objectName: action.enabled for action in ui.exportButton.menu().actions()}
    assert [name for name, on in enabled.items() if on] == ["export dicom", "export report", "export json"]
    for row in (0, *others):
        person.click_checkbox(ui.regionTable, row)
    assert results.isRegionVisible(0)

    # export: DICOM SEG with the source's identifiers, through a real file dialog
    target = tmp_path / "exported.dcm"
    person.answer_file_dialog(str(target))
    person.choose_from_menu(ui.exportButton, "export dicom-seg")
    person.wait(target.is_file, 20, f"the file is there ({ui.statusLabel.text})")
    segmentation, source = pydicom.dcmread(target), pydicom.dcmread(next(study.iterdir()))
    assert segmentation.StudyInstanceUID == source.StudyInstanceUID
    assert segmentation.PatientID == source.PatientID
    assert segmentation.FrameOfReferenceUID == source.FrameOfReferenceUID
    referenced = {
        item.ReferencedSOPInstanceUID for item in segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced <= set(node.GetAttribute("DICOM.instanceUIDs").split())
    assert [str(s.SegmentLabel) for s in segmentation.SegmentSequence] == [r.name for r in results.regions]
    person.choose_from_menu(ui.exportButton, "export scene")
    person.wait(
        lambda: len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 2, 5, "a segmentation of its own"
    )
    annotate_save_and_reopen(widget, tmp_path)
    with capsys.disabled():
        print(f"\n[panel] Cancel: all processes gone after {took:.2f} s")


def annotate_save_and_reopen(widget: Any, folder: Path) -> None:
    """A reading by keyboard and a note, exported; the scene saved, closed and opened again: all of it is there."""
    ui, results = widget.ui, widget.panel.results
    person.click_cell(ui.regionTable, 0, 2)
    person.press(ui.regionTable, Qt.Key.Key_1)
    person.type_text(ui.noteLineEdit, "seen on two slices")
    said = results.readingOf(widget.panel.found.table.current)
    assert (said.verdict, said.note) == ("real", "seen on two slices")
    numbers = folder / "numbers.json"
    person.answer_file_dialog(str(numbers))
    person.choose_from_menu(ui.exportButton, "export json")
    person.wait(numbers.is_file, 20, ui.statusLabel.text)
    stored = json.loads(numbers.read_text(encoding="utf-8"))["regions"]
    assert [region["reading"]["note"] for region in stored if "reading" in region] == ["seen on two slices"]
    before = [region.to_dict() for region in results.regions]
    block = widget._parameterNode.blockSize
    scene = slicer.mrmlScene
    assert scene.WriteToMRB(str(folder / "story.mrb"))
    scene.Clear(0)
    person.events(0.1)
    assert widget.panel.results is None
    assert ui.regionTable.rowCount == 0
    assert scene.ReadFromMRB(str(folder / "story.mrb"))
    person.wait(lambda: widget.panel.results is not None, 10, f"the detection is taken up {ui.statusLabel.text}")
    reopened = widget.panel.results
    assert [region.to_dict() for region in reopened.regions] == before
    assert widget._parameterNode.blockSize == pytest.approx(block)
    assert "real" in ui.regionTable.item(0, 0).toolTip()
    person.drag(ui.blockSizeSlider, 0.2)
    person.wait(lambda: reopened.settings.block_mm < 15, 5, "the slider works on what was stored")


def test_a_changed_volume_goes_through_a_temporary_file(widget: Any, study: Path) -> None:
    """And that file is removed when the run ends, even by Cancel before anything was done."""
    node = panel_at_work.load_study(study)
    slicer.util.arrayFromVolume(node)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(node)
    person.wait(lambda: widget.ui.inputSelector.currentNode() is node and widget.ui.detectButton.enabled, 5, "ready")
    panel_at_work.fast_choices(widget)
    person.click(widget.ui.detectButton)
    patience.wait_for_panel(widget, klip_processes, "it runs")
    written = list(widget.panel.computer.outputFolder().glob("input/*.nrrd"))
    assert len(written) == 1
    assert "changed after it was loaded from DICOM" in widget.ui.warningLabel.text
    pressed = time.monotonic()
    person.click(widget.ui.detectButton)
    person.wait(lambda: not klip_processes() and not widget.panel.detection.running, 5, "it is gone")
    assert time.monotonic() - pressed < longest(2.0)
    assert not written[0].exists()
    assert widget.panel.results is None
    assert "Stopped" in widget.ui.statusLabel.text


def test_cancel_before_the_run_leaves_nothing(widget: Any, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the volume is still compared with its files: no process, no half-written file, no folder of a run."""
    node = panel_at_work.load_study(study)
    slicer.util.arrayFromVolume(node)[-1] += 1
    slicer.util.arrayFromVolumeModified(node)
    person.wait(lambda: widget.ui.inputSelector.currentNode() is node and widget.ui.detectButton.enabled, 5, "ready")
    found = widget.panel.detection
    found._timer.setInterval(10_000)  # turns come by hand here, one step each
    monkeypatch.setattr(detection, "AT_ONCE_SECONDS", 0.0)
    person.click(widget.ui.detectButton)
    while not list(widget.panel.computer.outputFolder().glob("input/*.part")):
        found._prepare()
    assert widget.ui.detectButton.text == "Cancel"
    assert "Looking through the volume" in widget.ui.statusLabel.text
    person.click(widget.ui.detectButton)
    assert not found.running
    assert klip_processes() == []
    assert not [path for path in widget.panel.computer.outputFolder().rglob("*") if path.is_file()]
    assert "Stopped" in widget.ui.statusLabel.text
    assert widget.ui.detectButton.text == "Detect OOD"


@pytest.mark.slow
def test_own_weights_from_a_folder(widget: Any, study: Path, tmp_path: Path) -> None:
    """Advanced: a folder of weights; a copy of the shipped prior under another name is chosen and examines
    the study.
    """
    shipped = Path(checkpoint.__file__).parent / "zoo" / f"{checkpoint.DEFAULT_PRIOR}.safetensors"
    if not shipped.is_file():
        pytest.skip("the shipped prior is not here")
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(shipped, folder / "mine.safetensors")
    card = json.loads(shipped.with_suffix(".json").read_text(encoding="utf-8"))
    (folder / "mine.json").write_text(json.dumps({**card, "name": "mine"}), encoding="utf-8")
    node = panel_at_work.load_study(study)
    person.wait(lambda: widget.ui.inputSelector.currentNode() is node, 5, "the loaded volume is chosen")
    widget.ui.weightsPathEdit.currentPath = str(folder)
    panel_at_work.fast_choices(widget)
    person.choose(widget.ui.priorComboBox, "mine")
    person.wait(lambda: widget.ui.detectButton.enabled, 10, "ready")
    widget._parameterNode.firstSlice, widget._parameterNode.lastSlice = 1, 1
    person.click(widget.ui.detectButton)
    patience.wait(
        lambda: not widget.panel.detection.running, "the run ends", lambda: widget.ui.statusLabel.text, lambda: True
    )
    assert widget.panel.results is not None, widget.ui.statusLabel.text
    run = json.loads((widget.panel.detection.runFolder / "run.json").read_text(encoding="utf-8"))
    assert run["prior"]["name"] == "mine"
    assert run["config"]["prior"] == str(folder / "mine.safetensors")
