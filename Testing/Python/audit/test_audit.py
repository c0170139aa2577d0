"""The way in: what is found, what is refused with a sentence, and what is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from scipy import stats
from typer.testing import CliRunner

from KLIPCore.audit.against import NoiseSettings, Scan, ScanSettings, simulated_against
from KLIPCore.audit.audit import Audit, AuditSettings, audit
from KLIPCore.audit.consistency import consistency
from KLIPCore.audit.files import write_audit
from KLIPCore.audit.structures import body_of, structures
from KLIPCore.cli import app
from KLIPCore.errors import ConfigError, GeometryError, IntensityError, OutputError, TraceError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import read_image, write_image
from KLIPCore.io.sinogram import write_sinogram
from KLIPCore.physics.noise import PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.units import MU_WATER_PER_MM, mu_to_hu
from KLIPCore.volume.volume import Volume

N, PIXEL, PHOTONS = 48, 4.0, 1e6
GRID = ImageGrid2D((N, N), PIXEL)
RAYS = ParallelBeam.sparse(40, GRID)
SETTINGS = AuditSettings(noise=NoiseSettings(PHOTONS, 0.002), max_structures=3)


def disc(row: float, column: float, radius: float) -> np.ndarray:
    """(N, N) a soft disc."""
    rows, columns = np.indices((N, N))
    return 1 / (1 + np.exp(np.clip(3 * (np.hypot(rows - row, columns - column) - radius), -50, 50)))


BODY = disc(22, 24, 17) + 0.3 * disc(14, 32, 4.5)  # lopsided, so that turning it shows
LESION, INVENTED = disc(30, 17, 3.0), disc(20, 17, 3.0)


def volume(mu: np.ndarray, unit: str = "HU") -> Volume:
    """One slice around the isocentre."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, PIXEL], [0, PIXEL, 0], [5.0, 0, 0]])
    affine[:3, 3] = (GRID.x_mm[0], GRID.y_mm[0], 0.0)
    values = np.asarray(mu, np.float32)
    return Volume((mu_to_hu(values) if unit == "HU" else values)[None], Grid((1, N, N), affine), unit=unit)


@pytest.fixture(scope="module")
def case() -> tuple[Volume, Scan, Volume]:
    """A reconstruction with a lesion that was measured and one that was added; its data; labels of both."""
    A = Projector(RAYS, GRID)
    truth = MU_WATER_PER_MM * (BODY + 0.1 * LESION)
    shown = MU_WATER_PER_MM * (BODY + 0.1 * LESION + 0.1 * INVENTED)
    clean = A(torch.from_numpy(truth).float())
    y = PoissonNoise(PHOTONS).sample(clean, torch.Generator().manual_seed(0))
    labels = (LESION > 0.5) + 2.0 * (INVENTED > 0.5)
    return volume(shown), Scan(y.numpy(), RAYS), volume(labels, "label")


@pytest.fixture(scope="module")
def found(case: tuple[Volume, Scan, Volume]) -> Audit:
    recon, scan, labels = case
    return audit(recon, scan, regions=labels, settings=SETTINGS)


def test_what_was_measured_and_what_was_added(found: Audit) -> None:
    verdicts = {r.name: r.removal.verdict for r in found.regions}
    assert verdicts == {"Region 1": "measured", "Region 2": "contradicted"}
    assert found.regions[0].name == "Region 2"  # what is wrong comes first
    assert found.regions[1].removal.amplitude == pytest.approx(1.0, abs=0.15)
    assert -0.5 < found.regions[0].removal.amplitude < 0.1  # a little of its peak is left in the image without
    assert found.belonging.belongs
    assert "1 contradicted by the data (probably invented)" in found.summary()
    worst = int(np.nanargmin(found.consistency.t))
    assert (found.consistency.labels == worst + 1)[INVENTED > 0.5].any()
    assert found.regions[0].measured_share > 0.9


def test_structures_are_looked_for_where_none_are_given(case: tuple[Volume, Scan, Volume]) -> None:
    recon, scan, _ = case
    own = audit(recon, scan, settings=replace(SETTINGS, max_structures=6))
    for blob, verdict in ((LESION, "measured"), (INVENTED, "contradicted")):
        hits = [r for r in own.regions if (r.mask & (blob > 0.5)).any()]
        assert [r.removal.verdict for r in hits] == [verdict]


