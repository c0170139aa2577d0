"""Measured scans: rays, units and noise on simulated discs, the whole command on a small one, and one real disc."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from disc_run import RUN
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from KLIPCore.cli import app
from KLIPCore.config import Config
from KLIPCore.detection.detect_measured import detect_scan, reopen_scan
from KLIPCore.detection.measured_scan import MeasuredScan, Selection, material_of, trace_scan
from KLIPCore.errors import ConfigError, PriorError, TraceError
from KLIPCore.io.sinogram import (
    HTC2022_IMAGE,
    HTC2022_PITCH_MM,
    HTC2022_SOURCE_DETECTOR_MM,
    HTC2022_SOURCE_ORIGIN_MM,
    read_htc2022,
)
from KLIPCore.lab.evaluation.auroc import auroc
from KLIPCore.lab.evaluation.measured import ScanTruth, evaluate_measured, missing, own_arc_start
from KLIPCore.lab.evaluation.measured_config import MeasuredConfig, is_measured
from KLIPCore.physics.disc import ACRYLIC, Disc
from KLIPCore.physics.ellipses import Ellipse
from KLIPCore.physics.joined_bins import joined_bins
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.unet import UNetPrior
from KLIPCore.runs.rerun import redo_regions
from KLIPCore.volume.geometry import FanBeam
from KLIPCore.volume.model_card import ModelCard

HOLE = Ellipse(1.0, 12.0, -5.0, 7.0, 5.0, 30.0)
PHOTONS = 5e4


@pytest.fixture(scope="module")
def prior() -> UNetPrior:
    return load_prior("discs-128")


def scanner(step_deg: float = 5.0, end_deg: float = 360.0) -> FanBeam:
    """The challenge's, with fewer views; θ falls as its angles rise."""
    angles = np.pi - np.deg2rad(np.arange(0.0, end_deg + 1e-9, step_deg))
    return FanBeam(
        tuple(angles),
        560,
        pitch_mm=HTC2022_PITCH_MM,
        offset_mm=0.0,
        source_origin_mm=HTC2022_SOURCE_ORIGIN_MM,
        source_detector_mm=HTC2022_SOURCE_DETECTOR_MM,
    )


def noisy(disc: Disc, geometry: FanBeam, seed: int = 0) -> np.ndarray:
    """SIMULATED line integrals with counting noise."""
    clean = disc.sinogram(geometry)
    return (
        clean + np.exp(0.5 * clean) / np.sqrt(PHOTONS) * np.random.default_rng(seed).standard_normal(clean.shape)
    ).astype(np.float32)


def write_disc(folder: Path, name: str, disc: Disc) -> Path:
    """A simulated disc in the challenge's own file layout: bins the other way round, a truth mask of 512²."""
    geometry = scanner()
    path = folder / f"htc2022_{name}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    degrees = np.arange(0.0, 360.0 + 1e-9, 5.0).astype(np.float32)
    np.savez(
        path,
        sinogram=noisy(disc, geometry)[:, ::-1],
        angles_deg=degrees,
        limited_angles_deg=degrees[4:12],
        seg=disc.mask(HTC2022_IMAGE).astype(np.uint8),
    )
    return path


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 72), st.sampled_from([90.0, 180.0, 360.0]), st.sampled_from([0.0, 45.0]))
def test_selected_views_are_evenly_spread_inside_the_arc(n: int, arc: float, start: float) -> None:
    geometry = scanner()
    turned = np.arange(73) * 5.0
    available = int(((turned >= start) & (turned < min(start + arc, 360.0))).sum())
    if n > available:
        with pytest.raises(ConfigError):
            Selection(n, arc, start).of(geometry)
        return
    views = Selection(n, arc, start).of(geometry)
    assert len(set(views.tolist())) == n
    assert turned[views].min() == start
    assert turned[views].max() < min(start + arc, 360.0)  # the view that closes the circle is left out
    assert np.ptp(np.diff(views)) <= 1 if n > 2 else True


def test_all_views_of_an_arc_are_taken_when_none_are_counted() -> None:
    assert len(Selection(None, 90.0, 20.0).of(scanner())) == 18
    assert Selection(None, 90.0).name == "arc 90°"
    assert Selection(24).name == "24 views"


