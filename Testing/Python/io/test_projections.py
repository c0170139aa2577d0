"""Projections that a scanner measured: geometry, places and refusals, against exact integrals of ellipsoids."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scanned_ellipsoids import TO_LPS, WATER, Ellipsoid, Machine

from KLIPCore.errors import (
    AmbiguousSeriesError,
    EmptyInputError,
    GeometryError,
    IntensityError,
    KlipError,
    NotCTError,
    UnreadableFileError,
)
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.projection_scan import FanSlice
from KLIPCore.io.projection_series import Writing
from KLIPCore.io.projections import ASSUMED_SUPINE, holds_projections, read_projections
from KLIPCore.io.study import read_study
from KLIPCore.lab.fuzz.seeds import tiny_study
from KLIPCore.physics.ellipses import Ellipse, EllipsePhantom

INF = math.inf
BODY = Ellipsoid(WATER, (8.0, -5.0, 0.0), (95.0, 70.0, INF))
ROD = Ellipsoid(0.3 * WATER, (-40.0, 22.0, 0.0), (14.0, 9.0, INF))
"""Endless along z: rebinning is exact."""
PLANE = EllipsePhantom([Ellipse(o.value, *o.centre[:2], *o.axes[:2]) for o in (BODY, ROD)])
STEP = 1 / 4000 / 2
"""Half a stored value."""


def only(scan_folder: Path, z: float | None = None) -> FanSlice:
    scan = read_projections(scan_folder)
    places = scan.positions()
    (found,) = scan.slices([float(places[len(places) // 2]) if z is None else z])
    return found


@pytest.mark.parametrize("shape", ["CYLINDRICAL", "SPHERICAL", "FLAT"])
@pytest.mark.parametrize("kind", ["axial", "helical"])
def test_line_integrals_are_those_of_the_fan(shape: str, kind: str, tmp_path: Path) -> None:
    machine = Machine(shape)
    places = machine.turn(-31.0) if kind == "axial" else machine.helix(1.3, 12.0)
    found = only(machine.scan(tmp_path / "scan", places, [BODY, ROD], Writing()))
    assert found.geometry.equiangular == (shape != "FLAT")
    assert found.geometry.n_views == machine.per_turn
    exact = PLANE.sinogram(found.geometry)
    inner = exact > 0.2 * exact.max()  # an edge between two rows is interpolated, all else is exact
    assert np.abs(found.sinogram - exact)[inner].max() < STEP + 2e-5
    assert np.abs(found.sinogram - exact).max() < STEP + 2e-3


def test_a_wrong_shape_would_be_seen(tmp_path: Path) -> None:
    machine = Machine("FLAT")
    folder = machine.scan(tmp_path / "scan", machine.turn(0.0), [BODY, ROD], Writing())
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset[0x7029100B].value = "CYLINDRICAL"
        dataset.save_as(file)
    found = only(folder)
    assert np.abs(found.sinogram - PLANE.sinogram(found.geometry)).max() > 0.05


@pytest.mark.parametrize("position", [*TO_LPS, None])
@pytest.mark.parametrize("kind", ["axial", "helical"])
def test_patients_lie_as_the_file_says(position: str | None, kind: str, tmp_path: Path) -> None:
    machine, head = Machine(), -1 if (position or "").startswith("FF") else 1
    places = machine.turn(-31.0) if kind == "axial" else machine.helix(1.6, 12.0, z0=-31.0)
    ball = Ellipsoid(0.5 * WATER, (30.0, 25.0, -31.0 * head), (9.0, 12.0, 20.0))
    folder = machine.scan(tmp_path / "scan", places, [BODY, ball], Writing(patient_position=position))
    scan = read_projections(folder)
    assert scan.notes == ((ASSUMED_SUPINE,) if position is None else ())
    (found,) = scan.slices([-31.0 * head])
    assert found.z_mm == pytest.approx(-31.0 * head)
    body = EllipsePhantom([Ellipse(BODY.value, 8.0, -5.0, 95.0, 70.0)]).sinogram(found.geometry)
    shadow = EllipsePhantom([Ellipse(ball.value, 30.0, 25.0, 9.0, 12.0)]).sinogram(found.geometry)
    rest = found.sinogram - body - shadow
    assert np.abs(rest).sum() < 0.05 * shadow.sum()  # rebinned, it is a little thinner above and below


def test_slices_of_a_helix_lie_where_their_contents_do(tmp_path: Path) -> None:
    machine = Machine()
    ball = Ellipsoid(0.4 * WATER, (30.0, 25.0, 14.0), (10.0, 10.0, 4.0))
    folder = machine.scan(tmp_path / "scan", machine.helix(4.2, 12.0), [BODY, ball], Writing())
    scan = read_projections(folder)
    places = scan.positions(2.0)
    assert np.diff(places) == pytest.approx(2.0)
    middle = -12.0 * 0.5 / machine.per_turn
    assert places[0] + places[-1] == pytest.approx(2 * middle, abs=0.1)
    assert places[-1] - places[0] == pytest.approx(12.0 * 3.2, abs=2.1)
    seen = {}
    for found in scan.slices([float(z) for z in places]):
        body = EllipsePhantom([Ellipse(BODY.value, 8.0, -5.0, 95.0, 70.0)]).sinogram(found.geometry)
        seen[found.z_mm] = float((found.sinogram - body).mean())
    strongest = max(seen, key=lambda z: seen[z])
    assert strongest == pytest.approx(14.0, abs=1.1)
    mass, where = np.array(list(seen.values())), np.array(list(seen))
    assert (mass * where).sum() / mass.sum() == pytest.approx(14.0, abs=0.3)
    assert max(mass[np.abs(where - 14.0) > 8.0]) < 0.05 * seen[strongest]


def test_rows_in_the_other_order_would_be_seen(tmp_path: Path) -> None:
    machine = Machine()
    ball = Ellipsoid(0.4 * WATER, (30.0, 25.0, 0.0), (10.0, 10.0, 3.0))
    errors = []
    for name in ("as described", "reversed"):
        folder = machine.scan(tmp_path / name, machine.helix(2.0, 14.0), [ball], Writing())
        if name == "reversed":
            for file in folder.iterdir():
                dataset = pydicom.dcmread(file)
                dataset.PixelData = dataset.pixel_array[::-1].tobytes()
                dataset.save_as(file)
        found = only(folder, 0.0)
        shadow = EllipsePhantom([Ellipse(ball.value, 30.0, 25.0, 10.0, 10.0)]).sinogram(found.geometry)
        errors.append(float(np.abs(found.sinogram - shadow).mean()))
    assert errors[1] > 2.5 * errors[0]


def test_a_large_pitch_takes_half_a_turn_and_the_fan(tmp_path: Path) -> None:
    machine = Machine()  # 18.3 mm tall at the isocentre
    folder = machine.scan(tmp_path / "scan", machine.helix(1.3, 20.0), [BODY, ROD], Writing())
    found = only(folder)
    fan = math.degrees(2 * float(np.abs(found.geometry.fan_angles()).max()))
    assert 180 + fan < found.geometry.n_views * 360 / machine.per_turn < 180 + fan + 13
    exact = PLANE.sinogram(found.geometry)
    assert np.abs(found.sinogram - exact)[exact > 0.2 * exact.max()].max() < STEP + 2e-5


@pytest.mark.parametrize("writing", [Writing(untyped=True), Writing(transposed=True)], ids=["untyped", "transposed"])
def test_as_scanners_exports_are_written(writing: Writing, tmp_path: Path) -> None:
    machine = Machine()
    plain = only(machine.scan(tmp_path / "plain", machine.turn(5.0), [BODY, ROD], Writing()))
    other = only(machine.scan(tmp_path / "other", machine.turn(5.0), [BODY, ROD], writing))
    np.testing.assert_array_equal(other.sinogram, plain.sinogram)
    assert other.geometry == plain.geometry
    assert math.isclose(read_projections(tmp_path / "other").scanner.water_per_mm, WATER)


def test_step_and_shoot_gives_a_slice_a_place(tmp_path: Path) -> None:
    machine = Machine(rows=1, centre=(28.75, 1.0))
    places = [p for k, z in enumerate((-10.0, 0.0, 10.0)) for p in machine.turn(z, start=0.3 * k)]
    scan = read_projections(machine.scan(tmp_path / "scan", places, [BODY], Writing(patient_position="FFS")))
    assert scan.positions().tolist() == [-10.0, 0.0, 10.0]
    assert [found.z_mm for found in scan.slices([10.0, -10.0])] == [10.0, -10.0]
    with pytest.raises(GeometryError, match="No turn was measured at 5 mm"):
        list(scan.slices([5.0]))


def test_what_holds_projections(tmp_path: Path) -> None:
    machine = Machine(rows=2, columns=16, column_mm=25.0, centre=(8.5, 1.5), per_turn=16)
    folder = machine.scan(tmp_path / "scan" / "below", machine.turn(0.0), [BODY], Writing())
    assert holds_projections(folder.parent)
    write_dicom_series(tiny_study(3, 16), tmp_path / "ct", seed=1)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.dcm").write_text("no DICOM")
    for other in ("ct", "text", "nowhere"):
        assert not holds_projections(tmp_path / other)
    with pytest.raises(EmptyInputError):
        read_projections(tmp_path / "nowhere")
    with pytest.raises(NotCTError, match="projections of a scan") as told:
        read_study(folder)
    assert "klip reconstruct" in told.value.remedy


SMALL = Machine(rows=4, columns=24, column_mm=17.0, centre=(12.5, 2.5), per_turn=32)


def changed(file: Path, tag: int, value: object) -> None:
    dataset = pydicom.dcmread(file)
    if value is None:
        del dataset[tag]
    else:
        dataset[tag].value = value
    dataset.save_as(file)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"FlyingFocalSpotMode": "FFSZ"}, GeometryError, "flies"),
        ({"SourceAxialPositionShift": -0.66}, GeometryError, "0.66 mm from"),
        ({"SourceAngularPositionShift": 3e-4}, GeometryError, "0.12 mm from"),
        ({"SourceRadialDistanceShift": math.nan}, GeometryError, "focal centre"),
        ({"TypeofProjectionGeometry": "CONEBEAM"}, GeometryError, "'CONEBEAM'"),
        ({"TypeofProjectionData": "TOPOGRAM"}, GeometryError, "'TOPOGRAM'"),
        ({"DetectorShape": "BENT"}, GeometryError, "'BENT'"),
        ({"LogFlag": "NO"}, IntensityError, "counts"),
        ({"WaterAttenuationCoefficient": "0.19"}, IntensityError, "0.19"),
        ({"DetectorCentralElement": 3.0}, UnreadableFileError, "DetectorCentralElement"),
        ({"DetectorCentralElement": None}, UnreadableFileError, r"\(7031,1033\)"),
        ({"DetectorElementAxialSpacing": None}, UnreadableFileError, "DetectorElementAxialSpacing"),
        ({"ConstantRadialDistance": -700.0}, GeometryError, "no scanner has"),
        ({"ConstantRadialDistance": 300.0}, KlipError, "impossible"),
        ({"DetectorElementTransverseSpacing": 99.0}, KlipError, "half a turn"),
        ({"NumberofSourceAngularSteps": 64}, GeometryError, "are expected"),
        ({"NumberofSourceAngularSteps": 3}, GeometryError, "no slice"),
    ],
)
def test_scanners_that_are_refused(fields: dict, error: type[KlipError], words: str, tmp_path: Path) -> None:
    folder = SMALL.with_extra(**fields).scan(tmp_path / "scan", SMALL.turn(0.0), [BODY], Writing())
    with pytest.raises(error, match=words) as found:
        only(folder)
    assert found.value.remedy


def test_scans_that_are_refused(tmp_path: Path) -> None:
    def refused(name: str, error: type[KlipError], words: str) -> None:
        with pytest.raises(error, match=words) as found:
            only(tmp_path / name)
        assert found.value.remedy

    SMALL.scan(tmp_path / "scan", SMALL.helix(1.5, 8.0), [BODY], Writing())
    assert only(tmp_path / "scan").geometry.n_views == 32

    def copied(name: str) -> list[Path]:
        shutil.copytree(tmp_path / "scan", tmp_path / name)
        return sorted((tmp_path / name).iterdir())

    copied("gap")[20].unlink()
    refused("gap", GeometryError, "21 to 21 are missing")
    for file in copied("half")[25:]:
        file.unlink()
    refused("half", GeometryError, "25 projections are there")
    shutil.copy(copied("twice")[3], tmp_path / "twice" / "again.dcm")
    refused("twice", AmbiguousSeriesError, "both projection 4")
    SMALL.scan(tmp_path / "two" / "b", SMALL.turn(0.0), [BODY], Writing(seed=2))
    shutil.copytree(tmp_path / "scan", tmp_path / "two" / "a")
    refused("two", AmbiguousSeriesError, "2 series")
    changed(copied("detector")[9], 0x70311031, 705.0)
    refused("detector", GeometryError, "another detector")
    copied("text")[0].with_name("notes.txt").write_text("bring the phantom back")
    refused("text", UnreadableFileError, "no DICOM file")
    copied("ct")
    write_dicom_series(tiny_study(1, 16), tmp_path / "ct" / "slices", seed=1)
    refused("ct", UnreadableFileError, "no projection")
    file = copied("cut")[15]
    file.write_bytes(file.read_bytes()[:-40])
    refused("cut", UnreadableFileError, "cut short")
    changed(copied("turned")[15], 0x70311001, 0.1)
    refused("turned", GeometryError, "are expected")
    changed(copied("scale")[15], 0x00281053, None)
    refused("scale", UnreadableFileError, "RescaleSlope")
    changed(copied("cropped")[15], 0x00280010, 3)
    refused("cropped", GeometryError, "3 × 24")
    for file in copied("side"):
        changed(file, 0x00185100, "HFDL")
    refused("side", GeometryError, "HFDL")
    for file in copied("axial"):
        changed(file, 0x70371009, "AXIAL")
    refused("axial", GeometryError, "said to be axial")
    SMALL.scan(tmp_path / "still", SMALL.turn(0.0), [BODY], Writing())
    for file in (tmp_path / "still").iterdir():
        changed(file, 0x70371009, "HELICAL")
    refused("still", GeometryError, "said to be helical")
    SMALL.scan(tmp_path / "fast", SMALL.helix(3.0, 40.0), [BODY], Writing())
    refused("fast", GeometryError, "no slice was seen from all sides")
    half, other = SMALL.helix(1.5, 4.0), SMALL.helix(1.5, 14.0)
    SMALL.scan(tmp_path / "uneven", half + [(p + 3 * math.pi, z + 12.0) for p, z in other], [BODY], Writing())
    refused("uneven", GeometryError, "pitch changes")
    SMALL.scan(tmp_path / "part", SMALL.turn(0.0, n=17), [BODY], Writing())
    refused("part", GeometryError, "17 projections of 32")
    scan = read_projections(tmp_path / "scan")
    with pytest.raises(GeometryError, match="was not seen from all sides"):
        list(scan.slices([30.0]))