def test_no_structure_in_an_even_image() -> None:
    assert structures(np.ones((N, N)), PIXEL, np.ones((N, N), bool)) == []
    assert not body_of(np.zeros((N, N))).any()


def test_a_reference_is_scanned_and_the_scan_said_to_be_simulated(case: tuple[Volume, Scan, Volume]) -> None:
    recon, _, labels = case
    reference = volume(MU_WATER_PER_MM * (BODY + 0.1 * LESION))
    own = audit(recon, reference, regions=labels, settings=SETTINGS)
    assert own.subject.measurement.simulated
    assert any("SIMULATED" in sentence for sentence in own.warnings())
    assert {r.name: r.removal.verdict for r in own.regions} == {"Region 1": "measured", "Region 2": "contradicted"}


def test_a_reference_agrees_with_its_own_scan() -> None:
    """P-values of what is projected again are uniform where the reconstruction is the reference: data of smoother or
    finer pixels would be those of another image.
    """
    truth = volume(MU_WATER_PER_MM * (BODY + 0.1 * LESION))
    p, disagreeing = [], 0
    for seed in range(25):
        subject = simulated_against(truth, truth, NoiseSettings(1e5, 0.0), ScanSettings(12), seed=seed)
        found = consistency(subject.measurement, subject.image, block=6, geometry_test=False)
        p.append(found.image.p)
        disagreeing += bool((found.block_q < 0.05).any())
    assert stats.kstest(p, "uniform").pvalue > 0.05
    assert disagreeing <= 4  # of 25, at a false-discovery rate of 5 %


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda mu: mu[:, ::-1], "mirrored left to right"),
        (lambda mu: np.rot90(mu), "turned by"),
        (lambda mu: 0.5 * mu, "multiplied by 2"),
        (lambda mu: 0.019 * np.indices((N, N))[0] / N, "does not belong to this reconstruction"),
    ],
)
def test_what_does_not_belong_is_said_first(case: tuple[Volume, Scan, Volume], change, said: str) -> None:
    _, scan, _ = case
    wrong = volume(np.ascontiguousarray(change(MU_WATER_PER_MM * BODY)), "1/mm")
    own = audit(wrong, scan, settings=replace(SETTINGS, max_structures=1))
    assert said in own.warnings()[0]
    assert not own.belonging.belongs
    assert own.regions == ()


@pytest.mark.parametrize(
    "rays",
    [
        replace(RAYS, pitch_mm=1.25 * RAYS.pitch_mm),
        replace(RAYS, angles_rad=tuple(0.8 * angle for angle in RAYS.angles_rad)),
        FanBeam(
            RAYS.angles_rad,
            RAYS.n_detectors,
            pitch_mm=1.5 * RAYS.pitch_mm,
            source_origin_mm=300.0,
            source_detector_mm=450.0,
        ),
    ],
    ids=["pitch", "angles", "beam"],
)
def test_another_geometry_is_said(case: tuple[Volume, Scan, Volume], rays: Geometry) -> None:
    """The right data along wrong rays: another pitch, another arc, a fan where the beam was parallel.

    This body is nearly round, so that the data of another arc do not differ much.
    """
    recon, scan, labels = case
    own = audit(recon, Scan(scan.sinogram, rays), regions=labels, settings=SETTINGS)
    said = " ".join(own.warnings())
    assert re.search("the geometry is another|patient and geometry|are in other units", said), said
    assert own.belonging.belongs or own.regions == ()


def test_a_biased_image_is_said_to_be_and_judged_as_one(case: tuple[Volume, Scan, Volume], found: Audit) -> None:
    """40 HU too low in the whole body: the page says so, and verdicts stay what they are."""
    recon, scan, labels = case
    low = recon.with_array(np.where(recon.array > -500, recon.array - 40.0, recon.array).astype(np.float32))
    names = {1: "Lesion", 2: "Painted"}
    own = audit(low, scan, regions=labels, names=names, settings=SETTINGS)
    assert own.biased
    assert not found.biased
    assert any("wrong by about" in sentence for sentence in own.warnings())
    assert {r.name: r.removal.verdict for r in own.regions} == {"Lesion": "measured", "Painted": "contradicted"}
    assert own.to_dict()["image_error"]["coarse_hu"] > 20
    assert found.to_dict()["image_error"]["coarse_hu"] == 0


