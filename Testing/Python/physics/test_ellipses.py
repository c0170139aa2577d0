"""The closed form against integration by hand, and the projector against the closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.physics.ellipses import Ellipse, EllipsePhantom
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam


@given(
    x=st.floats(-30, 30), y=st.floats(-30, 30), a=st.floats(5, 40), b=st.floats(5, 40), turn=st.floats(-180, 180),
    phi=st.floats(-math.pi, math.pi), s=st.floats(-40, 40),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_line_integral_is_the_length_inside(
    x: float, y: float, a: float, b: float, turn: float, phi: float, s: float
) -> None:
    """Walk along the line in small steps and count those inside."""
    ellipse = Ellipse(2.0, x, y, a, b, turn)
    step = 0.01
    along = np.arange(-150, 150, step)
    inside = ellipse.contains(s * math.cos(phi) - along * math.sin(phi), s * math.sin(phi) + along * math.cos(phi))
    exact = ellipse.line_integral(np.array([phi]), np.array([s]))[0]
    assert exact == pytest.approx(2.0 * step * inside.sum(), abs=5 * step)


def test_golden_chords() -> None:
    disc = EllipsePhantom.disc(50.0, 0.02, x_mm=10.0)
    geometry = ParallelBeam((0.0, math.pi / 2), 3, pitch_mm=30.0)
    # at θ = 0 the detector coordinates are x = −30, 0, 30: offsets −40, −10, 20 from the disc's centre; at
    # 90° −30, 0, 30
    expected = 0.02 * 2 * np.sqrt(2500.0 - np.array([[1600.0, 100.0, 400.0], [900.0, 0.0, 900.0]]))
    np.testing.assert_allclose(disc.sinogram(geometry), expected, rtol=1e-12)


def test_image_of_a_disc_has_its_area() -> None:
    image = EllipsePhantom.disc(20.0, 3.0, 5.0, -4.0).image(ImageGrid2D((64, 60), 1.0), supersampling=8)
    assert image.shape == (64, 60)
    assert image.sum() == pytest.approx(3.0 * math.pi * 400, rel=1e-3)
    rows, columns = np.indices(image.shape)
    assert (image * columns).sum() / image.sum() - 29.5 == pytest.approx(5.0, abs=0.01)
    assert (image * rows).sum() / image.sum() - 31.5 == pytest.approx(-4.0, abs=0.01)


def test_shepp_logan_golden_pixels() -> None:
    image = EllipsePhantom.shepp_logan(128.0).image(ImageGrid2D((256, 256), 1.0), supersampling=1)
    assert image[128, 128] == pytest.approx(0.2)  # brain
    assert image[128, 128 - 30] == pytest.approx(0.0, abs=1e-12)  # the large ventricle lies at the patient's right
    assert image[128 - 45, 128] == pytest.approx(0.3)  # the grey disc towards the front
    assert image[128 - 115, 128] == pytest.approx(1.0)  # skull
    assert image[0, 0] == 0.0
    original = EllipsePhantom.shepp_logan(128.0, modified=False).image(ImageGrid2D((256, 256), 1.0), supersampling=1)
    assert original[128, 128] == pytest.approx(1.02)


@pytest.mark.parametrize("kind", [ParallelBeam, FanBeam])
@pytest.mark.parametrize("wide", [1.0, 2.0])
def test_projector_meets_the_closed_form_and_converges(kind: type[ParallelBeam] | type[FanBeam], wide: float) -> None:
    """Relative error of the Shepp-Logan sinogram: small, and about halved with every halving of pixel and bin."""
    phantom = EllipsePhantom.shepp_logan(190.0)
    errors = []
    for n in (64, 128, 256):
        image = ImageGrid2D((n, n), 384.0 / n)
        pitch = kind.sparse(1, image).pitch_mm * wide
        geometry: Geometry = kind.sparse(12, image, start_deg=1.3, pitch_mm=pitch)
        exact = phantom.sinogram(geometry, rays_per_bin=16)
        found = Projector(geometry, image)(torch.from_numpy(phantom.image(image, 4)).float()).numpy()
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    assert errors[2] < 0.0085
    assert errors[1] < 0.65 * errors[0]
    assert errors[2] < 0.65 * errors[1]


def test_one_ray_a_bin_of_one_pixel_is_the_best_choice() -> None:
    """The claim on which the projector's default rests, for bins of one and two pixels."""
    phantom, image = EllipsePhantom.shepp_logan(95.0), ImageGrid2D((128, 128), 1.5)
    x = torch.from_numpy(phantom.image(image)).float()
    for pitch, best in ((1.5, 1), (3.0, 2)):
        geometry = ParallelBeam.sparse(10, image, start_deg=1.3, pitch_mm=pitch)
        exact = phantom.sinogram(geometry, rays_per_bin=16)
        error = {
            k: np.linalg.norm(Projector(geometry, image, rays_per_bin=k)(x).numpy() - exact) for k in (1, 2, 3, 4)
        }
        assert Projector(geometry, image).rays_per_bin == best == min(error, key=lambda k: error[k])


def test_impossible_ellipses_are_refused() -> None:
    with pytest.raises(ConfigError):
        Ellipse(1.0, 0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ConfigError):
        EllipsePhantom.disc(5.0).image(ImageGrid2D((4, 4), 1.0), supersampling=0)
