"""Saved with the scene, loaded again, run folder gone: everything is there and the sliders work."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import headless
import numpy as np
import pytest
import slicer
from headless import SliceView
from inputs import node_of, show_run
from KLIPSlicerLib import display, live, trace_text
from KLIPSlicerLib.regions import segmentId
from KLIPSlicerLib.scene_results import SceneResults
from made_run import MadeRun, made_study, make_run
from small_study import small_study

from KLIPCore.config import RegionConfig
from KLIPCore.errors import TraceError
from KLIPCore.maps.trace import KLTrace
from KLIPCore.runs.live import LiveMap
from KLIPCore.scores import SCORES

MOVED = np.array([[0.36, 0.48, -0.8, 40], [-0.8, 0.6, 0, -15], [0.48, 0.64, 0.6, 7], [0, 0, 0, 1]])


def save_and_load(results: SceneResults, path: Path) -> SceneResults:
    """The scene written to a bundle, cleared, and read again; the results are found from the reloaded map."""
    scene = headless.start()
    assert scene.WriteToMRB(str(path))
    headless.clear()
    assert not SceneResults.allInScene(scene)
    assert scene.ReadFromMRB(str(path))
    (found,) = SceneResults.allInScene(scene)
    restored = SceneResults.restore(found)
    assert restored is not None
    return restored


@pytest.fixture
def oblique(scene: Any, tmp_path: Path) -> tuple[SceneResults, MadeRun]:
    """An oblique study under a parent transform, with settings of its own and one region unchecked."""
    run = make_run(tmp_path / "run", made_study((12, -8, 20)))
    results = show_run(run, MOVED)
    results.show(replace(results.settings, block_mm=15.0))
    results.setRegionVisible(1, False)
    return results, run


def test_a_scene_bundle_brings_everything_back(oblique: tuple[SceneResults, MadeRun], tmp_path: Path) -> None:
    results, run = oblique
    kl_map = slicer.util.arrayFromVolume(results.mapNode).copy()
    reconstruction = slicer.util.arrayFromVolume(results.reconstructionNode).copy()
    threshold, names = results.threshold, [region.name for region in results.regions]
    matrix = slicer.util.arrayFromTransformMatrix(results.mapNode.GetParentTransformNode())
    cells = [[results.tableNode.GetCellText(row, column) for column in range(8)] for row in range(2)]
    shutil.rmtree(run.folder)
    restored = save_and_load(results, tmp_path / "scene.mrb")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(restored.mapNode), kl_map)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(restored.reconstructionNode), reconstruction)
    np.testing.assert_allclose(
        slicer.util.arrayFromTransformMatrix(restored.mapNode.GetParentTransformNode()), matrix, atol=1e-9
    )
    assert restored.threshold == pytest.approx(threshold)
    assert restored.settings.block_mm == 15.0
    assert [region.name for region in restored.regions] == names
    assert [restored.isRegionVisible(i) for i in range(2)] == [True, False]
    assert [[restored.tableNode.GetCellText(row, column) for column in range(8)] for row in range(2)] == cells
    assert restored.inputNode.GetName() == "CT"
    assert display.legendOf(restored.mapNode).GetTitleText() == display.legendTitle(restored.settings.chosen.unit)
    for region in restored.regions:
        array = slicer.util.arrayFromSegmentBinaryLabelmap(
            restored.segmentationNode, segmentId(region), restored.mapNode
        )
        np.testing.assert_array_equal(array > 0, region.full_mask(restored.live.framing.grid.shape))
    assert restored.segmentationNode.GetSegmentation().GetNthSegment(0).GetTerminology()


def test_the_slider_works_after_loading_without_the_run_folder(
    oblique: tuple[SceneResults, MadeRun], tmp_path: Path
) -> None:
    """And gives the very same numbers and regions as before."""
    results, run = oblique
    wanted = RegionConfig(score="hypodense", block_mm=24.0, fdr=0.05)
    expected = LiveMap.open(run.folder).update(wanted)
    shutil.rmtree(run.folder)
    restored = save_and_load(results, tmp_path / "scene.mrb")
    restored.show(wanted)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(restored.mapNode), expected.kl_map.array)
    assert [r.to_dict() for r in restored.regions] == [r.to_dict() for r in expected.regions]
    for region in expected.regions:
        array = slicer.util.arrayFromSegmentBinaryLabelmap(
            restored.segmentationNode, segmentId(region), restored.mapNode
        )
        np.testing.assert_array_equal(array > 0, region.full_mask(expected.kl_map.grid.shape))


@pytest.fixture
def view(scene: Any) -> Iterator[SliceView]:
    """A slice view for one test."""
    made = SliceView("Saved", 320, 280)
    yield made
    made.close()


def test_the_picture_is_the_same_after_loading(view: SliceView, made: MadeRun, tmp_path: Path) -> None:
    results = show_run(made)
    view.fit()
    results.jumpTo(0)
    before = view.pixels()
    restored = save_and_load(results, tmp_path / "scene.mrb")
    restored.showInSliceViews()
    view.fit()
    restored.jumpTo(0)
    after = view.pixels()
    assert (np.abs(before.astype(int) - after) > 8).any(-1).mean() < 0.002
    restored.show(replace(restored.settings, block_mm=30.0))
    assert (np.abs(view.pixels().astype(int) - after) > 8).any(-1).mean() > 0.01


def test_loading_does_not_touch_segments_that_were_edited(scene: Any, made: MadeRun, tmp_path: Path) -> None:
    results = show_run(made)
    identifier = segmentId(results.regions[0])
    edited = np.zeros(made.study.grid.shape, np.uint8)
    edited[2, 10:20, 10:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, results.segmentationNode, identifier, results.mapNode)
    restored = save_and_load(results, tmp_path / "scene.mrb")
    found = slicer.util.arrayFromSegmentBinaryLabelmap(restored.segmentationNode, identifier, restored.mapNode)
    np.testing.assert_array_equal(found, edited)
    restored.show(restored.settings)
    found = slicer.util.arrayFromSegmentBinaryLabelmap(restored.segmentationNode, identifier, restored.mapNode)
    np.testing.assert_array_equal(found > 0, restored.regions[0].full_mask(made.study.grid.shape))


def test_a_scene_file_with_its_data_beside_it(scene: Any, made: MadeRun, tmp_path: Path) -> None:
    """As Slicer's save dialog does: each storable node that is not hidden to a file, then the scene."""
    results = show_run(made)
    expected = results.live.update(RegionConfig(score="hypodense", block_mm=20.0, fdr=0.05))
    scene.SetRootDirectory(str(tmp_path))
    scene.SetURL(str(tmp_path / "scene.mrml"))
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode", scene):
        if node.GetHideFromEditors() or not node.GetSaveWithScene():
            continue
        node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is None:
            continue
        extension = storage.GetDefaultWriteFileExtension()
        storage.SetFileName(str(tmp_path / f"{node.GetName()}.{extension}"))
        assert storage.WriteData(node), node.GetName()
    assert scene.Commit()
    assert (tmp_path / "CT KLIP trace.txt").stat().st_size > 10000
    headless.clear()
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Connect()
    (found,) = SceneResults.allInScene(scene)
    restored = SceneResults.restore(found.GetNodeReference("KLIP.Map"))
    restored.show(RegionConfig(score="hypodense", block_mm=20.0, fdr=0.05))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(restored.mapNode), expected.kl_map.array)


