"""Rows that are detector bins, angles in another unit or order, lost views, dead bins, and air that is not 0."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch

from KLIPCore.errors import GeometryError, IntensityError
from KLIPCore.io.line_integrals import check_unit
from KLIPCore.io.sinogram_moments import check_views
from KLIPCore.io.sinogram_scale import check_scale
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

N = 60
ANGLES = np.arange(N) * math.pi / N


def scan(angles: np.ndarray, pitch_mm: float = 3.0) -> ParallelBeam:
    return ParallelBeam(tuple(angles), N, pitch_mm=pitch_mm)


@cache
def trunk(noise: float = 0.0) -> np.ndarray:
    """Line integrals of an ellipse with a lung; as many bins as views, so that no shape tells them apart."""
    rows, columns = np.mgrid[:48, :48]
    image = 0.02 * (np.hypot((rows - 26) / 12, (columns - 23) / 18) < 1)
    image[np.hypot((rows - 24) / 7, (columns - 15) / 6) < 1] = 0.004
    p = Projector(scan(ANGLES), ImageGrid2D((48, 48), 3.0))(torch.from_numpy(image.astype(np.float32))).numpy()
    return (p + np.random.default_rng(0).normal(0, noise, p.shape)).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_right_angles_pass_in_any_order(noise: float) -> None:
    order = np.random.default_rng(1).permutation(N)
    check_views(trunk(noise), scan(ANGLES))
    check_views(trunk(noise)[order], scan(ANGLES[order]))
    check_views(trunk(noise)[:25], scan(ANGLES[:25] + 4 * math.pi))


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (10 / 9, "gon"),
        (1 / (2 * math.pi), "turns"),
        (1 / 360, "turns"),
        (1 / math.pi, "half turns"),
        (2.0, "twice"),
        (0.7, "evenly over half a turn"),
    ],
)
def test_angles_in_another_unit_are_refused(factor: float, words: str) -> None:
    for noise in (0.0, 0.002 if 0.5 < factor < 1.5 else 0.01):
        with pytest.raises(GeometryError, match=words):
            check_views(trunk(noise), scan(factor * ANGLES))


def test_angles_in_another_order_are_refused() -> None:
    for angles in (np.random.default_rng(0).permutation(ANGLES), 0 * ANGLES, np.mod(np.rad2deg(ANGLES), 2 * math.pi)):
        with pytest.raises(GeometryError, match="at other angles"):
            check_views(trunk(), scan(angles))


def test_rows_that_are_bins_are_refused() -> None:
    with pytest.raises(GeometryError, match="exchanged") as caught:
        check_views(trunk().T, scan(ANGLES))
    assert "transpose" in caught.value.remedy


@pytest.mark.parametrize("value", [0.0, 20.0])
def test_lost_views_and_dead_bins_are_named(value: float) -> None:
    views, bins = trunk().copy(), trunk().copy()
    views[5], bins[:, 30] = value, value
    with pytest.raises(IntensityError, match="View 5"):
        check_views(views, scan(ANGLES))
    with pytest.raises(IntensityError, match="Detector bin 30"):
        check_views(bins, scan(ANGLES))


def test_a_ring_that_looks_alike_from_everywhere_passes() -> None:
    s = np.abs(np.arange(N) - (N - 1) / 2)
    p = np.tile(np.sqrt(np.maximum(1 - (s / 20) ** 2, 0)), (N, 1)).astype(np.float32)
    check_views(p, scan(ANGLES))
    check_unit(p[:, 15:-15])  # wider than the detector: its ends are no air


@pytest.mark.parametrize("added", [3.0, 0.2, -0.2, -1.0])
def test_air_that_is_not_0_is_refused(added: float) -> None:
    check_unit(trunk(0.01))
    with pytest.raises(IntensityError, match="Rays through air"):
        check_unit(trunk(0.01) + np.float32(added))


def test_a_pitch_in_another_unit_is_refused() -> None:
    check_scale(trunk(), scan(ANGLES))
    with pytest.raises(GeometryError, match="no patient"):
        check_scale(trunk(), scan(ANGLES, 3000.0))
    with pytest.raises(GeometryError, match="in another unit"):
        check_scale(trunk(), scan(ANGLES, 0.003))