def test_few_views_are_too_little() -> None:
    A = Projector(RAYS.views([0, 13, 26]), GRID)
    y = A(torch.from_numpy(MU_WATER_PER_MM * BODY).float())
    own = audit(volume(MU_WATER_PER_MM * BODY), Scan(y.numpy(), RAYS.views([0, 13, 26])), settings=SETTINGS)
    assert any(sentence.startswith("Too little data") for sentence in own.warnings())


def test_what_cannot_be_compared_is_refused(case: tuple[Volume, Scan, Volume]) -> None:
    recon, scan, labels = case
    cases = [
        (GeometryError, "other grids", lambda: audit(recon, replace(recon, grid=_moved(recon.grid)))),
        (IntensityError, "the reference in 1/mm", lambda: audit(recon, volume(BODY, "1/mm"))),
        (IntensityError, "cannot be projected", lambda: audit(replace(recon, unit="nats"), scan)),
        (IntensityError, "no Hounsfield units", lambda: audit(recon.with_array(recon.array * 0 + 0.4), scan)),
        (IntensityError, "no tissue's", lambda: audit(replace(recon, unit="1/mm"), scan)),
        (GeometryError, "its geometry", lambda: audit(recon, Scan(scan.sinogram[:9], RAYS))),
        (GeometryError, "too little", lambda: audit(recon, Scan(scan.sinogram[:2], RAYS.views([0, 1])))),
        (GeometryError, "the source turns", lambda: audit(recon, Scan(scan.sinogram, _near_source()))),
        (ConfigError, "another grid", lambda: audit(recon, scan, regions=replace(labels, grid=_moved(labels.grid)))),
        (ConfigError, "no region", lambda: audit(recon, scan, regions=labels.with_array(0 * labels.array))),
        (ConfigError, "no slice 3", lambda: audit(recon, scan, index=3)),
        (IntensityError, "holds no noise", lambda: audit(recon, Scan(np.zeros_like(scan.sinogram), RAYS))),
        (ConfigError, "has 2 slices", lambda: audit(_two(recon), scan)),
        (ConfigError, "too little", lambda: ScanSettings(2)),
        (ConfigError, "photons per ray are none", lambda: NoiseSettings(0.0)),
    ]
    for kind, said, call in cases:
        with pytest.raises(kind, match=re.escape(said)) as refused:
            call()
        assert refused.value.remedy


def _moved(grid: Grid) -> Grid:
    affine = grid.affine.copy()
    affine[0, 3] += 2.0
    return Grid(grid.shape, affine)


def _two(one: Volume) -> Volume:
    return Volume(np.repeat(one.array, 2, 0), Grid((2, N, N), one.grid.affine))


def _near_source() -> FanBeam:
    return FanBeam(RAYS.angles_rad, RAYS.n_detectors, pitch_mm=PIXEL, source_origin_mm=100.0, source_detector_mm=600.0)


def test_page_record_maps_and_segments(found: Audit, case: tuple[Volume, Scan, Volume], tmp_path: Path) -> None:
    page = write_audit(found, case[0], tmp_path / "out").read_text(encoding="utf-8")
    assert "Not measured, probably invented" in page
    assert "Not a medical device" in page
    assert page.count("data:image/jpeg;base64,") == 3
    assert not re.search(r"(src|href)=.https?:", page)  # nothing is fetched
    record = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert record["regions"][0]["verdict"] == "contradicted"
    assert record["provenance"]["software"].startswith("KLIPCore")
    assert record["simulated"] is False
    for name in ("null_space", "residual", "without"):
        made = read_image(tmp_path / "out" / f"{name}.nrrd")
        assert made.grid.same_as(case[0].grid)
    without = read_image(tmp_path / "out" / "without.nrrd").array[0]
    gone = (case[0].array[0] - without)[INVENTED > 0.9].mean()
    assert gone == pytest.approx(80, abs=20)  # HU of the invented lesion, in the mean over its soft disc
    assert np.abs(case[0].array[0] - without)[LESION > 0.9].max() < 1
    segments = sitk.ReadImage(str(tmp_path / "out" / "audited.seg.nrrd"))
    assert segments.GetMetaData("Segment0_Name") == "Region 2: contradicted"


