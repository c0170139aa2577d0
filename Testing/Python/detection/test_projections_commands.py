"""Raw data in: `klip reconstruct` and `klip detect` on a folder of projections, to known HU and a known hole."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from disc_run import RUN
from scanned_ellipsoids import WATER, Ellipsoid, Machine
from typer.testing import CliRunner

from KLIPCore.cli import app
from KLIPCore.detection.detect_measured import is_scan
from KLIPCore.errors import KlipError
from KLIPCore.io.projection_series import Writing, write_projections
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.physics.disc import ACRYLIC, Disc
from KLIPCore.physics.ellipses import Ellipse
from KLIPCore.runs.folder import RunFolder
from KLIPCore.volume.geometry import FanBeam

BODY = Ellipsoid(WATER, (8.0, -5.0, 0.0), (80.0, 62.0, math.inf))
ROD = Ellipsoid(0.3 * WATER, (-30.0, 15.0, 0.0), (20.0, 16.0, math.inf))
BALL = Ellipsoid(-0.2 * WATER, (45.0, -10.0, 6.0), (16.0, 16.0, 7.0))
MACHINE = Machine(columns=120, column_mm=3.25, centre=(61.25, 4.5), per_turn=150)
"""Isocentre between two columns, as scanners have it."""


def run(*arguments: object) -> tuple[int, str]:
    answer = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(answer.exception, KlipError):  # klip itself prints these two sentences
        return answer.exception.exit_code, f"{answer.exception.message} {answer.exception.remedy}"
    return answer.exit_code, answer.output


def mean_hu(volume, centre: tuple[float, float, float], radius: float) -> float:
    """Mean of the slice nearest to a place, in a disc around it; indexed by the file's own affine."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in volume.grid.shape), indexing="ij")
    x, y, z = (volume.grid.affine @ np.stack([k, j, i, np.ones_like(k)]).reshape(4, -1))[:3].reshape(3, *k.shape)
    nearest = np.abs(z - centre[2]) <= np.abs(z - centre[2]).min() + 1e-6
    return float(volume.array[nearest & (np.hypot(x - centre[0], y - centre[1]) < radius)].mean())


@pytest.mark.parametrize("position", ["HFS", "FFP"])
def test_a_helix_becomes_a_volume_in_hu(position: str, tmp_path: Path) -> None:
    things = [BODY, ROD, BALL]
    places = MACHINE.helix(2.4, 9.0)
    MACHINE.scan(tmp_path / "scan", places, things, Writing(patient_position=position, untyped=True))
    code, said = run("reconstruct", tmp_path / "scan", "-o", tmp_path / "ct.nrrd", "--size", 128, "--every", 6)
    assert code == 0, said
    assert "helical projections" in said
    volume = read_study(tmp_path / "ct.nrrd")
    check_ct(volume)
    assert volume.grid.shape == (3, 128, 128)
    assert mean_hu(volume, (8.0, -40.0, 0.0), 8) == pytest.approx(0.0, abs=8)
    assert mean_hu(volume, ROD.centre, 9) == pytest.approx(300.0, abs=8)
    assert mean_hu(volume, BALL.centre, 6) == pytest.approx(-200.0, abs=20)
    assert mean_hu(volume, (*BALL.centre[:2], -6.0), 6) == pytest.approx(0.0, abs=8)
    assert mean_hu(volume, (-85.0, -60.0, 0.0), 8) == pytest.approx(-1000.0, abs=15)
    assert (tmp_path / "ct.png").stat().st_size > 500


@pytest.mark.parametrize("shape", ["CYLINDRICAL", "FLAT"])
def test_an_axial_turn_becomes_a_slice_in_hu(shape: str, tmp_path: Path) -> None:
    machine = replace(MACHINE, shape=shape)
    machine.scan(tmp_path / "scan", machine.turn(12.0), [BODY, ROD], Writing(patient_position=None))
    code, said = run("reconstruct", tmp_path / "scan", "-o", tmp_path / "ct.nrrd", "--size", 128, "--method", "cg")
    assert code == 0, said
    assert "supine is assumed" in said
    volume = read_study(tmp_path / "ct.nrrd")
    assert mean_hu(volume, (8.0, -40.0, 12.0), 8) == pytest.approx(0.0, abs=8)
    assert mean_hu(volume, ROD.centre, 9) == pytest.approx(300.0, abs=8)


