"""Sinogram files: what is written is read, and what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from KLIPCore.errors import (
    ConfigError,
    EmptyInputError,
    GeometryError,
    IntensityError,
    KlipError,
    OutputError,
    UnreadableFileError,
)
from KLIPCore.io.sinogram import HTC2022_IMAGE, read_htc2022, read_sinogram, write_sinogram
from KLIPCore.volume.geometry import FanBeam, Geometry, ParallelBeam

PARALLEL = ParallelBeam((0.1, 0.7, 1.9), 5, pitch_mm=1.25, offset_mm=-0.5)
FAN = FanBeam(
    (0.1, 0.7), 4, pitch_mm=2.0, offset_mm=0.5, source_origin_mm=400.0, source_detector_mm=700.0, equiangular=True
)


@pytest.mark.parametrize("geometry", [PARALLEL, FAN])
def test_round_trip(geometry: Geometry, tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=geometry.shape).astype(np.float32)
    path = write_sinogram(tmp_path / "scan", data, geometry)
    assert path.name == "scan.npz"
    found, scanner = read_sinogram(path)
    np.testing.assert_array_equal(found, data)
    assert scanner == geometry
    assert [p.name for p in tmp_path.iterdir()] == ["scan.npz"]


def test_writing_refuses_nonsense(tmp_path: Path) -> None:
    with pytest.raises(GeometryError):
        write_sinogram(tmp_path / "a.npz", np.zeros((2, 2)), PARALLEL)
    with pytest.raises(IntensityError):
        write_sinogram(tmp_path / "a.npz", np.full(PARALLEL.shape, np.nan), PARALLEL)
    with pytest.raises(OutputError):
        write_sinogram(tmp_path / "nowhere" / "a.npz", np.zeros(PARALLEL.shape), PARALLEL)
    assert list(tmp_path.iterdir()) == []


def _good() -> dict[str, np.ndarray]:
    fields = PARALLEL.to_dict()
    angles = fields.pop("angles_rad")
    text = json.dumps({"format": "klip-sinogram", "version": 1, **fields})
    return {
        "sinogram": np.zeros(PARALLEL.shape, np.float32),
        "angles_rad": np.array(angles),
        "geometry": np.array(text),
    }


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, None),
        ({"sinogram": None}, UnreadableFileError),
        ({"angles_rad": None}, UnreadableFileError),
        ({"geometry": None}, UnreadableFileError),
        ({"geometry": np.array("{")}, UnreadableFileError),
        ({"geometry": np.array("[1]")}, UnreadableFileError),
        ({"geometry": np.array('{"format": "klip-sinogram", "version": 2}')}, UnreadableFileError),
        ({"geometry": np.array('{"format": "klip-sinogram", "version": 1, "type": "helix"}')}, UnreadableFileError),
        ({"angles_rad": np.array([0.0, np.nan, 1.0])}, UnreadableFileError),
        ({"angles_rad": np.array(["a", "b", "c"])}, UnreadableFileError),
        ({"angles_rad": np.array([0.0, 1.0])}, GeometryError),
        ({"sinogram": np.zeros((5, 3))}, GeometryError),
        ({"sinogram": np.full(PARALLEL.shape, np.inf)}, IntensityError),
        ({"sinogram": np.full(PARALLEL.shape, "x")}, UnreadableFileError),
    ],
)
def test_damaged_fields_are_named(
    change: dict[str, np.ndarray | None], error: type[KlipError] | None, tmp_path: Path
) -> None:
    arrays = {key: value for key, value in {**_good(), **change}.items() if value is not None}
    np.savez(tmp_path / "scan.npz", **arrays)
    if error is None:
        assert read_sinogram(tmp_path / "scan.npz")[1] == PARALLEL
        return
    with pytest.raises(error) as caught:
        read_sinogram(tmp_path / "scan.npz")
    assert caught.value.remedy


def test_fields_of_another_kind_are_told_in_words(tmp_path: Path) -> None:
    """No line of Python in the message; and a whole number that was written with a point is one."""
    fields = json.loads(str(_good()["geometry"]))
    for change in ({"pitch_mm": "3"}, {"pitch_mm": [3]}, {"superfluous": 1}):
        np.savez(tmp_path / "scan.npz", **{**_good(), "geometry": np.array(json.dumps({**fields, **change}))})
        with pytest.raises(UnreadableFileError, match="missing, unknown, or no number"):
            read_sinogram(tmp_path / "scan.npz")
    floating = {**fields, "n_detectors": float(fields["n_detectors"])}
    np.savez(tmp_path / "scan.npz", **{**_good(), "geometry": np.array(json.dumps(floating))})
    assert isinstance(read_sinogram(tmp_path / "scan.npz")[1].n_detectors, int)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = write_sinogram(
        tmp_path / "scan.npz", np.random.default_rng(0).normal(size=PARALLEL.shape), PARALLEL
    ).read_bytes()
    with pytest.raises(EmptyInputError):
        read_sinogram(tmp_path / "absent.npz")
    broken = tmp_path / "broken.npz"
    for content in (b"", b"not an archive", whole[: len(whole) // 2], whole[:60] + b"\0\0\0\0" + whole[64:]):
        broken.write_bytes(content)
        with pytest.raises(UnreadableFileError):
            read_sinogram(broken)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(UnreadableFileError):
        read_sinogram(tmp_path / "single.npy")
    np.savez(tmp_path / "pickled.npz", **{**_good(), "sinogram": np.array([{"code": 1}], dtype=object)})
    with pytest.raises(UnreadableFileError):
        read_sinogram(tmp_path / "pickled.npz")


def test_a_disc_without_truth_or_scanner_file_is_read(tmp_path: Path) -> None:
    sinogram = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez(tmp_path / "htc2022_zz.npz", sinogram=sinogram, angles_deg=np.array([0.0, 0.5, 1.0], np.float32))
    found, geometry, truth = read_htc2022(tmp_path / "htc2022_zz.npz")
    np.testing.assert_array_equal(found, sinogram[:, ::-1])
    np.testing.assert_allclose(np.rad2deg(geometry.angles_rad), [180.0, 179.5, 179.0])
    assert (geometry.source_origin_mm, geometry.source_detector_mm, geometry.pitch_mm) == (410.66, 553.74, 0.2)
    assert truth is None
    with pytest.raises(ConfigError, match="limited arc"):
        read_htc2022(tmp_path / "htc2022_zz.npz", limited=True)
    np.savez(tmp_path / "htc2022_bad.npz", sinogram=sinogram, angles_deg=np.zeros(7))
    with pytest.raises(GeometryError):
        read_htc2022(tmp_path / "htc2022_bad.npz")


@pytest.mark.shared_data
def test_measured_discs_are_read(shared_data: Path) -> None:
    sinogram, geometry, truth = read_htc2022(shared_data / "htc2022" / "htc2022_02b.npz")
    assert sinogram.shape == geometry.shape == (721, 560)
    assert truth is not None
    assert truth.shape == HTC2022_IMAGE.shape
    few, arc, _ = read_htc2022(shared_data / "htc2022" / "htc2022_02b.npz", limited=True)
    assert few.shape == arc.shape == (161, 560)  # 90° to 170° in half degrees
    assert np.ptp(np.rad2deg(arc.angles_rad)) == pytest.approx(80.0)
    with pytest.raises(ConfigError):
        read_htc2022(shared_data / "htc2022" / "htc2022_ta.npz", limited=True)
