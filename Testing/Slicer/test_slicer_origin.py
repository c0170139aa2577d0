"""The DICOM files behind a volume: recognised slice by slice, in any order of voxels, and not believed when
an edit says otherwise.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import headless
import numpy as np
import panel_at_work
import pydicom
import pytest
from inputs import node_of, second_of_three
from KLIPSlicerLib import dicom_origin, study_source
from KLIPSlicerLib.nodes import volumeFromNode
from KLIPSlicerLib.raw_nrrd import digestOf, writeRawNrrd
from KLIPSlicerLib.sequences import sequenceSentence
from made_run import made_study
from panel_at_work import slicer

from KLIPCore.errors import GeometryError, InputError, OutputError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import read_image
from KLIPCore.io.study import read_study
from KLIPCore.volume.volume import Volume

ROOT = "1.2.826.0.1.3680043.8.498"


def finish(steps: Generator[float, None, Any]) -> tuple[Any, list[float]]:
    """What a generator returns, and what it yielded."""
    parts = []
    while True:
        try:
            parts.append(next(steps))
        except StopIteration as end:
            return end.value, parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return panel_at_work.dicom_study(tmp_path_factory.mktemp("origin") / "ct")


def same_numbers(volume: Volume, node: Any) -> bool:
    """Whether a volume and a node hold the same numbers, in whatever order."""
    return np.array_equal(np.sort(volume.array, axis=None), np.sort(volumeFromNode(node).array, axis=None))


def source_of(node: Any, temporary: Path) -> Any:
    return finish(study_source.findOrWrite(node, volumeFromNode(node), temporary))[0]


def test_an_unchanged_volume_is_examined_from_its_files(scene: Any, folder: Path, tmp_path: Path) -> None:
    node = panel_at_work.load_study(folder)
    source = source_of(node, tmp_path / "input")
    assert (source.path.parent, source.note, source.temporary) == (folder, "", False)
    assert same_numbers(read_study(source.path), node)
    source.remove()
    assert source.path.exists()
    assert not (tmp_path / "input").exists()


def test_slices_are_recognised_in_any_order_of_voxels(scene: Any, folder: Path) -> None:
    node = panel_at_work.load_study(folder)
    volume = volumeFromNode(node)
    files = dicom_origin.dicomFiles(node)
    for order, flips in (((0, 1, 2), (0,)), ((2, 0, 1), (0, 2)), ((1, 2, 0), (1,))):
        from KLIPCore.volume.grid import Grid
        from KLIPCore.volume.volume import Volume

        array = np.flip(volume.array.transpose(order), flips)
        affine = volume.grid.affine[:, [*order, 3]].copy()
        for axis in flips:
            affine[:3, 3] += (array.shape[axis] - 1) * affine[:3, axis]
            affine[:3, axis] *= -1
        turned = Volume(array, Grid(array.shape, affine))
        same, parts = finish(dicom_origin.holdsWhatFilesHold(turned, files))
        assert same
        assert parts == pytest.approx(np.arange(1, len(files) + 1) / len(files))


@pytest.mark.parametrize("change", ["one voxel", "moved", "a slice less"])
def test_a_changed_volume_is_written_to_a_file_and_that_is_said(
    scene: Any, folder: Path, tmp_path: Path, change: str
) -> None:
    node = panel_at_work.load_study(folder)
    if change == "one voxel":
        slicer.util.arrayFromVolume(node)[1, 5, 7] += 1
    elif change == "moved":
        x, y, z = node.GetOrigin()
        node.SetOrigin(x + 30, y, z)
    else:
        slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node)[:-1].copy())
    source = source_of(node, tmp_path / "input")
    assert source.temporary
    assert "changed after it was loaded" in source.note
    read, shown = read_image(source.path), volumeFromNode(node)
    np.testing.assert_array_equal(read.array, shown.array)
    np.testing.assert_array_equal(read.grid.affine, shown.grid.affine)
    source.remove()
    assert not source.path.exists()


def test_of_two_phases_in_one_series_the_loaded_one_is_examined(scene: Any, tmp_path: Path) -> None:
    """Both lie in one folder under one series UID; the volume's own file says which is meant."""
    from small_study import small_study

    both = tmp_path / "both"
    both.mkdir()
    phases = []
    for number, seed in ((1, 1), (2, 5)):
        files = write_dicom_series(small_study(seed=seed), tmp_path / str(number), seed=seed)
        for file in files:
            header = pydicom.dcmread(file)
            header.SeriesInstanceUID, header.StudyInstanceUID = f"{ROOT}.7", f"{ROOT}.8"
            header.FrameOfReferenceUID, header.AcquisitionNumber = f"{ROOT}.9", number
            header.save_as(both / f"{number}-{file.name}")
        phases.append(sorted(both.glob(f"{number}-*")))
    slicer.dicomDatabase.add(both)
    for files in phases:
        node = headless.load_dicom([str(file) for file in files])
        source = source_of(node, tmp_path / "input")
        assert source.path in files
        assert same_numbers(read_study(source.path), node)