def test_joined_bins_measure_the_same_rays() -> None:
    geometry = scanner(30.0)
    fine = Disc().path_mm(geometry)
    joined, coarse = joined_bins(
        fine[:, :558],
        FanBeam(
            geometry.angles_rad,
            558,
            pitch_mm=0.2,
            offset_mm=-0.2,
            source_origin_mm=geometry.source_origin_mm,
            source_detector_mm=geometry.source_detector_mm,
        ),
        4,
    )
    assert joined.shape == coarse.shape == (13, 139)
    assert joined == pytest.approx(
        Disc().path_mm(coarse, 4), abs=1.5
    )  # a bin's mean, against rays that are even in the bin
    assert np.abs(joined - Disc().path_mm(coarse, 4))[:, 30:110].max() < 0.02


def test_a_solid_disc_comes_out_flat_and_known(prior: UNetPrior) -> None:
    """Units, hardening and noise together: what the prior is given of a simulated disc is μ₀ L, within the
    noise that it is told.
    """
    geometry = scanner().views(slice(0, 72))
    scan = MeasuredScan.prepare(noisy(Disc(x_mm=0.5), geometry), geometry, prior.card, ACRYLIC, drift=0.0)
    m = scan.measurement
    assert not m.simulated
    expected = scan.unit * ACRYLIC.mu0 * Disc(x_mm=0.5).path_mm(m.A.geometry, 4)  # type: ignore[attr-defined]
    white = ((m.y.numpy() - expected) / m.noise.std.numpy())[:, 40:100]  # type: ignore[attr-defined]
    assert abs(white.mean()) < 0.1
    assert (
        0.6 < white.std() < 1.1
    )  # told to be 1; this noise has none of the correlation that the real detector's is corrected for
    assert scan.photons == pytest.approx(PHOTONS * 4.4 / 6, rel=0.1)
    assert scan.attenuation == pytest.approx(scan.unit * ACRYLIC.mu0, rel=0.02)
    assert scan.outline.x_mm == pytest.approx(0.5, abs=0.1)


def test_a_prior_of_patients_is_refused() -> None:
    geometry = scanner().views(slice(0, 72))
    card = load_prior("abdomen-ct-256").card
    with pytest.raises(PriorError):
        MeasuredScan.prepare(noisy(Disc(), geometry), geometry, card, None)


def test_the_card_names_the_hardening(prior: UNetPrior) -> None:
    assert material_of(prior.card) == ACRYLIC
    assert material_of(ModelCard("x", "x", prior.card.window)) is None
    with pytest.raises(PriorError):
        material_of(
            ModelCard("x", "x", prior.card.window, training={"config": {"extra": {"material": {"colour": 1}}}})
        )


def test_missing_material_lies_in_the_hole_and_is_never_negative(prior: UNetPrior) -> None:
    geometry = scanner().views(slice(0, 72, 3))
    scan = MeasuredScan.prepare(noisy(Disc(holes=(HOLE,)), geometry), geometry, prior.card, ACRYLIC)
    solid = (scan.attenuation * Disc().mask(scan.image)).astype(np.float32)
    found = missing(scan.measurement, solid)
    hole = ~Disc(holes=(HOLE,)).mask(scan.image) & scan.mask
    assert found.min() >= 0
    assert auroc(found[scan.mask], hole[scan.mask]) > 0.98
    assert np.median(found[hole]) > 0.5 * scan.attenuation


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict]:
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("out")
    write_disc(data / "discs", "made", Disc(x_mm=0.4, holes=(HOLE,)))
    write_disc(data / "discs", "full", Disc(y_mm=-0.5))
    config = data / "table.yaml"
    text = {
        "title": "SIMULATED discs",
        "folder": "discs",
        "scans": {"holes": ["made"], "solid": ["full"]},
        "selections": [{"n_views": 24}],
        "scores": ["darker", "klip"],
        "run": RUN,
    }
    config.write_text(json.dumps(text), encoding="utf-8")  # JSON is YAML
    assert is_measured(config)
    return config, out, evaluate_measured(MeasuredConfig.load(config), data, out)


