"""Golden values of the scan geometry: literal numbers, so that no turned or mirrored convention can slip in."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam

IMAGE = ImageGrid2D((64, 64), 1.0)
ROW, COLUMN = 10, 40  # x = +8.5 mm (patient's left), y = −21.5 mm (anterior)


def trace(geometry: Geometry) -> np.ndarray:
    """(n_views,) detector coordinate u in mm of a point's shadow."""
    image = torch.zeros(64, 64, dtype=torch.float64)
    image[ROW, COLUMN] = 1.0
    y = Projector(geometry, IMAGE, dtype=torch.float64)(image).numpy()
    return (y * geometry.detector_mm()).sum(1) / y.sum(1)


def test_axes_of_the_image() -> None:
    assert IMAGE.x_mm[COLUMN] == 8.5
    assert IMAGE.y_mm[ROW] == -21.5
    assert ImageGrid2D((3, 2), 2.0).x_mm.tolist() == [-1.0, 1.0]
    assert ImageGrid2D((3, 2), 2.0).y_mm.tolist() == [-2.0, 0.0, 2.0]


def test_trace_of_a_point_in_parallel_views() -> None:
    # at 0 the detector runs to the patient's left, at 90° to posterior, at 180° to the right
    geometry = ParallelBeam(tuple(np.deg2rad([0, 30, 90, 135, 180, 270])), 911, pitch_mm=0.1)
    expected = [8.5, -3.388784, -21.5, -21.213203, -8.5, 21.5]
    np.testing.assert_allclose(trace(geometry), expected, atol=0.02)


def test_trace_of_a_point_in_fan_views() -> None:
    # source 100 mm above (θ=0), at the patient's left (90°), below (180°), at the right (270°); magnified by
    # D over depth
    geometry = FanBeam(
        tuple(np.deg2rad([0, 90, 180, 270])),
        201,
        pitch_mm=0.5,
        offset_mm=0.0,
        source_origin_mm=100.0,
        source_detector_mm=200.0,
    )
    expected = [
        200 * 8.5 / (100 - 21.5),
        200 * -21.5 / (100 - 8.5),
        200 * -8.5 / (100 + 21.5),
        200 * 21.5 / (100 + 8.5),
    ]
    np.testing.assert_allclose(expected, [21.656051, -46.994536, -13.991770, 39.631336], atol=1e-6)
    np.testing.assert_allclose(trace(geometry), expected, atol=0.1)


def test_equiangular_detector_measures_angles() -> None:
    flat = FanBeam((0.3,), 201, pitch_mm=0.5, offset_mm=0.0, source_origin_mm=100.0, source_detector_mm=200.0)
    arc = FanBeam(
        (0.3,), 201, pitch_mm=0.5, offset_mm=0.0, source_origin_mm=100.0, source_detector_mm=200.0, equiangular=True
    )
    np.testing.assert_allclose(np.tan(trace(arc) / 200), trace(flat) / 200, atol=5e-4)


def test_offset_moves_the_bins_not_the_shadow() -> None:
    centred, shifted = (ParallelBeam((0.0, 1.0), 91, pitch_mm=1.0, offset_mm=offset) for offset in (0.0, 2.25))
    assert shifted.detector_mm()[0] - centred.detector_mm()[0] == 2.25
    np.testing.assert_allclose(trace(shifted), trace(centred), atol=0.2)


def test_every_fan_ray_passes_its_source_and_bin() -> None:
    geometry = FanBeam((0.4, 2.0), 11, pitch_mm=3.0, offset_mm=1.0, source_origin_mm=100.0, source_detector_mm=170.0)
    phi, s = geometry.lines()
    for v, theta in enumerate(geometry.angles_rad):
        source = 100.0 * np.array([math.sin(theta), -math.cos(theta)])
        middle = -70.0 * np.array([math.sin(theta), -math.cos(theta)])
        for d, u in enumerate(geometry.detector_mm()):
            bin_centre = middle + u * np.array([math.cos(theta), math.sin(theta)])
            normal = np.array([math.cos(phi[v, d]), math.sin(phi[v, d])])
            assert normal @ source == pytest.approx(s[v, d], abs=1e-9)
            assert normal @ bin_centre == pytest.approx(s[v, d], abs=1e-9)


@given(n=st.integers(1, 40), arc=st.floats(10, 360), start=st.floats(-180, 180), fan=st.booleans())
@settings(max_examples=25, deadline=None)
def test_sparse_scans_cover_the_image(n: int, arc: float, start: float, fan: bool) -> None:
    image = ImageGrid2D((30, 41), 1.7)
    geometry: Geometry = (
        FanBeam.sparse(n, image, arc_deg=arc, start_deg=start)
        if fan
        else ParallelBeam.sparse(n, image, arc_deg=arc, start_deg=start)
    )
    assert geometry.n_views == n
    assert geometry.angles_rad[0] == pytest.approx(math.radians(start))
    assert np.ptp(geometry.angles_rad) == pytest.approx(math.radians(arc) * (n - 1) / n)
    _, s = geometry.lines()
    assert s.min() <= -image.radius_mm + 1e-9
    assert s.max() >= image.radius_mm - 1e-9
    assert geometry.pitch_at_isocentre_mm == pytest.approx(image.pixel_mm)


@pytest.mark.parametrize(
    "geometry",
    [
        ParallelBeam.sparse(5, IMAGE, arc_deg=120, start_deg=10),
        FanBeam(
            (0.0, 1.0),
            9,
            pitch_mm=1.0,
            offset_mm=0.5,
            source_origin_mm=80.0,
            source_detector_mm=90.0,
            equiangular=True,
        ),
    ],
)
def test_dictionary_round_trip(geometry: Geometry) -> None:
    assert Geometry.from_dict(geometry.to_dict()) == geometry
    assert geometry.views([1]).angles_rad == geometry.angles_rad[1:2]


def test_image_dictionary_round_trip() -> None:
    assert ImageGrid2D.from_dict(IMAGE.to_dict()) == IMAGE
    assert IMAGE.refined(2) == ImageGrid2D((128, 128), 0.5)
    assert IMAGE.refined(2).radius_mm == IMAGE.radius_mm


@pytest.mark.parametrize(
    "make",
    [
        lambda: ParallelBeam((), 5, pitch_mm=1.0),
        lambda: ParallelBeam((float("nan"),), 5, pitch_mm=1.0),
        lambda: ParallelBeam((0.0,), 0, pitch_mm=1.0),
        lambda: ParallelBeam((0.0,), 5, pitch_mm=0.0),
        lambda: ParallelBeam.sparse(0, IMAGE),
        lambda: FanBeam((0.0,), 5, pitch_mm=1.0, offset_mm=0.0, source_origin_mm=200.0, source_detector_mm=100.0),
        lambda: FanBeam(
            (0.0,), 9, pitch_mm=100.0, offset_mm=0.0, source_origin_mm=50.0, source_detector_mm=60.0, equiangular=True
        ),
        lambda: FanBeam.sparse(3, IMAGE, source_origin_mm=40.0, source_detector_mm=80.0),
        lambda: ImageGrid2D((0, 4), 1.0),
        lambda: ImageGrid2D((4, 4), -1.0),
        lambda: Geometry.from_dict({"type": "spiral"}),
        lambda: Geometry.from_dict({"type": "parallel", "angles_rad": [0.0]}),
        lambda: Geometry.from_dict(
            {"type": "parallel", "angles_rad": [0.0], "n_detectors": 3, "pitch_mm": 1.0, "colour": 2}
        ),
    ],
)
def test_impossible_geometries_are_refused(make: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make()  # type: ignore[operator]
    assert caught.value.remedy
