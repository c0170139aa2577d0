"""The demo: a known answer is scored as known, a small real run finds its lesion, a second one reuses the first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

import KLIPCore.lab.demo.demo
from KLIPCore.config import Config, RecordConfig, RegionConfig, SamplingConfig
from KLIPCore.detection.detect import detect
from KLIPCore.errors import OutputError, TraceError
from KLIPCore.export.segmentation import write_segmentation
from KLIPCore.io.images import read_image
from KLIPCore.lab.demo.demo import GAP_MM, LIVER_LESION, RADII_MM, run_demo, truth_regions
from KLIPCore.lab.demo.folder import DemoFolder
from KLIPCore.lab.demo.score import lesion_cells, score_demo
from KLIPCore.lab.phantoms.abdomen import Abdomen
from KLIPCore.lab.phantoms.lesions import place_tumours
from KLIPCore.lab.phantoms.patient import patient_grid
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.rerun import Detection
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

SMALL = Config(
    preset="quick",
    sampling=SamplingConfig(n_samples=1, n_steps=3),
    record=RecordConfig(n_nodes=2),
    regions=RegionConfig(score="surprise", forming_p=0.05, fdr=0.95, min_volume_mm3=50.0),
)
"""As little work as still finds a lesion, and so little asked of a region that there are some."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small demo's folder and text: five slices, one lesion."""
    out = tmp_path_factory.mktemp("demo") / "out"
    text = run_demo(out, config=SMALL, n_slices=5, n_steps=3, radii_mm=(8.0,))
    return out, text


def test_it_runs_scores_and_calls_itself_synthetic(demo: tuple[Path, str]) -> None:
    out, text = demo
    record = json.loads((out / "synthetic" / "demo.json").read_text())
    score = record["score"]
    assert score["auroc"] > 0.6  # chance is 0.5; the full demo is far above
    assert len(score["lesions"]) == 1
    assert score["lesions"][0]["beats"] > 0.7
    assert f"{score['auroc']:.3f}" in text
    assert "synthetic" in record["note"]
    assert text.lower().startswith("synthetic patient")
    for name in ("report.html", "kl_map.nrrd", "synthetic/truth.seg.nrrd", "synthetic/ct"):
        assert str(out / name) in text
        assert (out / name).exists()
    assert "synthetic" in (out / "report.html").read_text().lower()
    assert "synthetic" in (out / "result.json").read_text()
    for file in (out / "synthetic" / "ct").iterdir():
        header = pydicom.dcmread(file, stop_before_pixels=True)
        assert "SYNTHETIC" in str(header.PatientName)
        assert "ynthetic" in header.StudyDescription
        assert "ynthetic" in header.SeriesDescription


def test_truth_lies_on_the_lesion(demo: tuple[Path, str]) -> None:
    """Truth and CT through somebody else's reader: the labelled voxels are the dark ones, on the same grid."""
    out, _ = demo
    truth = sitk.ReadImage(str(out / "synthetic" / "truth.seg.nrrd"))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(out / "synthetic" / "ct")))
    ct = reader.Execute()
    assert truth.GetSize() == ct.GetSize()
    np.testing.assert_allclose(truth.GetOrigin(), ct.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(truth.GetDirection(), ct.GetDirection(), atol=1e-6)
    labels, hu = sitk.GetArrayFromImage(truth), sitk.GetArrayFromImage(ct)
    lesion = json.loads((out / "synthetic" / "demo.json").read_text())["lesions"][0]
    voxel = float(np.prod(truth.GetSpacing()))
    assert (labels == 1).sum() * voxel == pytest.approx(
        4 / 3 * np.pi * np.prod(lesion["radii_mm"]), rel=0.35
    )  # few voxels of 5 mm depth
    k, j, i = (round(v) for v in truth.TransformPhysicalPointToContinuousIndex(lesion["centre_lps_mm"])[::-1])
    assert labels[k, j, i] == 1
    around = np.zeros_like(labels, bool)
    around[k, j - 12 : j + 13, i - 12 : i + 13] = True
    assert np.median(hu[labels == 1]) < np.median(hu[around & (labels == 0)]) - 20
    assert "synthetic lesion 1" in (out / "synthetic" / "truth.seg.nrrd").read_bytes().decode("latin-1")


def test_a_second_run_reuses_everything(demo: tuple[Path, str]) -> None:
    out, text = demo
    files = sorted(
        p
        for p in out.rglob("*")
        if p.is_file() and ((p.suffix == ".dcm" and "ct" in p.parts) or p.parent.name == "trace")
    )
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}
    stages = []
    again = run_demo(
        out,
        lambda stage, fraction, detail: stages.append((stage, fraction)),
        config=SMALL,
        n_slices=5,
        n_steps=3,
        radii_mm=(8.0,),
    )
    assert again == text
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files} == before
    assert "draw" not in {stage for stage, _ in stages}
    fractions = [fraction for _, fraction in stages]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)


