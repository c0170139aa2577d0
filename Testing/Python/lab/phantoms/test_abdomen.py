"""The plan of an abdomen: a function of millimetres, bounded by its skin, with organs where organs are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.lab.phantoms.abdomen import AIR_HU, WIDTH_MM, Abdomen, Organ
from KLIPCore.volume.grid import Grid


def axial(n_slices: int = 5, pixel: float = 3.0, spacing: float = 10.0, size: int = 128) -> Grid:
    """Axial slices centred at the origin."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = spacing, pixel, pixel, 1.0
    affine[:3, 3] = -pixel * (size - 1) / 2, -pixel * (size - 1) / 2, -spacing * (n_slices - 1) / 2
    return Grid((n_slices, size, size), affine)


def test_cover_of_an_ellipsoid() -> None:
    organ = Organ("ball", 40, (10, -5, 2), (30, 20, 15), turn_deg=90, edge_mm=1)
    x, y, z = (
        np.array([10.0, 10, 30, -10, 10, 10, 50]),
        np.array([-5.0, 25, -5, -5, -35, -5, -5]),
        np.array([2.0, 2, 2, 2, 2, 17, 2]),
    )
    expected = [1, 0.5, 0.5, 0.5, 0.5, 0.5, 0]  # turned by 90°: 30 mm along y, 20 along x
    np.testing.assert_allclose(organ.cover(x, y, z), expected, atol=1e-6)


def test_an_unbent_organ_has_its_volume() -> None:
    organ = Organ("ball", 40, (3.0, -7.0, 4.0), (40, 30, 35), turn_deg=25, edge_mm=1.0)
    grid = axial(50, 2.0, 2.0)
    mask = Abdomen((organ,), ()).mask("ball", grid)
    assert mask.sum() * grid.voxel_volume_mm3 == pytest.approx(4 / 3 * math.pi * 40 * 30 * 35, rel=0.01)
    np.testing.assert_allclose(grid.to_world(np.argwhere(mask).mean(0)), organ.centre_mm, atol=0.1)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_every_seed_is_a_body_of_the_promised_width(seed: int) -> None:
    grid = axial()
    hu = Abdomen.random(seed).hu(grid)
    body = hu > AIR_HU / 2
    columns = np.flatnonzero(body.any((0, 1)))
    assert (columns[-1] - columns[0] + 1) * 3.0 == pytest.approx(WIDTH_MM, abs=6)
    assert not body[:, 0].any()
    assert not body[:, -1].any()
    assert hu.max() < 400
    plan = Abdomen.random(seed)
    liver, spleen = plan.mask("liver", grid), plan.mask("spleen", grid)
    assert 90 < np.median(hu[liver]) < 130
    assert grid.to_world(np.argwhere(liver).mean(0))[0] < -30  # on the patient's right
    assert grid.to_world(np.argwhere(spleen).mean(0))[0] > 60  # on the left
    assert not (liver & spleen).any()


def test_seeds_differ_and_repeat() -> None:
    grid = axial(2)
    np.testing.assert_array_equal(Abdomen.random(3).hu(grid), Abdomen.random(3).hu(grid))
    assert np.abs(Abdomen.random(3).hu(grid) - Abdomen.random(4).hu(grid)).mean() > 10


def test_the_plan_does_not_depend_on_the_grid() -> None:
    """Voxels of two grids that share centres see the same HU, cropped or finer; so no box cuts an organ."""
    plan = Abdomen.random(1)
    fine = axial(7, 2.0, 5.0, 192)
    box = (slice(2, 5), slice(40, 150), slice(60, 170))
    np.testing.assert_allclose(plan.hu(fine.cropped(box)), plan.hu(fine)[box], atol=0.5)
    coarse_affine = fine.affine.copy()
    coarse_affine[:, 0:3] = fine.affine[:, 0:3] * (1, 3, 3)
    coarse = Grid((7, 64, 64), coarse_affine)
    np.testing.assert_allclose(plan.hu(coarse), plan.hu(fine)[:, ::3, ::3], atol=0.5)


def test_what_cannot_be_is_refused() -> None:
    plan = Abdomen.random(0)
    with pytest.raises(ConfigError, match="no 'tail'"):
        plan.mask("tail", axial(1))
    turned = axial(2).affine[:, [1, 0, 2, 3]]
    with pytest.raises(ConfigError, match="axial"):
        plan.hu(Grid((2, 8, 8), turned))
    with pytest.raises(ConfigError):
        replace(plan.organs[0], radii_mm=(0.0, 1.0, 1.0))
