"""A slider's move costs the scene little: voxels are copied once, nodes are told once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer
from bench_live import large_study, measure
from inputs import show_run
from KLIPSlicerLib.scene_results import SceneResults
from made_run import make_run

SLICES = 20
SECONDS = 0.1
"""Of the processor, for 20 slices of 512 x 512 pixels; measured 0.005 on a free core, so only a change of
kind fails.
"""


def test_the_scenes_part_of_a_sliders_move(scene: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", large_study(SLICES), balls=((10, 242, 166), (8, 249, 365)))
    results = show_run(run)
    assert measure(results, []).scene_cpu < SECONDS


def test_each_node_is_told_once(shown: SceneResults) -> None:
    told: dict[str, int] = {}

    def count(node: Any, name: str, event: Any) -> int:
        def add(*_: Any) -> None:
            told[name] = told.get(name, 0) + 1

        return int(node.AddObserver(event, add))

    segmentation = shown.segmentationNode.GetSegmentation()
    tags = [
        (shown.mapNode, count(shown.mapNode, "map", slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)),
        (segmentation, count(segmentation, "segments", slicer.vtkSegmentation.SourceRepresentationModified)),
        (shown.tableNode, count(shown.tableNode, "table", "ModifiedEvent")),
    ]
    shown.show(replace(shown.settings, block_mm=16.0))
    for node, tag in tags:
        node.RemoveObserver(tag)
    assert told == {"map": 1, "segments": 1, "table": 1}


def test_the_voxel_buffers_stay(shown: SceneResults) -> None:
    def buffers() -> list[str]:
        labelmap = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
        image = shown.segmentationNode.GetSegmentation().GetNthSegment(0).GetRepresentation(labelmap)
        return [i.GetPointData().GetScalars().__this__ for i in (shown.mapNode.GetImageData(), image)]

    before = buffers()
    shown.show(replace(shown.settings, block_mm=16.0))
    assert buffers() == before
