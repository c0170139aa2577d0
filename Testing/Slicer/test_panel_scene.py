"""The panel and the scene: exports through the menu, what is saved and restored, what happens when the scene
closes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import panel_at_work
import pytest
from inputs import node_of
from KLIPSlicerLib.scene_results import SceneResults
from panel_at_work import slicer
from PySide6 import QtWidgets
from standins import person


@pytest.mark.parametrize(("kind", "ending"), [("seg.nrrd", ".seg.nrrd"), ("nifti", ".nii.gz")])
def test_export_through_the_menu_and_a_file_dialog(
    widget: Any, results: SceneResults, tmp_path: Path, kind: str, ending: str
) -> None:
    import SimpleITK as sitk

    person.click_checkbox(widget.ui.regionTable, 1)  # one of two is exported
    target = tmp_path / "mine"
    person.answer_file_dialog(str(target))
    person.choose_from_menu(widget.ui.exportButton, f"export {kind}")
    written = tmp_path / f"mine{ending}"
    person.wait(written.is_file, 10, widget.ui.statusLabel.text)
    assert str(written) in widget.ui.statusLabel.text
    assert len(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(written))))) == 2


def action(widget: Any, kind: str) -> Any:
    """An entry of the export menu."""
    return next(each for each in widget.ui.exportButton.menu().actions() if each.objectName == f"export {kind}")


def test_an_export_that_cannot_be_says_why_before_a_file_is_asked_for(
    widget: Any, results: SceneResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The made run is no DICOM study."""
    assert not action(widget, "dicom-seg").enabled
    for kind in ("dicom-seg", "dicom"):  # the latter is map, segmentation and report
        assert not action(widget, kind).enabled
        assert action(widget, kind).toolTip == "The volume was not loaded from DICOM."
    assert action(widget, "seg.nrrd").enabled
    slicer.mrmlScene.RemoveNode(results.inputNode)
    widget.panel.found.refresh(results)
    assert "no longer in the scene" in action(widget, "dicom-seg").toolTip


def test_dicom_seg_is_offered_where_the_files_are(widget: Any, tmp_path: Path) -> None:
    """And is withdrawn when they are gone."""
    import shutil

    from KLIPSlicerLib.scene_results import SceneResults
    from made_run import make_run

    from KLIPCore.io.study import read_study

    folder = panel_at_work.dicom_study(tmp_path / "ct")
    node = panel_at_work.load_study(folder)
    study = read_study(folder)
    run = make_run(tmp_path / "run", study)
    found = SceneResults.create(node, run.folder)
    widget.panel.setResults(found)
    assert action(widget, "dicom-seg").enabled
    assert action(widget, "dicom").enabled
    shutil.rmtree(folder)
    widget.panel.found.refresh(found)
    assert not action(widget, "dicom-seg").enabled
    assert "no longer where Slicer's database has them" in action(widget, "dicom-seg").toolTip


def test_an_export_that_fails_says_why(widget: Any, results: SceneResults, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    widget.panel.found._export._ask = lambda *_: str(tmp_path / "file" / "x.seg.nrrd")
    widget.panel.found._export.export("seg.nrrd", "*.seg.nrrd")
    assert "cannot be written" in widget.ui.statusLabel.text


def test_a_dialog_that_is_closed_writes_nothing(widget: Any, results: SceneResults) -> None:
    def escape() -> None:
        dialog = QtWidgets.QApplication.activeModalWidget()
        assert isinstance(dialog, QtWidgets.QFileDialog)
        dialog.reject()

    person.QtCore.QTimer.singleShot(400, escape)
    person.choose_from_menu(widget.ui.exportButton, "export nifti")
    person.events(0.1)
    assert "Saved" not in widget.ui.statusLabel.text


def test_choices_live_in_the_scene_and_results_come_back_with_it(
    widget: Any, results: SceneResults, tmp_path: Path
) -> None:
    p = widget._parameterNode
    p.blockSize, p.fdr, p.views = 16.0, 0.2, 50
    person.wait(lambda: results.settings.block_mm == 16.0, 1, "the slider acts")
    widget.ui.inputSelector.setCurrentNode(results.inputNode)
    scene = slicer.mrmlScene
    for node in (
        results.inputNode,
        results.mapNode,
        results.reconstructionNode,
        results.segmentationNode,
        results.tableNode,
        results.traceNode,
    ):
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
