"""A live map against the files of the same run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from KLIPCore.errors import TraceError
from KLIPCore.runs.live import LiveMap
from KLIPCore.runs.rerun import Detection, redo_regions


def test_what_the_slider_shows_is_what_the_files_say(run: Detection, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(run.folder.path, folder)
    live = LiveMap.open(folder)
    n_shown = 0
    for changes in ({"block_mm": 25.0}, {"block_mm": 9.0, "fdr": 0.9}, {"score": "klip", "fdr": 0.99}):
        settings = replace(live.settings, **changes)
        shown, written = live.update(settings), redo_regions(folder, settings, report=False)
        on_disk = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "kl_map.nrrd")))
        np.testing.assert_array_equal(shown.kl_map.array, on_disk)
        assert [r.to_dict() for r in shown.regions] == [r.to_dict() for r in written.report.regions]
        for region in shown.regions:
            np.testing.assert_array_equal(shown.labels == region.label, region.full_mask(shown.labels.shape))
        n_shown += len(shown.regions)
    assert n_shown > 0


def test_a_scene_can_carry_it(run: Detection) -> None:
    live = LiveMap.open(run.folder.path)
    again = LiveMap.from_bytes(live.to_bytes())
    settings = replace(live.settings, block_mm=17.0, fdr=0.9)
    np.testing.assert_array_equal(again.update(settings).kl_map.array, live.update(settings).kl_map.array)
    with pytest.raises(TraceError, match="damaged"):
        LiveMap.from_bytes(live.to_bytes()[:2000])


def test_a_growing_run_shows_the_slices_that_are_done(run: Detection, tmp_path: Path) -> None:
    folder = tmp_path / "growing"
    (folder / "trace").mkdir(parents=True)
    for name in ("run.json", "body.npz"):
        shutil.copy(run.folder.file(name), folder / name)
    with pytest.raises(TraceError, match="sampled yet"):
        LiveMap.open(folder)
    for index in (0, 1):
        shutil.copy(run.folder.slice_file(index), folder / "trace")
    shown = LiveMap.open(folder).update(LiveMap.open(folder).settings)
    per_slice = shown.kl_map.array.max((1, 2))
    assert (per_slice > 0).sum() == 2
