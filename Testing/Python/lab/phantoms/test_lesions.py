"""Implanted lesions against their closed-form volumes, on grids of any orientation; nothing outside them changes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.lab.phantoms.lesions import (
    PUSH_REACH,
    Lesion,
    MetalRod,
    Outline,
    Star,
    Tumour,
    implant,
    place_tumours,
    tissue_mask,
)
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

TISSUE_HU = 60.0


def block(
    spacing: float | tuple[float, float, float] = 1.0,
    size_mm: float = 64.0,
    noise: float = 0.0,
    rotation: Rotation | None = None,
) -> Volume:
    """An axial column of even tissue, ``size_mm`` wide, in air, centred at the origin; turned if asked for."""
    step = np.broadcast_to(np.asarray(spacing, float), 3)
    shape = tuple(int(n) for n in np.ceil(np.array([0.85, 1.3, 1.3]) * size_mm / step))
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *step, 1.0
    if rotation is not None:
        affine[:3, :3] = rotation.as_matrix() @ affine[:3, :3]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    hu = np.full(shape, -1000.0)
    rows, columns = (
        np.abs(np.arange(n) - (n - 1) / 2) * s <= size_mm / 2 for n, s in zip(shape[1:], step[1:], strict=True)
    )
    hu[:, rows[:, None] & columns[None, :]] = TISSUE_HU
    if noise:
        hu += np.random.default_rng(0).normal(0, noise, shape) * (hu > -900)
    return Volume(hu, Grid((shape[0], shape[1], shape[2]), affine))


BLOCK = block()
"""1 mm voxels: 1 mm³ each, so that counting voxels is measuring volume."""

ANYTHING: list[Lesion] = [
    Tumour(
        (5.0, -8.0, 3.0),
        (12.0, 9.0, 7.0),
        contrast_hu=-40.0,
        texture_hu=5.0,
        irregularity=0.15,
        rim_hu=20.0,
        turn_deg=30.0,
    ),
    Star((-10.0, 5.0, 0.0), 18.0, 8.0, 20.0, contrast_hu=120.0, edge_mm=1.0),
    MetalRod((-15.0, -10.0, -9.0), (18.0, 12.0, 11.0), 4.0, edge_mm=1.0),
]


@given(
    centre=st.tuples(*[st.floats(-8, 8)] * 3),
    radii=st.tuples(*[st.floats(5, 15)] * 3),
    turn=st.floats(-90, 90),
    contrast=st.floats(-150, 200),
    irregularity=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=20, deadline=None)
def test_tumour_has_its_volume_place_and_contrast(
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    turn: float,
    contrast: float,
    irregularity: float,
    seed: int,
) -> None:
    tumour = Tumour(centre, radii, contrast, turn, edge_mm=2.0, irregularity=irregularity)
    made, labels = implant(BLOCK, [tumour], seed)
    mask = labels == 1
    assert labels.dtype == np.uint8
    assert mask.sum() == pytest.approx(4 / 3 * math.pi * math.prod(radii), rel=0.04, abs=30)
    if irregularity == 0:
        np.testing.assert_allclose(BLOCK.grid.to_world(np.argwhere(mask).mean(0)), centre, atol=0.25)
    change = made.array - BLOCK.array
    inside = BLOCK.grid.to_world(np.argwhere(mask)) - np.asarray(centre)
    core = np.argwhere(mask)[np.linalg.norm(inside, axis=1) < 0.5 * (1 - 3 * irregularity) * min(radii) - 1]
    np.testing.assert_allclose(change[tuple(core.T)], contrast, atol=1e-3)  # float32 HU
    assert np.abs(change).max() <= abs(contrast) + 1e-3
    world = BLOCK.grid.to_world(np.argwhere(~mask)) - np.asarray(centre)
    far = np.linalg.norm(world, axis=1) > tumour.reach_mm
    assert not change[~mask][far].any()


@pytest.mark.parametrize("spacing", [(5.0, 0.7, 0.9), 2.0])
def test_masks_are_exact_on_other_grids(spacing: float | tuple[float, float, float]) -> None:
    """A voxel is in the mask when its centre is in the ellipsoid, and in no other case, on turned grids too."""
    volume = block(spacing, rotation=Rotation.from_euler("zyx", [20, 10, -15], degrees=True))
    tumour = Tumour((4.0, -6.0, 3.0), (14.0, 10.0, 12.0), edge_mm=0.0)
    made, labels = implant(volume, [tumour])
    points = volume.grid.to_world(np.moveaxis(np.indices(volume.grid.shape), 0, -1)) - np.asarray(tumour.centre_lps_mm)
    ball = (np.square(points / np.asarray(tumour.radii_mm)).sum(-1) <= 1) & tissue_mask(volume)
    np.testing.assert_array_equal(labels == 1, ball)
    np.testing.assert_array_equal(
        made.array, np.where(ball, volume.array - 50, volume.array)
    )  # a sharp edge changes the mask alone


def test_a_sphere_knows_its_depth() -> None:
    points = np.random.default_rng(0).uniform(-40, 40, (500, 3))
    exact = 13.0 - np.linalg.norm(points - (1.0, 2.0, 3.0), axis=1)
    np.testing.assert_allclose(
        Tumour((1.0, 2.0, 3.0), (13.0, 13.0, 13.0)).depth_mm(points, np.random.default_rng(0)), exact, atol=1e-9
    )


def test_edge_fades_over_its_length() -> None:
    made, _ = implant(BLOCK, [Tumour((0.0, 0.0, 0.0), (18.0, 18.0, 18.0), contrast_hu=-100.0, edge_mm=6.0)])
    points = BLOCK.grid.to_world(np.moveaxis(np.indices(BLOCK.grid.shape), 0, -1))
    distance = np.linalg.norm(points, axis=-1)
    change = made.array - BLOCK.array
    assert (change[distance < 15] == -100).all()
    assert (change[distance > 21] == 0).all()
    for r, expected in ((16.5, -84.4), (18.0, -50.0), (19.5, -15.6)):  # 100 (3t² − 2t³) at t = ¾, ½, ¼
        shell = np.abs(distance - r) < 0.1
        assert change[shell].mean() == pytest.approx(expected, abs=2.0)


def test_star_has_its_area_points_and_height() -> None:
    star = Star((3.0, 2.0, 1.0), 25.0, 12.0, 21.0, contrast_hu=80.0, n_points=5)
    volume = block((1.0, 0.4, 0.4))
    made, labels = implant(volume, [star])
    assert (labels == 1).sum() * volume.grid.voxel_volume_mm3 == pytest.approx(star.volume_mm3, rel=0.02)
    np.testing.assert_array_equal(made.array, volume.array + 80 * (labels == 1))

    def at(angle_deg: float, r: float, z: float = 1.0) -> int:
        point = (3.0 + r * math.cos(math.radians(angle_deg)), 2.0 + r * math.sin(math.radians(angle_deg)), z)
        return int(labels[tuple(np.rint(volume.grid.to_index(point)).astype(int))])

    for n in range(5):
        assert at(-90 + 72 * n, 23) == 1  # near a point
        assert at(-54 + 72 * n, 10) == 1  # inside a notch's radius
        assert at(-54 + 72 * n, 14) == 0  # beyond it
    assert at(-90, 5, z=1 + 9.5) == 1
    assert at(-90, 5, z=1 + 11.5) == 0


def test_rod_replaces_what_was_there() -> None:
    volume = block(0.7, 50.0, noise=20.0)
    rod = MetalRod((-14.0, -9.0, -12.0), (15.0, 10.0, 9.0), 3.0, hu=2500.0)
    made, labels = implant(volume, [rod])
    assert (labels == 1).sum() * volume.grid.voxel_volume_mm3 == pytest.approx(math.pi * 9 * rod.length_mm, rel=0.02)
    assert (made.array[labels == 1] == 2500).all()
    np.testing.assert_array_equal(made.array[labels == 0], volume.array[labels == 0])


def test_rim_lies_just_inside_the_outline() -> None:
    tumour = Tumour((0.0, 0.0, 0.0), (15.0, 15.0, 15.0), contrast_hu=-60.0, rim_hu=50.0, rim_mm=4.0, edge_mm=0.0)
    made, _ = implant(BLOCK, [tumour])
    distance = np.linalg.norm(BLOCK.grid.to_world(np.moveaxis(np.indices(BLOCK.grid.shape), 0, -1)), axis=-1)
    change = made.array - BLOCK.array
    assert (change[distance < 10.9] == -60).all()
    assert (change[(distance > 11.1) & (distance < 14.9)] == -10).all()


def test_texture_has_its_spread_and_is_smooth() -> None:
    tumour = Tumour(
        (0.0, 0.0, 0.0), (22.0, 22.0, 22.0), contrast_hu=-60.0, texture_hu=10.0, texture_mm=3.0, edge_mm=0.0
    )
    made, labels = implant(BLOCK, [tumour], seed=3)
    change = (made.array - BLOCK.array).astype(float)
    inside = change[labels == 1]
    assert inside.mean() == pytest.approx(-60, abs=3)
    assert inside.std() == pytest.approx(10, rel=0.15)
    pairs = (labels[:, :, 1:] == 1) & (labels[:, :, :-1] == 1)
    neighbours = np.corrcoef(change[:, :, 1:][pairs], change[:, :, :-1][pairs])[0, 1]
    assert neighbours > 0.9  # exp(−1/(4·3²)) = 0.97 for a Gaussian filter of 3 mm


@given(irregularity=st.floats(0.02, 0.3), seed=st.integers(0, 100_000))
@settings(max_examples=20, deadline=None)
def test_irregular_outlines_keep_a_sphere_s_volume(irregularity: float, seed: int) -> None:
    """Independent directions, not those the outline was normalised with."""
    outline = Outline.random(irregularity, np.random.default_rng(seed))
    u = np.random.default_rng(seed + 1).standard_normal((20_000, 3))
    radius = outline.radius(u / np.linalg.norm(u, axis=1, keepdims=True))
    assert (radius**3).mean() == pytest.approx(1.0, abs=0.03)
    assert radius.std() == pytest.approx(irregularity, rel=0.15)


def test_mass_effect_pushes_outward_and_fades() -> None:
    """A bright shell drawn around the tumour moves outward as a ball of its volume would push it; far tissue stays."""
    grid = BLOCK.grid
    distance = np.linalg.norm(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)), axis=-1)
    hu = BLOCK.array + 100 * np.exp(-0.5 * ((distance - 7.2) / 1.5) ** 2)
    shell = BLOCK.with_array(hu)
    radius = 8.0
    still, _ = implant(shell, [Tumour((0.0, 0.0, 0.0), (radius,) * 3, contrast_hu=0.0, edge_mm=0.0)])
    np.testing.assert_array_equal(still.array, shell.array)
    made, labels = implant(
        shell, [Tumour((0.0, 0.0, 0.0), (radius,) * 3, contrast_hu=0.0, edge_mm=0.0, mass_effect=1.0)]
    )

    def peak(volume: Volume) -> float:
        rings = np.arange(4.0, 25.0, 0.5)
        return float(rings[np.argmax([volume.array[np.abs(distance - r) < 0.5].mean() for r in rings])])

    assert peak(shell) == pytest.approx(7.2, abs=0.6)
    # q³ − f(q) = 0.9³ with the fading f(q) = ((3 − q)/2)²
    q = np.linspace(1, 2, 10_001)
    expected = radius * q[np.argmin(np.abs(q**3 - ((PUSH_REACH - q) / 2) ** 2 - 0.729))]
    assert peak(made) == pytest.approx(expected, abs=0.8)
    assert (labels == 1).sum() == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.04)
    np.testing.assert_array_equal(
        made.array[distance > PUSH_REACH * radius], shell.array[distance > PUSH_REACH * radius]
    )


@pytest.mark.parametrize("lesion", ANYTHING, ids=lambda lesion: type(lesion).__name__)
def test_same_seed_same_lesion(lesion: Lesion) -> None:
    volume = block(2.0, noise=10.0)
    one, labels = implant(volume, [lesion], 7)
    two, again = implant(volume, [lesion], 7)
    np.testing.assert_array_equal(one.array, two.array)
    np.testing.assert_array_equal(labels, again)
    assert (labels == 1).any()
    if isinstance(lesion, Tumour):
        other, _ = implant(volume, [lesion], 8)
        assert (other.array != one.array).any()


def test_the_second_lesion_does_not_change_the_first() -> None:
    one, labels = implant(BLOCK, ANYTHING[:1], 5)
    both, all_labels = implant(BLOCK, [ANYTHING[0], Tumour((-25.0, 22.0, 18.0), (4.0, 4.0, 4.0), irregularity=0.1)], 5)
    np.testing.assert_array_equal(both.array[labels == 1], one.array[labels == 1])
    assert set(np.unique(all_labels)) == {0, 1, 2}


def test_nothing_is_put_into_air() -> None:
    hu = BLOCK.array.copy()
    points = BLOCK.grid.to_world(np.moveaxis(np.indices(BLOCK.grid.shape), 0, -1))
    gas = np.linalg.norm(points - (20.0, 0.0, 0.0), axis=-1) < 6
    hu[gas] = -950
    volume = BLOCK.with_array(hu)
    made, labels = implant(
        volume, [Tumour((20.0, 0.0, 0.0), (12.0, 12.0, 12.0)), Tumour((-32.0, 0.0, 0.0), (10.0, 10.0, 10.0))]
    )
    air = hu < -300
    np.testing.assert_array_equal(made.array[air], hu[air])
    assert not labels[air].any()
    assert (labels == 1).any()
    assert (labels == 2).any()  # half of it lies in the body
    with pytest.raises(GeometryError, match="no voxel of tissue"):
        implant(volume, [Tumour((20.0, 0.0, 0.0), (4.0, 4.0, 4.0))])
    with pytest.raises(GeometryError, match="no voxel of tissue"):
        implant(volume, [Tumour((500.0, 0.0, 0.0), (9.0, 9.0, 9.0))])


@given(seed=st.integers(0, 10_000), gap=st.floats(0, 5))
@settings(max_examples=15, deadline=None)
def test_placed_tumours_lie_inside_and_apart(seed: int, gap: float) -> None:
    volume = block(2.0)
    points = volume.grid.to_world(np.moveaxis(np.indices(volume.grid.shape), 0, -1))
    organ = np.square(points / (28.0, 30.0, 26.0)).sum(-1) < 1
    radii = (4.0, 8.0, 6.0)
    tumours = place_tumours(organ, volume.grid, radii, seed, gap_mm=gap, elongation=0.1)
    assert [np.mean(t.radii_mm) == pytest.approx(r, rel=0.1) for t, r in zip(tumours, radii, strict=True)] == [
        True
    ] * 3
    _, labels = implant(volume, tumours, seed)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert not (labels[~organ] > 0).any()
    assert tumours == place_tumours(organ, volume.grid, radii, seed, gap_mm=gap, elongation=0.1)
    for a in range(3):
        for b in range(a):
            apart = math.dist(tumours[a].centre_lps_mm, tumours[b].centre_lps_mm)
            assert apart > max(tumours[a].radii_mm) + max(tumours[b].radii_mm) + gap


def test_what_cannot_be_is_refused() -> None:
    organ = np.zeros(BLOCK.grid.shape, bool)
    organ[15:35, 30:50, 30:50] = True
    with pytest.raises(ConfigError, match="no room"):
        place_tumours(organ, BLOCK.grid, (20.0,), 0)
    with pytest.raises(ConfigError, match="no room"):
        place_tumours(organ, BLOCK.grid, (5.0, 5.0, 5.0, 5.0), 0, gap_mm=30)
    with pytest.raises(ConfigError, match="grid of the mask"):
        place_tumours(organ[1:], BLOCK.grid, (5.0,), 0)
    with pytest.raises(ConfigError, match="at most 255"):
        implant(BLOCK, [ANYTHING[0]] * 256)
    for wrong in (
        {"radii_mm": (0.0, 5.0, 5.0)},
        {"irregularity": 0.9},
        {"edge_mm": -1.0},
        {"mass_effect": 2.0},
        {"texture_mm": 0.0},
    ):
        with pytest.raises(ConfigError):
            replace(ANYTHING[0], **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        Star((0.0, 0.0, 0.0), 5.0, 9.0, 5.0)
    with pytest.raises(ConfigError):
        MetalRod((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 2.0)
