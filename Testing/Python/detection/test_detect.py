"""The main job on a DICOM study: what is in the output folder, and that it says the truth."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from detection.conftest import FAST
from small_study import LESION_LPS_MM, LESION_RADIUS_MM

from KLIPCore.config import Config, RegionConfig
from KLIPCore.detection.detect import detect
from KLIPCore.errors import ConfigError, OutputError, TraceError
from KLIPCore.export import parametric_map
from KLIPCore.export.dicom_codes import PEAK
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.images import read_image
from KLIPCore.runs.dicom_results import DICOM_FILES
from KLIPCore.runs.folder import OWN_FILES, RunFolder
from KLIPCore.runs.live import LiveMap
from KLIPCore.runs.rerun import Detection, redo_regions
from KLIPCore.volume.framed_study import FramedStudy
from KLIPCore.volume.selection import Part
from KLIPCore.volume.volume import Volume


@pytest.mark.slow
def test_everything_promised_is_there(run: Detection) -> None:
    present = {p.name for p in run.folder.path.iterdir()}
    assert set(OWN_FILES) | {"trace"} == present
    assert len(list(run.folder.trace_folder.iterdir())) == 4


@pytest.mark.parametrize("name", ["kl_map.nrrd", "reconstruction.nrrd", "regions.seg.nrrd"])
def test_volumes_lie_on_the_studys_grid(run: Detection, dicom_study: Path, name: str) -> None:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(dicom_study)))
    ct, made = reader.Execute(), sitk.ReadImage(str(run.folder.file(name)))
    assert made.GetSize() == ct.GetSize()
    for field in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(made, field)(), getattr(ct, field)(), atol=1e-5)


def test_the_map_is_float32_nats_of_the_body(run: Detection) -> None:
    image = sitk.ReadImage(str(run.folder.file("kl_map.nrrd")))
    assert image.GetPixelID() == sitk.sitkFloat32
    nats = sitk.GetArrayFromImage(image)
    assert (nats >= 0).all()
    assert nats[study_of(run).array < -900].max() < nats.max()
    assert nats[:, 0, 0].max() == 0


def test_the_lesion_holds_the_largest_nats(run: Detection) -> None:
    """A ball of 20 mm, 50 HU darker than a homogeneous liver: what the prior expects least there."""
    grid = run.study.grid
    kl = run.volumes.kl_map.array
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    distance = np.linalg.norm(grid.to_world(np.stack([k, j, i], -1)) - np.array(LESION_LPS_MM), axis=-1)
    liver = (study_of(run).array > 60) & (distance < 45)
    inside = liver & (distance < LESION_RADIUS_MM)
    outside = liver & (distance > LESION_RADIUS_MM + 12)
    assert np.median(kl[inside]) > 2 * np.median(kl[outside])


def test_dicom_seg_points_at_the_source_images(run: Detection, dicom_study: Path) -> None:
    assert run.report.regions, "this study is made to have regions"
    segmentation = hd.seg.segread(run.folder.file("regions.dcm"))
    source = read_dicom(dicom_study).source
    first = pydicom.dcmread(source.files[0])
    assert segmentation.StudyInstanceUID == first.StudyInstanceUID
    assert segmentation.PatientID == first.PatientID
    referenced = {str(uid) for _, _, uid in segmentation.get_source_image_uids()}
    assert referenced <= set(source.sop_uids)
    assert segmentation.number_of_segments == len(run.report.regions)


def test_dicom_map_and_report_hold_the_numbers_of_the_other_files(run: Detection, dicom_study: Path) -> None:
    plain, uids = pydicom.dcmread(run.folder.file("kl_map.dcm")), read_dicom(dicom_study).source.sop_uids
    stored = np.frombuffer(plain.FloatPixelData, "<f4").reshape(-1, plain.Rows, plain.Columns)
    nats = read_image(run.folder.file("kl_map.nrrd")).array
    assert len(stored) == len(nats)
    for frame, groups in zip(stored, plain.PerFrameFunctionalGroupsSequence, strict=True):
        uid = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_array_equal(frame, nats[uids.index(uid)])
    content = hd.sr.srread(run.folder.file("report.dcm")).content
    peaks = [g.get_measurements(name=PEAK)[0].value for g in content.get_volumetric_roi_measurement_groups()]
    assert peaks == [region.peak_nats for region in sorted(run.report.regions, key=lambda region: region.label)]
    listed = json.loads(run.folder.file("result.json").read_text(encoding="utf-8"))["files"]
    assert {"regions.dcm", "kl_map.dcm", "report.dcm"} <= set(listed)


def test_a_map_too_large_for_dicom_costs_neither_the_run_nor_the_segmentation(
    run: Detection, dicom_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "again"
    shutil.copytree(run.folder.path, out)
    monkeypatch.setattr(parametric_map, "LARGEST", 1000)
    found = detect(dicom_study, out, FAST)
    assert [name for name in DICOM_FILES if (out / name).exists()] == ["regions.dcm"]
    assert "larger than a DICOM object" in found.report.warnings[-1]


def test_as_many_evaluations_are_made_as_the_settings_say(run: Detection) -> None:
    record = run.folder.run()
    trace = run.folder.trace(record["slices"], record["fingerprint"])
    assert {s.info["network_evaluations"] for s in trace.slices} == {
        Config.from_dict(record["config"]).evaluations_a_slice
    }


def test_report_is_one_file_and_says_what_is_simulated(run: Detection) -> None:
    page = run.folder.file("report.html").read_text(encoding="utf-8")
    assert "data:image/" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "simulated from the loaded CT" in page
    assert "Not a medical device" in page
    assert run.report.provenance["prior_sha256"] in page
    assert "SYNTHETIC" not in page, "a patient's name must not reach the report"


def test_result_json_is_what_the_report_says(run: Detection) -> None:
    result = json.loads(run.folder.file("result.json").read_text(encoding="utf-8"))
    assert len(result["regions"]) == len(run.report.regions)
    assert set(result["slice_nats"]) == {"0", "1", "2", "3"}
    assert set(result["slice_largest_block"]) == {"0", "1", "2", "3"}
    assert result["settings"]["sampling"]["seed"] == 0
    assert result["provenance"]["measurement"].startswith("SIMULATED")


def test_image_nats_count_every_nat_once(run: Detection) -> None:
    made = run.kl_map
    np.testing.assert_allclose(
        made.image_nats, [(c * t).sum() for c, t in zip(made.cells, made.tested, strict=True)], rtol=1e-6
    )


def test_rerun_changes_nothing_and_samples_nothing(run: Detection, dicom_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(run.folder.path, out)
    stamps = {p: p.stat().st_mtime_ns for p in (out / "trace").iterdir()}
    again = detect(dicom_study, out, FAST)
    assert {p: p.stat().st_mtime_ns for p in (out / "trace").iterdir()} == stamps
    np.testing.assert_array_equal(again.volumes.kl_map.array, run.volumes.kl_map.array)


def test_a_slice_alone_gives_what_it_gives_in_the_study(run: Detection, dicom_study: Path, tmp_path: Path) -> None:
    alone = detect(dicom_study, tmp_path / "one", FAST, part=Part(slices="2"))
    ours, theirs = (LiveMap.open(found.folder.path).trace for found in (alone, run))
    one, same = ours.slices[0], next(piece for piece in theirs.slices if piece.index == 2)
    np.testing.assert_array_equal(one.pushes.push, same.pushes.push)  # a map of them is pooled across slices
    for name, layer in one.layers.items():
        np.testing.assert_array_equal(layer.energy, same.layers[name].energy)
        np.testing.assert_array_equal(layer.mean, same.layers[name].mean)


def test_regions_again_with_larger_blocks(run: Detection, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(run.folder.path, out)
    stamps = {p: p.stat().st_mtime_ns for p in (out / "trace").iterdir()}
    larger = redo_regions(out, replace(FAST.regions, score="darker", block_mm=30.0), report=False)
    smaller = LiveMap.open(run.folder.path).update(replace(FAST.regions, score="darker"))
    assert {p: p.stat().st_mtime_ns for p in (out / "trace").iterdir()} == stamps
    assert larger.volumes.kl_map.array.max() > smaller.kl_map.array.max()
    assert not [n for n in ("report.html", *DICOM_FILES) if (out / n).exists()], "those of other regions must not stay"


def test_a_roi_limits_what_is_tested(run: Detection, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(run.folder.path, out)
    box = ((-120.0, -20.0), (-60.0, 40.0), (-1.0, 30.0))
    found = redo_regions(out, FAST.regions, roi=box, report=False)
    points = found.study.grid.to_world(np.argwhere(found.volumes.tested))
    assert len(points) > 0
    assert points[:, 0].min() > -120 - 10
    assert points[:, 0].max() < -20 + 10


@pytest.mark.parametrize(("score", "part"), [("klip", "energy"), ("one-shot", "mean")])
def test_other_scores_are_there_by_name(run: Detection, tmp_path: Path, score: str, part: str) -> None:
    out = tmp_path / "copy"
    shutil.copytree(run.folder.path, out)
    found = redo_regions(out, RegionConfig(score=score), report=False)
    assert found.kl_map.score.part == part
    assert found.report.provenance["score"] == score


def test_a_score_that_was_not_recorded_is_refused(run: Detection, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(run.folder.path, out)
    with pytest.raises(TraceError, match="no layer 'renoised'"):
        redo_regions(out, RegionConfig(score="nats"), report=False)


def test_other_settings_are_refused_in_the_same_folder(run: Detection, dicom_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(run.folder.path, out)
    with pytest.raises(OutputError, match="other settings") as caught:
        detect(dicom_study, out, FAST.updated({"sampling": {"seed": 5}}), part=Part(slices="1"))
    assert "--overwrite" in caught.value.remedy
    assert len(list((out / "trace").iterdir())) == 4, "a refused run must not harm the old one"


def test_a_folder_with_other_things_is_refused(dicom_study: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        detect(dicom_study, tmp_path, FAST, part=Part(slices="1"))
    assert (tmp_path / "holiday.txt").read_text() == "mine"


def test_a_damaged_slice_is_redone(run: Detection, dicom_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(run.folder.path, out)
    file = RunFolder(out).slice_file(1)
    file.write_bytes(file.read_bytes()[:1000])
    again = detect(dicom_study, out, FAST)
    np.testing.assert_array_equal(again.volumes.kl_map.array, run.volumes.kl_map.array)


def test_a_nifti_gives_the_same_map_without_dicom_seg(run: Detection, dicom_study: Path, tmp_path: Path) -> None:
    from KLIPCore.io.images import write_image

    path = tmp_path / "study.nii.gz"
    write_image(read_dicom(dicom_study), path)
    found = detect(path, tmp_path / "out", FAST, part=Part(slices="1"))
    assert not [name for name in DICOM_FILES if found.folder.file(name).exists()]
    here, there = nats_of_their_own(found, run)
    np.testing.assert_allclose(here[1], there[1], rtol=1e-2, atol=1e-2)


def test_a_flipped_study_gets_the_same_nats_in_the_same_places(run: Detection, tmp_path: Path) -> None:
    """Slices stored from head to feet: other array order, same patient, same slice numbers from the feet."""
    from KLIPCore.io.images import write_image

    study = study_of(run)
    flipped = Volume(study.array[::-1], study.grid.oriented((0, 1, 2), (True, False, False)))
    path = tmp_path / "flipped.nrrd"
    write_image(flipped, path)
    found = detect(path, tmp_path / "out", FAST, part=Part(slices="1"))
    assert found.kl_map.indices == (1,)
    here, there = nats_of_their_own(found, run)
    np.testing.assert_allclose(here[::-1][1], there[1], rtol=1e-3, atol=1e-4)


def nats_of_their_own(*runs: Detection) -> list[np.ndarray]:
    """Maps of runs that examined different slices: nats of the default score are relative to all that a run has."""
    return [LiveMap.open(made.folder.path).update(RegionConfig(score="darker")).kl_map.array for made in runs]


def study_of(run: Detection) -> Volume:
    """The images a finished detection was made from."""
    assert isinstance(run.study, FramedStudy)
    return run.study.study


def test_a_score_whose_layer_would_not_be_recorded_is_refused_before_the_work(
    dicom_study: Path, tmp_path: Path
) -> None:
    config: Config = FAST.updated({"record": {"layers": ["cold", "path"]}})
    with pytest.raises(ConfigError, match="would not be recorded"):
        detect(dicom_study, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_poisson_dose_and_fan_beam_run(dicom_study: Path, tmp_path: Path) -> None:
    config: Config = FAST.updated({"measurement": {"geometry": "fan", "photons": 1e5, "n_views": 40}})
    found = detect(dicom_study, tmp_path / "fan", config, part=Part(slices="2"))
    info = found.report.provenance
    assert info["psnr_db_median"] > 20
    assert "photons" in (tmp_path / "fan" / "report.html").read_text(encoding="utf-8")