def test_the_command(case: tuple[Volume, Scan, Volume], tmp_path: Path) -> None:
    recon, scan, labels = case
    write_image(recon, tmp_path / "recon.nrrd")
    write_image(labels, tmp_path / "labels.nrrd")
    write_sinogram(tmp_path / "scan.npz", scan.sinogram, scan.geometry)
    run = CliRunner()
    words = ["audit", str(tmp_path / "recon.nrrd"), "--against", str(tmp_path / "scan.npz"), "-o", str(tmp_path / "o")]
    told = run.invoke(app, [*words, "--regions", str(tmp_path / "labels.nrrd"), "--photons", "1e6", "--views", "20"])
    assert told.exit_code == 0, told.output
    assert "probably invented" in told.output
    assert (tmp_path / "o" / "audit.html").is_file()
    write_image(recon.with_array(recon.array[:, :, ::-1]), tmp_path / "recon.nrrd")
    told = run.invoke(app, [*words, "--views", "20"])
    assert told.exit_code == 21
    assert "mirrored left to right" in told.output
    assert isinstance(run.invoke(app, [*words, "--fan"]).exception, ConfigError)
    for views in ("2", "41"):
        told = run.invoke(app, [*words, "--views", views])
        assert isinstance(told.exception, ConfigError)
        assert told.exception.remedy == "Ask for 3 to 40."
    (tmp_path / "file").touch()
    told = run.invoke(app, ["audit", "nothing.nrrd", "--against", "nothing.npz", "-o", str(tmp_path / "file")])
    assert isinstance(told.exception, OutputError)  # before anything is read


def test_its_regions_leave_as_labels_surfaces_and_dicom(case: tuple[Volume, Scan, Volume], tmp_path: Path) -> None:
    """Of a DICOM reconstruction, by the command; read again by pydicom and by our readers."""
    recon, scan, labels = case
    grid = Grid((3, N, N), recon.grid.affine)
    write_dicom_series(Volume(np.repeat(recon.array, 3, 0), grid, unit="HU"), tmp_path / "ct", seed=1)
    marked = np.zeros((3, N, N), np.float32)
    marked[1] = labels.array[0]
    write_image(Volume(marked, grid, unit="label"), tmp_path / "labels.nrrd")
    write_sinogram(tmp_path / "scan.npz", scan.sinogram, scan.geometry)
    run, out, to = CliRunner(), tmp_path / "out", tmp_path / "exported"
    words = ["audit", str(tmp_path / "ct"), "--against", str(tmp_path / "scan.npz"), "-o", str(out), "--slice", "1"]
    told = run.invoke(app, [*words, "--regions", str(tmp_path / "labels.nrrd"), "--photons", "1e6"])
    assert told.exit_code == 0, told.output
    export = ["export", str(out), "--to", str(to)]
    refused = run.invoke(app, [*export, "--formats", "dicom"])
    assert isinstance(refused.exception, ConfigError)
    assert "--study" in refused.exception.remedy
    told = run.invoke(app, [*export, "--formats", "nifti,stl,dicom", "--study", str(tmp_path / "ct")])
    assert told.exit_code == 0, told.output
    np.testing.assert_array_equal(read_image(to / "regions.nii.gz").array > 0, marked > 0)
    assert len(list(to.glob("*.stl"))) == 2
    seg = pydicom.dcmread(to / "audited.seg.dcm")
    said = {str(own.SegmentLabel): str(own.SegmentDescription) for own in seg.SegmentSequence}
    assert set(said) == {"Region 1: measured", "Region 2: contradicted"}
    assert "invented" in said["Region 2: contradicted"]
    assert all("not a diagnosis" in text and "prior" not in text for text in said.values())
    assert seg.SeriesDescription == "KLIP audit of a reconstruction (research)"
    elsewhere = Volume(np.repeat(recon.array, 3, 0), Grid((3, N, N), grid.affine @ np.diag([1.0, 1.0, 1.1, 1.0])))
    write_dicom_series(elsewhere, tmp_path / "other", seed=2)
    wrong = run.invoke(app, [*export, "--formats", "dicom", "--study", str(tmp_path / "other")])
    assert isinstance(wrong.exception, GeometryError)
    record = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    record["regions"].pop()
    (out / "audit.json").write_text(json.dumps(record), encoding="utf-8")
    assert isinstance(run.invoke(app, [*export, "--formats", "nifti"]).exception, TraceError)
