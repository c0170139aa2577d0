"""Several stacks in one Enhanced CT file: listed, chosen, and found again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from KLIPCore.errors import AmbiguousSeriesError, GeometryError
from KLIPCore.io.dicom import list_series, read_dicom
from KLIPCore.io.study import read_study
from KLIPCore.volume.volume import Volume

MOVED_MM, ADDED = 200.0, 100
"""How far the second stack lies, where it lies elsewhere, and by how many HU it is brighter."""


def two_stacks(series: list[Path], folder: Path, moved_mm: float = 0.0) -> Path:
    """One file with the frames of a series twice, brighter the second time; their order alone tells them apart."""
    first = [pydicom.dcmread(f) for f in series]
    for d in first:
        d.StudyDate, d.StudyTime, d.ContentDate, d.ContentTime = "20000101", "120000", "20000101", "120000"
        d.AcquisitionNumber = 1
    second = copy.deepcopy(first)
    for d in second:
        d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        d.PixelData = (d.pixel_array + ADDED).astype(d.pixel_array.dtype).tobytes()
        d.ImagePositionPatient = [*d.ImagePositionPatient[:2], d.ImagePositionPatient[2] + moved_mm]
    made = LegacyConvertedEnhancedCTImage(
        first + second, series_instance_uid="1.2.9", series_number=1, sop_instance_uid="1.2.9.1", instance_number=1
    )
    folder.mkdir()
    made.save_as(folder / "multi.dcm")
    return folder / "multi.dcm"


def marked(file: Path, keyword: str, values: tuple[object, object], nested: str = "FrameContentSequence") -> None:
    """Write a field into each frame, by the stack it is of: highdicom puts them in turn."""
    dataset = pydicom.dcmread(file)
    for n, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        if nested not in frame:
            setattr(frame, nested, Sequence([Dataset()]))
        setattr(frame[nested][0], keyword, values[n % 2])
    dataset.save_as(file)


@pytest.mark.parametrize(
    ("mark", "label"),
    [
        (lambda file: marked(file, "StackID", ("1", "2")), "stack 1, z from "),
        (lambda file: marked(file, "StackID", ("chest", "abdomen")), "stack chest, z from "),
        (lambda file: marked(file, "TemporalPositionIndex", (1, 2)), "temporal position 1, z from "),
        (lambda file: marked(file, "FrameAcquisitionNumber", (4, 5)), "acquisition 4, z from "),
        (lambda file: None, "frames 1 3 … 13, z from "),
    ],
)
@pytest.mark.parametrize("moved_mm", [0.0, MOVED_MM])
def test_two_stacks_in_one_file(
    mark: Callable[[Path], None], label: str, moved_mm: float, volume: Volume, series: list[Path], tmp_path: Path
) -> None:
    file = two_stacks(series, tmp_path / "study", moved_mm)
    mark(file)
    if moved_mm and label.startswith("frames"):
        with pytest.raises(GeometryError):  # two places, and nothing says that they are two stacks
            read_study(file.parent)
        return
    infos = list_series(file.parent)
    assert [info.n_images for info in infos] == [7, 7]
    assert label in str(infos[0])
    for path in (file.parent, file):
        with pytest.raises(AmbiguousSeriesError, match="2 stacks in one file") as caught:
            read_study(path)
        assert label in caught.value.message
        assert "--series" in caught.value.remedy
    brightness = []
    for info in infos:
        found = read_dicom(file.parent, f"1/{info.acquisition}")
        assert found.array.shape == volume.array.shape
        again = read_study(file.parent, series=found.source.choice)
        np.testing.assert_array_equal(again.array, found.array)
        inside = (volume.array > -500) & (volume.array < 500)
        brightness.append(float((found.array - volume.array)[inside].mean()))
        np.testing.assert_allclose(found.grid.affine[2, 3] - volume.grid.affine[2, 3], moved_mm * bool(brightness[1:]))
    assert brightness == pytest.approx([0, ADDED], abs=0.6)


def test_stacks_that_are_one_are_read_as_one(volume: Volume, series: list[Path], tmp_path: Path) -> None:
    """Stack IDs that halve one even stack, and one for every frame, divide nothing."""
    file = two_stacks(series, tmp_path / "study")
    dataset = pydicom.dcmread(file)
    pixels = dataset.pixel_array[::2].tobytes()
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[::2]
    dataset.NumberOfFrames, dataset.PixelData = 7, pixels
    dataset.save_as(file)
    for ids in (lambda n: str(n), lambda n: str(n // 4)):
        for n, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            frame.FrameContentSequence = Sequence([Dataset()])
            frame.FrameContentSequence[0].StackID = ids(n)
        dataset.save_as(file)
        np.testing.assert_allclose(read_dicom(file.parent).array, volume.array, atol=0.6)