@pytest.mark.parametrize("position", ["HFS", "FFS"])
def test_a_central_column_that_is_told_wrongly_is_noticed(position: str, tmp_path: Path) -> None:
    true = MACHINE.centre[0]
    MACHINE.scan(tmp_path / "scan", MACHINE.turn(12.0), [BODY, ROD], Writing(patient_position=position))
    code, said = run("reconstruct", tmp_path / "scan", "-o", tmp_path / "ct.nrrd", "--size", 64)
    assert code == 0, said
    assert "opposite rays" not in said
    for file in (tmp_path / "scan").iterdir():
        dataset = pydicom.dcmread(file)
        dataset[0x70311033].value = [true - 1.5, 4.5]
        dataset.save_as(file)
    code, said = run("reconstruct", tmp_path / "scan", "-o", tmp_path / "again.nrrd", "--size", 64)
    assert code == 0, said
    found = float(said.split("agree best at ")[1].split()[0])
    assert found == pytest.approx(true, abs=0.1)
    again = ("reconstruct", tmp_path / "scan", "--size", 64, "--centre")
    code, said = run(*again, found, "-o", tmp_path / "right.nrrd")
    assert code == 0, said
    assert "opposite rays" not in said
    code, said = run(*again, 200, "-o", tmp_path / "wrong.nrrd")
    assert code == 2
    assert "no column 200" in said


def test_what_the_command_refuses(tmp_path: Path) -> None:
    small = Machine(rows=1, columns=24, column_mm=17.0, centre=(12.5, 1.0), per_turn=32)
    uneven = [p for z in (0.0, 10.0, 25.0) for p in small.turn(z)]
    small.scan(tmp_path / "scan", uneven, [BODY], Writing())
    for arguments, words in (
        ((), "-o OUT.nrrd"),
        (("-o", tmp_path / "a.png"), "not a file name for an image"),
        (("-o", tmp_path / "a.nrrd"), "uneven distances"),
    ):
        code, said = run("reconstruct", tmp_path / "scan", *arguments)
        assert code in (2, 3)
        assert words in " ".join(said.split())
    code, said = run("detect", tmp_path / "scan", "-o", tmp_path / "out")
    assert code == 5
    assert "klip reconstruct FOLDER" in " ".join(said.split())
    code, said = run("detect", tmp_path / "scan", "-o", tmp_path / "out", "--noise", "0.01")
    assert code == 2
    assert "not to measured projections" in " ".join(said.split())


HOLE = Ellipse(1.0, 12.0, -5.0, 7.0, 5.0, 30.0)


def test_a_hole_is_found_in_projections(tmp_path: Path) -> None:
    """The disc of the Helsinki challenge as a scanner that corrects hardening would have exported it."""
    n, photons = 24, 5e4
    phi = 0.4 + 2 * math.pi * np.arange(n) / n
    bench = FanBeam(tuple(-phi), 560, pitch_mm=0.2, source_origin_mm=410.66, source_detector_mm=553.74)
    straight = Disc(holes=(HOLE,)).path_mm(bench) * ACRYLIC.mu0
    noise = np.exp(0.5 * straight) / np.sqrt(photons) * np.random.default_rng(0).standard_normal(straight.shape)
    fields = Machine("FLAT", 1, 560, n, 410.66, 553.74, 0.2, 1.0, (280.5, 1.0)).fields("AXIAL")
    fields["WaterAttenuationCoefficient"] = "0.0193"
    pictures = np.maximum(straight + noise + 0.05, 0)[:, None]  # stored values are unsigned
    folder = tmp_path / "scan"
    write_projections(folder, pictures, [(p, -7.0) for p in phi], fields)
    for file in folder.iterdir():
        shifted(file, -0.05)
    assert is_scan(folder)
    settings = tmp_path / "disc.yaml"
    settings.write_text(json.dumps(RUN), encoding="utf-8")
    code, said = run("detect", folder, "-o", tmp_path / "out", "--config", settings, "--views", n)
    assert code == 0, said
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    x, y, _ = result["regions"][0]["centroid_lps_mm"]
    assert (x, y) == pytest.approx((HOLE.x_mm, HOLE.y_mm), abs=2.0)
    record = RunFolder(tmp_path / "out").run()
    assert "the slice at -7 mm" in " ".join(record["warnings"])
    assert record["simulated"] is False
    code, said = run("regions", tmp_path / "out", "--report")
    assert code == 0, said
    assert "MEASURED by a scanner: 24 views" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def shifted(file: Path, intercept: float) -> None:
    """Another zero of the stored values, as exports have that keep noise around air."""
    dataset = pydicom.dcmread(file)
    dataset.RescaleIntercept = str(intercept)
    dataset.save_as(file)
