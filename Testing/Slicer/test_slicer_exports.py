"""What leaves the scene: read back by others' readers as the same regions, of the checked ones only, whole
or not at all.
"""

from __future__ import annotations

import builtins
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import headless
import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import slicer
import vtk
from inputs import show_run, to_world
from KLIPSlicerLib.exports import exportRegions
from KLIPSlicerLib.regions import segmentId
from KLIPSlicerLib.scene_results import SceneResults
from made_run import BALL_RADIUS_MM, MadeRun, made_study, make_run
from vtk.util.numpy_support import vtk_to_numpy

from KLIPCore.errors import InputError, KlipError, OutputError
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.maps.regions import label_volume


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MadeRun]:
    """An oblique DICOM series and a run on it."""
    folder = tmp_path_factory.mktemp("dicom")
    study = made_study((12, -8, 20))
    write_dicom_series(study.with_array(np.rint(study.array)), folder / "ct", series_description="made CT")
    read = read_dicom(folder / "ct")
    run = make_run(folder / "run", read, study_path=str(folder / "ct"), series=read.source.series_uid)
    return folder / "ct", run


@pytest.fixture
def of_dicom(scene: Any, dicom: tuple[Path, MadeRun]) -> SceneResults:
    """The run on the DICOM series in the scene, on the volume that Slicer's own reader makes of the files."""
    folder, run = dicom
    files = sorted(
        map(str, folder.iterdir()), key=lambda f: int(pydicom.dcmread(f, stop_before_pixels=True).InstanceNumber)
    )
    return SceneResults.create(headless.load_dicom(files), run.folder)


def test_dicom_seg_is_of_the_source_study_and_the_same_segments(
    of_dicom: SceneResults, dicom: tuple[Path, MadeRun], tmp_path: Path
) -> None:
    path = exportRegions(of_dicom, "dicom-seg", tmp_path / "regions.dcm")
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in dicom[0].iterdir()]
    seg = hd.seg.segread(path)
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert str(seg.get(keyword, "")) == str(sources[0].get(keyword, "")), keyword
    assert seg.SeriesInstanceUID != sources[0].SeriesInstanceUID
    referred = {str(uid) for _, _, uid in seg.get_source_image_uids()}
    assert referred <= {str(source.SOPInstanceUID) for source in sources}
    assert referred
    assert [seg.get_segment_description(n).segment_label for n in seg.segment_numbers] == [
        region.name for region in of_dicom.regions
    ]
    expected = label_volume(of_dicom.regions, of_dicom.live.framing.grid)
    volume = seg.get_volume(combine_segments=True, relabel=True, allow_missing_positions=True)
    grid = of_dicom.live.framing.grid
    for n, region in enumerate(of_dicom.regions, start=1):
        index = np.argwhere(np.asarray(volume.array) == n)
        found = np.sort(np.round(volume.map_indices_to_reference(index), 2), axis=0)
        wanted = np.sort(np.round(grid.to_world(np.argwhere(expected == region.label)), 2), axis=0)
        np.testing.assert_allclose(found, wanted, atol=0.02)


def test_dicom_results_are_of_the_checked_regions_and_the_map_shown(
    of_dicom: SceneResults, dicom: tuple[Path, MadeRun], tmp_path: Path
) -> None:
    files = exportRegions(of_dicom, "dicom", tmp_path / "to", keep=[0])
    assert [file.name for file in files] == ["regions.dcm", "kl_map.dcm", "report.dcm"]
    segmentation, kl_map = (pydicom.dcmread(file) for file in files[:2])
    uids = read_dicom(dicom[0]).source.sop_uids
    nats = slicer.util.arrayFromVolume(of_dicom.mapNode)
    stored = np.frombuffer(kl_map.FloatPixelData, "<f4").reshape(-1, kl_map.Rows, kl_map.Columns)
    grid = of_dicom.live.framing.grid
    assert len(stored) == len(uids) == len(nats)
    assert stored.max() == nats.max() > 0
    for groups in kl_map.PerFrameFunctionalGroupsSequence:
        position = [float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient]
        k = round(float(grid.to_index(position)[0]))
        assert groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID == uids[k]
    (group,) = hd.sr.srread(files[2]).content.get_volumetric_roi_measurement_groups()
    assert group.tracking_uid == segmentation.SegmentSequence[0].TrackingUID
    everything = exportRegions(of_dicom, "dicom", tmp_path / "none", keep=[])
    assert [file.name for file in everything] == ["kl_map.dcm", "report.dcm"]