def test_the_same_seed_makes_the_same_study(
    demo: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption in the middle of the draw leaves nothing that is taken for a study; the next run makes
    the very same one.
    """
    out, _ = demo

    def stop(stage: str, fraction: float, detail: str) -> None:
        if fraction > 0.1:
            raise KeyboardInterrupt

    class Enough(Exception):  # noqa: N818
        pass

    def no_detection(*args: object, **options: object) -> Detection:
        raise Enough

    monkeypatch.setattr(
        KLIPCore.lab.demo.demo, "detect", no_detection
    )  # only the making of the study is of interest here
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "two", stop, config=SMALL, n_slices=5, n_steps=3, radii_mm=(8.0,))
    assert not (tmp_path / "two" / "synthetic" / "ct").exists()
    with pytest.raises(Enough):
        run_demo(tmp_path / "two", config=SMALL, n_slices=5, n_steps=3, radii_mm=(8.0,))
    for file in sorted((out / "synthetic" / "ct").iterdir()):
        assert (tmp_path / "two" / "synthetic" / "ct" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("content", ["a file", "a run"])
def test_other_people_s_folders_are_left_alone(tmp_path: Path, content: str) -> None:
    out = tmp_path / "out"
    if content == "a file":
        out.mkdir()
        (out / "thesis.txt").write_text("years of work")
    else:
        RunFolder(out).open({"fingerprint": "somebody's"})
    before = sorted(p.name for p in out.rglob("*"))
    with pytest.raises(OutputError, match="no earlier demo"):
        run_demo(out, config=SMALL)
    assert sorted(p.name for p in out.rglob("*")) == before


def test_only_the_demo_s_own_things_are_cleared(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path / "out")
    folder.write_record({"recipe": {"seed": 1}})
    folder.ct.mkdir()
    folder.truth_file.write_text("old")
    (folder.path / "notes.txt").write_text("mine")
    assert folder.holds({"seed": 1})
    assert not folder.holds({"seed": 2})
    folder.clear()
    assert not folder.ct.exists()
    assert not folder.truth_file.exists()
    assert (folder.path / "notes.txt").read_text() == "mine"
    folder.record_file.write_text("{damaged")
    assert not folder.holds({"seed": 1})


def test_the_shipped_lesions_fit_into_every_liver() -> None:
    """Seeds 0 to 7 of the full demo, judged by the plan alone."""
    grid = patient_grid(load_prior().card, 14, 5.0)
    for seed in range(8):
        liver = Abdomen.random(seed).mask("liver", grid)
        tumours = place_tumours(liver, grid, RADII_MM, seed, template=LIVER_LESION, gap_mm=GAP_MM)
        assert len(tumours) == len(RADII_MM)


def test_scores_of_a_map_whose_answer_is_known(demo: tuple[Path, str]) -> None:
    """Labels made from the run's own regions must score as found; labels elsewhere as not found."""
    out, _ = demo
    found = detect(out / "synthetic" / "ct", out, SMALL, overwrite=True)
    truth = read_image(out / "synthetic" / "truth.seg.nrrd")
    labels = np.rint(truth.array).astype(np.uint8)
    in_cell, in_block = lesion_cells(found.kl_map, found.study, labels.astype(np.int64))
    assert in_cell.any()
    assert (in_block | ~in_cell).all()
    assert in_block.sum() > in_cell.sum()
    strongest = np.unravel_index(
        int(np.argmax(np.where(found.kl_map.tested, found.kl_map.nats, 0))), found.kl_map.nats.shape
    )
    # a label around the strongest block beats all other blocks; the same label on two orders of axes scores the same
    k = found.kl_map.indices[strongest[0]]
    frame, step = found.study.frame, found.study.frame.size // found.kl_map.nats.shape[-1]
    pixel = (np.array(strongest[1:]) + 0.5) * step - 0.5
    row, column = np.rint(frame.centres[k] + (pixel - (frame.size - 1) / 2) * frame.pixel).astype(int)
    marked = np.zeros_like(labels)
    marked[k, row - 3 : row + 4, column - 3 : column + 4] = 1
    score = score_demo(found, truth.with_array(marked))
    assert score.n_slices == 1
    assert score.lesions[0].slices == (k, k)
    assert score.lesions[0].beats == 1.0
    assert score.lesions[0].volume_ml == pytest.approx(49 * truth.grid.voxel_volume_mm3 / 1000)
    block = lesion_cells(found.kl_map, found.study, marked.astype(np.int64))[1][0, strongest[0]]
    nats, tested = found.kl_map.nats[strongest[0]], found.kl_map.tested[strongest[0]]
    pairs = nats[block & tested][:, None] - nats[~block & tested][None]
    assert score.auroc == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)), abs=1e-9)
    turned = Grid(truth.grid.shape, truth.grid.oriented((0, 1, 2), (True, True, False)).affine)
    flipped = score_demo(found, Volume(marked[::-1, ::-1].astype(np.float32), turned))
    assert flipped == score
    assert found.report.regions
    for region in found.report.regions:
        inside = np.zeros_like(labels)
        inside[region.box][region.mask] = 1
        one = score_demo(found, truth.with_array(inside))
        assert one.lesions[0].regions == (region.name,)
        assert one.lesions[0].covered == 1.0
        assert len(one.false_regions) == len(found.report.regions) - 1
    weakest = np.zeros_like(labels)
    quiet = found.volumes.tested & (
        found.volumes.kl_map.array < np.quantile(found.volumes.kl_map.array[found.volumes.tested], 0.05)
    )
    weakest[quiet & ~found.volumes.significant] = 1
    none = score_demo(found, truth.with_array(weakest))
    assert none.lesions[0].regions == ()
    assert none.n_found == 0
    assert len(none.false_regions) == none.n_regions == len(found.report.regions)
    with pytest.raises(TraceError):
        score_demo(found, truth.cropped((slice(0, 3), slice(None), slice(None))))


def test_truth_regions_are_the_labels(tmp_path: Path) -> None:
    affine = np.diag([2.0, 1.0, 0.5, 1.0])[[2, 1, 0, 3]]
    affine[:3, 3] = (10.0, -20.0, 5.0)
    grid = Grid((6, 9, 8), affine)
    labels = np.zeros(grid.shape, np.uint8)
    labels[1:3, 2:5, 3:7] = 1
    labels[4, 7, 1] = 3
    first, second = truth_regions(labels, grid)
    assert (first.label, second.label) == (1, 3)
    assert first.volume_mm3 == pytest.approx(2 * 3 * 4 * grid.voxel_volume_mm3)
    np.testing.assert_allclose(second.centroid_lps_mm, grid.to_world((4, 7, 1)))
    assert np.isnan(first.peak_nats)
    file = write_segmentation([first, second], grid, tmp_path / "truth.seg.nrrd")
    np.testing.assert_array_equal(read_image(file).array, labels)
