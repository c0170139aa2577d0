"""Images under a series' UID that are none of its slices: left out, and named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from test_dicom_circumstances import Edit, other_pixels, read

from KLIPCore.errors import GeometryError
from KLIPCore.io.study import read_study
from KLIPCore.volume.volume import Volume


@pytest.mark.parametrize("n", [1, 2, 3])
def test_localizers_that_call_themselves_axial(n: int, series: list[Path], edit: Edit, volume: Volume) -> None:
    turns = ([1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1], [0.8, 0.6, 0, 0, 0, -1])
    for name, turned in [(f"scout{i}.dcm", turn) for i, turn in enumerate(turns, 1)][:n]:
        scout = series[0].parent / name
        shutil.copy(series[0], scout)
        edit(scout, lambda d, turned=turned: [other_pixels(d), setattr(d, "ImageOrientationPatient", turned)])  # type: ignore[misc]
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    names = ", ".join(f"scout{i}.dcm" for i in range(1, n + 1))
    assert f"{n} image{' is' if n == 1 else 's are'} left out ({names})" in said


def test_an_image_that_waits_for_the_contrast_medium(series: list[Path], edit: Edit, volume: Volume) -> None:
    """Of another field of view, far from the stack or at one of its places: the stack is complete without it."""
    shutil.copy(series[0], series[0].parent / "wait.dcm")
    for height in (-400.0, -51.0):

        def waiting(d: Dataset, height: float = height) -> None:
            other_pixels(d)
            d.PixelSpacing, d.ImagePositionPatient = [1.9, 1.9], [*d.ImagePositionPatient[:2], height]

        edit(series[0].parent / "wait.dcm", waiting)
        found, said = read(series[0].parent)
        np.testing.assert_array_equal(found.array, volume.array)
        assert "1 image is left out (wait.dcm): of another orientation, size or kind" in said
    series[3].unlink()
    with pytest.raises(GeometryError, match="differ in pixel spacing"):
        read_study(series[0].parent)


def test_a_captured_screen_under_the_series_uid(series: list[Path], edit: Edit, volume: Volume) -> None:
    shutil.copy(series[0], series[0].parent / "screen.dcm")

    def captured(d: Dataset) -> None:
        other_pixels(d)
        d.SOPClassUID = SecondaryCaptureImageStorage
        del d.ImagePositionPatient

    edit(series[0].parent / "screen.dcm", captured)
    found, said = read(series[0].parent)
    np.testing.assert_array_equal(found.array, volume.array)
    assert "1 image is left out (screen.dcm)" in said
