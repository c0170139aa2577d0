"""Filtered back-projection of discs whose sinograms are known in closed form: the value inside must come out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from KLIPCore.errors import ConfigError
from KLIPCore.physics.ellipses import EllipsePhantom
from KLIPCore.physics.fbp import FILTERS, fbp, redundancy_weights, view_weights
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam

IMAGE = ImageGrid2D((128, 120), 3.0)
VALUE, RADIUS, X, Y = 0.7, 110.0, 25.0, -15.0
DISC = EllipsePhantom.disc(RADIUS, VALUE, X, Y)
SQUARE = ImageGrid2D((128, 128), 3.0)
IRREGULAR = tuple(np.sort(np.random.default_rng(0).uniform(0, np.pi, 500)))

SCANS: dict[str, Geometry] = {
    "parallel": ParallelBeam.sparse(200, IMAGE),
    "parallel, started elsewhere": ParallelBeam.sparse(200, IMAGE, start_deg=-77),
    "parallel, full circle": ParallelBeam.sparse(200, IMAGE, arc_deg=360),
    "parallel, irregular": ParallelBeam(IRREGULAR, 180, pitch_mm=3.0, offset_mm=0.7),
    "fan": FanBeam.sparse(400, IMAGE),
    "fan, both ends, offset": FanBeam(tuple(np.deg2rad(np.arange(361))), 220, pitch_mm=5.0, offset_mm=3.3),
    "fan, short scan": FanBeam.sparse(250, IMAGE, arc_deg=240, start_deg=60),
    "fan, shortest scan": FanBeam.sparse(250, IMAGE, arc_deg=236, start_deg=-170),
    "fan, longer than short": FanBeam.sparse(340, IMAGE, arc_deg=340),
    "fan, close": FanBeam.sparse(400, IMAGE, source_origin_mm=300, source_detector_mm=500),
    "equiangular": FanBeam.sparse(400, IMAGE, equiangular=True),
    "equiangular, short scan": FanBeam.sparse(250, IMAGE, arc_deg=240, equiangular=True),
}


@pytest.mark.parametrize("name", SCANS)
def test_a_disc_comes_back_with_its_value(name: str) -> None:
    geometry = SCANS[name]
    found = fbp(torch.from_numpy(DISC.sinogram(geometry)).float(), geometry, IMAGE).numpy()
    distance = np.hypot(IMAGE.x_mm[None, :] - X, IMAGE.y_mm[:, None] - Y)
    inside, outside = distance < RADIUS - 15, (distance > RADIUS + 15)
    assert found[inside].mean() == pytest.approx(VALUE, rel=0.002)
    assert np.abs(found[inside] - VALUE).max() < 0.02 * VALUE
    assert np.abs(found[outside].mean()) < 0.002 * VALUE
    rows, columns = np.nonzero(found > VALUE / 2)  # and it lies where it should
    assert IMAGE.x_mm[columns].mean() == pytest.approx(X, abs=0.3)
    assert IMAGE.y_mm[rows].mean() == pytest.approx(Y, abs=0.3)


@pytest.mark.parametrize("name", FILTERS)
def test_filters_trade_sharpness_for_noise(name: str) -> None:
    geometry = ParallelBeam.sparse(180, SQUARE)
    clean = torch.from_numpy(DISC.sinogram(geometry)).float()
    noise = torch.randn(clean.shape)
    sharp, found = (fbp(torch.stack([clean, noise]), geometry, SQUARE, filter=f) for f in ("ram-lak", name))
    assert found.shape == (2, 128, 128)
    centre = SQUARE.shape[0] // 2
    assert float(found[0, centre - 10 : centre + 10, centre - 10 : centre + 10].mean()) == pytest.approx(
        VALUE, rel=0.01
    )
    if name != "ram-lak":
        assert float(found[1].std()) < 0.95 * float(sharp[1].std())


def test_view_weights_share_the_circle() -> None:
    for period in (math.pi, 2 * math.pi):
        angles = np.random.default_rng(1).uniform(-10, 10, 400)
        assert view_weights(angles, period).sum() == pytest.approx(period, rel=1e-6)
    limited = view_weights(np.deg2rad(np.arange(0, 90, 2.0)), math.pi)  # the missing half is not given to the rim
    np.testing.assert_allclose(limited, np.deg2rad(2.0))
    assert view_weights(np.array([0.3]), math.pi).tolist() == [math.pi]


@pytest.mark.parametrize("arc", [245, 270, 300, 345, 360])
def test_shared_lines_share_one_unit(arc: int) -> None:
    """The weights of a line seen from both ends add up to one, to a view's accuracy."""
    geometry = FanBeam.sparse(2 * arc, SQUARE, arc_deg=arc)
    weights, gamma = redundancy_weights(geometry), geometry.fan_angles()
    worst = 0.0
    for v in range(0, geometry.n_views, 31):
        for d in range(0, geometry.n_detectors, 17):
            opposite = math.degrees(geometry.angles_rad[v] + math.pi - 2 * gamma[d]) % 360
            partner = 2 * opposite  # two views a degree
            lower = int(partner)
            mirrored = geometry.n_detectors - 1 - d
            if lower + 1 < geometry.n_views:
                share = weights[lower, mirrored] + (partner - lower) * (
                    weights[lower + 1, mirrored] - weights[lower, mirrored]
                )
            else:
                share = weights[0, mirrored] if arc == 360 else 0.0
            worst = max(worst, abs(weights[v, d] + share - 1.0))
    assert worst < 0.02


def test_less_than_a_short_scan_counts_lines() -> None:
    weights = redundancy_weights(FanBeam.sparse(100, SQUARE, arc_deg=100))
    assert set(np.unique(weights)) == {1.0}
    assert set(np.unique(redundancy_weights(FanBeam.sparse(190, SQUARE, arc_deg=190)))) == {0.5, 1.0}


def test_misuse_is_refused() -> None:
    geometry = ParallelBeam.sparse(10, IMAGE)
    with pytest.raises(ConfigError, match="not of a scan"):
        fbp(torch.zeros(5, 5), geometry, IMAGE)
    with pytest.raises(ConfigError, match="no filter"):
        fbp(torch.zeros(geometry.shape), geometry, IMAGE, filter="butterworth")
