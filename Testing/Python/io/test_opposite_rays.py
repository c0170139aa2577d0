"""Where the middle of a fan is, from opposite rays: exact sinograms with a detector that is told wrongly."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from KLIPCore.io.opposite_rays import misplaced_columns
from KLIPCore.physics.ellipses import Ellipse, EllipsePhantom
from KLIPCore.volume.geometry import FanBeam

HEAD = EllipsePhantom(
    [
        Ellipse(0.02, 12.0, -7.0, 90.0, 70.0, 20.0),
        Ellipse(0.01, -30.0, 20.0, 15.0, 9.0),
        Ellipse(0.01, 40.0, 5.0, 4.0, 6.0),
    ]
)


def fan(clockwise: bool = True, equiangular: bool = True, n: int = 240) -> FanBeam:
    angles = 0.3 + (1 if clockwise else -1) * 2 * math.pi * np.arange(n) / n
    return FanBeam(
        tuple(angles),
        240,
        pitch_mm=1.7,
        offset_mm=0.25 * 1.7,
        source_origin_mm=400.0,
        source_detector_mm=700.0,
        equiangular=equiangular,
    )


@pytest.mark.parametrize("equiangular", [True, False])
@pytest.mark.parametrize(("clockwise", "wrong"), [(True, 1.5), (False, -1.0), (True, 0.3)])
def test_a_middle_that_is_told_wrongly_is_found(equiangular: bool, clockwise: bool, wrong: float) -> None:
    true = fan(clockwise, equiangular)
    noise = 0.01 * np.random.default_rng(0).standard_normal(true.shape)
    told = replace(true, offset_mm=true.offset_mm + wrong * true.pitch_mm)
    assert misplaced_columns(HEAD.sinogram(true) + noise, told) == pytest.approx(wrong, abs=0.12)


def test_a_middle_that_is_right_is_left_alone() -> None:
    true = fan()
    noise = 0.02 * np.random.default_rng(1).standard_normal(true.shape)
    assert misplaced_columns(HEAD.sinogram(true) + noise, true) == pytest.approx(0.0, abs=0.12)
    assert misplaced_columns(noise, true) in (None, 0.0)


def test_what_says_nothing() -> None:
    true = fan()
    data = HEAD.sinogram(true)
    assert misplaced_columns(data[:150], true.views(slice(150))) is None
    assert misplaced_columns(data[::20], true.views(slice(0, None, 20))) is None
    far = replace(true, offset_mm=true.offset_mm + 9 * true.pitch_mm)
    assert misplaced_columns(data, far) is None
