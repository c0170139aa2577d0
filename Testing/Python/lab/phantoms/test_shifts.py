"""Shifts of intensity and anatomy against what they are by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.lab.phantoms.lesions import IntensityShift, Swelling, implant, mirrored
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


def body(hu_of) -> Volume:
    """(9, 60, 64) elliptical body in air, 2 mm in plane and 4 mm across; tissue HU is a function of LPS points."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 2.0], [0, 2.0, 0], [4.0, 0, 0]])
    affine[:3, 3] = (-63.0, -59.0, -16.0)
    grid = Grid((9, 60, 64), affine)
    points = grid.to_world(np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1))
    inside = (points[..., 0] / 55) ** 2 + (points[..., 1] / 50) ** 2 <= 1
    return Volume(np.where(inside, hu_of(points), -1000.0).astype(np.float32), grid)


def test_gain_and_shift_touch_tissue_only() -> None:
    study = body(lambda p: 50 + p[..., 0])
    made, labels = implant(study, [IntensityShift(20.0, gain=0.5)])
    tissue = labels > 0
    assert tissue[4, 30, 32]
    assert made.array[tissue] == pytest.approx(50 + 0.5 * (study.array[tissue] - 50) + 20, abs=1e-3)
    assert np.array_equal(made.array[~tissue], study.array[~tissue])


@pytest.mark.parametrize("magnification", [0.6, 0.8, 1.3, 1.9])
def test_a_swelling_magnifies_its_middle_and_ends_at_its_rim(magnification: float) -> None:
    """On a linear ramp the moved HU tell where they came from."""
    swelling = Swelling((0.0, 0.0, 0.0), 30.0, magnification)
    study = body(lambda p: 50 + p[..., 0])
    made, labels = implant(study, [swelling])
    points = study.grid.to_world(np.argwhere(labels > 0))
    q = np.linalg.norm(points, axis=1) / 30
    came_from = swelling.source(q) / np.maximum(q, 1e-9)
    assert made.array[labels > 0] == pytest.approx(50 + points[:, 0] * came_from, abs=0.02)
    assert (q <= 1).all()
    assert np.array_equal(made.array[labels == 0], study.array[labels == 0])
    near = q < 0.1
    assert came_from[near] == pytest.approx(1 / magnification, rel=0.05)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.6, 1.9))
def test_a_swelling_does_not_fold(magnification: float) -> None:
    q = np.linspace(0, 1, 2001)
    source = Swelling((0.0, 0.0, 0.0), 1.0, magnification).source(q)
    assert (np.diff(source) > 0).all()
    assert source[0] == 0
    assert source[-1] == pytest.approx(1)


def test_wrong_swellings_are_refused() -> None:
    with pytest.raises(ConfigError, match="folds"):
        Swelling((0.0, 0.0, 0.0), 10.0, 3.0)
    with pytest.raises(ConfigError, match="radius"):
        Swelling((0.0, 0.0, 0.0), 0.0, 1.2)


def test_a_mirrored_patient_is_exact_and_its_own_inverse() -> None:
    study = body(lambda p: np.where(p[..., 0] > 0, 100.0, 40.0))
    made, changed = mirrored(study)
    assert np.array_equal(mirrored(made)[0].array, study.array)
    assert np.array_equal(changed, made.array != study.array)
    assert made.array[4, 30, 40] == study.array[4, 30, 63 - 40] == 40
    symmetric = body(lambda p: 50 + 0 * p[..., 0])
    assert not mirrored(symmetric)[1].any()