def test_a_volume_of_a_sequence_says_which_item_it_shows(scene: Any) -> None:
    node = node_of(made_study())
    assert sequenceSentence(node) == ""
    second_of_three(node)
    assert "item 2 of 3" in sequenceSentence(node)


def test_a_volume_that_changes_while_it_is_read_is_not_examined(scene: Any, tmp_path: Path) -> None:
    node = node_of(made_study())
    steps = study_source.sourceOf(node, tmp_path)
    for _ in range(8):
        next(steps)
    slicer.util.arrayFromVolume(node)[0] += 5
    slicer.util.arrayFromVolumeModified(node)
    with pytest.raises(InputError, match="changed while it was read"):
        list(steps)
    assert not list(tmp_path.iterdir())


def test_files_that_are_gone_are_told_not_passed_over(scene: Any, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    node = panel_at_work.load_study(copy)
    next(iter(sorted(copy.iterdir()))).unlink()
    source = source_of(node, tmp_path / "input")
    assert source.temporary
    assert "no longer where Slicer's database has them" in source.note
    slicer.dicomDatabase.add(folder)


def test_a_damaged_file_is_no_origin(scene: Any, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    node = panel_at_work.load_study(copy)
    first = sorted(copy.iterdir())[0]
    first.write_bytes(first.read_bytes()[:-20000])
    assert finish(dicom_origin.holdsWhatFilesHold(volumeFromNode(node), dicom_origin.dicomFiles(node)))[0] is False
    slicer.dicomDatabase.add(folder)


def test_no_folder_is_searched_and_no_step_is_long(
    scene: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old way read the whole series in one call, and every file below its folder."""
    node = panel_at_work.load_study(folder)
    volume = volumeFromNode(node)
    opened: list[Path] = []
    read = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda path, *a, **k: opened.append(Path(path)) or read(path, *a, **k))
    (folder / "below").mkdir()
    shutil.copy(sorted(p for p in folder.iterdir() if p.is_file())[0], folder / "below" / "other.dcm")
    try:
        steps, times = study_source.findOrWrite(node, volume, tmp_path), []
        while True:
            started = time.perf_counter()
            if next(steps, None) is None:
                break
            times.append(time.perf_counter() - started)
    finally:
        shutil.rmtree(folder / "below")
    assert not any(path.name == "other.dcm" for path in opened)
    assert len(times) >= 2 * len(volume.array)
    assert sorted(times)[len(times) // 2] < 0.05


def test_long_paths_of_windows_are_opened_as_such(scene: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = panel_at_work.load_study(folder)
    deep = "C:\\" + "\\".join(["a long folder name"] * 14) + "\\1.dcm"
    monkeypatch.setattr(slicer.dicomDatabase, "fileForInstance", lambda uid: deep)
    monkeypatch.setattr(dicom_origin.sys, "platform", "win32")
    assert {str(path) for path in dicom_origin.dicomFiles(node)} == {"\\\\?\\" + deep}


# ---- the temporary file


def test_a_written_volume_is_read_back_to_the_bit(tmp_path: Path) -> None:
    for rotation in ((0, 0, 0), (12, -8, 20)):
        study = made_study(rotation)
        _, parts = finish(writeRawNrrd(study, tmp_path / "x.nrrd"))
        read = read_image(tmp_path / "x.nrrd")
        np.testing.assert_array_equal(read.array, study.array)
        np.testing.assert_allclose(read.grid.affine, study.grid.affine, atol=1e-9)
        assert len(parts) == len(study.array)
        assert finish(digestOf(study))[0] != finish(digestOf(study.with_array(study.array + 1)))[0]


def test_what_the_reader_would_not_understand_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeometryError):
        finish(writeRawNrrd(made_study(shear=2.0), tmp_path / "x.nrrd"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_finished_is_not_left(tmp_path: Path) -> None:
    steps = writeRawNrrd(made_study(), tmp_path / "x.nrrd")
    next(steps)
    assert [path.name for path in tmp_path.iterdir()] == ["x.nrrd.part"]
    steps.close()  # Cancel
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        finish(writeRawNrrd(made_study(), tmp_path / "file" / "x.nrrd"))


def test_a_volume_without_dicom_origin_says_so_once(scene: Any, tmp_path: Path) -> None:
    node = node_of(made_study())
    assert dicom_origin.reasonAgainstOrigin(node) == "The volume was not loaded from DICOM."
    source = source_of(node, tmp_path)
    assert (source.note, source.temporary) == ("", True)  # nobody expects a link to DICOM here