def test_dicom_seg_lies_right_for_simpleitk_too(of_dicom: SceneResults, tmp_path: Path) -> None:
    """Its frames' positions, as ITK reads them, are slices of the source."""
    path = exportRegions(of_dicom, "dicom-seg", tmp_path / "regions.dcm", keep=[0])
    image = sitk.ReadImage(str(path))
    frames = sitk.GetArrayFromImage(image) > 0
    assert frames.sum() == of_dicom.regions[0].mask.sum()
    assert image.GetSize()[:2] == (160, 144)
    headers = pydicom.dcmread(path, stop_before_pixels=True).PerFrameFunctionalGroupsSequence
    grid = of_dicom.live.framing.grid
    positions = np.array([[float(v) for v in f.PlanePositionSequence[0].ImagePositionPatient] for f in headers])
    index = grid.to_index(positions)
    np.testing.assert_allclose(index[:, 1:], 0, atol=0.01)
    for (k, _, _), frame in zip(index, frames, strict=True):
        np.testing.assert_array_equal(frame, of_dicom.regions[0].full_mask(grid.shape)[round(k)])


def test_dicom_seg_after_the_files_moved(
    of_dicom: SceneResults, dicom: tuple[Path, MadeRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slicer's DICOM database still knows where they are."""
    by_uid = {str(pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID): str(f) for f in dicom[0].iterdir()}

    class Database:
        """What `slicer.dicomDatabase` answers."""

        def fileForInstance(self, uid: str) -> str:  # noqa: N802  (Slicer's name)
            return by_uid.get(uid, "")

    of_dicom.live.run["study"]["path"] = str(tmp_path / "gone")
    monkeypatch.setattr(slicer, "dicomDatabase", None, raising=False)
    with pytest.raises(InputError, match="must refer to the DICOM images"):
        exportRegions(of_dicom, "dicom-seg", tmp_path / "regions.dcm")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    assert exportRegions(of_dicom, "dicom-seg", tmp_path / "regions.dcm").is_file()


def test_a_study_that_is_no_dicom_says_so(shown: SceneResults, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Load the study through the DICOM module"):
        exportRegions(shown, "dicom-seg", tmp_path / "regions.dcm")
    assert not list(tmp_path.iterdir())


def test_seg_nrrd_reads_back_in_slicer(of_dicom: SceneResults, tmp_path: Path) -> None:
    of_dicom.setRegionVisible(0, False)
    path = exportRegions(of_dicom, "seg.nrrd", tmp_path / "regions.seg.nrrd")
    node = headless.start().AddNewNodeByClass("vtkMRMLSegmentationNode", "read")
    storage = headless.start().AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    kept = of_dicom.regions[1]
    assert list(node.GetSegmentation().GetSegmentIDs()) == [segmentId(kept)], "only what is checked"
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId(kept), of_dicom.mapNode)
    live = slicer.util.arrayFromSegmentBinaryLabelmap(of_dicom.segmentationNode, segmentId(kept), of_dicom.mapNode)
    np.testing.assert_array_equal(array > 0, live > 0)


def test_nifti_reads_back(of_dicom: SceneResults, tmp_path: Path) -> None:
    import nibabel

    path = exportRegions(of_dicom, "nifti", tmp_path / "regions.nii.gz")
    image = nibabel.load(path)
    labels = np.asarray(image.dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(labels, label_volume(of_dicom.regions, of_dicom.live.framing.grid))
    ras = np.diag([-1, -1, 1, 1]) @ of_dicom.live.framing.grid.affine[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(image.affine, ras, atol=1e-3)


def test_stl_lies_around_the_ball(of_dicom: SceneResults, dicom: tuple[Path, MadeRun], tmp_path: Path) -> None:
    files = exportRegions(of_dicom, "stl", tmp_path / "surfaces")
    assert [file.name for file in files] == ["ood-1.stl", "ood-2.stl"]
    assert sorted(tmp_path.joinpath("surfaces").iterdir()) == sorted(files), "nothing else is left there"
    reader = vtk.vtkSTLReader()
    reader.SetFileName(str(files[0]))
    reader.Update()
    points = vtk_to_numpy(reader.GetOutput().GetPoints().GetData())
    np.testing.assert_allclose(points.mean(0), dicom[1].ball_lps, atol=4)
    assert np.linalg.norm(points - dicom[1].ball_lps, axis=-1).max() < 2.5 * BALL_RADIUS_MM


def test_the_report_is_of_the_checked_regions_and_present_settings(of_dicom: SceneResults, tmp_path: Path) -> None:
    of_dicom.show(replace(of_dicom.settings, block_mm=17.0))
    names = [region.name for region in of_dicom.regions]
    of_dicom.setRegionVisible(0, False)
    page = exportRegions(of_dicom, "report", tmp_path / "report.html").read_text(encoding="utf-8")
    table = page[page.index("<table") : page.index("</table>")]
    assert names[1] in table
    assert names[0] not in table
    assert re.search(r"Left out by hand: OOD 1 of \d regions", page)
    assert "17" in page[page.index("block_mm") : page.index("block_mm") + 60]
    assert page.rstrip().endswith("</html>")


def test_a_copy_in_the_scene_is_left_alone_by_sliders(of_dicom: SceneResults) -> None:
    of_dicom.setRegionVisible(1, False)
    copy = exportRegions(of_dicom, "scene")
    assert list(copy.GetSegmentation().GetSegmentIDs()) == [segmentId(of_dicom.regions[0])]
    segment = copy.GetSegmentation().GetNthSegment(0)
    assert (segment.GetName(), segment.GetColor()) == ("OOD 1", pytest.approx(of_dicom.regions[0].colour))
    before = slicer.util.arrayFromSegmentBinaryLabelmap(copy, segmentId(of_dicom.regions[0]), of_dicom.mapNode).copy()
    assert before.sum() == of_dicom.regions[0].mask.sum()
    of_dicom.show(replace(of_dicom.settings, block_mm=30.0))
    after = slicer.util.arrayFromSegmentBinaryLabelmap(copy, "KLIP_1", of_dicom.mapNode)
    np.testing.assert_array_equal(before, after)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(headless.start())
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(of_dicom.mapNode))
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(copy)) == folder


def test_files_are_in_the_studys_coordinates_under_a_parent_transform(
    scene: Any, made: MadeRun, tmp_path: Path
) -> None:
    """A DICOM SEG must fit its source images; so the others do."""
    moved = np.eye(4)
    moved[:3, 3] = (100, 0, 0)
    results = show_run(made, moved)
    exportRegions(results, "nifti", tmp_path / "regions.nii.gz", keep=[0])
    image = sitk.ReadImage(str(tmp_path / "regions.nii.gz"))
    index = np.argwhere(sitk.GetArrayFromImage(image) == 1).mean(0)[::-1]
    place = image.TransformContinuousIndexToPhysicalPoint(index)
    np.testing.assert_allclose(place, made.ball_lps, atol=3)
    assert not np.allclose(to_world(results.inputNode, made.ball_lps) * (-1, -1, 1), made.ball_lps, atol=50)


@pytest.mark.parametrize("kind", ["seg.nrrd", "nifti", "dicom-seg", "stl", "scene"])
def test_without_a_checked_region_there_is_nothing_to_export(shown: SceneResults, tmp_path: Path, kind: str) -> None:
    for i in range(len(shown.regions)):
        shown.setRegionVisible(i, False)
    with pytest.raises(OutputError, match="No region is checked"):
        exportRegions(shown, kind, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "name"), [("seg.nrrd", "a.seg.nrrd"), ("nifti", "a.nii.gz"), ("stl", "folder"), ("report", "a.html")]
)
def test_where_nothing_can_be_written_nothing_is(shown: SceneResults, tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KlipError):
        exportRegions(shown, kind, tmp_path / "file" / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_package_is_named(shown: SceneResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("KLIPCore.export.html"):
            raise ModuleNotFoundError("No module named 'jinja2'", name="jinja2")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OutputError, match=r"needs jinja2.*pip_install\('jinja2'\)"):
        exportRegions(shown, "report", tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_is_refused(shown: SceneResults, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"seg\.nrrd, nifti"):
        exportRegions(shown, "docx", tmp_path / "x.docx")


def test_settings_in_the_seg(of_dicom: SceneResults, tmp_path: Path) -> None:
    path = exportRegions(of_dicom, "dicom-seg", tmp_path / "regions.dcm")
    algorithm = pydicom.dcmread(path).SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "KLIP"
    assert "block_mm" in json.dumps(str(algorithm.AlgorithmParameters))
