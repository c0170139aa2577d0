"""Simulated discs against closed forms, and against the one solid disc that a scanner measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError, IntensityError
from KLIPCore.io.sinogram import read_htc2022
from KLIPCore.physics.disc import ACRYLIC, RADIUS_MM, Disc, DiscRanges, SimulatedDiscs
from KLIPCore.physics.disc_fit import fit_disc, fit_outline, photons_per_ray
from KLIPCore.physics.ellipses import Ellipse
from KLIPCore.physics.fbp import fbp
from KLIPCore.physics.hardening import Hardening
from KLIPCore.volume.geometry import FanBeam, ImageGrid2D
from KLIPCore.volume.units import Window

GRID = ImageGrid2D((128, 128), 0.5933)
SCAN = FanBeam(
    tuple(np.deg2rad(np.arange(0, 360, 1.0))),
    280,
    pitch_mm=0.4,
    offset_mm=0.0,
    source_origin_mm=410.66,
    source_detector_mm=553.74,
)
HOLE = Ellipse(1.0, 10.0, -6.0, 5.0, 3.0, 20.0)
WINDOW = Window(-1000.0, 1500.0)


def test_path_of_a_central_ray_is_the_diameter_less_the_hole() -> None:
    ray = FanBeam((0.0,), 1, pitch_mm=0.4, offset_mm=0.0, source_origin_mm=410.66, source_detector_mm=553.74)
    assert Disc().path_mm(ray)[0, 0] == pytest.approx(2 * RADIUS_MM)
    assert Disc(holes=(Ellipse(1.0, 0.0, 5.0, 4.0, 3.0),)).path_mm(ray)[0, 0] == pytest.approx(2 * RADIUS_MM - 6.0)


def test_cup_is_what_filtered_back_projection_of_the_hardened_sinogram_shows() -> None:
    """The closed form (Abel) against a reconstruction that knows nothing of it."""
    disc = Disc(material=Hardening(ACRYLIC.a, ACRYLIC.b, ACRYLIC.c, 0.0, ACRYLIC.length_mm))
    found = fbp(torch.from_numpy(disc.sinogram(SCAN, 4)).float(), SCAN, GRID, "hann").numpy()
    r = np.hypot(GRID.x_mm[None, :], GRID.y_mm[:, None])
    inner = r < 30
    assert np.abs(found - disc.image(GRID))[inner].max() < 0.02 * disc.image(GRID)[inner].mean()
    assert disc.image(GRID)[64, 64] == pytest.approx(0.0280, abs=3e-4)  # measured: 0.0284 in the middle
    assert ACRYLIC.density(34.0, RADIUS_MM) == pytest.approx(
        0.0400, abs=5e-4
    )  # measured: 0.0396 a millimetre inside the rim


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0, 1.2), st.floats(0.0, 69.0))
def test_linearising_undoes_hardening(strength: float, length: float) -> None:
    material = ACRYLIC.weakened(strength)
    assert material.path_mm(material.attenuation(length)) == pytest.approx(length, abs=1e-3)
    assert material.attenuation(material.length_mm) == pytest.approx(float(ACRYLIC.attenuation(ACRYLIC.length_mm)))
    h = 1e-3
    numeric = (
        material.path_mm(material.attenuation(length + 0.5) + h)
        - material.path_mm(material.attenuation(length + 0.5) - h)
    ) / (2 * h)
    assert material.slope(material.attenuation(length + 0.5)) == pytest.approx(float(numeric), rel=2e-3)


def test_linearising_keeps_noise_in_air_symmetric() -> None:
    around = ACRYLIC.offset + np.array([-0.01, 0.01])
    assert ACRYLIC.linearised(around).sum() == pytest.approx(0.0, abs=1e-4)


def test_a_fitted_curve_is_the_curve() -> None:
    path = np.linspace(0, 69.69, 200)
    found = Hardening.fit(ACRYLIC.attenuation(path), path)
    assert (found.a, found.b, found.c, found.offset) == pytest.approx(
        (ACRYLIC.a, ACRYLIC.b, ACRYLIC.c, ACRYLIC.offset), rel=1e-6
    )


def test_impossible_things_are_refused() -> None:
    with pytest.raises(ConfigError):
        Hardening(0.04, -1e-3)  # falls before 70 mm
    with pytest.raises(ConfigError):
        Hardening.fit([1.0], [1.0])
    with pytest.raises(ConfigError):
        Disc(holes=(Ellipse(1.0, 33.0, 0.0, 5.0, 5.0),))
    with pytest.raises(ConfigError):
        Disc(-1.0)
    with pytest.raises(IntensityError):
        photons_per_ray(np.zeros((3, 50)))
    with pytest.raises(IntensityError):
        fit_outline(np.zeros(SCAN.shape), SCAN)


@settings(max_examples=8, deadline=None)
@given(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0), st.floats(34.3, 35.4), st.booleans())
def test_outline_is_found_with_and_without_holes(x: float, y: float, radius: float, hole: bool) -> None:
    geometry = SCAN.views(slice(0, 90, 3))  # an arc of 90 degrees
    disc = Disc(radius, x, y, holes=(HOLE,) if hole else ())
    found = fit_outline(disc.sinogram(geometry, 4), geometry)
    assert (found.radius_mm, found.x_mm, found.y_mm) == pytest.approx((radius, x, y), abs=0.1)


@pytest.mark.parametrize("photons", [2e4, 1e5])
def test_counts_are_read_from_the_noise(photons: float) -> None:
    rng = np.random.default_rng(0)
    fine = FanBeam(
        SCAN.angles_rad, 560, pitch_mm=0.2, offset_mm=0.0, source_origin_mm=410.66, source_detector_mm=553.74
    )  # bins as fine as the real detector's: coarser ones see the object's curvature
    clean = Disc(holes=(HOLE,)).sinogram(fine)
    noisy = clean + np.exp(0.5 * clean) / np.sqrt(photons) * rng.standard_normal(clean.shape)
    assert photons_per_ray(noisy, 1) == pytest.approx(photons, rel=0.1)


def test_simulated_discs_are_seeded_and_within_their_ranges() -> None:
    two = SimulatedDiscs(2, seed=3).slices(GRID, WINDOW)
    assert np.array_equal(two[:1], SimulatedDiscs(1, seed=3).slices(GRID, WINDOW))  # a disc depends on (seed, k) alone
    assert not np.array_equal(two[0], two[1])
    assert not np.array_equal(two[0], SimulatedDiscs(1, seed=4).slices(GRID, WINDOW)[0])
    ranges, rng = DiscRanges(), np.random.default_rng(0)
    drawn = [ranges.draw(rng) for _ in range(200)]
    assert all(
        ranges.radius_mm[0] <= d.radius_mm <= ranges.radius_mm[1] and abs(d.x_mm) <= 2 and not d.holes for d in drawn
    )
    assert 0.35 < np.mean([d.material.b == 0 for d in drawn]) < 0.65


@pytest.mark.shared_data
def test_the_real_solid_disc_is_inside_the_simulated_ranges(shared_data: Path) -> None:
    sinogram, geometry, _ = read_htc2022(shared_data / "htc2022" / "htc2022_solid_disc.npz")
    outline, hardening, residual = fit_disc(sinogram, geometry)
    assert outline.radius_mm == pytest.approx(RADIUS_MM, abs=0.02)
    assert outline.residual_mm < 0.06
    path = np.linspace(0, 69, 50)
    assert np.abs(hardening.attenuation(path) - ACRYLIC.attenuation(path)).max() < 0.02
    assert residual.std() < 0.02  # 1 % of the largest line integral
    assert (
        55_000 < photons_per_ray(sinogram, 1) < 95_000
    )  # neighbours share a fifth of their noise, so this is an upper figure
