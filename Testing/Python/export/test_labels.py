"""Plain label images, read back by ITK, nibabel and Slicer."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from export.asking_slicer import RAS, needs_slicer, read_in_slicer
from export.examples import OBLIQUE, kl_map, two_regions
from hypothesis import given, settings
from maps.grids import grids

from KLIPCore.errors import GeometryError, OutputError
from KLIPCore.export.labels import label_image, write_labels
from KLIPCore.maps.regions import label_volume
from KLIPCore.volume.grid import Grid

REGIONS = two_regions(kl_map())
LABELS = label_volume(REGIONS, OBLIQUE)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_itk_reads_whole_numbers_in_place(tmp_path: Path, suffix: str) -> None:
    image = sitk.ReadImage(str(write_labels(REGIONS, OBLIQUE, tmp_path / ("labels" + suffix))))
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), LABELS)
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((7, 8, 5)), OBLIQUE.to_world((5, 8, 7)), atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["labels" + suffix]


def test_nibabel_reads_the_same_voxels(tmp_path: Path) -> None:
    image = nibabel.load(write_labels(REGIONS, OBLIQUE, tmp_path / "labels.nii.gz"))
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, LABELS)
    np.testing.assert_allclose(image.affine @ [7, 8, 5, 1], [*(OBLIQUE.to_world((5, 8, 7)) * RAS), 1], atol=1e-4)


@needs_slicer
def test_slicer_reads_the_same_voxels(tmp_path: Path) -> None:
    seen, arrays = read_in_slicer("volume", write_labels(REGIONS, OBLIQUE, tmp_path / "labels.nrrd"), tmp_path)
    assert seen["ok"]
    np.testing.assert_array_equal(arrays["array"], LABELS)
    np.testing.assert_allclose((arrays["ijk_to_ras"] @ [7, 8, 5, 1])[:3], OBLIQUE.to_world((5, 8, 7)) * RAS, atol=1e-6)


@given(grids((3, 4, 5)))
@settings(max_examples=30, deadline=None)
def test_label_images_lie_where_the_grid_says(grid: Grid) -> None:
    image = label_image([], grid)
    for index in ((0, 0, 0), (2, 3, 4), (1, 3, 0)):
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index[::-1]), grid.to_world(index), atol=1e-6)


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="label format"):
        write_labels(REGIONS, OBLIQUE, tmp_path / "labels.png")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be written"):
        write_labels(REGIONS, OBLIQUE, tmp_path / "file" / "labels.nii")
    sheared = OBLIQUE.affine.copy()
    sheared[0, 0] += 2
    with pytest.raises(GeometryError, match="right angles"):
        write_labels([], Grid(OBLIQUE.shape, sheared), tmp_path / "labels.nii")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