def test_a_simulated_hole_is_found_and_a_solid_disc_is_silent(evaluated: tuple[Path, Path, dict]) -> None:
    _, out, table = evaluated
    figures = {(r["scan"], r["method"]): r for r in table["rows"]}
    assert figures["made", "darker"]["auroc"] > 0.97  # upside down or mirrored, the hole would lie elsewhere
    assert figures["made", "missing (fitted disc)"]["auroc"] > 0.98
    assert figures["made", "darker"]["regions"] >= 1
    assert figures["full", "darker"]["auroc"] is None
    assert figures["full", "darker"]["regions"] == 0
    text = (out / "table.md").read_text(encoding="utf-8")
    assert "darker" in text
    assert "discs-128" in text
    assert (out / "scans.png").stat().st_size > 1000


def test_a_second_run_samples_nothing(evaluated: tuple[Path, Path, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    config, out, table = evaluated

    def never(*_: object, **__: object) -> None:
        raise AssertionError("sampled again")

    monkeypatch.setattr("KLIPCore.lab.evaluation.measured.trace_scan", never)
    again = evaluate_measured(MeasuredConfig.load(config), config.parent, out)
    before = {(r["scan"], r["method"]): r["auroc"] for r in table["rows"]}
    assert {(r["scan"], r["method"]): r["auroc"] for r in again["rows"]} == pytest.approx(
        before, abs=2e-3
    )  # nats are kept in 16 bits


def test_an_arc_begins_where_the_challenge_begins_it(evaluated: tuple[Path, Path, dict]) -> None:
    assert own_arc_start(evaluated[0].parent / "discs" / "htc2022_made.npz") == pytest.approx(20.0)


def test_detect_takes_the_same_file(evaluated: tuple[Path, Path, dict], tmp_path: Path) -> None:
    config = Config().updated({**RUN, "measurement": {"n_views": 24}})
    path = evaluated[0].parent / "discs" / "htc2022_made.npz"
    found = detect_scan(path, tmp_path / "run", config)
    assert found.report.provenance["measurement"].startswith("MEASURED")
    assert "psnr_db_median" not in found.report.provenance
    x, y, _ = found.report.regions[0].centroid_lps_mm
    assert (x, y) == pytest.approx((HOLE.x_mm, HOLE.y_mm), abs=2.0)
    assert "MEASURED by a scanner: 24 views" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert detect_scan(path, tmp_path / "run", config).report.regions  # the finished trace is read back

    page = tmp_path / "run" / "report.html"
    page.unlink()
    answer = CliRunner().invoke(app, ["regions", str(tmp_path / "run"), "--block-size", "4", "--report"])
    assert answer.exit_code == 0, answer.output
    assert "MEASURED by a scanner: 24 views" in page.read_text(encoding="utf-8")
    note = tmp_path / "run" / "run.json"
    run = json.loads(note.read_text(encoding="utf-8"))
    assert run["simulated"] is False
    note.write_text(json.dumps(run | {"measurement": "A scanner's own rays"}), encoding="utf-8")
    redo_regions(tmp_path / "run", report=True, reopen=reopen_scan)
    assert "A scanner&#39;s own rays" in page.read_text(encoding="utf-8"), "what counts is the flag, not the words"
    with np.load(path) as scan:
        fields = dict(scan)
    other = tmp_path / path.name
    np.savez(other, **{k: v * 1.01 if k == "sinogram" else v for k, v in fields.items()})
    with pytest.raises(TraceError, match="not the one"):
        redo_regions(tmp_path / "run", study=other, report=True, reopen=reopen_scan)


@pytest.mark.parametrize(
    "text", ["scans: 3", "scans: {a: [x]}", "scans: {a: [x]}\ntitle: t\nfolder: f\nselections: []\nscores: [no-such]"]
)
def test_configurations_that_mean_nothing_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        MeasuredConfig.load(path)


@pytest.mark.shared_data
def test_holes_of_a_real_disc(shared_data: Path, prior: UNetPrior) -> None:
    sinogram, geometry, truth = read_htc2022(shared_data / "htc2022" / "htc2022_ta.npz")
    assert truth is not None
    views = Selection(60).of(geometry)
    scan = MeasuredScan.prepare(sinogram[views], geometry.views(views), prior.card, material_of(prior.card))
    config = Config().updated(RUN)
    trace = trace_scan(scan, prior, config)
    known = ScanTruth.of(truth, scan, config.record.cell)
    nats = trace.layers["darker"].mean[:, 0].sum(0)
    assert auroc(nats[known.inside], known.hole[known.inside]) > 0.98
    assert 0.05 < known.hole.sum() / known.inside.sum() < 0.4
    assert torch.isfinite(scan.measurement.y).all()
