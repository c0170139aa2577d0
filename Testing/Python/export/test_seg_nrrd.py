"""``.seg.nrrd``: what Slicer itself and another NRRD reader see in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from export.asking_slicer import RAS, needs_slicer, read_in_slicer
from export.examples import OBLIQUE, kl_map, two_regions

from KLIPCore.errors import OutputError
from KLIPCore.export.segmentation import ABNORMAL, write_segmentation
from KLIPCore.maps.regions import label_volume
from KLIPCore.volume.grid import Grid


@needs_slicer
@pytest.mark.parametrize("mirrored", [False, True])
def test_slicer_sees_the_same_segments(tmp_path: Path, mirrored: bool) -> None:
    affine = OBLIQUE.affine.copy()
    affine[:3, 0] *= -1 if mirrored else 1
    grid = Grid(OBLIQUE.shape, affine)
    regions = two_regions(kl_map(grid))
    path = write_segmentation(regions, grid, tmp_path / "regions.seg.nrrd")
    seen, arrays = read_in_slicer("segmentation", path, tmp_path)
    assert seen["ok"]
    assert seen["source"] == "Binary labelmap"
    assert [s["name"] for s in seen["segments"]] == ["OOD 1", "OOD 2"]
    assert [s["id"] for s in seen["segments"]] == ["KLIP_1", "KLIP_2"]
    for n, (segment, region) in enumerate(zip(seen["segments"], regions, strict=True)):
        np.testing.assert_allclose(segment["colour"], region.colour, atol=1e-5)
        names = segment["tags"]["TerminologyEntry"].split("~")
        assert names[1] == names[2] == "^".join(ABNORMAL)
        assert len(names) == 7
        assert float(segment["tags"]["KLIP.PeakNats"]) == pytest.approx(region.peak_nats)
        assert float(segment["tags"]["KLIP.QValue"]) == pytest.approx(region.q_value, rel=1e-5)
        ours = grid.to_world(np.argwhere(region.full_mask(grid.shape))) * RAS
        theirs = arrays[f"ras_{n}"]
        np.testing.assert_allclose(theirs[np.lexsort(theirs.round(3).T)], ours[np.lexsort(ours.round(3).T)], atol=1e-4)


@needs_slicer
def test_slicer_reads_an_empty_segmentation(tmp_path: Path) -> None:
    seen, _ = read_in_slicer("segmentation", write_segmentation([], OBLIQUE, tmp_path / "none.seg.nrrd"), tmp_path)
    assert seen == {"ok": True, "segments": [], "source": "Binary labelmap"}


def test_other_readers_see_a_label_image(tmp_path: Path) -> None:
    regions = two_regions(kl_map())
    image = sitk.ReadImage(str(write_segmentation(regions, OBLIQUE, tmp_path / "a.seg.nrrd")))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), label_volume(regions, OBLIQUE))
    for index in ((0, 0, 0), (5, 8, 7), (2, 3, 1)):
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint(index[::-1]), OBLIQUE.to_world(index), atol=1e-9
        )
    assert image.GetMetaData("Segment1_Name") == "OOD 2"
    extent = [int(n) for n in image.GetMetaData("Segment0_Extent").split()]
    assert extent == [6, 7, 6, 8, 4, 5]  # i, j, k of the box [4:6, 6:9, 6:8]


def test_many_regions_need_sixteen_bits(tmp_path: Path) -> None:
    (region, _) = two_regions(kl_map())
    many = [replace(region, label=n) for n in range(1, 301)]  # they overlap: the last one wins
    image = sitk.ReadImage(str(write_segmentation(many, OBLIQUE, tmp_path / "many.seg.nrrd")))
    assert image.GetPixelID() == sitk.sitkUInt16
    assert sitk.GetArrayFromImage(image).max() == 300


def test_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.seg\.nrrd"):
        write_segmentation([], OBLIQUE, tmp_path / "regions.nrrd")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be written"):
        write_segmentation([], OBLIQUE, tmp_path / "file" / "a.seg.nrrd")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