def test_any_node_of_a_detection_leads_back_to_it(shown: SceneResults) -> None:
    for node in (shown.traceNode, shown.mapNode, shown.reconstructionNode, shown.segmentationNode, shown.tableNode):
        assert SceneResults.restore(node).mapNode.GetID() == shown.mapNode.GetID()
    assert SceneResults.restore(shown.inputNode) is None
    assert SceneResults.restore(None) is None


def test_a_detection_that_was_cancelled_is_kept(scene: Any, made: MadeRun, tmp_path: Path) -> None:
    growing = made.keep_slices(3, tmp_path / "growing")
    results = SceneResults.create(node_of(made.study), growing.folder)
    results.finish()
    restored = save_and_load(results, tmp_path / "scene.mrb")
    assert restored.live.trace.indices == [0, 1, 2]


@pytest.mark.parametrize("damage", ["", "not base64 ✗", "QUJD", "cut"])
def test_a_damaged_trace_says_so(shown: SceneResults, damage: str) -> None:
    text = shown.traceNode.GetText()
    shown.traceNode.SetText(text[: len(text) // 2] if damage == "cut" else damage)
    with pytest.raises(TraceError, match="damaged"):
        SceneResults.restore(shown.mapNode)


@pytest.mark.parametrize("score", ["hypodense", "hyperdense", "darker", "brighter", "surprise", "klip", "one-shot"])
def test_what_is_stored_gives_the_same_numbers(made: MadeRun, score: str) -> None:
    """Bit by bit, for each score and another window, though most of the trace is left out."""
    growing = live.GrowingRun(made.folder)
    growing.readNew()
    stored = live.decode(live.encode(growing.liveMap()))
    whole = LiveMap.open(made.folder)
    for settings in (
        RegionConfig(score=score, block_mm=9.0, fdr=0.05),
        RegionConfig(score=score, window=(0.5, 1.5) if score == "hyperdense" else (0.1, 0.2), fdr=0.2),
    ):
        expected, found = whole.update(settings), stored.update(settings)
        np.testing.assert_array_equal(found.kl_map.array, expected.kl_map.array)
        np.testing.assert_array_equal(found.labels, expected.labels)
        assert [r.to_dict() for r in found.regions] == [r.to_dict() for r in expected.regions]


def test_what_is_stored_is_a_fraction_of_the_trace(made: MadeRun) -> None:
    growing = live.GrowingRun(made.folder)
    growing.readNew()
    raw = sum(path.stat().st_size for path in (made.folder / "trace").iterdir())
    assert len(live.encode(growing.liveMap())) < 0.75 * raw  # as text, which takes a third more


def test_what_was_left_out_is_not_answered_wrongly(made: MadeRun) -> None:
    growing = live.GrowingRun(made.folder)
    growing.readNew()
    trace = growing.liveMap().trace
    parts = {(score.layer, score.part) for score in SCORES.values()}
    for layer in ("cold", "path", "darker", "brighter", "hypodense", "hyperdense"):
        for part in ("energy", "mean"):
            nats = trace.nats(layer, part, (0.08, 0.32))
            assert np.isfinite(nats).all() == ((layer, part) in parts)


def test_another_format_is_refused(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    growing = live.GrowingRun(made.folder)
    growing.readNew()
    monkeypatch.setattr(live, "FORMAT", 99)
    text = live.encode(growing.liveMap())
    monkeypatch.undo()
    with pytest.raises(TraceError, match="another version"):
        live.decode(text)


def test_the_stored_trace_holds_what_scores_read_and_no_more(shown: SceneResults) -> None:
    """It is base64 of one archive: layers, pushes, framing and the run's record; images at half resolution."""
    with np.load(io.BytesIO(base64.b64decode(shown.traceNode.GetText()))) as stored:
        assert {name.split(".")[0] for name in stored.files} == {
            "framing",
            "meta",
            "cold",
            "path",
            "darker",
            "brighter",
            "hypodense",
            "hyperdense",
            "pushes",
            "images",
            "weights",
        }
        assert stored["images"].shape == (6, 128, 128)
        assert stored["pushes.push"].shape == (6, 2, 128, 128)


def test_a_study_without_any_region_is_kept_too(scene: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", small_study(6, lesion=False), seed=3)
    results = show_run(run)
    results.show(replace(results.settings, fdr=1e-9))
    restored = save_and_load(results, tmp_path / "scene.mrb")
    assert restored.regions == ()
    restored.show(replace(restored.settings, fdr=0.05))
    assert len(restored.regions) == 2
    assert isinstance(restored.live.trace, KLTrace)


@pytest.mark.parametrize("tissue", ["soft", "all"])
def test_the_default_score_is_the_same_slim_stored_and_in_files(made: MadeRun, tmp_path: Path, tissue: str) -> None:
    """It reads pushes, images and the bands of a layer that other scores take as one."""
    wanted = RegionConfig(score="unexpected", tissue=tissue, false_regions=10.0, min_volume_mm3=0.0)
    growing = live.GrowingRun(made.folder)
    growing.readNew()
    expected = LiveMap.open(made.folder).update(wanted)
    assert expected.kl_map.array.max() > 1  # something is compared
    for other in (growing.liveMap(), live.decode(live.encode(growing.liveMap()))):
        shown = other.update(wanted)
        np.testing.assert_array_equal(shown.kl_map.array, expected.kl_map.array)
        assert [r.to_dict() for r in shown.regions] == [r.to_dict() for r in expected.regions]


def test_a_long_trace_goes_on_in_further_nodes(
    scene: Any, made: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of hundreds of slices does: set piece by piece, saved, joined again, and removed with the rest."""
    whole = trace_text.textOf(show_run(made).traceNode)
    monkeypatch.setattr(trace_text, "LONGEST", len(whole) // 3)
    headless.clear()
    results = show_run(made)
    results.finish()  # once more: pieces do not pile up
    assert len(trace_text.furtherNodes(results.traceNode)) == 3
    assert len(results.traceNode.GetText()) == len(whole) // 3
    assert trace_text.textOf(results.traceNode) == whole
    restored = save_and_load(results, tmp_path / "scene.mrb")
    restored.show(replace(restored.settings, block_mm=16.0))
    assert len(restored.regions) == 2
    slicer.mrmlScene.RemoveNode(trace_text.furtherNodes(restored.traceNode)[1])
    with pytest.raises(TraceError, match="damaged"):
        SceneResults.restore(restored.traceNode)
    restored.remove()
    assert slicer.util.getNodesByClass("vtkMRMLTextNode") == []
