"""Sinograms in the wrong unit, in MATLAB's files, and of other libraries: refused with the remedy, or read
to the right place.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from skimage.transform import radon

from KLIPCore.detection.detect_measured import is_scan
from KLIPCore.detection.reconstruct import reconstruct
from KLIPCore.errors import EmptyInputError, GeometryError, IntensityError, KlipError, UnreadableFileError
from KLIPCore.io.sinogram import check_attenuation, read_sinogram, write_sinogram
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam

N, ROW, COLUMN = 64, 18, 44


def blob() -> np.ndarray:
    """(N, N) a soft spot at (ROW, COLUMN): on no axis of symmetry of the square."""
    rows, columns = np.mgrid[:N, :N]
    return np.exp(-((rows - ROW) ** 2 + (columns - COLUMN) ** 2) / 8.0).astype(np.float32)


def place(sinogram: np.ndarray, geometry: Geometry) -> tuple[float, float]:
    """Row and column of the spot in the reconstruction."""
    found = reconstruct(np.ascontiguousarray(sinogram, np.float32), geometry, ImageGrid2D((N, N), 1.0))
    weight = np.where(found > found.max() / 2, found, 0)
    rows, columns = np.mgrid[:N, :N]
    return float((weight * rows).sum() / weight.sum()), float((weight * columns).sum() / weight.sum())


def line_integrals(geometry: Geometry) -> np.ndarray:
    """Of an ellipse off the centre, at most about 4."""
    rows, columns = np.mgrid[:N, :N]
    body = (((rows - 34) / 20) ** 2 + ((columns - 30) / 25) ** 2 <= 1).astype(np.float32) * 0.08

    return Projector(geometry, ImageGrid2D((N, N), 1.0))(torch.from_numpy(body)).numpy()


HALF_TURN = ParallelBeam(tuple(np.deg2rad(np.arange(0, 180, 4.0))), 96, pitch_mm=1.0)


def saved(path: Path, sinogram: np.ndarray, angles: np.ndarray, name: str = "angles_rad") -> Path:
    """A file as somebody writes it who did not read what the fields mean."""
    text = json.dumps(
        {
            "format": "klip-sinogram",
            "version": 1,
            "type": "parallel",
            "n_detectors": sinogram.shape[1],
            "pitch_mm": 1.0,
            "offset_mm": 0.0,
        }
    )
    np.savez(path, sinogram=sinogram.astype(np.float32), geometry=np.array(text), **{name: angles})
    return path


@pytest.mark.parametrize("end", [180.0, 360.0, 90.0, -180.0])
def test_degrees_are_refused_with_the_remedy(end: float, tmp_path: Path) -> None:
    path = saved(tmp_path / "scan.npz", line_integrals(HALF_TURN), np.linspace(0, end, 45))
    with pytest.raises(GeometryError, match="look like degrees") as caught:
        read_sinogram(path)
    assert "deg2rad" in caught.value.remedy


def test_degrees_by_their_name_are_read(tmp_path: Path) -> None:
    data = line_integrals(HALF_TURN)
    path = saved(tmp_path / "scan.npz", data, np.arange(0, 180, 4.0), "angles_deg")
    found, geometry = read_sinogram(path)
    np.testing.assert_allclose(geometry.angles_rad, HALF_TURN.angles_rad)
    np.testing.assert_array_equal(found, data)


def test_two_turns_in_radians_pass(tmp_path: Path) -> None:
    angles = np.linspace(0, 4 * math.pi, 45)
    data = line_integrals(ParallelBeam(tuple(angles), 96, pitch_mm=1.0))
    assert read_sinogram(saved(tmp_path / "scan.npz", data, angles))[1].n_views == 45


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("counts or transmission", lambda p: 1e5 * np.exp(-p)),
        ("counts or transmission", lambda p: np.exp(-p)),
        ("counts or transmission", lambda p: np.exp(-p)[:, 30:-30]),  # the detector is narrower than the body
        ("without their minus sign", lambda p: -p),
    ],
)
def test_other_than_line_integrals_is_refused_with_the_remedy(name: str, change: object, tmp_path: Path) -> None:
    data = change(line_integrals(HALF_TURN))  # type: ignore[operator]
    path = saved(tmp_path / "scan.npz", data, np.asarray(HALF_TURN.angles_rad))
    with pytest.raises(IntensityError, match=name) as caught:
        read_sinogram(path)
    assert "-log(I / I0)" in caught.value.remedy


@pytest.mark.parametrize(
    "change",
    [
        lambda p: np.random.default_rng(0).poisson(6e4 * np.exp(-p)).astype(np.uint16),
        lambda p: np.random.default_rng(0).poisson(50 * np.exp(-p)),
        lambda p: np.rint(255 * np.exp(-p)),
        lambda p: 100 * np.exp(-p),
        lambda p: np.log(1e5 * np.exp(-p)),
        lambda p: -np.log(1e5 * np.exp(-p)),
        lambda p: np.exp(-p)[:, 48:],  # half a detector
        lambda p: np.pad(np.exp(-p), ((0, 0), (20, 20))),  # a detector wider than the beam
        lambda p: np.exp(-p) * np.clip(np.minimum(np.arange(96), 95 - np.arange(96)) / 15, 0.02, 1),  # no flat field
        lambda p: 1e5 * np.exp(-p) * np.exp(-(((np.arange(96) - 47.5) / 30) ** 2)),  # a bow tie
    ],
)
def test_counts_of_many_kinds_are_refused(change: object, tmp_path: Path) -> None:
    data = change(line_integrals(HALF_TURN))  # type: ignore[operator]
    with pytest.raises(IntensityError) as caught:
        check_attenuation(read_sinogram(saved(tmp_path / "scan.npz", data, np.asarray(HALF_TURN.angles_rad)))[0])
    assert "-log(I / I0)" in caught.value.remedy


def test_half_a_detector_and_a_hollow_object_pass(tmp_path: Path) -> None:
    p = line_integrals(HALF_TURN)
    for data in (p[:, 48:], p[:, :48], p * (1 - 0.9 * (np.abs(np.arange(96) - 47.5) < 15))):
        read_sinogram(saved(tmp_path / "scan.npz", data, np.asarray(HALF_TURN.angles_rad)))


def test_whole_numbers_are_degrees(tmp_path: Path) -> None:
    degrees = np.arange(10.0)
    scan = ParallelBeam(tuple(np.deg2rad(degrees)), 96, pitch_mm=1.0)
    with pytest.raises(GeometryError, match="whole numbers"):
        read_sinogram(saved(tmp_path / "scan.npz", line_integrals(scan), degrees))


@pytest.mark.parametrize("name", ["angles_rad", "angles_deg"])
def test_the_way_that_an_object_moves_tells_the_unit(name: str, tmp_path: Path) -> None:
    """No number is odd in 0 to 11.3 degrees, or in 0.1 to 2 radians; the centre of mass is."""
    angles = np.linspace(0, 11.3, 45) if name == "angles_rad" else np.linspace(0.1, 2.0, 45)
    true = np.deg2rad(angles) if name == "angles_rad" else angles
    sinogram = Projector(ParallelBeam(tuple(true), 96, pitch_mm=1.0), ImageGrid2D((N, N), 1.0))(
        torch.from_numpy(0.1 * blob())
    )
    with pytest.raises(GeometryError, match=r"degrees|radians"):
        read_sinogram(saved(tmp_path / "scan.npz", sinogram.numpy(), angles, name))
    read_sinogram(saved(tmp_path / "scan.npz", sinogram.numpy(), true))


@pytest.mark.parametrize("radians", [np.linspace(0, math.pi, 45), np.linspace(-math.pi, math.pi, 90, False)])
def test_radians_that_are_called_degrees(radians: np.ndarray, tmp_path: Path) -> None:
    scan = ParallelBeam(tuple(radians), 96, pitch_mm=1.0)
    path = saved(tmp_path / "scan.npz", line_integrals(scan), radians, "angles_deg")
    with pytest.raises(GeometryError, match="look like radians") as caught:
        read_sinogram(path)
    assert "rad2deg" in caught.value.remedy


@pytest.mark.parametrize("arc", [0.3, math.pi / 6, math.pi / 2, 2 * math.pi])
def test_radians_of_any_arc_pass(arc: float, tmp_path: Path) -> None:
    angles = np.linspace(0.1, 0.1 + arc, 30)
    scan = ParallelBeam(tuple(angles), 96, pitch_mm=1.0)
    assert read_sinogram(saved(tmp_path / "scan.npz", line_integrals(scan), angles))[1].n_views == 30


def test_noise_and_truncation_of_line_integrals_pass(tmp_path: Path) -> None:
    p = line_integrals(HALF_TURN)
    noisy = p + np.random.default_rng(0).normal(0, 0.05, p.shape)
    for data in (noisy, p[:, 26:-26], np.zeros_like(p)):
        read_sinogram(saved(tmp_path / "scan.npz", data, np.asarray(HALF_TURN.angles_rad)))
    check_attenuation(noisy)
    with pytest.raises(IntensityError, match="no ray is weakened"):
        check_attenuation(100 * noisy)


@pytest.mark.parametrize(
    ("case", "error"), [("07-sinogram-degrees.npz", GeometryError), ("08-sinogram-counts.npz", IntensityError)]
)
def test_reported_sinograms(case: str, error: type[KlipError], shared_data: Path) -> None:
    path = shared_data.parent / "cases" / case
    if path.is_file():
        with pytest.raises(error):
            read_sinogram(path)


def test_matlab_files_are_read(tmp_path: Path) -> None:
    data = line_integrals(HALF_TURN)
    savemat(
        tmp_path / "scan.mat",
        {"sinogram": data, "angles_deg": np.arange(0, 180, 4.0)[:, None], "pitch_mm": 1.0},
        do_compression=True,
    )
    found, geometry = read_sinogram(tmp_path / "scan.mat")
    np.testing.assert_array_equal(found, data)
    assert isinstance(geometry, ParallelBeam)
    np.testing.assert_allclose(geometry.angles_rad, HALF_TURN.angles_rad)
    fan = {
        "type": "fan",
        "source_origin_mm": 400.0,
        "source_detector_mm": 800.0,
        "offset_mm": 0.5,
        "equiangular": True,
    }
    savemat(
        tmp_path / "fan.mat",
        {"sinogram": data, "angles_rad": np.asarray(HALF_TURN.angles_rad), "pitch_mm": 1.5, **fan},
    )
    assert read_sinogram(tmp_path / "fan.mat")[1] == FanBeam(
        HALF_TURN.angles_rad,
        96,
        pitch_mm=1.5,
        offset_mm=0.5,
        source_origin_mm=400.0,
        source_detector_mm=800.0,
        equiangular=True,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sinogram": np.array([[1, "a"]], object)}, "class cell"),
        ({"sinogram": {"data": np.zeros((45, 96))}}, "class struct"),
        ({"pitch_mm": "one"}, "class char"),
        ({"sinogram": np.ones((45, 96)) * 1j}, "complex"),
        ({"pitch_mm": None}, "pitch_mm is missing"),
        ({"sinogram": None}, "lacks sinogram"),
        ({"angles_deg": None}, "lacks its view angles"),
    ],
)
def test_unusable_matlab_files_are_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    good = {"sinogram": line_integrals(HALF_TURN), "angles_deg": np.arange(0, 180, 4.0), "pitch_mm": 1.0}
    savemat(tmp_path / "scan.mat", {name: value for name, value in {**good, **change}.items() if value is not None})
    with pytest.raises(UnreadableFileError, match=words) as caught:
        read_sinogram(tmp_path / "scan.mat")
    assert caught.value.remedy


def test_matlab_73_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "scan.mat").write_bytes(
        b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(512)
    )
    with pytest.raises(UnreadableFileError, match=r"7\.3") as caught:
        read_sinogram(tmp_path / "scan.mat")
    assert "'-v7'" in caught.value.remedy


def test_pictures_are_told_how_to_become_a_sinogram(tmp_path: Path) -> None:
    for name in ("scan.tif", "scan.tiff", "scan.npy"):
        (tmp_path / name).write_bytes(b"II*\0")
        assert is_scan(tmp_path / name)
        with pytest.raises(UnreadableFileError) as caught:
            read_sinogram(tmp_path / name)
        assert "write_sinogram" in caught.value.remedy
    with pytest.raises(EmptyInputError):
        read_sinogram(tmp_path / "nothing.mat")


def test_no_message_passes_on_advice_to_unpickle(tmp_path: Path) -> None:
    objects = {"sinogram": np.array([[{}, 1]], object), "angles_rad": np.zeros(1), "geometry": np.array("{}")}
    np.savez(tmp_path / "scan.npz", **objects)
    np.save(tmp_path / "lone", np.array([{}], object))
    (tmp_path / "lone.npy").rename(tmp_path / "lone.npz")
    for name in ("scan.npz", "lone.npz"):
        with pytest.raises(UnreadableFileError) as caught:
            read_sinogram(tmp_path / name)
        assert "pickle" not in str(caught.value)


def test_scikit_image_as_the_conventions_say(tmp_path: Path) -> None:
    theta = np.arange(0, 180, 3.0)
    image = np.pad(
        blob(), ((1, 0), (1, 0))
    )  # 65 × 65: scikit-image turns about pixel n // 2, the middle of an odd number
    sinogram = radon(np.where(np.hypot(*(np.indices(image.shape) - 32)) < 31, image, 0), theta=theta)
    path = write_sinogram(
        tmp_path / "scan", sinogram.T, ParallelBeam(tuple(-np.deg2rad(theta)), sinogram.shape[0], pitch_mm=1.0)
    )
    row, column = place(*read_sinogram(path))  # onto 64 pixels, whose middle is 31.5
    np.testing.assert_allclose((row, column), (ROW + 1 - 0.5, COLUMN + 1 - 0.5), atol=0.1)


@pytest.mark.parametrize(
    ("library", "ours"),
    [
        # normal of a ray in a picture's (column, row) directions, as the library documents it; and our angle
        (lambda a: (math.cos(a), -math.sin(a)), lambda a: -a),  # ASTRA, CIL, MATLAB, scikit-image: x right, y up
        (
            lambda a: (-math.sin(a), math.cos(a)),
            lambda a: a + math.pi / 2,
        ),  # TIGRE: source on +x, detector along +y, rows downwards
    ],
)
def test_parallel_beams_of_other_libraries(library: object, ours: object) -> None:
    angles = np.deg2rad(np.arange(0, 180, 3.0))
    u = np.arange(96) - 47.5
    x, y = COLUMN - 31.5, ROW - 31.5
    normals = np.array([library(a) for a in angles])  # type: ignore[operator]
    sinogram = np.exp(-((u[None] - (normals @ (x, y))[:, None]) ** 2) / 8)
    geometry = ParallelBeam(tuple(ours(a) for a in angles), 96, pitch_mm=1.0)  # type: ignore[operator]
    np.testing.assert_allclose(place(sinogram, geometry), (ROW, COLUMN), atol=0.1)


def test_fan_beams_of_astra() -> None:
    """Source R (sin a, −cos a), detector along (cos a, sin a), y upwards: θ = π − a, bins in reverse order."""
    angles, R, D = np.deg2rad(np.arange(0, 360, 3.0)), 200.0, 400.0
    x, y = COLUMN - 31.5, -(ROW - 31.5)
    source = R * np.stack([np.sin(angles), -np.cos(angles)], 1)
    along = np.stack([np.cos(angles), np.sin(angles)], 1)
    ray = np.array([x, y]) - source
    across = D * (ray * along).sum(1) / (ray * -source / R).sum(1)  # where the ray through the spot meets the detector
    u = (np.arange(128) - 63.5) * 2.0
    sinogram = np.exp(-((u[None] - across[:, None]) ** 2) / 32)
    geometry = FanBeam(tuple(math.pi - angles), 128, pitch_mm=2.0, source_origin_mm=R, source_detector_mm=D)
    np.testing.assert_allclose(place(sinogram[:, ::-1], geometry), (ROW, COLUMN), atol=0.3)
